"""
Runs the commands of one page of the documentation on a made-up machine; reads a plan as JSON, prints what came of it.

It is started as the first process of namespaces of its own (network, mounts, processes): /etc, /var/log and /var/lib
are covered by a layer that ends with it, and so does every process that a command leaves behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

COVERED = ("/etc", "/var/log", "/var/lib")


def cover() -> None:
    """Make the machine: a network of its own, and layers over what commands write to."""
    run("ip link set lo up && mount -t tmpfs tmpfs /run && mkdir -p /run/lock /run/layers")
    for number, path in enumerate(COVERED):
        upper, work = f"/run/layers/u{number}", f"/run/layers/w{number}"
        os.makedirs(upper)
        os.makedirs(work)
        run(f"mount -t overlay overlay -o lowerdir={path},upperdir={upper},workdir={work} {path}")


def run(script: str) -> None:
    subprocess.run(["sh", "-c", script], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def prepare(plan: dict) -> None:
    """Write the files of the plan, with the present time where they say so, and start the server if it wants one."""
    stamp = time.strftime("%b %d %H:%M:%S")
    for path, text in plan["files"].items():
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("{NOW}", stamp))
    if plan["server"]:
        shutil.copytree(plan["config"], "/etc/banguard", dirs_exist_ok=True)
        for path, text in plan["files"].items():
            if path.startswith("/etc/banguard/"):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
        run("banguard-server start")


def main() -> None:
    """Carry out the plan."""
    plan = json.load(sys.stdin)
    os.chdir(plan["directory"])
    cover()
    results = []
    try:
        prepare(plan)
        for command in plan["commands"]:
            for path, text in command["files"].items():
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            limit = 2.0 if command["endless"] else 40.0
            try:
                done = subprocess.run(
                    ["sh", "-c", command["text"]],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=limit,
                    check=False,
                )
                status, said = done.returncode, done.stdout + done.stderr
            except subprocess.TimeoutExpired as error:
                status, said = None, error.stdout or b""
            results.append({"status": status, "said": said.decode("utf-8", "replace")})
    except subprocess.CalledProcessError as error:
        said = (error.stdout + error.stderr).decode("utf-8", "replace")
        results.append({"status": -1, "said": f"preparing: {error}: {said}"})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
