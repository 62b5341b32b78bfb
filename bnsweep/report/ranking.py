"""The ranking of arms, at each arm's best learning rate and at every fixed one.

Only whole comparisons are ranked: all arms of a view on the same bundles. An arm that is short of bundles is left
out with the reason in its `note`, never compared on fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnsweep.records import DIVERGED, FINISHED
from bnsweep.report import resample
from bnsweep.report.grid import Grid
from bnsweep.report.metrics import METRICS, Metric, column, scored

BEST = "best lr"
Rows = NDArray[np.int64]


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
        """Whether bundles know nothing of each other: no sign can be flipped once they chose each other's rate."""
        return not self.lr_share


def common_bundles(whole_AN: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """The arms to rank and the bundles they have in common.

    While the arms share less than half of all bundles (or none), the arm with the fewest is left out: one broken arm
    must not take the seeds away from the others.
    """
    arms = [a for a in range(len(whole_AN)) if whole_AN[a].any()]
    while arms:
        common = whole_AN[arms].all(axis=0)
        if common.any() and 2 * common.sum() >= whole_AN.shape[1]:
            return arms, [int(i) for i in np.flatnonzero(common)]
        if len(arms) == 1:
            return arms, [int(i) for i in np.flatnonzero(whole_AN[arms[0]])]
        arms.remove(min(arms, key=lambda a: (whole_AN[a].sum(), -a)))
    return [], []


def dropped_notes(whole_AN: NDArray[np.bool_], arms: list[int], why: str) -> dict[int, str]:
    n = whole_AN.shape[1]
    return {
        a: f"not ranked: {int(whole_AN[a].sum())} of {n} seeds {why}" for a in range(len(whole_AN)) if a not in arms
    }


def best_lr_view(grid: Grid, metric: Metric) -> View:
    """Each arm in each bundle at the learning rate that the other bundles choose on the same validation metric."""
    score_ALN = grid.gather(scored(grid.runs, metric), grid.run_ALN)
    planned_AL = np.any(grid.run_ALN >= 0, axis=2)
    whole_AN = np.all(~np.isnan(score_ALN) | ~planned_AL[:, :, None], axis=1)
    arms, bundles = common_bundles(whole_AN)
    run_AN = np.full((len(arms), len(bundles)), -1, dtype=np.int64)
    count_RN = resample.bundle_counts(len(bundles))
    draw_RA = np.empty((len(count_RN), len(arms)))
    lr, share = {}, {}
    for i, a in enumerate(arms):
        chosen, lr[a] = resample.cross_fit(score_ALN[a][:, bundles], metric.sign)
        if len(grid.lrs) > 1:
            share[a] = float(np.mean(chosen == lr[a]))
        run_AN[i] = grid.run_ALN[a, chosen, bundles]
        draw_RA[:, i] = resample.bootstrap_cross_fit(score_ALN[a][:, bundles], metric.sign, count_RN)
    notes = dropped_notes(whole_AN, arms, "have a result at every planned learning rate")
    return View(BEST, arms, bundles, run_AN, draw_RA, notes, lr, share)


def fixed_lr_views(grid: Grid, metric: Metric) -> list[View]:
    """Every arm at one learning rate, for each; none where only one was swept."""
    score_ALN = grid.gather(scored(grid.runs, metric), grid.run_ALN)
    views = []
    for l in range(len(grid.lrs) if len(grid.lrs) > 1 else 0):
        whole_AN = ~np.isnan(score_ALN[:, l])
        arms, bundles = common_bundles(whole_AN)
        notes = dropped_notes(whole_AN, arms, "have a result")
        run_AN = grid.run_ALN[np.ix_(arms, [l], bundles)][:, 0]
        draw_RA = resample.bootstrap_means(score_ALN[arms, l][:, bundles], resample.bundle_counts(len(bundles)))
        views.append(View(grid.lrs["lr"][l], arms, bundles, run_AN, draw_RA, notes, dict.fromkeys(arms, l), {}))
    return views


def rank(grid: Grid, view: View, metric: Metric) -> pd.DataFrame:
    """One row an arm, the best first, the unranked last with the reason in `note`."""
    score_AN = grid.gather(scored(grid.runs, metric), view.run_AN)
    table = grid.arms.loc[view.arms].reset_index(drop=True)
    table.insert(0, "view", view.name)
    table = pd.concat([table, score_columns(score_AN, view, metric), beside_columns(grid, view, metric)], axis=1)
    table["note"] = ""
    table = table.sort_values(["rank", "arm"], kind="stable")
    rest = grid.arms.loc[list(view.dropped)].assign(view=view.name, note=list(view.dropped.values()))
    return pd.concat([table, rest], ignore_index=True) if len(rest) else table.reset_index(drop=True)


def score_columns(score_AN: NDArray[np.float64], view: View, metric: Metric) -> pd.DataFrame:
    """score, its interval, rank and rank interval, tied group, and the paired comparison with the top arm."""
    arms, n = score_AN.shape
    out = pd.DataFrame({"score": score_AN.mean(axis=1) if n else []}, index=range(arms), dtype=float)
    out["rank"] = resample.ranks(metric.sign * out["score"].to_numpy())[0]
    for name in ("low", "high", "rank_low", "rank_high", "behind", "behind_low", "behind_high", "p", "p_holm"):
        out[name] = np.nan
    out["group"] = 0
    if arms == 0 or n < 2:
        return out
    goodness = metric.sign * out["score"].to_numpy()
    half_AA = resample.paired_half_width(view.draw_RA, n)
    out["low"], out["high"] = resample.mean_interval(view.draw_RA, n)
    out["rank_low"], out["rank_high"] = resample.rank_interval(metric.sign * view.draw_RA, n)
    out["group"] = resample.tied_groups(goodness, half_AA, n)
    top = int(np.argmin(out["rank"]))
    out["behind"] = goodness[top] - goodness
    out["behind_low"], out["behind_high"] = out["behind"] - half_AA[top], out["behind"] + half_AA[top]
    if n >= resample.ENOUGH and view.independent:
        p = resample.sign_flip_p(metric.sign * (score_AN[top] - score_AN))
        p[top] = np.nan
        out["p"], out["p_holm"] = p, resample.holm(p)
    out.loc[top, ["behind", "behind_low", "behind_high"]] = np.nan
    return out


def beside_columns(grid: Grid, view: View, metric: Metric) -> pd.DataFrame:
    """What stands beside the score: learning rate, test accuracy, divergence, steps-to-tau, gap, numbers of runs."""
    runs, rows = grid.runs, view.run_AN
    status = runs["status"].to_numpy()
    out = pd.DataFrame({"n_seeds": np.full(len(view.arms), len(view.bundles))})
    out["lr"] = [grid.lrs["lr"][view.lr[a]] for a in view.arms]
    out["lr_share"] = [view.lr_share.get(a, np.nan) for a in view.arms]
    out["lr_edge"] = [view.name == BEST and at_edge(grid, a, view.lr[a]) for a in view.arms]
    test = Metric(metric.test, "", "accuracy", "")
    out["test_accuracy"] = grid.gather(scored(runs, test), rows).mean(axis=1) if rows.size else np.nan
    out["diverged"] = (status[rows] == DIVERGED).mean(axis=1) if rows.size else np.nan
    every = [grid.run_ALN[a][grid.run_ALN[a] >= 0] for a in view.arms]
    out["diverged_all_lr"] = [float(np.mean(status[r] == DIVERGED)) for r in every]
    out["no_result_all_lr"] = [float(np.mean(~np.isin(status[r], [DIVERGED, FINISHED]))) for r in every]
    steps = scored(runs, METRICS["steps_to_tau"])
    reached = column(runs, "tau_reached").fillna((runs["status"] == DIVERGED).map({True: 0.0, False: np.nan}))
    out["steps_to_tau"] = grid.gather(steps, rows).mean(axis=1) if rows.size else np.nan
    out["tau_share"] = grid.gather(reached, rows).mean(axis=1) if rows.size else np.nan
    gap = grid.gather(column(runs, "gap_accuracy"), rows)
    gap[status[rows] != FINISHED] = np.nan
    out["gap_n"] = (~np.isnan(gap)).sum(axis=1)
    out["gap_accuracy"] = np.nansum(gap, axis=1) / out["gap_n"].where(out["gap_n"] > 0)
    return out


def at_edge(grid: Grid, arm: int, setting: int) -> bool:
    """Whether a better learning rate may lie outside the values this arm was given."""
    if "lr.value" not in grid.lr_factors:
        return False
    given = grid.lrs["lr.value"][(grid.run_ALN[arm] >= 0).any(axis=1)]
    return bool(given.nunique() > 1 and grid.lrs["lr.value"][setting] in (given.min(), given.max()))


def views(grid: Grid, metric: Metric) -> list[View]:
    """All comparisons of a sweep, the one at each arm's best learning rate first."""
    return [best_lr_view(grid, metric), *fixed_lr_views(grid, metric)]


def ranking(grid: Grid, found: list[View], metric: Metric) -> pd.DataFrame:
    """The tables of all views, one below the other."""
    return pd.concat([rank(grid, view, metric) for view in found], ignore_index=True)
