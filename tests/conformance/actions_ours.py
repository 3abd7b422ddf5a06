"""
Have our own server carry out the actions of a configuration; the twin of `actions_oracle.py`, with its arguments.
"""

import os
import sys
import time

import actions_steps

from banguard.control.client import Connection
from banguard.errors import ControlError


def main(directory, record, jails):
    work = os.path.dirname(record)
    socket = os.path.join(work, "b.sock")
    log = os.path.join(work, "banguard.log")
    options = ["-c", actions_steps.empty_configuration(work), "-s", socket, "-p", os.path.join(work, "b.pid")]
    server = actions_steps.start([sys.executable, "-m", "banguard", *options, "--logtarget", log, "-f", "start"])
    try:
        deadline = time.monotonic() + 60
        while not os.path.exists(socket):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        def send(*command):
            with Connection(socket, time.monotonic) as connection:
                reply = connection.ask(command, 60)
            assert reply.ok, (command, reply.error)

        def ready():
            try:
                send("ping")
            except ControlError:
                return False
            return True

        while not ready():
            time.sleep(0.02)

        def load(jail):
            send("reload", "--config", directory, jail)

        steps = actions_steps.Steps(record, log, server.pid)
        for jail in jails:
            steps.run(jail, load=load, reload=load, send=send)
        steps.finish()
    finally:
        actions_steps.end(server)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
