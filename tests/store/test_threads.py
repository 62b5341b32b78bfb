"""Calls made several at a time."""

from __future__ import annotations

import threading

import pytest

from bnsweep.store.threads import in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    assert in_threads(str, range(50), 4) == [str(i) for i in range(50)]
    assert in_threads(str, [], 4) == []


def test_so_many_at_a_time() -> None:
    together = threading.Barrier(4, timeout=10)
    assert in_threads(lambda _: together.wait() >= 0, range(8), 4) == [True] * 8


def test_after_an_error_no_further_one_is_begun() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise OSError("the fourth")

    with pytest.raises(OSError, match="the fourth"):
        in_threads(work, range(1000), 2)
    assert len(begun) < 1000
