"""What the report says of one simulated sweep, held against the truth; many sweeps at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import METRICS
from bnsweep.inference import looks_until
from bnsweep.report.claims.looks import answer_at_looks
from bnsweep.report.claims.verdicts import CONTRADICTED, SUPPORTED, Verdict
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats.ranking import BEST, best_lr_view, ranking
from bnsweep.store.sweep_data import SweepInfo
from tests.simulations.sweeps import sweep
from tests.simulations.worlds import TRUE_OF_NOTHING, Array, World

METRIC = METRICS["final_val_accuracy"]
FINAL = METRIC.title
Judged = TypeVar("Judged")
Flags = NDArray[np.bool_]


@dataclass
class Claims:
    """Of one sweep."""

    verdicts: dict[str, str]
    """By the claim's key."""
    holds: dict[str, list[bool]] = field(default_factory=lambda: {"same": [], "best": []})
    """Whether each comparison's interval holds the truth, by the learning rate at which sides are compared."""
    widths: dict[str, list[float]] = field(default_factory=lambda: {"same": [], "best": []})
    """Of the intervals of the final accuracy."""

    seeds: dict[str, int] = field(default_factory=dict)
    """After how many each claim was decided, or all of them."""

    true: tuple[str, ...] = ()
    """Claims that are true where nothing differs."""

    def decided(self, keys: Iterable[str]) -> list[str]:
        return [key for key in keys if self.verdicts[key] in (SUPPORTED, CONTRADICTED)]

    def false(self, touches: str) -> list[str]:
        """Claims that have a verdict although nothing that they ask about differs, or, of those that say so,
        contradicted ones."""
        found = self.decided(key for key in self.verdicts if not key.startswith(touches))
        return [key for key in found if not (key in self.true and self.verdicts[key] == SUPPORTED)]


def claims(world: World, number: int) -> Claims:
    """Where the world has looks, as a sweep says that added seeds until its claims were decided."""
    made = sweep(world, np.random.default_rng([1, world.seeds, number]))
    made.info = SweepInfo("s", looks=looks_until(world.seeds) if world.looks else ())
    verdicts = answer_at_looks(made, read_grid(made.runs), METRIC)
    judged = Claims({verdict.key: verdict.verdict for verdict in verdicts}, true=TRUE_OF_NOTHING.get(world.grid, ()))
    judged.seeds = {v.key: v.looked_at.seeds if v.looked_at else world.seeds for v in verdicts}
    for verdict in verdicts:
        if not verdict.key.startswith(world.effect.touches):
            hold(judged, verdict)
    return judged


def hold(judged: Claims, verdict: Verdict) -> None:
    """Of comparisons whose two sides are equal."""
    for item in verdict.evidence:
        where = "best" if "best" in item.name else "same"
        if item.measured and item.sides[1] and np.isfinite(item.low):
            judged.holds[where].append(item.low <= 1e-12 and item.high >= -1e-12)
            if item.name.startswith(FINAL):
                judged.widths[where].append(item.high - item.low)


@dataclass
class Order:
    """Of one sweep's ranking at best learning rates, by arm in the grid's order."""

    best: Flags
    """Whether its true mean is the highest."""
    leads: Flags
    """Whether it is in the leading group."""
    holds_rank: Flags
    """Whether its rank's interval holds a true rank of it; equal arms share theirs."""
    rank_width: Array
    """Ranks in the interval."""
    holds_score: Flags
    """Whether its score's interval holds its true mean at its best rate."""
    holds_fixed: Flags
    """[rates, arms]. The same at every fixed rate."""
    leads_fixed: Flags
    """[rates, arms]. Whether it is in the leading group there."""


def order(world: World, number: int) -> Order:
    made = sweep(world, np.random.default_rng([2, world.seeds, number]))
    grid = read_grid(made.runs)
    table = ranking(grid, best_lr_view(grid, METRIC), METRIC)
    in_order = table.set_index("arm").loc[list(grid.arms["arm"])]
    views = {str(name): view for name, view in in_order.groupby("view", sort=False)}
    at_best, fixed = views.pop(BEST), list(views.values())
    truth_AL = world.mean(grid.runs)[grid.run_ALN[:, :, 0]]
    truth = np.round(truth_AL.max(axis=1), 9)
    first, last = (np.array([(truth > x).sum() + 1 for x in truth]), np.array([(truth >= x).sum() for x in truth]))
    return Order(
        best=truth == truth.max(),
        leads=leads(at_best),
        holds_rank=((at_best["rank_low"] <= last) & (at_best["rank_high"] >= first)).to_numpy(),
        rank_width=(at_best["rank_high"] - at_best["rank_low"] + 1).to_numpy(float),
        holds_score=holds(at_best, truth),
        holds_fixed=np.stack([holds(view, truth_AL[:, l]) for l, view in enumerate(fixed)]),
        leads_fixed=np.stack([leads(view) for view in fixed]),
    )


def holds(view: pd.DataFrame, truth: Array) -> Flags:
    return ((view["low"] <= truth) & (truth <= view["high"])).to_numpy()


def leads(view: pd.DataFrame) -> Flags:
    group = view["group"].to_numpy()
    return np.asarray(group == group[view["rank"].argmin()])


def many(judge: Callable[[World, int], Judged], world: World, count: int, jobs: int) -> list[Judged]:
    """Sweep `number` is the same whatever the number of jobs."""
    with ProcessPoolExecutor(jobs, initializer=partial(os.nice, 10)) as pool:
        return list(pool.map(partial(judge, world), range(count), chunksize=max(1, count // (8 * jobs))))
