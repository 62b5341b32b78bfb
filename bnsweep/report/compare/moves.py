"""Two sweeps side by side: how far each shared arm moved, and which rankings moved beyond noise.

Everything is B held against A. Shapes: S shared arms, N bundles, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ALPHA, ENOUGH, least_p
from bnsweep.report.compare.match import Half, Match, match
from bnsweep.report.stats import resample
from bnsweep.report.stats.stability import kendall

Array = NDArray[np.float64]

BETTER, WORSE, NOISE, SAME, FEW = "better in B", "worse in B", "not beyond noise", "same runs", "too few seeds"


@dataclass(frozen=True)
class Comparison:
    match: Match
    table: pd.DataFrame
    """One row a shared arm, what moved first, then by the size of the difference: arm, score_a, score_b, difference
    (B minus A, in the metric's unit), low, high, p, p_holm, verdict, rank_a, rank_a_low, rank_a_high, the same for b,
    swaps (arms with which it changed places beyond noise), lr_a, lr_b, same_runs, n_a, n_b, reached_a, reached_b
    (the share of the arm's runs that got to τ)."""
    tau: float
    """Kendall's tau-b between the two orders; NaN where either has no order."""

    @property
    def n(self) -> int:
        return min(len(self.match.a.bundles), len(self.match.b.bundles))


@dataclass(frozen=True)
class Side:
    """One sweep's arms, each at the learning rate that the other bundles choose."""

    score_SN: Array
    draw_RS: Array
    """Mean score in every bootstrap draw of the bundles; the choice of the rate is made anew in each."""
    run_ids_SN: NDArray[np.str_]
    lr_S: list[str]
    reached_S: Array
    """The share of each arm's runs that got to τ."""

    @property
    def score_S(self) -> Array:
        return np.asarray(self.score_SN.mean(axis=1))


def compare(a: pd.DataFrame, b: pd.DataFrame, metric: Metric) -> Comparison:
    """Of two sweeps' runs. Raises ConfigError where no arm can be compared."""
    found = match(a, b, metric)
    one = side(found.a, metric, seed=0)
    two = side(found.b, metric, seed=0 if found.paired else 1)
    tau = kendall(resample.rounded(one.score_S), resample.rounded(two.score_S))
    return Comparison(found, table(found, one, two, metric), tau)


def side(half: Half, metric: Metric, seed: int) -> Side:
    arms, _, n = half.run_SLN.shape
    at_SN, lr_S = np.empty((arms, n), dtype=np.int64), []
    for s, score_LN in enumerate(half.score_SLN):
        at_SN[s], best = resample.cross_fit(score_LN, metric.sign)
        lr_S.append(half.lrs[best])
    count_RN = resample.bundle_counts(n, seed=seed)
    draw_RS = resample.bootstrap_cross_fit(half.score_SLN, metric.sign, count_RN)
    take = (np.arange(arms)[:, None], at_SN, np.arange(n))
    rows = half.run_SLN[take]
    return Side(half.score_SLN[take], draw_RS, half.run_ids[rows], lr_S, half.reached[rows].mean(axis=1))


def table(found: Match, one: Side, two: Side, metric: Metric) -> pd.DataFrame:
    n_a, n_b = one.score_SN.shape[1], two.score_SN.shape[1]
    same_S = same_runs(one.run_ids_SN, two.run_ids_SN)
    columns: dict[str, object] = {"arm": found.arms, "score_a": one.score_S, "score_b": two.score_S}
    columns |= moved(one, two, found.paired, same_S, metric)
    for name, each, n in (("a", one, n_a), ("b", two, n_b)):
        columns[f"rank_{name}"] = resample.ranks(metric.sign * each.score_S)[0]
        low, high = (np.full(len(found.arms), np.nan),) * 2
        if n >= ENOUGH:
            low, high = resample.rank_interval(metric.sign * each.draw_RS, n)
        columns[f"rank_{name}_low"], columns[f"rank_{name}_high"] = low, high
    columns["swaps"] = swaps(one, two, metric)
    columns |= {"lr_a": one.lr_S, "lr_b": two.lr_S, "same_runs": same_S, "n_a": n_a, "n_b": n_b}
    columns |= {"reached_a": one.reached_S, "reached_b": two.reached_S}
    frame = pd.DataFrame(columns)
    frame.insert(8, "verdict", verdicts(frame, metric))
    still = ~frame["verdict"].isin([BETTER, WORSE])
    order = np.lexsort((frame["rank_a"], -resample.rounded(frame["difference"].abs().to_numpy()), still))
    return frame.iloc[order].reset_index(drop=True)


def same_runs(ids_a: NDArray[np.str_], ids_b: NDArray[np.str_]) -> NDArray[np.int64]:
    """How many of an arm's runs are one and the same in both sweeps, [S]: a config is trained once in an experiment."""
    return np.array([len(set(a) & set(b)) for a, b in zip(ids_a.tolist(), ids_b.tolist(), strict=True)])


def moved(one: Side, two: Side, paired: bool, same_S: NDArray[np.int64], metric: Metric) -> dict[str, Array]:
    """Difference of means, its 95 % interval (t on the bootstrap's standard error), p and Holm's p over the arms.

    Paired: the standard error is that of the difference within draws of the same bundles, n - 1 degrees of freedom.
    Else both sweeps' bundles are drawn by themselves; the error is the larger one of Welch's and the pooled one, with
    Welch's degrees of freedom: few seeds of an arm that trains or does not can all agree by chance, and Welch's error
    alone takes them at their word. Arms whose runs are all the same in both are not in the family: they cannot differ.
    NaN below ENOUGH bundles.
    """
    n_a, n_b = one.score_SN.shape[1], two.score_SN.shape[1]
    difference = two.score_S - one.score_S
    missing = np.full(len(difference), np.nan)
    if min(n_a, n_b) < ENOUGH:
        return {"difference": difference, "low": missing, "high": missing, "p": missing, "p_holm": missing}
    if paired:
        error_S = np.sqrt(squared_error(two.draw_RS - one.draw_RS, n_a))
        freedom_S = np.full(len(difference), n_a - 1.0)
    else:
        var_a, var_b = squared_error(one.draw_RS, n_a), squared_error(two.draw_RS, n_b)
        pooled = ((n_a - 1) * n_a * var_a + (n_b - 1) * n_b * var_b) / (n_a + n_b - 2) * (1 / n_a + 1 / n_b)
        error_S = np.sqrt(np.maximum(var_a + var_b, pooled))
        weight = var_a**2 / (n_a - 1) + var_b**2 / (n_b - 1)
        freedom_S = np.divide((var_a + var_b) ** 2, weight, out=np.full(len(weight), n_a + n_b - 2.0), where=weight > 0)
    half_S = special.stdtrit(freedom_S, (1 + resample.LEVEL) / 2) * error_S
    exact = error_S < 1e-9  # all seeds agree to the last digit: then only their number speaks
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(exact, least_p(min(n_a, n_b)), 2 * special.stdtr(freedom_S, -np.abs(difference) / error_S))
    p[exact & (np.abs(difference) < 1e-9)] = 1.0
    p[same_S == n_a if paired else np.zeros(len(p), dtype=bool)] = np.nan
    low, high = resample.around(difference, half_S, metric)
    return {"difference": difference, "low": low, "high": high, "p": p, "p_holm": resample.holm(p)}


def squared_error(draw_RS: Array, n: int) -> Array:
    """Squared standard error of each mean, [S]; n/(n-1) makes it the usual unbiased one."""
    return np.asarray(draw_RS.var(axis=0) * n / (n - 1))


def verdicts(frame: pd.DataFrame, metric: Metric) -> NDArray[np.str_]:
    better = metric.sign * frame["difference"] > 0
    n = frame[["n_a", "n_b"]].min(axis=1)
    sure = frame["p_holm"] <= ALPHA + 1e-12
    choices = [
        (frame["same_runs"] == frame[["n_a", "n_b"]].max(axis=1), SAME),
        (n < ENOUGH, FEW),
        (sure & better, BETTER),
        (sure, WORSE),
    ]
    return np.select([c.to_numpy(bool) for c, _ in choices], [name for _, name in choices], NOISE)


def swaps(one: Side, two: Side, metric: Metric) -> Array:
    """With how many arms each changed places beyond noise, [S]; NaN below ENOUGH bundles.

    Two arms did where one leads in A and the other in B, and the change of their distance has an interval (t on the
    bootstrap's standard error, Bonferroni over all pairs of arms) without 0. Over pairs of sweeps that differ by their
    seeds only, at most 5 % show any such pair.
    """
    n = min(one.score_SN.shape[1], two.score_SN.shape[1])
    if n < ENOUGH:
        return np.full(len(one.score_SN), np.nan)
    half_SS = resample.paired_errors(two.draw_RS - one.draw_RS, n)
    half_SS *= resample.simultaneous(len(half_SS) * (len(half_SS) - 1) // 2, n)
    good_a, good_b = (resample.rounded(metric.sign * each.score_S) for each in (one, two))
    out = np.empty(len(good_a))
    for s, half_S in enumerate(half_SS):
        before, after = good_a[s] - good_a, good_b[s] - good_b
        out[s] = np.count_nonzero((before * after < 0) & (np.abs(after - before) > half_S + 1e-9))
    return out
