"""
Have the installed fail2ban carry out the actions of a configuration, one jail after another.

Run by the system's Python in namespaces of its own: `actions_oracle.py DIRECTORY RECORD JAIL…`. Starts a server,
feeds it the commands that `fail2ban-client -d` prints for each jail, and bans, unbans and stops. Before each step a line
`#jail step` goes into the file RECORD, to which the stand-ins of the programs append what they are called with.
"""

import ast
import os
import subprocess
import sys
import time

STEPS = (("ban4", "192.0.2.9"), ("ban6", "2001:db8::9"))


def children(pid):
    """Tell whether process *pid* runs programs at present."""
    found = ""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += file.read()
        except OSError:
            continue
    return bool(found.strip())


def main(directory, record, jails):
    work = os.path.dirname(record)
    socket = os.path.join(work, "f.sock")
    dump = subprocess.run(["fail2ban-client", "-c", directory, "-d"], capture_output=True, text=True, check=True).stdout
    streams = {}
    for line in dump.splitlines():
        if line.startswith("["):
            command = ast.literal_eval(line)
            name = command[1]
            if name in jails:
                streams.setdefault(name, []).append(command)
    empty = os.path.join(work, "empty")
    os.makedirs(os.path.join(empty, "filter.d"), exist_ok=True)
    os.makedirs(os.path.join(empty, "action.d"), exist_ok=True)
    with open(os.path.join(empty, "fail2ban.conf"), "w") as file:
        file.write("[Definition]\nloglevel=DEBUG\ndbfile=None\nallowipv6=yes\n")
    with open(os.path.join(empty, "jail.conf"), "w") as file:
        file.write("[DEFAULT]\n")
    log = os.path.join(work, "fail2ban.log")
    arguments = ["-c", empty, "-s", socket, "-p", os.path.join(work, "f.pid"), "--logtarget", log, "-xf", "start"]
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "fail2ban-server", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        from fail2ban.client.csocket import CSocket

        deadline = time.monotonic() + 60
        while not os.path.exists(socket):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        client = CSocket(socket, timeout=60)

        def send(*command):
            status, answer = client.send(list(command))
            assert status == 0, (command, answer)
            return answer

        def mark(jail, step):
            with open(record, "a") as file:
                file.write(f"#{jail} {step}\n")

        def settle(pattern):
            """Wait until the log has one more line with *pattern*, then until nothing is recorded any more."""
            deadline = time.monotonic() + 4
            while pattern and time.monotonic() < deadline:
                with open(log, errors="replace") as file:
                    if pattern in file.read():
                        break
                time.sleep(0.02)
            quiet, size = time.monotonic(), -1
            while time.monotonic() - quiet < 0.15:
                now = os.stat(record).st_size
                if now != size or children(server.pid):
                    quiet, size = time.monotonic(), now
                time.sleep(0.02)

        for jail in jails:
            mark(jail, "start")
            for command in streams[jail]:
                send(*command)
            settle(f"Jail '{jail}' started")
            for step, address in STEPS:
                mark(jail, step)
                send("set", jail, "banip", address)
                settle(f"[{jail}] Ban {address}")
            mark(jail, "unban4")
            send("set", jail, "unbanip", STEPS[0][1])
            settle(f"[{jail}] Unban {STEPS[0][1]}")
            mark(jail, "stop")
            send("stop", jail)
            settle(f"Jail '{jail}' stopped")
        mark("", "end")
        client.close()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
