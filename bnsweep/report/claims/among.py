"""Which pairs of arms a comparison is about, where it is not about all of them.

Shapes: P pairs, N bundles, R flips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnsweep.report.claims.contrasts import Sides, Unasked
from bnsweep.report.claims.quantities import RunValues
from bnsweep.report.frame.formats import percent, share_text, tau

Array = NDArray[np.float64]
Pairs = NDArray[np.bool_]
MOST = 0.9
"""Share of the seeds in which both runs of a pair must learn. A rate at which one run in three dies is none that its
side survives."""
RISE = 0.05
"""By how much of its minimum an arm's validation loss must have risen at the end, in the mean of its seeds, for it to
overfit."""


def both_end_at_tau(readings: RunValues, split: str, found: Sides) -> Pairs:
    """Pairs of which both sides end at τ or above on a split, in most of the seeds that they have, [P]. A seed asks the
    same of both, so that flips of seeds leave the choice as it is."""
    there_PN = (found.more >= 0) & (found.less >= 0)
    both_P = (readings.at_tau(split, found.more) & readings.at_tau(split, found.less) & there_PN).sum(axis=1)
    return np.asarray((both_P > 0) & (both_P >= MOST * there_PN.sum(axis=1)))


def learning(readings: RunValues, found: Sides) -> Pairs:
    """Both end at τ or above on the validation data. Raises Unasked where there is no such pair."""
    kept_P = both_end_at_tau(readings, "val", found)
    if not kept_P.any():
        seeds = f"{share_text(MOST)} of the seeds"
        raise Unasked(f"a pair of arms that both end at {tau(readings.grid)} or above in {seeds}")
    return kept_P


def fitting(readings: RunValues, found: Sides) -> Pairs:
    """Both end at τ or above on the training data. Raises Unasked where there is no such pair."""
    kept_P = both_end_at_tau(readings, "train", found)
    if not kept_P.any():
        raise Unasked(f"networks that overfit: no pair of arms both fit their training data to {tau(readings.grid)}")
    return kept_P


def means_of_the_other(values: tuple[Array, Array], sign_RN: Array) -> Array:
    """Mean over seeds of the second side under each flip, [R, P]. `values`: [P, N] of each side."""
    more_PN, less_PN = values
    both_P = (less_PN + more_PN).mean(axis=1) / 2
    return np.asarray(both_P + sign_RN @ (less_PN - more_PN).T / (2 * less_PN.shape[1]))


def overfitting(rise: tuple[Array, Array], sign_RN: Array, name: str) -> Pairs:
    """Pairs whose second side overfits, under each flip, [R, P]. `rise`: of validation loss over its minimum, [P, N] of
    each side; `name`: of the second side. Raises Unasked where there is none as observed."""
    rise_RP = means_of_the_other(rise, sign_RN)
    if not (rise_RP[0] >= RISE).any():
        most = percent(max(float(rise_RP[0].max()), 0.0))
        raise Unasked(
            f"networks that overfit: with {name} validation loss ends {most} above its minimum at the most, and"
            f" overfitting begins at {percent(RISE, 0)}"
        )
    return np.asarray(rise_RP >= RISE)


def needing(gain: tuple[Array, Array], sign_RN: Array, name: str, of: str) -> Pairs:
    """Pairs whose second side gains by a factor, under each flip, [R, P]. `gain`: [P, N] of each side; `of`: what the
    factor is called. Raises Unasked where none does as observed."""
    gain_RP = means_of_the_other(gain, sign_RN)
    if not (gain_RP[0] > 0).any():
        raise Unasked(f"networks that need {of}: with {name} none gains by it")
    return np.asarray(gain_RP > 0)
