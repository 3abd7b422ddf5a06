"""Programs that only write down how they are called; and reading what they wrote."""

import os

NAMES = [
    "iptables",
    "ip6tables",
    "ipset",
    "nft",
    "firewall-cmd",
    "ipfw",
    "pfctl",
    "npfctl",
    "ipf",
    "ufw",
    "mail",
    "sendmail",
    "curl",
    "wget",
    "whois",
    "dig",
    "host",
    "ssh",
    "ip",
    "route",
    "shorewall",
    "shorewall6",
    "csf",
    "apf",
    "afctl",
    "apprise",
    "nsupdate",
    "service",
    "systemctl",
    "geoiplookup",
    "logger",
    "arp",
    "conntrack",
    "ss",
    "pgrep",
    "kill",
    "killall",
    "nginx",
    "perl",
    "date",
    "hostname",
]

# A check of a rule says "is not there", so that starting really starts; each record is one write, so none are mixed.
_PROGRAM = r"""#!/bin/sh
text=$(printf '%s' "${0##*/}"; for word in "$@"; do printf '\037%s' "$word"; done)
if [ ! -t 0 ] && [ -p /dev/stdin ]; then text="$text$(printf '\035')$(/bin/cat)"; fi
printf '%s\036\n' "$text" >> "$RECORD"
case "$text" in
  date*) echo 2026-11-21; exit 0;;
  hostname*) echo here; exit 0;;
  whois*|dig*|host*) echo "answer"; exit 0;;
  iptables*-C*|ip6tables*-C*) exit 1;;
esac
exit 0
"""

# `probe JAIL WORD NUMBERS …` fails at those of its calls with this jail and word (`,1,3,`).
_PROBE = r"""#!/bin/sh
jail=$1 word=$2 failing=$3
text=$(printf '%s' "${0##*/}"; for one in "$@"; do printf '\037%s' "$one"; done)
printf '%s\036\n' "$text" >> "$RECORD"
number=$(/usr/bin/grep -c "^probe.$jail.$word." "$RECORD")
case ",$failing," in *",$number,"*) exit 1;; esac
exit 0
"""


def make(directory):
    os.makedirs(directory, exist_ok=True)
    for name in (*NAMES, "probe"):
        path = os.path.join(directory, name)
        with open(path, "w") as file:
            file.write(_PROBE if name == "probe" else _PROGRAM)
        os.chmod(path, 0o700)


def read(record):
    """Return jail → step → calls, each `(argv, stdin)`."""
    with open(record, errors="surrogateescape") as file:
        text = file.read()
    found = {}
    calls = None
    while text:
        if text.startswith("#"):
            line, _, text = text.partition("\n")
            jail, _, step = line[1:].partition(" ")
            calls = found.setdefault(jail, {}).setdefault(step, [])
            continue
        call, _, text = text.partition("\036\n")
        argv, _, stdin = call.partition("\035")
        calls.append((tuple(argv.split("\037")), stdin))
    return found
