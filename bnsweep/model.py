"""The lecture's network generalised, as an ordinary `nn.Module`: the reference the stack is held against.

The note's `dnn_batchnorm` is Linear 784-32, BatchNorm1d, ReLU, Linear 32-32, BatchNorm1d, ReLU, Linear 32-10 with
`xavier_normal_` weights: `model=lecture activation=relu bn=before init=xavier data=mnist`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config import InitConfig, RunConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "identity": lambda a: a,
}

STDS: dict[str, Callable[[int, int], float]] = {
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "lecun": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
}
"""Weight standard deviations: Glorot & Bengio 2010, eq. 16; He et al. 2015, eq. 10; LeCun et al. 1998, sec. 4.6."""


def draw_normals(seed: int, sizes: Sequence[int]) -> list[Tensor]:
    """Standard normals [out, in] of every linear layer, float64 on the CPU: what all arms of a seed bundle share."""
    generator = torch.Generator().manual_seed(seed)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def initial_weight(init: InitConfig, z: Tensor) -> Tensor:
    """Turn standard normals z [out, in] into the weights of one layer.

    A uniform of the same standard deviation is sqrt(3) * erf(z / sqrt 2), so uniform and normal arms stay paired.
    """
    fan_out, fan_in = z.shape
    if init.name == "orthogonal":
        tall = z if fan_out >= fan_in else z.T
        q, r = torch.linalg.qr(tall)
        # Sign fixed by R's diagonal: uniform over orthogonal matrices (Saxe et al. 2014, as torch's orthogonal_).
        square: Tensor = q * r.diagonal().sign()
        return square if fan_out >= fan_in else square.T
    std = init.std if init.std is not None else STDS[init.name](fan_in, fan_out)
    unit = z if init.distribution == "normal" else math.sqrt(3) * torch.erf(z / math.sqrt(2))
    return std * unit


class Activation(nn.Module):
    """One entry of ACTIVATIONS as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, a: Tensor) -> Tensor:
        return ACTIVATIONS[self.name](a)

    def extra_repr(self) -> str:
        return self.name


def bias_is_removed(config: RunConfig) -> bool:
    """Whether BN subtracts the hidden layers' biases again, so that their true gradient is 0.

    Such a bias stays in the network, as in the note's, but at 0 and untrained: Adam divides by the gradient's own
    size and would turn its rounding noise into full steps, which the running mean follows only with delay.
    """
    place = config.bn.placement
    return place == "before" or (place == "after" and config.activation.name == "identity")


def build(config: RunConfig) -> nn.Sequential:
    """The plain network of a run, freshly initialised: weights by `init`, biases 0, BN scale 1 and shift 0.

    Modules are named `linear1`, `bn1`, `activation1`, `dropout1`, ..., the last linear layer has no others.
    """
    sizes, bn, layers = config.sizes, config.bn, OrderedDict[str, nn.Module]()
    dtype = getattr(torch, config.train.dtype)
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), start=1):
        layers[f"linear{i}"] = nn.Linear(n_in, n_out, dtype=dtype)
        if i == len(sizes) - 1:
            break
        norm = None
        if bn.placement != "none":
            norm = nn.BatchNorm1d(n_out, eps=bn.eps, momentum=bn.momentum, affine=bn.affine, dtype=dtype)
        if norm is not None and bn.placement == "before":
            layers[f"bn{i}"] = norm
        layers[f"activation{i}"] = Activation(config.activation.name)
        if norm is not None and bn.placement == "after":
            layers[f"bn{i}"] = norm
        if config.model.dropout > 0:
            layers[f"dropout{i}"] = nn.Dropout(config.model.dropout)
    model = nn.Sequential(layers)
    with torch.no_grad():
        for i, z in enumerate(draw_normals(config.seed, sizes), start=1):
            linear = model.get_submodule(f"linear{i}")
            assert isinstance(linear, nn.Linear)
            linear.weight.copy_(initial_weight(config.init, z))
            linear.bias.zero_()
            linear.bias.requires_grad_(i == len(sizes) - 1 or not bias_is_removed(config))
    return model
