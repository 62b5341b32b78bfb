"""What a verdict on a claim is made of: one to four paired comparisons, and what they say together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bnsweep.inference import Look

SUPPORTED, CONTRADICTED, MIXED = "supported", "contradicted", "mixed"
INCONCLUSIVE, TOO_FEW, UNASKED = "inconclusive", "too few seeds", "not asked"
VERDICTS = (SUPPORTED, CONTRADICTED, MIXED, INCONCLUSIVE, TOO_FEW, UNASKED)
FOR, AGAINST, OPEN = "for", "against", "open"


@dataclass(frozen=True)
class Unit:
    """How a quantity is written."""

    name: str
    """What follows a difference, such as points."""
    scale: float = 1.0
    digits: int = 2
    level: str | None = None
    """What follows the quantity itself, such as %; None: the same as `name`."""
    factor: bool = False
    """Whether it is a logarithm to base 10, to be written as a factor; a difference is then how many times as much."""
    number: bool = False
    """Of a factor: whether the quantity itself is written as the number that it is the logarithm of."""

    def value(self, value: float) -> float:
        """The number in this unit."""
        return float(10**value) if self.factor else value * self.scale

    def text(self, value: float, signed: bool = False) -> str:
        """The bare number in this unit; a dash where it is missing."""
        if not math.isfinite(value):
            return "–"
        if self.factor:
            times = self.value(value)
            digits = 3 if 1.005 <= times < 1.095 else 2  # × 1.05 is 5 % more, × 1.1 twice that
            return f"× {times:,.0f}" if times >= 100 else f"× {times:#.{digits}g}".rstrip(".")
        sign = "+" if signed else ""
        return f"{value * self.scale:{sign}z,.{self.digits}f}".replace("-", "−")

    def bare_level(self, value: float) -> str:
        """The quantity itself without its unit."""
        return f"{self.value(value):.2g}" if self.number and math.isfinite(value) else self.text(value)

    def level_text(self, value: float) -> str:
        """The quantity itself with its unit."""
        return f"{self.bare_level(value)} {self.name if self.level is None else self.level}".rstrip()

    def difference_text(self, value: float, signed: bool = False) -> str:
        """A difference with its unit."""
        return f"{self.text(value, signed)} {'' if self.factor else self.name}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One comparison of two sides within seeds. Every difference is positive where the claim predicts it, but for one
    that predicts none (`within`)."""

    name: str
    """The quantity and where it is read: `time-mean validation accuracy, best lr, BN after`. No other comparison of the
    claim has it."""
    title: str = ""
    """The same without what the sides say."""
    unit: Unit
    sides: tuple[str, str] = ("", "")
    """The side that the claim favours, and the one it is held against: `BN before`, `no BN`."""
    means: tuple[float, float] = (math.nan, math.nan)
    """The quantity itself on the two sides, averaged over seeds."""
    effect: float = math.nan
    """Mean difference over seeds; NaN where it could not be measured, and `note` says why."""
    low: float = math.nan
    high: float = math.nan
    """95 % interval of the effect, bootstrap over seeds."""
    difference_N: tuple[float, ...] = ()
    """The difference in each seed."""
    wins: float = math.nan
    """Share of seeds in which the difference is as claimed, none counted half: P(A > B) where a side is to be ahead."""
    within: float = 0.0
    """What the claim expects is a difference of at most this, either way; 0: one in favour of the first side."""
    p: float = math.nan
    """Two-sided, of this comparison alone."""
    says: str = OPEN
    """for or against where p is at most the level, 5 %, else open."""
    t_R: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    """Its t under every joint flip of seeds (see `flips`), what was observed first; None where it has no say."""
    pairs: int = 0
    """Pairs of arms (or of runs) a seed that the difference averages."""
    note: str = ""
    """Why there is no number, or why the number decides nothing."""
    cut: bool = False
    """Whether that is because early stopping took runs of it."""
    aside: str = ""
    """What else was measured on the same runs, in words; it decides nothing."""
    remark: str = ""
    """What is to be known of the runs compared: which were left out, and of how many layers they are."""
    meaning: str = ""
    """What the quantity is, for who has never heard of it: a sentence."""

    @property
    def n(self) -> int:
        return len(self.difference_N)

    @property
    def ahead(self) -> int:
        """Seeds in which the difference is as claimed."""
        return sum(abs(d) <= self.within if self.within else d > 0 for d in self.difference_N)

    @property
    def equal(self) -> int:
        """Seeds in which there is no difference."""
        return 0 if self.within else sum(d == 0 for d in self.difference_N)

    @property
    def measured(self) -> bool:
        return math.isfinite(self.effect)

    def mean_text(self, which: int, unit: bool = True) -> str:
        """The mean of a side."""
        return self.unit.level_text(self.means[which]) if unit else self.unit.bare_level(self.means[which])


@dataclass(frozen=True)
class Verdict:
    key: str
    """Short name, fit for an address: `bn-faster`."""
    claim: str
    """The claim as a sentence."""
    verdict: str
    """supported, contradicted, mixed where comparisons disagree, inconclusive, too few seeds where that many cannot
    decide it, or not asked where the sweep lacks what it compares."""
    sentence: str
    """What the evidence says, with its numbers; for `not asked`, what to add to the sweep."""
    evidence: tuple[Evidence, ...]
    p_adjusted: float = math.nan
    """Of the claim as a whole, adjusted over all claims that this sweep asks; NaN where there is none."""
    figures: tuple[str, ...] = ()
    """Names of the report's drawings that show it."""
    looked_at: Look | None = None
    """The look that decided it, where seeds were added until claims were decided: its numbers are of that look."""
