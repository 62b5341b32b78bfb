"""Internal covariate shift in its two senses, as pure functions over stacks: how the distribution of a unit's
activation input moves (Ioffe & Szegedy 2015), and how a layer's gradient changes when the layers below it are updated
(Santurkar et al. 2018).

K members, H units, B probe samples, Q the three percentiles.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bnsweep.probes.gradients import cosine, norms

PERCENTILES = (0.15, 0.50, 0.85)
"""Those of figure 1 (b, c) of Ioffe & Szegedy 2015."""


def percentiles(a_KHB: Tensor) -> Tensor:
    """[Q, K, H] percentiles over the samples of every unit's activation input, interpolated linearly."""
    # numpy sorts seven times faster than torch on a CPU, which sorts indices, too.
    ordered = torch.from_numpy(np.sort(a_KHB.numpy())) if a_KHB.device.type == "cpu" else a_KHB.sort().values
    found = []
    for p in PERCENTILES:
        low, share = divmod(p * (a_KHB.shape[2] - 1), 1)
        below = ordered[..., int(low)]
        found.append(below.lerp(ordered[..., min(int(low) + 1, a_KHB.shape[2] - 1)], share))
    return torch.stack(found)


def spread(q_QKH: Tensor) -> Tensor:
    """[K] mean over units of q85 - q15: the yardstick of `shift`."""
    return (q_QKH[2] - q_QKH[0]).mean(1)


def shift(now_QKH: Tensor, before_QKH: Tensor) -> Tensor:
    """[K] mean over units and percentiles of |q now - q at an earlier reading|, in units of the activation input."""
    return (now_QKH - before_QKH).abs().mean((0, 2))


def covariate_shift(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a layer's weight gradient G_l before and G'_l [K, ...] after the layers below it alone were updated, on the
    same batch: ||G_l - G'_l||_2, its ratio to ||G_l||_2, and the cosine between the two, [K] each.

    Santurkar et al. 2018, definition 2.1 and figure 2. The ratio is there because BN rescales gradients.
    """
    difference_K = norms(before - after)
    return difference_K, difference_K / norms(before), cosine(before, after)
