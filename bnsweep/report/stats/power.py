"""How large a difference so many seeds find."""

from __future__ import annotations

import math

from scipy import special

from bnsweep.inference import ALPHA, least_seeds

POWER = 0.8


def least_difference(sd: float, n: int, family: int = 1, level: float = ALPHA) -> float:
    """The difference that a two-sided paired t test of n seeds finds with a power of 80 %: noncentrality times standard
    error, where the noncentral t of n - 1 degrees of freedom exceeds the critical t with that probability (Cohen 1988,
    Statistical Power Analysis, chapter 2). `sd`: of the difference, over seeds. `family`: claims that are judged
    together; their largest t exceeds the critical one of level / family no more often than the level says, so that the
    joint test finds this difference or a smaller one. Infinite where so few seeds decide nothing.
    """
    if n < least_seeds(level):
        return math.inf
    critical = special.stdtrit(n - 1, 1 - level / (2 * family))
    return float(special.nctdtrinc(n - 1, 1 - POWER, critical)) * sd / math.sqrt(n)
