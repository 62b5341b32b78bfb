"""How weights start: standard normals that all arms of a seed share, and what each init makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.own import is_own
from bnsweep.config.groups import InitConfig
from bnsweep.own.functions import own_init


def draw_normals(seed: int, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Standard normals of these shapes, float64 on the CPU: what all arms of a seed bundle share."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def generator_of(z: Tensor) -> torch.Generator:
    """One that depends on nothing but these normals: all arms of a seed share it, and no two layers do."""
    bits = int(z.flatten()[:1].view(torch.int64))
    return torch.Generator().manual_seed(bits & (2**63 - 1))


@dataclass(frozen=True)
class Branch:
    """Where a linear map stands in a residual network."""

    place: str = ""
    """first or last of a branch, output of the network, or elsewhere."""
    count: int = 1
    """Branches of the network."""

    def factor(self, init: InitConfig) -> float:
        """On the weights that the map would have elsewhere."""
        if not INITS[init.name].of_branches:
            return 1.0
        factors = {"first": self.count**-0.5, "last": 0.0, "output": 0.0}
        return float(factors.get(self.place, 1.0))


ELSEWHERE = Branch()


def initial_weight(init: InitConfig, z: Tensor, positions: int = 1) -> Tensor:
    """Turn standard normals z [out, in] into the weights of one layer. Of a kernel `in` counts all of its `positions`,
    and fan-out is then `out` times those, as torch has it.

    A uniform of the same standard deviation is sqrt(3) * erf(z / sqrt 2), so uniform and normal arms stay paired.
    """
    if is_own(init.name):
        return own_init(init.name)(tuple(z.shape), generator_of(z)).to(z.dtype)
    fan_out, fan_in = z.shape
    if INITS[init.name].orthogonal:
        tall = z if fan_out >= fan_in else z.T
        q, r = torch.linalg.qr(tall)
        # Sign fixed by R's diagonal: uniform over orthogonal matrices (Saxe et al. 2014, as torch's orthogonal_).
        square: Tensor = q * r.diagonal().sign()
        return square if fan_out >= fan_in else square.T
    rule = INITS[init.name].std
    std = rule(fan_in, fan_out * positions) if rule is not None else init.std
    assert std is not None, "settings check it"
    unit = z if init.distribution == "normal" else math.sqrt(3) * torch.erf(z / math.sqrt(2))
    return std * unit
