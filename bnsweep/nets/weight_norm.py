"""Weight normalisation (Salimans & Kingma 2016, arXiv 1602.07868): the ordinary modules and the weights that a stack
computes with.

A hidden unit or channel has the weights w = g v / |v|. In a network's state v and g are `weight_v` and `weight_g`; v
starts by `init` and g as |v|, and so w starts by `init`.

Shapes: k members of a stack that have it, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.layer import Kept


def normalised(v: Tensor, g: Tensor) -> Tensor:
    """g v / |v|: v [O, ...], g [O, 1]."""
    length: Tensor = torch.linalg.vector_norm(v.flatten(1), dim=1)
    return v * (g[:, 0] / length).view(-1, *[1] * (v.dim() - 1))


class WeightNormLinear(nn.Linear):
    """torch's, with normalised weights."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool, dtype: torch.dtype) -> None:
        super().__init__(inputs, outputs, bias=bias, dtype=dtype)
        self.weight_v, self.weight_g = parts_of(self)

    def normalised_weight(self) -> Tensor:
        return normalised(self.weight_v, self.weight_g)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.normalised_weight(), self.bias)


class WeightNormConv2d(nn.Conv2d):
    """torch's, with normalised weights."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: tuple[int, int],
        stride: int,
        padding: tuple[int, int],
        *,
        bias: bool,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(inputs, outputs, window, stride, padding, bias=bias, dtype=dtype)
        self.weight_v, self.weight_g = parts_of(self)

    def normalised_weight(self) -> Tensor:
        return normalised(self.weight_v, self.weight_g)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normalised_weight(), self.bias, self.stride, self.padding)


def parts_of(module: nn.Linear | nn.Conv2d) -> tuple[nn.Parameter, nn.Parameter]:
    """v and g in the place of a module's weights."""
    v = module.weight.detach()
    del module.weight
    return nn.Parameter(v), nn.Parameter(torch.linalg.vector_norm(v.flatten(1), dim=1, keepdim=True))


def kept_of(weight: Kept, normed: bool) -> dict[str, Kept]:
    """What a stack keeps for the weights of a map, of which some members normalise theirs where it is `normed`. Those
    train v and g in place of the weights."""
    if not normed:
        return {"weight": weight}

    def lengths(config: RunConfig, z: Tensor) -> Tensor:
        found: Tensor = torch.linalg.vector_norm(torch.as_tensor(weight.initial(config, z)).flatten(1), dim=1)
        return found[:, None]

    def rate_of_parts(config: RunConfig) -> float:
        return weight.rate(config) if config.weight_norm else 0.0

    own = replace(weight, rate=lambda config: 0.0 if config.weight_norm else weight.rate(config))
    v = Kept(weight.shape, weight.initial, rate_of_parts, drawn_as="weight")
    return {
        "weight": own,
        "weight_v": v,
        "weight_g": Kept((weight.shape[0], 1), lengths, rate_of_parts, drawn_as="weight"),
    }


class NormedWeight:
    """The weights of one map of the members that normalise them, side by side in a stack. They stand where the others
    have weights that they train: `refresh` writes them, `backward` hands their gradient on."""

    def __init__(self, name: str, members: slice, parameters: Mapping[str, Tensor]) -> None:
        """`name`: of the weights."""
        self.name, self.members = name, members
        self._w, self._v, self._g = (parameters[of][members].flatten(2) for of in (name, f"{name}_v", f"{name}_g"))
        self._length = torch.empty_like(self._g)

    def refresh(self) -> None:
        """After what changes v or g."""
        torch.linalg.vector_norm(self._v, dim=2, keepdim=True, out=self._length)
        torch.mul(self._v, self._g / self._length, out=self._w)

    def backward(self, d_w: Tensor, gradients: Mapping[str, Tensor]) -> None:
        """Leaves the gradients of v and g, by that of w [k, O, ...] (section 2.1)."""
        d_v, d_g = (gradients[f"{self.name}_{of}"][self.members].flatten(2) for of in "vg")
        direction = self._v / self._length
        torch.sum(torch.mul(d_w.flatten(2), direction, out=d_v), 2, keepdim=True, out=d_g)
        torch.sub(d_w.flatten(2), direction.mul_(d_g), out=d_v).mul_(self._g / self._length)


def normed_weights(configs: Sequence[RunConfig], parameters: Mapping[str, Tensor]) -> dict[str, NormedWeight]:
    """Of the members of a stack, by the names of the weights."""
    normed = [k for k, config in enumerate(configs) if config.weight_norm]
    if not normed:
        return {}
    members = slice(normed[0], normed[-1] + 1)
    names = [name.removesuffix("_v") for name in parameters if name.endswith(".weight_v")]
    return {name: NormedWeight(name, members, parameters) for name in names}
