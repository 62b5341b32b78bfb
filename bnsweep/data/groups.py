"""Samples that belong together: all of a group are trained on, or validated on, or tested on.

Every seed of a sweep needs splits of equal sizes, as its runs share shapes, but groups do not add up to given sizes. A
part of a split therefore takes whole groups in a random order, and of its last one as many rows as it has room for; the
others of that group go unused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnsweep.data.dataset import Samples
from bnsweep.data.samples import Refused

FEWEST = 3
"""Groups: one to train on, one to validate on and one to test on."""

PARTS = 2
"""That are drawn group by group: test set and validation. Each may leave rows of its last group unused."""


def grouped(samples: Samples, given: npt.NDArray[Any], key: str) -> Samples:
    """The samples with the group of each. Raises Refused."""
    names, group_N = np.unique(given.astype(str) if given.dtype.kind not in "buif" else given, return_inverse=True)
    facts = samples.facts
    assert facts is not None
    assert not facts.official_test, "a table has none"
    sizes = np.bincount(group_N)
    if len(names) < FEWEST:
        raise Refused(f"must have at least {FEWEST} groups for {key}, has {len(names)}")
    step = int(np.gcd.reduce(sizes))
    # Nothing is left over where all groups are of one size, which the sizes of the parts are then multiples of.
    alike = step == sizes.max()
    test = max(step, round(facts.test / step) * step) if alike else facts.test
    unused = 0 if alike else PARTS * int(sizes.max() - 1)
    facts = replace(facts, pool=facts.pool + facts.test - test, test=test, unused=unused)
    facts = replace(facts, groups=len(names), step=step if alike else 1)
    note = f"{len(names):,} groups of {sizes.min():,} to {sizes.max():,} samples stay together"
    if unused:
        note += f"; a seed leaves {unused:,} samples unused, so that none is divided"
    return replace(samples, facts=facts, group_N=group_N.astype(np.int64), notes=(*samples.notes, note))


def draw_groups(rows: Tensor, group_N: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n of `rows`, in whole groups but for the last one, and the rows of groups that none was taken of."""
    ids, group_of = torch.unique(group_N[rows], return_inverse=True)
    order = torch.randperm(len(ids), generator=generator)
    sizes = torch.bincount(group_of)[order]
    before = sizes.cumsum(0) - sizes
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    begun = (before < n)[place][group_of]
    ranked = torch.argsort(place[group_of], stable=True)
    taken = torch.zeros(len(rows), dtype=torch.bool)
    taken[ranked[:n]] = True
    return rows[taken], rows[~begun]
