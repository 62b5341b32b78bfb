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


def initial_weight(init: InitConfig, z: Tensor) -> Tensor:
    """Turn standard normals z [out, in, …] into the weights of one layer. Fan-in and fan-out count all positions of a
    kernel, as torch has it.

    A uniform of the same standard deviation is sqrt(3) * erf(z / sqrt 2), so uniform and normal arms stay paired.
    """
    if is_own(init.name):
        return own_init(init.name, z.dim())(tuple(z.shape), generator_of(z)).detach().to(z.dtype)
    if INITS[init.name].orthogonal:
        return orthogonal(z.flatten(1)).reshape(z.shape)
    rule = INITS[init.name].std
    std = rule(math.prod(z.shape[1:]), len(z) * math.prod(z.shape[2:])) if rule is not None else init.std
    assert std is not None, "settings check it"
    unit = z if init.distribution == "normal" else math.sqrt(3) * torch.erf(z / math.sqrt(2))
    return std * unit


def orthogonal(z: Tensor) -> Tensor:
    """A uniform draw from the matrices [out, in] with orthonormal rows or columns (Saxe et al. 2014)."""
    wide = z.shape[0] < z.shape[1]
    q, r = torch.linalg.qr(z.T if wide else z)
    square: Tensor = q * r.diagonal().sign()  # as torch's orthogonal_: else it would not be uniform
    return square.T if wide else square
