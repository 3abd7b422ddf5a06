"""
Have our own dispatcher carry out the actions of a configuration; the twin of `actions_oracle.py`, with its arguments.
"""

import sys
import time

from banguard.actions import Dispatcher
from banguard.clock import SystemClock
from banguard.config import load
from banguard.model import Ban, BanChange, Change

STEPS = (("ban4", "192.0.2.9"), ("ban6", "2001:db8::9"))


def main(directory, record, jails):
    config = load(directory)
    dispatcher = Dispatcher(clock=SystemClock(), allow_ipv6=True)

    def mark(jail, step):
        with open(record, "a") as file:
            file.write(f"#{jail} {step}\n")

    for jail in jails:
        mark(jail, "start")
        problems = dispatcher.attach(jail, config.jails[jail].actions)
        assert not problems, problems
        dispatcher.wait(3)
        now = time.time()
        for step, address in STEPS:
            mark(jail, step)
            dispatcher.emit(BanChange(Change.BAN, Ban(jail, address, now, now + 600)))
            dispatcher.wait(3)
        mark(jail, "unban4")
        dispatcher.emit(BanChange(Change.UNBAN, Ban(jail, STEPS[0][1], now, now + 600)))
        dispatcher.wait(3)
        mark(jail, "stop")
        dispatcher.detach(jail)
        dispatcher.wait(3)
    mark("", "end")
    assert dispatcher.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
