"""The sweep's command in this process, in a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from bnsweep.cli import sweep as entry


def refused(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command says as it refuses: SystemExit with a text prints it, and is exit status 1."""
    monkeypatch.setattr(sys, "argv", ["bnsweep", *arguments])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    assert isinstance(stop.value.code, str), stop.value.code
    return stop.value.code
