"""Which claims a grid asks, told by its settings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from claim_sweeps import GRID, Truth, product, sweep

from bnsweep.report.claims.asked import asked
from bnsweep.report.claims.claims import CLAIMS
from bnsweep.report.claims.noise import scatter
from bnsweep.report.frame.grid import read_grid

FASTER, FITS = "bn-faster", "bn-less-overfitting"
RUN = {"activation": "relu", "init": "he", "lr.value": 0.1, "bn": "none", "probes": "light"}


def keys(grid: Mapping[str, Sequence[Any]], **fixed: Any) -> list[str]:
    runs = product({name: [value] for name, value in RUN.items()} | dict(grid), seeds=1)
    return [claim.key for claim in asked(read_grid(runs.assign(status="missing", run_id="", **fixed)))]


def test_the_lectures_grid_asks_all_of_the_lectures_claims_but_dropout_and_whether_bn_allows_larger_rates() -> None:
    lectures = [claim.key for claim in CLAIMS]
    lectures = lectures[: lectures.index("bn-larger-lr") + 1]
    assert keys(GRID, probes="full") == [key for key in lectures if key != "bn-less-dropout"]


@pytest.mark.parametrize(
    ("grid", "fixed", "found"),
    [
        ({"train.batch_size": [32, 64]}, {}, []),
        ({"lr.value": [0.1, 1.0]}, {}, ["small-lr-prevents-explosion"]),
        ({"bn": ["none", "before"]}, {}, [FASTER, FITS]),
        ({"bn": ["before", "after"]}, {}, ["bn-before"]),
        ({"bn": ["none", "before"], "init": ["he", "xavier"]}, {}, [FASTER, "bn-less-init", FITS]),
        ({"activation": ["sigmoid", "relu"]}, {}, ["sigmoid-vanishes", "relu-helps"]),
        ({"activation": ["sigmoid", "relu"]}, {"probes": "off"}, ["relu-helps"]),
        ({"activation": ["sigmoid", "relu"]}, {"model.hidden": "32"}, ["relu-helps"]),
        ({"activation": ["sigmoid", "relu"]}, {"total_steps": 0.0}, ["sigmoid-vanishes", "relu-helps"]),
    ],
)
def test_a_claim_is_asked_where_both_sides_are_there_and_measured(
    grid: dict[str, Any], fixed: dict[str, Any], found: list[str]
) -> None:
    assert keys(grid, **fixed) == found


def test_the_scatter_of_a_claim_is_that_over_seeds() -> None:
    """BN's gain differs by 0.03 from one half of the seeds to the other; nothing else does."""
    grid = {"bn": ["before", "after"], "lr.value": [0.1, 1.0]}
    truth = Truth(accuracy=lambda r: -0.3 + 0.03 * (r["bn"] == "before") * (r["seed"] % 2), noise=lambda r: 0)
    made = sweep(product(grid), truth, np.random.default_rng(0), lumpy=False)
    (found,) = scatter(made, [claim for claim in CLAIMS if claim.key in ("bn-before", "bn-less-dropout")])
    assert found.claim.key == "bn-before" and found.quantity.title == "final validation accuracy"
    assert found.sd == pytest.approx(0.015 * np.sqrt(10 / 9))
