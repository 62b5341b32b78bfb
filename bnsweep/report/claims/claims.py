"""The lecture note's claims, what would show each, and the rule that turns comparisons into a verdict.

Every comparison has a first side, of which the claim expects more (sign +1) or less (-1). The rule knows no direction:

1. A comparison is *for* its claim where its p is at most ALPHA and the difference is as claimed, *against* it where it
   is the other way round, *open* otherwise.
2. A claim with m comparisons needs most of them: k = m // 2 + 1. Its p is m / k times the k-th smallest of those that
   point one way: that k of m p-values are at most x has a probability of at most x m / k, however they hang together
   (Rueger 1978). A comparison of fewer than ENOUGH seeds counts among the m and says nothing. These are adjusted by
   Holm over all claims that the sweep asks.
3. A claim with a comparison for it and one against it is mixed.
4. Else, where that p is at most ALPHA, the claim is supported, or contradicted when they point the other way.
5. Else it has too few seeds where that p could not have been ALPHA had every seed been on one side; and it is
   inconclusive otherwise, and where seeds are not independent.

So over sweeps in which nothing matters, one in twenty at most has any claim supported or contradicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.metrics import Metric
from bnsweep.catalogue.tasks import Task
from bnsweep.inference import ALPHA
from bnsweep.report.claims.contrasts import (
    BEST,
    EQUAL,
    MAX,
    MIN,
    START,
    Contrast,
    Measured,
    Sides,
    Unasked,
    Unmeasured,
    Unreached,
    sides,
)
from bnsweep.report.claims.measure import measure
from bnsweep.report.claims.quantities import RunValues, quantities
from bnsweep.report.claims.seeds import deciding, least_p_holm, most, seeds_needed
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
from bnsweep.report.frame.formats import few, tau
from bnsweep.report.frame.grid import Grid, level_text, levels
from bnsweep.report.frame.metrics import untrained
from bnsweep.report.frame.source import Source
from bnsweep.report.stats import resample

CROSSED = "seed and data.seed vary apart, and seeds that share one of them are not independent"
"""Signs flipped as if they were reject 22 % of true nulls at the 5 % level with 3 × 3 seeds, 35 % with 5 × 5."""
BARE: dict[str, tuple[Any, ...]] = {"bn": ("none",)}
BN = (("before", "after"), "none")
"""With BN, before the activation as in the note where that was swept, against without."""
RECTIFIERS = tuple(name for name, row in ACTIVATIONS.items() if row.rectifier)
BOUNDED = tuple(name for name, row in ACTIVATIONS.items() if row.bounded)


@dataclass(frozen=True)
class Claim:
    key: str
    text: str
    contrasts: tuple[Contrast, ...]
    figures: tuple[str, ...] = ()


CLAIMS = (
    Claim(
        "sigmoid-vanishes",
        "Sigmoid makes gradients vanish",
        (Contrast("backward", -1, "activation", ("sigmoid", None), BARE, START),),
        ("gradients",),
    ),
    Claim(
        "relu-helps",
        "ReLU helps",
        (
            Contrast("change", -1, "activation", ("relu", "sigmoid"), BARE, START),
            Contrast("final", +1, "activation", ("relu", "sigmoid"), BARE, BEST),
            Contrast("final", +1, "activation", ("relu", "sigmoid"), BARE, EQUAL),
        ),
        ("gradients", "curves"),
    ),
    Claim(
        "init-keeps-spread",
        "Xavier's and He's weights keep the spread of activations",
        (
            Contrast("std_change", -1, "init", ("xavier", "normal"), BARE | {"activation": BOUNDED}, START),
            Contrast("std_change", -1, "init", ("he", "normal"), BARE | {"activation": RECTIFIERS}, START),
        ),
        ("histograms",),
    ),
    Claim(
        "small-lr-prevents-explosion",
        "A small learning rate prevents explosion",
        (Contrast("blown_up", -1, "lr.value", (MIN, MAX), BARE),),
        ("heat",),
    ),
    Claim(
        "bn-shifts-less",
        "Distributions shift less with BN",
        (
            Contrast("drift", -1, "bn", BN, learned=True),
            Contrast("ics", -1, "bn", BN, learned=True),
        ),
    ),
    Claim(
        "bn-faster",
        "BN trains faster",
        (
            Contrast("steps", -1, "bn", BN, at=BEST),
            Contrast("steps", -1, "bn", BN),
            Contrast("auc", +1, "bn", BN, at=BEST),
            Contrast("auc", +1, "bn", BN),
        ),
        ("curves",),
    ),
    Claim(
        "bn-less-init",
        "BN depends less on the initial weights",
        (Contrast("final", -1, "bn", BN, across="init"),),
        ("heat",),
    ),
    Claim(
        "bn-less-overfitting",
        "BN suppresses overfitting",
        (Contrast("gap", -1, "bn", BN, learned=True, least=0.005, beside="test"),),
    ),
    Claim(
        "bn-less-dropout",
        "With BN dropout is needed less",
        (Contrast("final", -1, "bn", BN, across="model.dropout", gain=True),),
    ),
    Claim(
        "bn-before",
        "BN belongs before the activation",
        (
            Contrast("final", +1, "bn", ("before", "after"), at=BEST),
            Contrast("final", +1, "bn", ("before", "after")),
        ),
        ("curves",),
    ),
)


def answer_claims(frame: Source, grid: Grid, metric: Metric) -> list[Verdict]:
    """One verdict a claim, in the note's order."""
    readings, reached = RunValues(frame, grid), tau(grid)
    found = [[compare(grid, readings, metric, item) for item in claim.contrasts] for claim in CLAIMS]
    made = [
        tuple(
            evidence_of(contrast, item, name, grid.task, reached)
            for contrast, item, name in zip(claim.contrasts, items, names_of(claim, grid), strict=True)
        )
        for claim, items in zip(CLAIMS, found, strict=True)
    ]
    p_holm = resample.holm(np.array([most(items)[0] for items in made]))
    asked = [any(not isinstance(item, Missing) or item.asked for item in items) for items in found]
    family = int(np.isfinite(p_holm).sum()) or sum(bool(deciding(items)) for items in made)
    parts = zip(CLAIMS, made, map(float, p_holm), asked, least_p_holm(made), seeds_needed(made), strict=True)
    verdicts = []
    for claim, items, p, is_asked, least, needed in parts:
        verdict = judge(items, p, is_asked, least)
        text = sentence(verdict, items, p, family, needed)
        verdicts.append(Verdict(claim.key, claim.text, verdict, text, items, p, claim.figures, needed))
    return verdicts


@dataclass(frozen=True)
class Missing:
    """A comparison that was not made."""

    note: str
    asked: bool
    """Whether the sweep has both sides, and only their numbers are missing."""


def compare(grid: Grid, readings: RunValues, metric: Metric, contrast: Contrast) -> tuple[Sides, Measured] | Missing:
    if contrast.at != START and untrained(grid.runs):
        return Missing("this sweep lacks training (train.epochs=0)", asked=False)
    try:
        found = sides(grid, contrast)
        measured = measure(grid, readings, metric, contrast, found)
    except Unasked as lacks:
        return Missing(f"this sweep lacks {lacks}", asked=False)
    except Unreached as why:
        return Missing(str(why), asked=False)
    except Unmeasured as why:
        return Missing(str(why), asked=True)
    return found, replace(measured, note=CROSSED) if grid.crossed else measured


def names_of(claim: Claim, grid: Grid) -> list[str]:
    """What a claim's comparisons are called. Those that differ in their runs alone say of which runs they are."""
    names = [comparison_name(item, grid.task, len(grid.lrs) > 1, tau(grid)) for item in claim.contrasts]
    parts = [", ".join(restricted(grid, item, claim.contrasts)) for item in claim.contrasts]
    return [
        f"{name}, {part}" if part and names.count(name) > 1 else name for name, part in zip(names, parts, strict=True)
    ]


def restricted(grid: Grid, item: Contrast, beside: Sequence[Contrast]) -> Iterator[str]:
    """The levels to which a comparison keeps and the others of its claim do not: those that the sweep has, else all."""
    for factor, allowed in item.where.items():
        if any(other.where.get(factor) != allowed for other in beside):
            there = [level for level in levels(grid.runs, factor) if level in allowed] if factor in grid.runs else []
            yield few([level_text(factor, level) for level in there or allowed], 3)


def evidence_of(
    contrast: Contrast, item: tuple[Sides, Measured] | Missing, name: str, task: Task, tau: str
) -> Evidence:
    """What a comparison found. `tau`: how the score that training is timed to is called."""
    quantity = quantities(task)[contrast.quantity]
    unit = quantity.unit if contrast.across is None else replace(quantity.unit, level=None)
    meaning = quantity.meaning.replace("τ", tau.removeprefix(f"{task.title} "))
    if isinstance(item, Missing):
        return Evidence(name=name, unit=unit, note=item.note, meaning=meaning)
    found, m = item
    way_N = np.sign(resample.rounded(m.difference_N))
    apart = m.p <= ALPHA and m.effect != 0 and not m.note
    return Evidence(
        name=name,
        unit=unit,
        sides=found.names,
        means=m.means,
        reached=m.reached,
        effect=m.effect,
        low=m.low,
        high=m.high,
        difference_N=tuple(map(float, m.difference_N)),
        wins=float((way_N.mean() + 1) / 2),
        p=m.p,
        says=OPEN if not apart else FOR if m.effect > 0 else AGAINST,
        pairs=m.pairs,
        note=m.note,
        aside=beside_text(contrast, m, task),
        meaning=meaning,
    )


def beside_text(contrast: Contrast, m: Measured, task: Task) -> str:
    if m.beside is None:
        return ""
    quantity = quantities(task)[contrast.beside]
    return f"{quantity.title} there: {' against '.join(map(quantity.unit.level_text, m.beside))}"


def judge(found: Sequence[Evidence], p_holm: float, asked: bool, least: float) -> str:
    """The verdict by the rule above. `least`: what `p_holm` could have been at the least."""
    if not asked:
        return UNASKED
    if {FOR, AGAINST} <= {e.says for e in found}:
        return MIXED
    if p_holm <= ALPHA:
        return SUPPORTED if most(found)[1] > 0 else CONTRADICTED
    return TOO_FEW if deciding(found) and not least <= ALPHA else INCONCLUSIVE
