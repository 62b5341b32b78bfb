"""The ranking of arms, at each arm's best learning rate and at every fixed one.

Only whole comparisons are ranked: all arms of a view on the same bundles. An arm that is short of bundles is left
out with the reason in its `note`, never compared on fewer. What was stopped early is no part of a view (`stopped`): an
arm chooses among the learning rates at which it ran to the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric, metrics
from bnsweep.inference import ENOUGH
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.metrics import column
from bnsweep.report.stats import resample
from bnsweep.report.stats.stopped import ahead_when_stopped

BEST = "best lr"
Rows = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One fair comparison: `run_AN` points at the run of each ranked arm in each common bundle."""

    name: str
    arms: list[int]
    bundles: list[int]
    run_AN: Rows
    draw_RA: NDArray[np.float64]
    """Each ranked arm's mean score in every bootstrap draw of the common bundles, the same draws for all arms."""
    dropped: dict[int, str]
    """Arms left unranked, and why."""
    lr: dict[int, int]
    """The learning rate all bundles together choose, by arm: the one to use."""
    lr_share: dict[int, float]
    """Share of bundles whose others chose that same one; empty where nothing was chosen."""

    @property
    def independent(self) -> bool:
        """Whether bundles know nothing of each other: they do once they chose each other's rate."""
        return not self.lr_share


def common_bundles(complete_AN: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """The arms to rank and the bundles they have in common.

    While the arms share less than half of the bundles of the arm that has most (or none), the arm with the fewest is
    left out: one broken arm must not take the seeds away from the others. In a sweep cut short all keep what is there.
    """
    seeds_A = complete_AN.sum(axis=1)
    order = np.lexsort((-np.arange(len(complete_AN)), seeds_A))  # who is left out first; of equals the last
    order = order[seeds_A[order] > 0]
    if not len(order):
        return [], []
    common_AN = np.logical_and.accumulate(complete_AN[order][::-1])[::-1]  # what an arm shares with all after it
    shared_A = common_AN.sum(axis=1)
    enough = (shared_A > 0) & (2 * shared_A >= seeds_A.max())
    first = int(np.argmax(enough)) if enough.any() else len(order) - 1
    return sorted(int(a) for a in order[first:]), [int(i) for i in np.flatnonzero(common_AN[first])]


UNPLANNED = "not ranked: not planned at this learning rate"


def dropped_notes(complete_AN: NDArray[np.bool_], arms: list[int], why: str) -> dict[int, str]:
    n, ranked = complete_AN.shape[1], set(arms)
    counts = complete_AN.sum(axis=1)
    return {a: f"not ranked: {counts[a]} of {n} seeds {why}" for a in range(len(complete_AN)) if a not in ranked}


def best_lr_view(grid: Grid, metric: Metric) -> View:
    """Each arm in each bundle at the learning rate that the other bundles choose on the same validation metric."""
    score_ALN = grid.scores(metric, grid.run_ALN)
    ended_AL = np.any(grid.run_ALN >= 0, axis=2)
    ended_A, ahead = ended_AL.any(axis=1), ahead_when_stopped(grid, metric)
    complete_AN = np.all(~np.isnan(score_ALN) | ~ended_AL[:, :, None], axis=1) & ended_A[:, None]
    complete_AN[list(ahead)] = False
    arms, bundles = common_bundles(complete_AN)
    score_ALN = score_ALN[arms][:, :, bundles]
    run_AN = np.full((len(arms), len(bundles)), -1, dtype=np.int64)
    lr, share = {}, {}
    for i, a in enumerate(arms):
        chosen, lr[a] = resample.cross_fit(score_ALN[i], metric.sign)
        if len(grid.lrs) > 1:
            share[a] = float(np.mean(chosen == lr[a]))
        run_AN[i] = grid.run_ALN[a, chosen, bundles]
    draw_RA = resample.bootstrap_cross_fit(score_ALN, metric.sign, resample.bundle_counts(len(bundles)))
    notes = dropped_notes(complete_AN, arms, "have a result at every planned learning rate")
    notes |= {a: f"not ranked: ahead at {grid.lrs['lr'][l]}, where it was stopped" for a, l in ahead.items()}
    notes = {a: note for a, note in notes.items() if ended_A[a]}
    return View(BEST, arms, bundles, run_AN, draw_RA, notes, lr, share)


def fixed_lr_views(grid: Grid, metric: Metric) -> Iterator[View]:
    """Every arm at one learning rate, for each; none where only one was swept."""
    score_ALN = grid.scores(metric, grid.run_ALN)
    for l in range(len(grid.lrs) if len(grid.lrs) > 1 else 0):
        complete_AN = ~np.isnan(score_ALN[:, l])
        arms, bundles = common_bundles(complete_AN)
        planned_A: NDArray[np.bool_] = np.any(grid.planned_ALN[:, l] >= 0, axis=1)
        notes = dropped_notes(complete_AN, arms, "have a result")
        notes |= dict.fromkeys((a for a in notes if not planned_A[a]), UNPLANNED)
        notes = {a: note for a, note in notes.items() if not grid.stopped_AL[a, l]}
        run_AN = grid.run_ALN[np.ix_(arms, [l], bundles)][:, 0]
        draw_RA = resample.bootstrap_means(score_ALN[arms, l][:, bundles], resample.bundle_counts(len(bundles)))
        yield View(grid.lrs["lr"][l], arms, bundles, run_AN, draw_RA, notes, dict.fromkeys(arms, l), {})


def rank(grid: Grid, view: View, metric: Metric) -> pd.DataFrame:
    """One row an arm, the best first, the unranked last with the reason in `note`."""
    columns = score_columns(grid.scores(metric, view.run_AN), view, metric) | beside_columns(grid, view, metric)
    arms = grid.arms.loc[view.arms]
    # Of equals the first, whom `score_columns` takes for the top one.
    order = np.argsort(columns["rank"], kind="stable")
    beside = pd.DataFrame(columns, index=arms.index)
    beside["note"] = fewer_rates(grid, view)
    table = pd.concat([arms, beside], axis=1).iloc[order]
    if view.dropped:
        rest = grid.arms.loc[list(view.dropped)].assign(note=list(view.dropped.values()))
        table = pd.concat([table, rest])
    table.insert(0, "view", view.name)
    return table.reset_index(drop=True)


def fewer_rates(grid: Grid, view: View) -> list[str]:
    """What is to be known of each arm that chooses among fewer learning rates than were swept; else empty."""
    given_A = (grid.run_ALN[view.arms] >= 0).any(axis=2).sum(axis=1)
    most, stopped_A = len(grid.lrs), grid.stopped_AL[view.arms].sum(axis=1)
    notes = [f"chosen among {g} of {most} learning rates" if g < most and view.lr_share else "" for g in given_A]
    return [f"{note}; stopped early at {s}" if note and s else note for note, s in zip(notes, stopped_A, strict=True)]


def score_columns(score_AN: Scores, view: View, metric: Metric) -> dict[str, NDArray[Any]]:
    """score, its interval, rank and rank interval, tied group, and the paired comparison with the top arm: how far
    behind, and the share of seeds in which the top arm is ahead, ties counted half (P(A > B))."""
    arms, n = score_AN.shape
    score = score_AN.mean(axis=1) if n else np.full(arms, np.nan)
    goodness = metric.sign * score
    out: dict[str, NDArray[Any]] = {"score": score, "rank": resample.ranks(goodness)[0]}
    for name in ("low", "high", "rank_low", "rank_high", "behind", "behind_low", "behind_high", "wins"):
        out[name] = np.full(arms, np.nan)
    out["group"] = np.zeros(arms, dtype=np.int64)
    if arms == 0 or n < 2:
        return out
    top = int(np.argmin(out["rank"]))
    out["behind"] = goodness[top] - goodness
    ahead_AN = np.sign(resample.rounded(metric.sign * (score_AN[top] - score_AN)))
    out["wins"] = (ahead_AN.mean(axis=1) + 1) / 2
    out["behind"][top] = out["wins"][top] = np.nan
    if n < ENOUGH:
        return out
    error_AA = resample.paired_errors(view.draw_RA, n)
    out["low"], out["high"] = resample.mean_interval(view.draw_RA, n)
    out["rank_low"], out["rank_high"] = resample.rank_interval(metric.sign * view.draw_RA, n)
    out["group"] = resample.tied_groups(goodness, error_AA, n)
    half_A = resample.simultaneous(arms - 1, n) * error_AA[top]
    out["behind_low"], out["behind_high"] = resample.around(out["behind"], half_A, metric)
    return out


def beside_columns(grid: Grid, view: View, metric: Metric) -> dict[str, NDArray[Any]]:
    """What stands beside the score: learning rate, test score, divergence, steps-to-tau, gap, numbers of runs."""
    score, known = metric.task.score, metrics(metric.task)
    rows, lr_A = view.run_AN, np.array([view.lr[a] for a in view.arms], dtype=np.int64)
    planned_ALN = grid.run_ALN[view.arms] >= 0
    diverged_ALN, finished_ALN = (is_[grid.run_ALN[view.arms]] & planned_ALN for is_ in (grid.diverged, grid.finished))
    planned_A = planned_ALN.sum(axis=(1, 2))
    gap = np.where(grid.finished[rows], column(grid.runs, f"gap_{score}").to_numpy()[rows], np.nan)
    gap_n = (~np.isnan(gap)).sum(axis=1)
    beside_AN = {
        "test": grid.scores(known[metric.test], rows),
        "diverged": grid.diverged[rows],
        "steps_to_tau": grid.scores(known["steps_to_tau"], rows),
        "tau_share": grid.reached[rows],
    }
    beside = {k: v.mean(axis=1) if v.size else np.full(len(rows), np.nan) for k, v in beside_AN.items()}
    return {
        "n_seeds": np.full(len(rows), len(view.bundles)),
        "lr": grid.lrs["lr"].to_numpy(object)[lr_A],
        "lr_share": np.array([view.lr_share.get(a, np.nan) for a in view.arms]),
        "lr_edge": (grid_end(grid, view.arms, lr_A) != 0) & (view.name == BEST),
        f"test_{score}": beside["test"],
        "diverged": beside["diverged"],
        "diverged_all_lr": diverged_ALN.sum(axis=(1, 2)) / planned_A,
        "no_result_all_lr": (planned_ALN & ~diverged_ALN & ~finished_ALN).sum(axis=(1, 2)) / planned_A,
        "steps_to_tau": beside["steps_to_tau"],
        "tau_share": beside["tau_share"],
        "gap_n": gap_n,
        f"gap_{score}": np.nansum(gap, axis=1) / np.where(gap_n > 0, gap_n, np.nan),
    }


def grid_end(grid: Grid, arms: list[int], lr_A: Rows) -> Rows:
    """1 where an arm's learning rate is the largest that it was given, -1 the smallest, 0 between: a better one may
    lie outside."""
    if "lr.value" not in grid.lr_factors:
        return np.zeros(len(arms), dtype=np.int64)
    value_L = grid.lrs["lr.value"].to_numpy(float)
    given_AL = (grid.planned_ALN[arms] >= 0).any(axis=2)
    low_A = np.where(given_AL, value_L, np.inf).min(axis=1)
    high_A = np.where(given_AL, value_L, -np.inf).max(axis=1)
    end_A = (value_L[lr_A] == high_A).astype(np.int64) - (value_L[lr_A] == low_A)
    return np.asarray(np.where(low_A < high_A, end_A, 0))


def ranking(grid: Grid, best: View, metric: Metric) -> pd.DataFrame:
    """The tables of all comparisons, one below the other: `best`, that of `best_lr_view`, then every fixed rate."""
    found = itertools.chain([best], fixed_lr_views(grid, metric))  # one at a time: each holds its draws
    return pd.concat([rank(grid, view, metric) for view in found], ignore_index=True)
