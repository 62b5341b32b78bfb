"""The lecture's network generalised, as an ordinary `nn.Module`: the reference the stack is held against.

The note's `dnn_batchnorm` is Linear 784-32, BatchNorm1d, ReLU, Linear 32-32, BatchNorm1d, ReLU, Linear 32-10 with
`xavier_normal_` weights: `model=lecture activation=relu bn=before init=xavier data=mnist`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.inits import INITS
from bnsweep.config.run import InitConfig, RunConfig
from bnsweep.nets.activation import Activation


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
    if INITS[init.name].orthogonal:
        tall = z if fan_out >= fan_in else z.T
        q, r = torch.linalg.qr(tall)
        # Sign fixed by R's diagonal: uniform over orthogonal matrices (Saxe et al. 2014, as torch's orthogonal_).
        square: Tensor = q * r.diagonal().sign()
        return square if fan_out >= fan_in else square.T
    rule = INITS[init.name].std
    std = rule(fan_in, fan_out) if rule is not None else init.std
    assert std is not None, "settings check it"
    unit = z if init.distribution == "normal" else math.sqrt(3) * torch.erf(z / math.sqrt(2))
    return std * unit


def bias_is_removed(config: RunConfig) -> bool:
    """Whether BN subtracts the hidden layers' biases again, so that their true gradient is 0.

    Such a bias stays in the network, as in the note's, but at 0 and untrained: Adam divides by the gradient's own
    size and would turn its rounding noise into full steps, which the running mean follows only with delay.
    """
    place = config.bn.placement
    return place == "before" or (place == "after" and ACTIVATIONS[config.activation.name].linear)


def epsilon(config: RunConfig) -> float:
    """What BN adds to the variance: `bn.eps`, or for 0 the smallest normal number, which adds nothing to any variance
    but 0 and keeps a unit that never varies from 0 / 0."""
    return max(config.bn.eps, torch.finfo(getattr(torch, config.train.dtype)).tiny)


class BiasedBatchNorm1d(nn.BatchNorm1d):
    """torch's, but that batches count in the running variance by B, not by B - 1."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.training:
            assert self.running_var is not None and self.momentum is not None
            with torch.no_grad():
                # Not in place: autograd holds on to the buffer that the forward pass saw.
                self.running_var = self.running_var - self.momentum * x.var(0) / len(x)
        return y


def batch_norm(units: int, config: RunConfig) -> nn.BatchNorm1d:
    """A BN layer by the conventions of `bn`."""
    bn, kind = config.bn, nn.BatchNorm1d if config.bn.unbiased else BiasedBatchNorm1d
    dtype = getattr(torch, config.train.dtype)
    norm = kind(units, eps=epsilon(config), momentum=bn.momentum, affine=bn.affine, dtype=dtype)
    assert norm.running_var is not None
    norm.running_var.fill_(bn.initial_variance)
    return norm


def scaled_in_training(config: RunConfig) -> bool:
    return config.model.dropout_scaling == "train"


class UnscaledDropout(nn.Module):
    """Dropout as first published: units are dropped in training, and at test all outputs are multiplied by the share
    that was kept (Srivastava et al. 2014, section 4)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.p) * (1 - self.p) if self.training else h * (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def build(config: RunConfig) -> nn.Sequential:
    """The plain network of a run, freshly initialised: weights by `init`, biases 0, BN scale 1 and shift 0.

    Modules are named `linear1`, `bn1`, `activation1`, `dropout1`, ..., the last linear layer has no others.
    """
    sizes, layers = config.sizes, OrderedDict[str, nn.Module]()
    place, dropout = config.bn.placement, config.model.dropout
    dtype = getattr(torch, config.train.dtype)
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), start=1):
        layers[f"linear{i}"] = nn.Linear(n_in, n_out, bias=config.model.bias, dtype=dtype)
        if i == len(sizes) - 1:
            break
        if place == "before":
            layers[f"bn{i}"] = batch_norm(n_out, config)
        layers[f"activation{i}"] = Activation(config.activation.name)
        if place == "after":
            layers[f"bn{i}"] = batch_norm(n_out, config)
        if dropout > 0:
            layers[f"dropout{i}"] = nn.Dropout(dropout) if scaled_in_training(config) else UnscaledDropout(dropout)
    model = nn.Sequential(layers)
    with torch.no_grad():
        for i, z in enumerate(draw_normals(config.seed, sizes), start=1):
            linear = model.get_submodule(f"linear{i}")
            assert isinstance(linear, nn.Linear)
            hidden = i < len(sizes) - 1
            linear.weight.copy_(initial_weight(config.init, z) * (config.init.gain if hidden else 1.0))
            if config.model.bias:
                linear.bias.zero_()
                linear.bias.requires_grad_(not (hidden and bias_is_removed(config)))
    return model
