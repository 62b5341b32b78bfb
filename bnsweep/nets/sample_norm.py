"""Normalisations that look at one sample at a time: LayerNorm, GroupNorm, InstanceNorm and RMSNorm. Their ordinary
modules, and one stacked form for all of them. There are no running statistics, and eval mode is training mode.

Each is over groups of units: one group of all units, several, or one a unit. Shapes: k neighbours, H units, G groups,
H/G units of a group, B samples, P positions, S = B*P.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.catalogue.norms import NORMS
from bnsweep.config.run import RunConfig

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

SAMPLES = (3, 4)
"""Dimensions of [k, G, H/G, B, P] that share a scale and a shift."""


class RMSNorm(nn.Module):
    """nn.RMSNorm of inputs [B, H, ...], over all units and positions of a sample, with one scale a unit."""

    def __init__(self, units: int, eps: float, affine: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.units, self.eps = units, eps
        self.weight = nn.Parameter(torch.ones(units, dtype=dtype)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        square = x.flatten(1).square().mean(1).view(-1, *[1] * (x.dim() - 1))
        y = x * (square + self.eps).rsqrt()
        return y if self.weight is None else y * self.weight.view(-1, *[1] * (x.dim() - 2))

    def extra_repr(self) -> str:
        return f"{self.units}, eps={self.eps}, elementwise_affine={self.weight is not None}"


def sample_norm(units: int, config: RunConfig, eps: float, images: bool) -> nn.Module:
    """The ordinary module of a run. LayerNorm of images is over units and positions, with one scale and one shift a
    unit, which torch has as GroupNorm of one group."""
    affine, dtype = config.bn.affine, getattr(torch, config.train.dtype)
    match config.norm.name:
        case "layer" if not images:
            return nn.LayerNorm(units, eps=eps, elementwise_affine=affine, dtype=dtype)
        case "rms" if not images:
            return nn.RMSNorm(units, eps=eps, elementwise_affine=affine, dtype=dtype)
        case "rms":
            return RMSNorm(units, eps, affine, dtype)
        case "instance":
            return nn.InstanceNorm2d(units, eps=eps, affine=affine, dtype=dtype)
    return nn.GroupNorm(groups_of(config, units), units, eps=eps, affine=affine, dtype=dtype)


def groups_of(config: RunConfig, units: int) -> int:
    """Groups of units that are normalised by themselves."""
    match config.norm.name:
        case "group":
            return config.norm.groups_of(units)
        case "instance":
            return units
    return 1


def mean_of_groups(x: Tensor) -> Tensor:
    """Over the units of a group and the positions, [k, G, 1, B, 1]; one dimension after the other, which a CPU does in
    a fifth of the time that it takes over both at once."""
    of_units = x.mean(4, keepdim=True) if x.shape[4] > 1 else x
    return of_units.mean(2, keepdim=True)


class SampleNorm:
    """The normalisation of one layer of some neighbours, which share its kind. Inputs are [k, H, S], as BN's."""

    def __init__(
        self,
        stack: Stack,
        gradients: Mapping[str, Tensor],
        name: str,
        members: slice,
        eps: float,
        positions: int,
    ) -> None:
        config, units = stack.configs[members.start], stack.parameters[f"{name}.weight"].shape[1]
        groups, self.eps = groups_of(config, units), eps
        self.centred = NORMS[config.norm.name].centred
        self._shape = (members.stop - members.start, groups, units // groups, -1, positions)

        def view(tensors: Mapping[str, Tensor], of: str) -> Tensor:
            return tensors[f"{name}.{of}"][members].view(*self._shape[:3], 1, 1)

        self.gamma, self.beta = view(stack.parameters, "weight"), view(stack.parameters, "bias")
        self.d_gamma, self.d_beta = view(gradients, "weight"), view(gradients, "bias")

    def evaluate(self, x: Tensor, y: Tensor) -> None:
        """As in training; x, which nothing reads again, is overwritten."""
        self.forward(x, y, x)

    def forward(self, x: Tensor, y: Tensor, x_hat: Tensor) -> tuple[Tensor, ...]:
        """x_hat may be x's own memory."""
        x, y, x_hat = (t.view(self._shape) for t in (x, y, x_hat))
        if self.centred:
            x = torch.sub(x, mean_of_groups(x), out=x_hat)
        # Squares in y's memory: a norm along a dimension that is not the last takes three times as long.
        inverse_rms = mean_of_groups(torch.mul(x, x, out=y)).add_(self.eps).rsqrt_()
        torch.mul(x, inverse_rms, out=x_hat)
        torch.mul(x_hat, self.gamma, out=y)
        if self.centred:
            y.add_(self.beta)
        return x_hat, inverse_rms

    def backward(self, d: Tensor, saved: tuple[Tensor, ...], spare: Tensor) -> None:
        """d = dL/dy becomes dL/dx. With g = gamma * d and means over a group: (g - mean(g) - x_hat mean(g x_hat)) over
        the group's spread; without mean(g) where no mean was subtracted."""
        (x_hat, inverse_rms), d, spare = saved, d.view(self._shape), spare.view(self._shape)
        torch.sum(torch.mul(d, x_hat, out=spare), SAMPLES, keepdim=True, out=self.d_gamma)
        along = mean_of_groups(spare.mul_(self.gamma))
        if self.centred:
            torch.sum(d, SAMPLES, keepdim=True, out=self.d_beta)
        d.mul_(self.gamma)
        if self.centred:
            d.sub_(mean_of_groups(d))
        d.addcmul_(x_hat, along, value=-1).mul_(inverse_rms)
