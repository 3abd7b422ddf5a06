"""Ask something slow about many addresses at once, for a limited time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping

THREADS = 16
SECONDS = 5.0


def each(
    hosts: Iterable[str], ask: Callable[[str], str], *, seconds: float = SECONDS, threads: int = THREADS
) -> Mapping[str, str]:
    """
    Return *ask* of each of *hosts*, as far as the answers came within *seconds* altogether.

    OSError and ValueError of *ask* mean that there is no answer. It is called by several threads; those that are still
    waiting when the time is over are left alone and end with the program.
    """
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for host in dict.fromkeys(hosts):
        todo.put(host)
    found: dict[str, str] = {}
    crew = min(threads, todo.qsize())
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                host = todo.get_nowait()
            except queue.Empty:
                break
            try:
                found[host] = ask(host)
            except (OSError, ValueError):
                continue
        ended.put(None)
        if ended.qsize() >= crew:
            over.set()

    for number in range(crew):
        threading.Thread(target=work, name=f"ask-{number}", daemon=True).start()
    if crew:
        over.wait(seconds)
    over.set()
    return found.copy()
