"""Calls of a store that wait for its server rather than for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """What `work` gives of each item, that many at a time. After an error or an interrupt no further item is begun; it
    is raised once the others have ended. The threads do not keep a process from ending."""
    if threads == 1 or len(items) == 1:
        return [work(item) for item in items]
    left = iter(range(len(items)))
    results: dict[int, R] = {}
    errors: dict[int, BaseException] = {}
    lock, stopped = threading.Lock(), threading.Event()

    def take() -> None:
        while not stopped.is_set():
            with lock:
                place = next(left, None)
            if place is None:
                return
            try:
                results[place] = work(items[place])
            except BaseException as error:
                errors[place] = error
                stopped.set()

    workers = [threading.Thread(target=take, daemon=True) for _ in range(min(threads, len(items)))]
    for worker in workers:
        worker.start()
    try:
        join(workers)
    except BaseException:
        stopped.set()
        join(workers)
        raise
    if errors:
        raise errors[min(errors)]
    return [results[place] for place in range(len(items))]


def join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
