"""The lecture note's claims, what would show each, and the rule that turns comparisons into a verdict.

Every comparison has a first side, of which the claim expects more (sign +1) or less (-1). The rule knows no direction:

1. All comparisons that the sweep allows are one family; their p-values are adjusted by Holm.
2. A comparison is *for* its claim where the adjusted p is at most ALPHA and the difference is as claimed, *against* it
   where it is the other way round, *open* otherwise.
3. A claim is supported where most of its comparisons are for and none is against it; contradicted where most are
   against and none is for it; inconclusive otherwise, and with fewer than ENOUGH seeds.

So over sweeps in which nothing matters, one in twenty at most has any claim supported or contradicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnsweep.report import resample
from bnsweep.report.claim_words import comparison_name, sentence
from bnsweep.report.contrasts import (
    BEST,
    EQUAL,
    MAX,
    MIN,
    START,
    Comparison,
    Measured,
    Sides,
    Unasked,
    Unmeasured,
    sides,
)
from bnsweep.report.grid import Grid
from bnsweep.report.measure import measure
from bnsweep.report.metrics import Metric
from bnsweep.report.readings import QUANTITIES, Readings
from bnsweep.report.source import Source
from bnsweep.report.verdicts import (
    AGAINST,
    CONTRADICTED,
    FOR,
    INCONCLUSIVE,
    OPEN,
    SUPPORTED,
    UNASKED,
    Evidence,
    Verdict,
)

ALPHA = 0.05
BARE: dict[str, tuple[Any, ...]] = {"bn": ("none",)}
BN = (("before", "after"), "none")
"""With BN, before the activation as in the note where that was swept, against without."""
RELU_LIKE = ("relu", "leaky_relu", "elu", "gelu", "silu")


@dataclass(frozen=True)
class Claim:
    key: str
    text: str
    comparisons: tuple[Comparison, ...]
    figures: tuple[str, ...] = ()


CLAIMS = (
    Claim(
        "sigmoid-vanishes",
        "Sigmoid makes gradients vanish",
        (Comparison("backward", -1, "activation", ("sigmoid", None), BARE, START),),
        ("gradients",),
    ),
    Claim(
        "relu-helps",
        "ReLU helps",
        (
            Comparison("backward", +1, "activation", ("relu", "sigmoid"), BARE, START),
            Comparison("final", +1, "activation", ("relu", "sigmoid"), BARE, BEST),
            Comparison("final", +1, "activation", ("relu", "sigmoid"), BARE, EQUAL),
        ),
        ("gradients", "curves"),
    ),
    Claim(
        "init-keeps-spread",
        "Xavier's and He's weights keep the spread of activations",
        (
            Comparison("spread", -1, "init", ("xavier", "normal"), BARE | {"activation": ("sigmoid", "tanh")}, START),
            Comparison("spread", -1, "init", ("he", "normal"), BARE | {"activation": RELU_LIKE}, START),
        ),
        ("histograms",),
    ),
    Claim(
        "small-lr-prevents-explosion",
        "A small learning rate prevents explosion",
        (Comparison("blown_up", -1, "lr.value", (MIN, MAX), BARE),),
        ("heat",),
    ),
    Claim(
        "bn-shifts-less",
        "Distributions shift less with BN",
        (
            Comparison("drift", -1, "bn", BN, learned=True),
            Comparison("ics", -1, "bn", BN, learned=True),
        ),
    ),
    Claim(
        "bn-faster",
        "BN trains faster",
        (
            Comparison("steps", -1, "bn", BN, at=BEST),
            Comparison("steps", -1, "bn", BN),
            Comparison("auc", +1, "bn", BN, at=BEST),
            Comparison("auc", +1, "bn", BN),
        ),
        ("curves",),
    ),
    Claim(
        "bn-less-init",
        "BN depends less on the initial weights",
        (Comparison("final", -1, "bn", BN, across="init"),),
        ("heat",),
    ),
    Claim(
        "bn-less-overfitting",
        "BN suppresses overfitting and makes dropout less needed",
        (
            Comparison("gap", -1, "bn", BN, learned=True, least=0.005, beside="test"),
            Comparison("final", -1, "bn", BN, across="model.dropout", gain=True),
        ),
    ),
    Claim(
        "bn-before",
        "BN belongs before the activation",
        (
            Comparison("final", +1, "bn", ("before", "after"), at=BEST),
            Comparison("final", +1, "bn", ("before", "after")),
        ),
        ("curves",),
    ),
)


def answer_claims(frame: Source, grid: Grid, metric: Metric) -> list[Verdict]:
    """One verdict a claim, in the note's order."""
    readings = Readings(frame, grid)
    found = [[compare(grid, readings, metric, item) for item in claim.comparisons] for claim in CLAIMS]
    flat = [item for items in found for item in items]
    raw = [math.nan if isinstance(item, Missing) or item[1].note else item[1].p for item in flat]
    adjusted = iter(resample.holm(np.array(raw)))
    family = int(np.isfinite(raw).sum())
    verdicts = []
    for claim, items in zip(CLAIMS, found, strict=True):
        pairs = zip(claim.comparisons, items, strict=True)
        made = [evidence(comparison, item, next(adjusted), len(grid.lrs) > 1) for comparison, item in pairs]
        asked = any(not isinstance(item, Missing) or item.asked for item in items)
        verdicts.append(judge(claim, made, asked, family))
    return verdicts


@dataclass(frozen=True)
class Missing:
    """A comparison that was not made."""

    note: str
    asked: bool
    """Whether the sweep has both sides, and only their numbers are missing."""
    names: tuple[str, str] = ("", "")


def compare(grid: Grid, readings: Readings, metric: Metric, comparison: Comparison) -> tuple[Sides, Measured] | Missing:
    try:
        found = sides(grid, comparison)
    except Unasked as lacks:
        return Missing(f"this sweep lacks {lacks}", asked=False)
    try:
        return found, measure(grid, readings, metric, comparison, found)
    except Unmeasured as why:
        return Missing(str(why), asked=True, names=found.names)


def evidence(comparison: Comparison, item: tuple[Sides, Measured] | Missing, p_holm: float, lr_swept: bool) -> Evidence:
    quantity = QUANTITIES[comparison.quantity]
    name = comparison_name(comparison, lr_swept)
    if isinstance(item, Missing):
        nan = math.nan
        return Evidence(
            name, item.names, quantity.unit, (nan, nan), nan, nan, nan, (), nan, nan, nan, OPEN, 0, item.note
        )
    found, m = item
    wins = float(np.mean((m.difference_N > 0) + 0.5 * (m.difference_N == 0)))
    apart = p_holm <= ALPHA and m.effect != 0
    says = OPEN if not apart else FOR if m.effect > 0 else AGAINST
    differences = tuple(map(float, m.difference_N))
    rest = (differences, wins, m.p, p_holm, says, m.pairs, m.note, beside_text(comparison, found, m))
    return Evidence(name, found.names, quantity.unit, m.means, m.effect, m.low, m.high, *rest)


def beside_text(comparison: Comparison, found: Sides, m: Measured) -> str:
    if m.beside is None:
        return ""
    quantity = QUANTITIES[comparison.beside]
    texts = [f"{quantity.unit.level_text(mean)} with {name}" for mean, name in zip(m.beside, found.names, strict=True)]
    return f"{quantity.title} there: {', '.join(texts)}"


def judge(claim: Claim, found: Sequence[Evidence], asked: bool, family: int) -> Verdict:
    """The rule above."""
    measured = [e for e in found if e.measured]
    says = [sum(e.says == word for e in measured) for word in (FOR, AGAINST)]
    verdict = INCONCLUSIVE
    if not asked:
        verdict = UNASKED
    elif 2 * says[0] > len(measured) and not says[1]:
        verdict = SUPPORTED
    elif 2 * says[1] > len(measured) and not says[0]:
        verdict = CONTRADICTED
    return Verdict(claim.key, claim.text, verdict, sentence(verdict, found, family), tuple(found), claim.figures)
