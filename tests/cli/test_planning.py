"""What a plan says that its seeds can decide."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bnsweep.api.compose import composed
from bnsweep.cli.planning import cells, planning
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.runs.sweep import run_sweep

GRID = ("bn=none,before", "activation=sigmoid,relu", "train.epochs=2", "data.subset=120", "train.batch_size=30")


def grid(seeds: str, *texts: str) -> list[RunConfig]:
    return [run for run in composed([*texts, f"seed={seeds}"], ()) if isinstance(run, RunConfig)]


def test_few_seeds_decide_nothing_and_the_plan_says_how_many_do() -> None:
    first, second = planning(grid("range(0,5)", *GRID), None, auto=False)
    assert first == "claims: this grid can ask 4 of the report's 18; 5 seeds can decide none of them, 6 are the least"
    assert second.startswith(
        "with 80 % power 10 seeds find a difference of 2.3 points (20 seeds 1.4) in accuracy (a guess"
    )


def test_enough_seeds_decide_every_claim_and_find_more_the_more_they_are() -> None:
    first, second = planning(grid("range(0,10)", *GRID), None, auto=False)
    assert first.endswith("10 seeds can decide each of them")
    assert "10 seeds find a difference of 2.3 points (20 seeds 1.4, 30 seeds 1.1) in accuracy" in second
    assert (
        "a guess: no earlier sweep of this kind tells" in second
        and "287 validation samples alone do by 1.8 points" in second
    )


def test_a_grid_that_asks_nothing_is_told_so_and_gets_no_seeds() -> None:
    runs = grid("range(0,10)", "train.batch_size=30,60")
    assert planning(runs, None, auto=False) == ["claims: this grid asks none of the report's 18"]
    with pytest.raises(ConfigError, match=r"^seed=auto: must be a seed, or seeds: .* this grid asks no claim"):
        planning(runs, None, auto=True)


def test_seeds_that_vary_apart_decide_nothing() -> None:
    first, *rest = planning(grid("range(0,3)", *GRID, "data.seed=0,1,2"), None, auto=False)
    assert first.endswith("none can be decided where seed and data.seed vary apart") and not rest


def test_a_cell_counts_once_however_many_seeds_it_has() -> None:
    runs = grid("range(0,4)", *GRID)
    assert len(cells(runs)) == 4 and {run.seed for run in cells(runs)} == {0}
    assert len(cells(runs[1:])) == 4, "a cell that one seed lacks is asked by the others"


def test_an_earlier_sweep_of_the_same_kind_tells_how_much_seeds_differ(empty_database: Path, tmp_path: Path) -> None:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    tracking = TrackingConfig(f"sqlite:///{tmp_path / 'mlflow.db'}", "test")
    pilot = grid("range(0,3)", *GRID)
    run_sweep([replace(c, tracking=tracking, sweep=replace(c.sweep, id="pilot")) for c in pilot], "test", workers=1)
    _, header, *rest = planning(grid("range(0,10)", *GRID), tracking, auto=False)
    assert header == "with 80 % power 10 seeds find these differences, by the noise of 3 seeds of sweep pilot:"
    assert [line.partition(":")[0] for line in rest] == ["  ReLU helps", "  BN trains faster"]
    assert all(line.count("seeds") == 2 and " points (20 seeds " in line for line in rest)
    other = grid("range(0,10)", *(text.replace("subset=120", "subset=130") for text in GRID))
    assert "a guess" in planning(other, tracking, auto=False)[1], "it was of other data"
