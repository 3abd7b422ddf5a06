"""
Have the installed fail2ban carry out the actions of a configuration, one jail after another.

Run by the system's Python in namespaces of its own: `actions_oracle.py DIRECTORY RECORD JAIL…`. Starts a server,
feeds it the commands that `fail2ban-client -d` prints for each jail, and takes the jail through the steps of
`actions_steps`; the stand-ins of the programs append what they are called with to the file RECORD.
"""

import ast
import os
import subprocess
import sys
import time

import actions_steps


def main(directory, record, jails):
    work = os.path.dirname(record)
    socket = os.path.join(work, "f.sock")
    dump = subprocess.run(["fail2ban-client", "-c", directory, "-d"], capture_output=True, text=True, check=True).stdout
    streams = {}
    for line in dump.splitlines():
        if line.startswith("["):
            command = ast.literal_eval(line)
            if command[1] in jails:
                streams.setdefault(command[1], []).append(command)
    log = os.path.join(work, "fail2ban.log")
    options = ["-c", actions_steps.empty_configuration(work), "-s", socket, "-p", os.path.join(work, "f.pid")]
    server = actions_steps.start(["fail2ban-server", *options, "--logtarget", log, "-xf", "start"])
    try:
        from fail2ban.client.csocket import CSocket

        deadline = time.monotonic() + 60
        client = None
        while client is None:
            assert time.monotonic() < deadline
            try:
                client = CSocket(socket, timeout=60)
            except OSError:
                time.sleep(0.02)

        def send(*command):
            status, answer = client.send(list(command))
            assert status == 0, (command, answer)

        def load(jail):
            for command in streams[jail]:
                send(*command)

        def reload(jail):
            send("reload", jail, [], streams[jail])

        steps = actions_steps.Steps(record, log, server.pid)
        for jail in jails:
            steps.run(jail, load=load, reload=reload, send=send)
        steps.finish()
        client.close()
    finally:
        actions_steps.end(server)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
