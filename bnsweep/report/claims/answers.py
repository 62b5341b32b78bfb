"""The lecture note's claims, what would show each, and the rule that turns comparisons into a verdict.

Every comparison has a first side, of which the claim expects more (sign +1) or less (-1). The rule knows no direction:

1. A comparison is *for* its claim where its p is at most the level (ALPHA) and the difference is as claimed, *against*
   it where it is the other way round, *open* otherwise.
2. A claim needs most of its comparisons: k = m // 2 + 1 of m. Its statistic is the k-th largest t that points one way.
   All claims are judged together under joint flips of whole seeds, by the largest statistic among them (`flips`). A
   comparison that has too few seeds to decide anything, or has lost runs to early stopping, counts among the m and says
   nothing.
3. A claim with a comparison for it and one against it is mixed.
4. Else, where that p is at most the level, and so is the own p of k comparisons that point that way, the claim is
   supported, or contradicted when they point the other way. The first keeps sweeps in which nothing matters from
   verdicts, the second those in which fewer than k of its comparisons are true (Benjamini & Heller 2008, Biometrics 64,
   1215).
5. Else it has too few seeds where fewer than k comparisons have seeds that could decide; and it is inconclusive
   otherwise, and where seeds are not independent.

So over sweeps in which nothing matters, one in twenty at most has any claim supported or contradicted. A claim that two
sides do equally well (sign 0) is then true, and the same is said of sweeps in which they lie the margin apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ALPHA, least_seeds
from bnsweep.report.claims.claims import CLAIMS
from bnsweep.report.claims.contrasts import (
    BEST,
    EQUAL,
    LARGEST,
    START,
    Contrast,
    Measured,
    Sides,
    Such,
    Unasked,
    Unmeasured,
    sides,
    wanted_text,
)
from bnsweep.report.claims.flips import claim_statistic, joint_signs, majority, step_down
from bnsweep.report.claims.measure import measure
from bnsweep.report.claims.quantities import RunValues, quantities
from bnsweep.report.claims.sentences import comparison_name, sentence
from bnsweep.report.claims.verdicts import (
    AGAINST,
    CONTRADICTED,
    FOR,
    INCONCLUSIVE,
    MIXED,
    OPEN,
    SUPPORTED,
    TOO_FEW,
    UNASKED,
    Evidence,
    Verdict,
)
from bnsweep.report.frame.formats import few, in_channels, share_text, tau, tau_value
from bnsweep.report.frame.grid import Grid, level_text, levels
from bnsweep.report.frame.source import Source
from bnsweep.report.stats import resample

CROSSED = "seed and data.seed vary apart, and seeds that share one of them are not independent"
"""Signs flipped as if they were reject 22 % of true nulls at the 5 % level with 3 × 3 seeds, 35 % with 5 × 5."""
DEEP = 3
"""Fewer hidden layers than this show a change from layer to layer by one ratio alone."""


@dataclass(frozen=True)
class Missing:
    """A comparison that was not made."""

    note: str
    asked: bool = False
    """Whether the sweep has both sides, and only their numbers are missing."""
    swept: bool = True
    """Whether the sweep has both sides."""
    cut: bool = False
    """Whether early stopping took its runs."""


Found = tuple[Sides, Measured] | Missing


def answer_claims(frame: Source, grid: Grid, metric: Metric, level: float = ALPHA) -> list[Verdict]:
    """One verdict a claim, in the note's order. `level`: the share of sweeps in which nothing matters and any claim is
    supported or contradicted, at the most."""
    of_runs = RunValues(frame, grid)
    sign_RN = joint_signs(len(grid.bundles), grid.run_ALN.size)
    once = [asked_once(grid, claim.contrasts) for claim in CLAIMS]
    found = [swept([(item, compare(of_runs, metric, item, sign_RN)) for item in items]) for items in once]
    made = [tuple(evidence_of_claim(grid, metric, items, level)) for items in found]
    spoken = [voices(items, len(grid.bundles), level) for items in made]
    p_C, way_C = decided_together(made, spoken)
    family = int(np.isfinite(p_C).sum())
    verdicts = []
    for claim, compared, items, said, p, way in zip(CLAIMS, found, made, spoken, p_C, way_C, strict=True):
        asked = any(not isinstance(item, Missing) or item.asked for _, item in compared)
        verdict = judge(items, said, p, way, level) if asked else UNASKED
        text = sentence(verdict, items, p, family, level)
        verdicts.append(Verdict(claim.key, claim.text, verdict, text, items, float(p), claim.figures))
    return verdicts


def asked_once(grid: Grid, contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Each comparison of a claim once: with a single learning rate it is every arm's best one, too."""
    kept: list[Contrast] = []
    for item in contrasts:
        same = replace(item, at=EQUAL if item.at == BEST else BEST)
        if len(grid.lrs) > 1 or item.at == START or same not in kept:
            kept.append(item)
    return kept


def swept(compared: list[tuple[Contrast, Found]]) -> list[tuple[Contrast, Found]]:
    """Those whose sides were swept; all where none were."""
    there = [(item, found) for item, found in compared if not isinstance(found, Missing) or found.swept]
    return there or compared[:1]


def deciding(items: Sequence[Evidence]) -> list[Evidence]:
    """The comparisons that their claim consists of."""
    return [e for e in items if e.cut or (e.measured and not e.note)]


def voices(items: Sequence[Evidence], bundles: int, level: float) -> list[NDArray[np.float64]]:
    """t under the flips of those that have seeds enough to decide anything. One that has few of the flipped seeds has
    large t in many flips, and would drown all others."""
    least = max(least_seeds(level), bundles / 2)
    return [e.t_R for e in deciding(items) if e.t_R is not None and e.n >= least and not e.cut]


def decided_together(
    made: Sequence[Sequence[Evidence]], spoken: Sequence[Sequence[NDArray[np.float64]]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """p of each claim by rule 2, NaN where nothing decides, and the way that most of its comparisons point."""
    p_C, way_C = np.full(len(made), np.nan), np.zeros(len(made), dtype=np.int64)
    speaking = [c for c, t_MR in enumerate(spoken) if t_MR]
    statistics = [claim_statistic(spoken[c], len(deciding(made[c]))) for c in speaking]
    if statistics:
        p_C[speaking] = step_down(np.stack([statistic_R for statistic_R, _ in statistics]))
        way_C[speaking] = [way_R[0] for _, way_R in statistics]
    return p_C, way_C


def compare(of_runs: RunValues, metric: Metric, contrast: Contrast, sign_RN: NDArray[np.float64]) -> Found:
    if of_runs.grid.searched:
        return Missing(of_runs.grid.search_text, swept=False)
    whole = of_runs.grid.whole
    grid = whole if contrast.at == START else of_runs.grid  # every run has a start
    if contrast.at != START and grid.untrained:
        return Missing("this sweep lacks training (train.epochs=0)")
    try:
        planned = sides(whole, contrast)
    except Unasked as lacks:
        return Missing(f"this sweep lacks {lacks}", swept=False)
    try:
        found = planned if grid is whole else sides(grid, contrast)
    except Unasked:
        return Missing(none_left(planned), cut=True)
    cut = left_of(planned, found)
    try:
        measured = measure(of_runs, metric, contrast, found, sign_RN)
    except Unasked as lacks:
        return Missing(cut or f"this sweep lacks {lacks}", cut=bool(cut))
    except Unmeasured as why:
        return Missing(cut or str(why), asked=True, cut=bool(cut))
    if cut:
        return found, replace(measured, note=cut, cut=True, p=math.nan)
    return found, replace(measured, note=CROSSED) if grid.crossed else measured


def none_left(planned: Sides) -> str:
    pairs = len(planned.more)
    return f"early stopping has left no pair of both sides, of {pairs} that {'was' if pairs == 1 else 'were'} planned"


def left_of(planned: Sides, found: Sides) -> str:
    """How much early stopping has left of a comparison, and that it decides nothing; empty where it has left all.

    What is left was chosen by what is compared: where one side is far ahead the other is stopped, and the pairs that
    stay are those in which it makes little difference.
    """
    if all((a >= 0).sum() == (b >= 0).sum() for a, b in ((planned.more, found.more), (planned.less, found.less))):
        return ""
    if len(found.more) == len(planned.more):
        return "some of the runs compared were stopped early by their scores, so that the others decide nothing"
    left = f"{len(found.more)} of {len(planned.more)} pairs ran to the end on both sides"
    return f"{left}; the others were stopped early by their scores, so that these decide nothing"


def evidence_of_claim(
    grid: Grid, metric: Metric, compared: Sequence[tuple[Contrast, Found]], level: float
) -> Iterator[Evidence]:
    """What the comparisons of a claim found. Each says of which runs it is; those that differ in their sides alone say
    which they are."""
    contrasts = [contrast for contrast, _ in compared]
    plain = [comparison_name(contrast, grid.task, len(grid.lrs) > 1, tau(grid)) for contrast in contrasts]
    kept = [levels_kept(grid, contrast, contrasts) for contrast in contrasts]
    titles = [", ".join([name, *parts]) for name, parts in zip(plain, kept, strict=True)]
    names = with_parts(titles, [level_text(contrast.factor, contrast.sides[0]) for contrast in contrasts])
    for (contrast, found), title, name in zip(compared, titles, names, strict=True):
        yield evidence_of(contrast, found, (name, title), (grid, metric), level)


def with_parts(names: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Names that several have with the part that tells them apart."""
    return [
        f"{name}, {part}" if part and names.count(name) > 1 else name for name, part in zip(names, parts, strict=True)
    ]


def levels_kept(grid: Grid, item: Contrast, beside: Sequence[Contrast]) -> Iterator[str]:
    """The levels to which a comparison keeps where the sweep has others, or the others of its claim do not keep to
    them: those that the sweep has, else all."""
    for factor, allowed in item.where.items():
        if factor in grid.swept or any(other.where.get(factor) != allowed for other in beside):
            there = [level for level in levels(grid.runs, factor) if level in allowed] if factor in grid.runs else []
            named = there or ([] if isinstance(allowed, Such) else allowed)
            yield few([level_text(factor, level) for level in named], 3) or wanted_text(factor, allowed)


def evidence_of(
    contrast: Contrast, item: Found, named: tuple[str, str], of: tuple[Grid, Metric], level: float
) -> Evidence:
    """What a comparison found. `named`: its name and its title."""
    (grid, metric), (name, title) = of, named
    quantity = quantities(grid.task)[contrast.quantity]
    apart = bool(contrast.moderators) or (contrast.across is not None and contrast.by != LARGEST)
    unit = replace(quantity.unit, level=None) if apart else quantity.unit
    meaning = in_channels(quantity.meaning.replace("τ", tau_value(grid)), grid)
    if isinstance(item, Missing):
        return Evidence(name=name, title=title, unit=unit, note=item.note, cut=item.cut, meaning=meaning)
    found, m = item
    within, way = (0.0 if contrast.sign else contrast.margin), 0.0 if m.t_R is None else m.t_R[0]
    ahead_N = within - np.abs(m.difference_N) if within else m.difference_N
    way_N = np.sign(resample.rounded(ahead_N))
    decides = m.p <= level and way != 0 and not m.note
    return Evidence(
        name=name,
        title=title,
        unit=unit,
        sides=found.names,
        means=m.means,
        effect=m.effect,
        low=m.low,
        high=m.high,
        difference_N=tuple(map(float, m.difference_N)),
        wins=float((way_N.mean() + 1) / 2),
        p=m.p,
        within=within,
        says=OPEN if not decides else FOR if way > 0 else AGAINST,
        t_R=m.t_R,
        pairs=m.pairs,
        note=m.note,
        cut=m.cut,
        aside=aside(contrast, m, grid),
        remark="; ".join(remarks(contrast, m, grid, metric)),
        meaning=meaning,
    )


def aside(contrast: Contrast, m: Measured, grid: Grid) -> str:
    """The means of what is quoted beside a comparison, with "≥" and the share that got there where not all runs did;
    nothing where none did."""
    if not m.beside or not np.isfinite(m.beside).all() or not any(m.beside[1]):
        return ""
    quantity, (means, reached) = quantities(grid.task)[contrast.beside], m.beside
    texts = [
        f"{'≥ ' * (share < 1)}{quantity.unit.text(mean)}" + f" ({share_text(share)} got there)" * (share < 1)
        for mean, share in zip(means, reached, strict=True)
    ]
    return f"{quantity.title.replace('τ', tau(grid))} there: {' against '.join(texts)}"


def remarks(contrast: Contrast, m: Measured, grid: Grid, metric: Metric) -> Iterator[str]:
    layers, unit = grid.hidden_layers, quantities(grid.task)[contrast.quantity].unit
    if contrast.at == START and layers < DEEP:
        yield f"read off {layers} hidden layers, which is one ratio"
    if contrast.margin and not contrast.sign:
        yield f"a difference of up to {unit.difference_text(contrast.margin)} counts as none"
    elif contrast.margin:
        low, high = (unit.text(end) for end in (-contrast.margin, contrast.margin))
        yield f"between {low} and {high} counts as no change"
    if m.left_out:
        pairs, score = m.left_out, " against ".join(map(metric.text, m.left_out.means))
        yield f"left out: {pairs.pairs} of {pairs.of} pairs of which not both learn, {metric.title} {score} there"


def judge(items: Sequence[Evidence], spoken: Sequence[NDArray[np.float64]], p: float, way: int, level: float) -> str:
    """The verdict on a claim that was asked, by the rule above."""
    if {FOR, AGAINST} <= {e.says for e in items}:
        return MIXED
    own = deciding(items)
    agree = sum(e.says == (FOR if way > 0 else AGAINST) for e in own)
    if p <= level and agree >= majority(len(own)):
        return SUPPORTED if way > 0 else CONTRADICTED
    able = len(spoken) + sum(e.cut for e in own)
    return TOO_FEW if own and able < majority(len(own)) else INCONCLUSIVE
