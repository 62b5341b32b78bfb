"""From the runs of an experiment to the rows of its table: median over seeds, bootstrap interval, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnsweep.experiments.expect import Expectation
from bnsweep.experiments.quantities import Curve, curve, difference, measure, ratio
from bnsweep.experiments.selection import Run, matches
from bnsweep.experiments.sets import SETS, Seed, SeedValues
from bnsweep.records import DIVERGED, FAILED

YES, NO, NOT_RUN, REPORTED = "yes", "no", "not run", "reported"
PAIRS = {"difference": difference, "ratio": ratio}
TINY = float(np.finfo(np.float64).tiny)


@dataclass
class Row:
    """One expectation, answered. Numbers that are missing are NaN."""

    experiment: str
    form: str
    """full, quick, or what was changed on the command line."""
    quantity: str
    runs: str
    expected: float
    origin: str
    """Of `expected`, one of `expect.ORIGINS`."""
    median: float
    n: int
    """Seeds that have a number."""
    low: float
    """95 % bootstrap interval of the median."""
    high: float
    tolerance: str
    inside: str
    """YES, NO, NOT_RUN, or REPORTED where the file gives no tolerance."""
    why: str
    """Of NOT_RUN; otherwise what else there is to know of our number."""
    note: str


def answer(expectation: Expectation, runs: Sequence[Run], experiment: str, form: str, quick: bool) -> Row:
    """The row of one expectation. `quick`: whether the experiment ran in its quick form."""
    e = expectation
    if quick and e.full_only:
        return unanswered(e, experiment, form, "only in the full form")
    reading = contrast(e, runs)
    values = [value for value in reading.values.values() if not math.isnan(value)]
    why = "; ".join(part for part in (reading.remark, missing_text(e, runs, reading)) if part)
    if not values:
        return unanswered(e, experiment, form, f"no number: {why}")
    median = median_of(values)
    low, high = interval(values)
    inside = (YES if e.low <= median <= e.high else NO) if e.judged else REPORTED
    alone = None in reading.values
    n = len({run.config.seed for run in chosen(e, runs)}) if alone else len(values)
    row = unanswered(e, experiment, form, why)
    row.median, row.n, row.low, row.high, row.inside = median, n, low, high, inside
    return row


def unanswered(e: Expectation, experiment: str, form: str, why: str) -> Row:
    """The row of an expectation without a number, and why it has none."""
    expected = math.nan if e.expected is None else e.expected
    place = (experiment, form, e.quantity.text, e.runs_text(), expected, e.origin)
    return Row(*place, math.nan, 0, math.nan, math.nan, e.tolerance, NOT_RUN, why, e.note)


def chosen(e: Expectation, runs: Sequence[Run]) -> list[Run]:
    """The runs that are measured."""
    return [run for run in runs if matches(run.factors, e.runs)]


def contrast(e: Expectation, runs: Sequence[Run]) -> SeedValues:
    """The number of each seed: of the runs, or of the runs and those they stand against, in pairs."""
    ours = chosen(e, runs)
    if not e.by:
        return values_of(e, ours)
    others = [run for run in runs if matches(run.factors, e.other)]
    if e.by == "deviation":
        return deviations(e, ours, others)
    a, b = values_of(e, ours), values_of(e, others)
    pairs = {seed: (value, b.values[seed]) for seed, value in a.values.items() if seed in b.values}
    remarks = dict.fromkeys(remark for remark in (a.remark, b.remark) if remark)
    return SeedValues({seed: PAIRS[e.by](*pair) for seed, pair in pairs.items()}, "; ".join(remarks))


def values_of(e: Expectation, runs: Sequence[Run]) -> SeedValues:
    """The quantity of each seed of one arm."""
    if e.quantity.of_sets:
        return SETS[e.quantity.name](runs)
    return SeedValues({run.config.seed: measure(e.quantity, run) for run in runs}, unreached(e, runs))


def unreached(e: Expectation, runs: Sequence[Run]) -> str:
    """Of steps to τ: how many runs count with their whole budget; empty where none does."""
    never = sum(run.record.summary.get("tau_reached") == 0 for run in runs) if e.quantity.name == "steps_to_tau" else 0
    return f"{never} of {len(runs)} runs never reached τ and count with all of their steps" if never else ""


def deviations(e: Expectation, ours: Sequence[Run], others: Sequence[Run]) -> SeedValues:
    """How far the curves of each seed lie apart, of the seeds that both arms have."""
    partner = {run.config.seed: run for run in others}
    found: dict[Seed, float] = {}
    for run in ours:
        other = partner.get(run.config.seed)
        if other is not None:
            found[run.config.seed] = deviation(curve(e.quantity, run), curve(e.quantity, other))
    return SeedValues(found)


def deviation(a: Curve, b: Curve) -> float:
    """Largest |a - b| / |b| over the readings; a reading that both lack is passed over, one that one lacks makes the
    deviation missing."""
    both = [(x, y) for x, y in zip(a, b, strict=False) if not (math.isnan(x) and math.isnan(y))]
    if not both or len(a) != len(b) or any(math.isnan(x - y) for x, y in both):
        return math.nan
    return max(abs(x - y) / max(abs(y), TINY) for x, y in both)


def median_of(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two; infinite numbers have their place in the order."""
    ordered = sorted(values)
    below, above = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return below if below == above else (below + above) / 2


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median over seeds (Efron & Tibshirani 1993, section 13.3); NaN for
    fewer than ENOUGH of them, whose smallest and largest are no 95 % interval."""
    from bnsweep.inference import ENOUGH
    from bnsweep.report.stats.resample import RESAMPLES

    if len(values) < ENOUGH:
        return math.nan, math.nan
    ordered, n = np.sort(np.asarray(values, dtype=np.float64)), len(values)
    draw_RN = np.sort(np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n)), axis=1)
    below, above = ordered[draw_RN[:, (n - 1) // 2]], ordered[draw_RN[:, n // 2]]
    with np.errstate(invalid="ignore"):
        medians = np.where(below == above, below, (below + above) / 2)
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def missing_text(e: Expectation, runs: Sequence[Run], reading: SeedValues) -> str:
    """How many seeds have no number, and what became of their runs."""
    lost = [seed for seed, value in reading.values.items() if math.isnan(value)]
    arms = [run for run in runs if matches(run.factors, e.runs) or (e.by and matches(run.factors, e.other))]
    ended = {status: sum(run.record.status == status for run in arms) for status in (DIVERGED, FAILED)}
    parts = [f"{len(lost)} of {len(reading.values)} missing"] if lost else []
    return ", ".join(parts + [f"{count} {status}" for status, count in ended.items() if count])
