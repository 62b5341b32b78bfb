"""Whether kernels run is tried, not guessed."""

from __future__ import annotations

import pytest
from interpreted import DEVICE, quiet  # noqa: F401

from bnsweep.kernels import statistics, trial
from bnsweep.training.device import takes_kernels

pytestmark = pytest.mark.usefixtures("quiet")


def test_they_run_where_these_tests_do() -> None:
    assert trial.run_on(DEVICE)


@pytest.mark.parametrize("fault", ["wrong numbers", "no compiler"])
def test_where_a_first_one_fails_torchs_operators_stay(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        if fault == "no compiler":
            raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(statistics, "blend", broken)
    trial.run_on.cache_clear()
    try:
        assert not trial.run_on(DEVICE)
        assert not takes_kernels(DEVICE)
    finally:
        trial.run_on.cache_clear()
