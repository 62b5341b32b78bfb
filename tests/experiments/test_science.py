"""Expected numbers come out: the experiments that need no download, in full, within the tolerances of their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.singleton import Singleton

from bnsweep.cli.experiments import Request, run
from bnsweep.experiments.table import Table
from bnsweep.experiments.verdicts import NO, NOT_RUN

MNIST = Path(__file__).parents[3] / "shared/data"

QUICK = ("activation-histograms", "glorot-init", "mean-field-plain")
"""Nothing is trained in them, or little, on data that are generated or embedded."""

SLOW = ("bn-invariance", "dropout-bn", "he-depth", "mean-field-bn", "mean-field-chi")
ON_MNIST = ("bn-vs-init-scale", "overfit", "train-eval")

KNOWN_OUTSIDE = {"overfit": 1}
"""Rows that come out otherwise than expected, which the experiment's file explains."""


def table(names: tuple[str, ...], out: Path, *overrides: str) -> Table:
    before = Singleton.get_state()
    try:
        return run(Request([*names], [*overrides], str(out)))
    finally:
        Singleton.set_state(before)


def outside(found: Table, name: str) -> list[str]:
    (result,) = [result for result in found.results if result.name == name]
    assert result.figures and not result.failures
    return [f"{row.quantity} · {row.runs}: {row.median:.4g}" for row in result.rows if row.inside in (NO, NOT_RUN)]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return table(QUICK, tmp_path_factory.mktemp("experiments"))


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_experiment_is_inside_its_tolerances(name: str, quick: Table) -> None:
    assert not outside(quick, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_an_experiment_that_takes_longer_is_inside_its_tolerances(name: str, tmp_path: Path) -> None:
    assert not outside(table((name,), tmp_path), name)


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.exists(), reason="no MNIST files in ../shared/data")
@pytest.mark.parametrize("name", ON_MNIST)
def test_an_experiment_on_mnist_is_inside_its_tolerances(name: str, tmp_path: Path) -> None:
    found = outside(table((name,), tmp_path, f"data.root={MNIST}"), name)
    assert len(found) == KNOWN_OUTSIDE.get(name, 0), found
