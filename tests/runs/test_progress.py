"""What a person sees while a sweep runs."""

from __future__ import annotations

import pytest

from bnsweep.records import FINISHED
from bnsweep.runs.progress import Progress


def test_many_small_stacks_do_not_fill_a_log_with_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(dict.fromkeys(range(50), (2, 0))) as progress:
        for stack in range(50):
            progress.end(FINISHED)
            progress.end(FINISHED)
            progress.settle(stack)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("100 done, 0 left") and line.endswith("about 0 s to go")
