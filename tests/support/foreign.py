"""Configurations of other programs, as their users have them, with log lines to go with them."""

from __future__ import annotations

IPBLOCK = r"""# release_time[sec],port,regex
10800,tcp/25,postfix.*: statistics: max connection rate 1/60s for \(smtp:([0-9.]+)\)
error,tcp/25,postfix.*: statistics: max connection rate 1/60s for \(smtp:([0-9.]+)\)
600,tcp/error,postfix.*: statistics: max connection rate 1/60s for \(smtp:([0-9.]+)\)
E,tcp/25,postfix.*: statistics: max connection rate 1/60s for \(smtp:([0-9.]+)\)
600,tcp/25,postfix.*: statistics: max connection rate 1/60s for \(smtp:[0-9.]+\)
600,tcp/error,postfix.*: statistics: max connection rate 1/60s for \(smtp:[0-9.]+\)
10800,tcp/25,postfix.*: statistics: max connection rate 1/60s for \(smtp:[0-9.]+)\)
10800,tcp/25,postfix.*: statistics: max connection rate 1/60s for \(smtp:[0-9.]+\)
10800,tcp/25,postfix.*: lost connection after AUTH from unknown\[([0-9.]+)\]
60,tcp/8080,sshd.*: Failed password for .+ from ([0-9.]+)
60,tcp/8080,sshd.*: Disconnecting authenticating user .+ from ([0-9.]+)
60,tcp/8080,sshd.*: User .+ from ([0-9.]+) not allowed because not listed in AllowUsers
60,tcp/8080,sshd.*: Failed publickey for .+ from ([0-9.]+)
60,tcp/8080,sshd.*: Invalid user .+ from ([0-9.]+)
"""
"""Good lines: 2 and 10 to 15; broken: 3, 4, 5, 7, 8; without an address: 6, 9."""

SYSLOG = """\
Mar 14 12:34:57 host postfix/anvil[1234]: statistics: max connection rate 1/60s for (smtp:192.168.1.1) at Mar 14 12:34:56
Mar 14 12:34:58 host postfix/smtpd[1234]: lost connection after AUTH from unknown[192.168.1.1]
Mar 14 12:34:59 host sshd[1234]: Failed password for mac from 192.168.1.1
Mar 14 12:35:00 host sshd[1234]: Accepted password for mac from 192.168.1.2 port 50000 ssh2
"""

LOGMON = """\
# Monitor for messages
:{log}
(reject: RCPT from)
{script} 3 "<%%%%>" >> /var/log/logmon.log
:{log}
(non-SMTP command from)
{script} 1 "<%%%%>" >> /var/log/logmon.log
:{log}
(too many errors after DATA from)
{script} 1 "<%%%%>" >> /var/log/logmon.log
"""

SCRIPT = """\
#!/bin/sh
IP_ADDR_CACHE_TIME=21600
ADDRESS=`echo $2 | egrep -o "[0-9]{1,3}(\\.[0-9]{1,3}){3}" | grep -v "192.168." | head -n 1`
iptables -A INPUT -i eth1 -s $ADDRESS -j DROP
"""
"""The facts that such a script holds: six hours, 192.168. stays out, one interface."""
