"""Normalisation before or after the activation: the ordinary modules, BatchNorm's stacked form, and its running
statistics. `sample_norm.py` has the kinds that look at one sample at a time.

Shapes: K members, k neighbours, H units, P positions (of an image or a signal; else 1), S = B*P numbers a unit has of B
samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.norms import NORMS
from bnsweep.config.run import RunConfig
from bnsweep.nets.chance import bn_noise
from bnsweep.nets.layer import ByNeighbours, Kept, Layer, kept_by
from bnsweep.nets.sample_norm import SampleNorm, sample_norm
from bnsweep.nets.workspace import LayerBuffers, Share, channels_inside

if TYPE_CHECKING:
    from bnsweep.nets.stack import Stack

aten = torch.ops.aten

NATIVE_BELOW = 30_000
"""Elements up to which torch's own BN is faster on a CPU: it is one call, but a slow one."""

Saved = tuple[Tensor, ...]
"""What a BN keeps for its backward pass."""


def epsilon(config: RunConfig) -> float:
    """What is added to the variance: `bn.eps`, or for 0 the smallest normal number, which adds nothing to any variance
    but 0 and keeps a unit that never varies from 0 / 0."""
    return max(config.bn.eps, torch.finfo(getattr(torch, config.train.dtype)).tiny)


def bias_is_removed(config: RunConfig) -> bool:
    """Whether the normalisation subtracts the hidden layers' biases again, so that their true gradient is 0.

    Such a bias stays in the network, as in the note's, but at 0 and untrained: Adam divides by the gradient's own
    size and would turn its rounding noise into full steps, which the running mean follows only with delay.
    BN and InstanceNorm subtract each unit's own mean, and with it the unit's bias. LayerNorm and GroupNorm subtract a
    mean over units, which takes away what their biases have in common and leaves each its gradient; RMSNorm subtracts
    nothing.
    """
    place = config.placement
    if place == "none" or not NORMS[config.norm.name].of_unit:
        return False
    return place == "before" or ACTIVATIONS[config.activation.name].linear


class BiasedBatchNorm1d(nn.BatchNorm1d):
    """torch's, but that batches count in the running variance by B, not by B - 1."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        count_biased(self, x)
        return y


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """The same of images, whose batches have B*P numbers a unit."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        count_biased(self, x)
        return y


def count_biased(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: Tensor) -> None:
    """Takes back what torch has added too much to the running variance for this batch."""
    if norm.training:
        assert norm.running_var is not None and norm.momentum is not None
        with torch.no_grad():
            rows = x.transpose(0, 1).flatten(1)
            # Not in place: autograd holds on to the buffer that the forward pass saw.
            norm.running_var = norm.running_var - norm.momentum * rows.var(1) / rows.shape[1]


def batch_norm(units: int, config: RunConfig, images: bool = False) -> nn.Module:
    """A BN layer by the conventions of `bn`."""
    bn, dtype = config.bn, getattr(torch, config.train.dtype)
    kinds = (BiasedBatchNorm2d, nn.BatchNorm2d) if images else (BiasedBatchNorm1d, nn.BatchNorm1d)
    norm = kinds[bn.unbiased](units, eps=epsilon(config), momentum=bn.momentum, affine=bn.affine, dtype=dtype)
    assert norm.running_var is not None
    norm.running_var.fill_(bn.initial_variance)
    return norm


@dataclass(frozen=True)
class Norm(Layer):
    """A normalisation of any kind at one of its two places; the members that have it at the other pass it over."""

    block: int
    units: int
    place: str
    """before or after the activation."""
    positions: int = 1
    images: bool = False
    """Whether inputs are [B, H, height, width], and not [B, H]; a signal has height 1."""
    ends: bool = False
    """Whether it is the last of a residual branch."""
    within: str = ""
    """Name of the layer that it is part of."""

    @property
    def name(self) -> str:
        """That of its place, whichever kind stands there: members of one stack differ in it."""
        return f"{self.within}.bn" if self.within else f"bn{self.block}"

    def module(self, config: RunConfig) -> nn.Module | None:
        if config.placement != self.place:
            return None
        if config.batch_norm:
            return batch_norm(self.units, config, self.images)
        return sample_norm(self.units, config, epsilon(config), self.images)

    def kept(self) -> dict[str, Kept]:
        """The same for both places and all kinds: a member has one of them."""

        def scales(config: RunConfig) -> float:
            return float(config.bn.affine and config.placement != "none")

        def shifts(config: RunConfig) -> float:
            return scales(config) and float(NORMS[config.norm.name].centred)

        def scale(config: RunConfig, z: Tensor) -> float:
            return float(not (self.ends and config.norm.zero_init_residual and config.skip.name == "on"))

        shape, positions = (self.units,), self.positions
        return {
            "weight": Kept(shape, scale, scales),
            "bias": Kept(shape, lambda config, z: 0.0, shifts),
            "running_mean": Kept(shape, lambda config, z: 0.0, statistic=True, positions=positions),
            "running_var": Kept(
                shape, lambda config, z: config.bn.initial_variance, statistic=True, positions=positions
            ),
        }

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> StackedNorm:
        return StackedNorm(self, stack, gradients)


class StackedNorm(ByNeighbours):
    """The kind that each group of neighbours has, and the noise behind BN, where their runs have it at this place."""

    def __init__(self, layer: Norm, stack: Stack, gradients: Mapping[str, Tensor]) -> None:
        self.layer = layer
        self._norms: dict[int, BatchNorm | SampleNorm] = {}
        self._noises: dict[int, Noise] = {}
        self._saved: dict[int, Saved] = {}
        for n, neighbours in enumerate(stack.neighbours):
            config, members = stack.configs[neighbours.members.start], neighbours.members
            if config.placement != layer.place:
                continue
            of, eps = (stack, gradients, layer.name, members), epsilon(config)
            if config.batch_norm:
                self._norms[n] = BatchNorm(*of, eps)
            else:
                self._norms[n] = SampleNorm(*of, eps, layer.positions)
            if config.bn.noise > 0:
                self._noises[n] = Noise(stack, members, layer.block - 1)
        # torch's BN, which a GPU takes, needs none.
        native = stack.device.type != "cpu" and not (layer.images and stack.channels_inside)
        self.memory_needed = not (native and all(isinstance(norm, BatchNorm) for norm in self._norms.values()))

    def acts(self, n: int) -> bool:
        return n in self._norms

    def fusible(self, n: int) -> bool:
        return isinstance(self._norms[n], BatchNorm) and n not in self._noises

    def evaluate(self, n: int, buffers: LayerBuffers) -> None:
        self._norms[n].evaluate(buffers.x.members, buffers.y.members)

    def forward(self, n: int, buffers: LayerBuffers, step: Tensor | None) -> None:
        self._saved[n] = self._norms[n].forward(buffers.x.members, buffers.y.members, buffers.kept.members)
        if n in self._noises:
            self._noises[n].forward(buffers.y.members, step)

    def backward(self, n: int, buffers: LayerBuffers, d: Share, free: Share) -> None:
        if n in self._noises:
            self._noises[n].backward(d.members)
        self._norms[n].backward(d.members, self._saved[n], free.members)


class BatchNorm:
    """The BN of one layer of some neighbours. Vectors are [k, H, 1], views of the stack's tensors; x, y, d are
    [k, H, S]."""

    def __init__(self, stack: Stack, gradients: Mapping[str, Tensor], name: str, members: slice, eps: float) -> None:
        def view(tensors: Mapping[str, Tensor], of: str) -> Tensor:
            return tensors[f"{name}.{of}"][members].unsqueeze(2)

        self.eps, self._native_below = eps, stack.native_below
        self.gamma, self.beta = view(stack.parameters, "weight"), view(stack.parameters, "bias")
        self.d_gamma, self.d_beta = view(gradients, "weight"), view(gradients, "bias")
        self.mean, self.variance = (view(stack.running, of) for of in ("running_mean", "running_var"))
        self.batch_mean, self.batch_variance = (view(stack.batch, of) for of in ("running_mean", "running_var"))

    def evaluate(self, x: Tensor, y: Tensor) -> None:
        """With the running statistics."""
        scale = self.gamma * (self.variance + self.eps).rsqrt()
        torch.mul(x, scale, out=y).add_(self.beta - self.mean * scale)

    def forward(self, x: Tensor, y: Tensor, x_hat: Tensor) -> Saved:
        """With the batch's statistics, which are left in the stack. x_hat may be x's own memory."""
        # torch's kernel for channels side by side adds the positions one after the other: over 25,000 and more its
        # statistics are off 40 times as far.
        if not channels_inside(x) and (x.is_cuda or x.numel() < self._native_below):
            return self._native_forward(x, y)
        inverse_std = torch.empty_like(self.gamma)
        for members in together(x):
            self._standardise(members, x[members], y[members], x_hat[members], inverse_std[members])
        return x_hat, inverse_std

    def _standardise(self, members: slice, x: Tensor, y: Tensor, x_hat: Tensor, inverse_std: Tensor) -> None:
        samples, mean = x.shape[2], self.batch_mean[members]
        torch.mean(x, 2, keepdim=True, out=mean)
        torch.sub(x, mean, out=x_hat)
        if channels_inside(x):  # where a norm takes six times as long
            square = torch.mul(x_hat, x_hat, out=y).sum(2, keepdim=True)
        else:
            square = torch.linalg.vector_norm(x_hat, dim=2, keepdim=True).square_()
        torch.div(square, samples - 1, out=self.batch_variance[members])
        torch.add(square.div_(samples), self.eps, out=inverse_std).rsqrt_()
        torch.mul(x_hat.mul_(inverse_std), self.gamma[members], out=y).add_(self.beta[members])

    def _native_forward(self, x: Tensor, y: Tensor) -> Saved:
        # Momentum 1 into zeros: torch leaves the batch's mean and unbiased variance there.
        mean, variance = self.batch_mean.zero_().view(-1), self.batch_variance.zero_().view(-1)
        saved, gamma = (torch.empty_like(mean), torch.empty_like(mean)), self.gamma.view(-1)
        out = rows(y), *saved
        torch.native_batch_norm(rows(x), gamma, self.beta.view(-1), mean, variance, True, 1.0, self.eps, out=out)
        return x, *saved

    def backward(self, d: Tensor, saved: Saved, spare: Tensor) -> None:
        """d = dL/dy becomes dL/dx (Ioffe & Szegedy 2015, section 3)."""
        if len(saved) == 3:
            self._native_backward(d, *saved)
            return
        x_hat, inverse_std = saved
        for members in together(d):
            self._backward(members, d[members], x_hat[members], inverse_std[members], spare[members])

    def _backward(self, members: slice, d: Tensor, x_hat: Tensor, inverse_std: Tensor, spare: Tensor) -> None:
        samples, d_gamma, d_beta = d.shape[2], self.d_gamma[members], self.d_beta[members]
        torch.sum(d, 2, keepdim=True, out=d_beta)
        torch.sum(torch.mul(d, x_hat, out=spare), 2, keepdim=True, out=d_gamma)
        d.sub_(torch.mul(x_hat, d_gamma / samples, out=spare)).sub_(d_beta / samples)
        d.mul_(self.gamma[members] * inverse_std)

    def _native_backward(self, d: Tensor, x: Tensor, mean: Tensor, inverse_std: Tensor) -> None:
        gamma, wanted = self.gamma.view(-1), [True, True, True]
        into = {"out0": rows(d), "out1": self.d_gamma.view(-1), "out2": self.d_beta.view(-1)}
        aten.native_batch_norm_backward.out(
            rows(d), rows(x), gamma, None, None, mean, inverse_std, True, self.eps, wanted, **into
        )


def together(x: Tensor) -> list[slice]:
    """Members that are worked on at a time: images one by one where a CPU has them with channels side by side, so that
    they stay in its cache."""
    return [slice(k, k + 1) for k in range(len(x))] if channels_inside(x) else [slice(None)]


def rows(x: Tensor) -> Tensor:
    """[k, H, S] as [1, k*H, S]: the units of several members as those of one."""
    return x.view(1, -1, x.shape[2])


class Noise:
    """What follows a BN of some neighbours in training where `bn.noise` is set."""

    def __init__(self, stack: Stack, members: slice, layer: int) -> None:
        configs = stack.configs[members]
        self._layer = layer
        self._seeds = torch.tensor([c.seed for c in configs], device=stack.device)
        self._amplitudes = torch.tensor([c.bn.noise for c in configs], device=stack.device)
        self._scale: Tensor | None = None

    def forward(self, y: Tensor, step: Tensor | None) -> None:
        """On the outputs y [k, H, S] of the BN; none without a `step`."""
        self._scale = None
        if step is not None:
            scale, shift = bn_noise(self._seeds, step, self._layer, y.shape[1], y.shape[2], self._amplitudes)
            self._scale = scale.to(y.dtype)
            y.mul_(self._scale).add_(shift.to(y.dtype))

    def backward(self, d: Tensor) -> None:
        if self._scale is not None:
            d.mul_(self._scale)


class RunningStatistics:
    """Blends the last batch's BN statistics into a stack's running ones, each member with its own momentum and
    convention. All layers at once: they lie end to end."""

    def __init__(self, stack: Stack, kernels: bool = False) -> None:
        """`kernels`: whether Triton's take the place of torch's."""
        self._kernels = kernels
        self._running, self._batch = stack.running.flat, stack.batch.flat
        self._member = stack.running.members()
        self._momentum = stack.scalars(lambda c: c.bn.momentum)[self._member]
        biased_K = stack.scalars(lambda c: float(not c.bn.unbiased))
        self._biased = self._of_variances(stack, biased_K) if bool(biased_K.any()) else None

    @staticmethod
    def _of_variances(stack: Stack, biased_K: Tensor) -> Tensor:
        """1 / P at the running variances that count a batch with all its numbers, not one fewer; 0 elsewhere."""
        marks, kept = stack.running.alike(), kept_by(stack.layers)
        for name, mark in marks.items():
            if name.endswith("running_var"):
                mark += biased_K.view(-1, 1) / kept[name].positions
        return marks.flat

    def update(self, samples: int, alive_K: Tensor | None) -> None:
        """After a batch of so many samples. A member that is no longer alive keeps its own; None: all are."""
        batch = self._batch
        if self._kernels:
            from bnsweep.kernels.statistics import blend

            assert alive_K is not None
            blend(self._running, batch, self._member, self._momentum, self._biased, alive_K, samples)
            return
        if self._biased is not None:
            batch = batch.addcmul(batch, self._biased, value=-1 / samples)
        if alive_K is not None:
            batch = torch.where(alive_K.index_select(0, self._member), batch, self._running)
        self._running.lerp_(batch, self._momentum)
