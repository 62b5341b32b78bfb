"""Every diagnostic of a run by plain autograd on its ordinary network: what `probes.diagnostics` is held against."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets.chance import dropout_uniforms

Step = Callable[[nn.Module], None]
"""One step of the run's optimizer, the parameters' gradients being there."""


class Read:
    """Loss, gradients and activations of one network on one batch, in training mode without dropout."""

    def __init__(self, model: nn.Sequential, x: Tensor, y: Tensor) -> None:
        self.model = copy.deepcopy(model).train()
        self.a: list[Tensor] = []
        self.h: list[Tensor] = []
        self.z: list[Tensor] = []
        for name, module in self.model.named_children():
            if name.startswith("dropout"):
                module.eval()
            elif name.startswith("activation"):
                module.register_forward_hook(self._keep)
            elif name.startswith(("linear", "conv")):
                module.register_forward_hook(lambda module, args, z: self.z.append(z))
        for parameter in self.model.parameters():
            parameter.requires_grad_()
        normed = {f"{name}.weight": m for name, m in self.model.named_modules() if hasattr(m, "weight_v")}
        self.w = {name: self._kept_weight(module) for name, module in normed.items()}
        self.logits = self.model(x)
        self.loss = F.cross_entropy(self.logits, y)
        self.logits.retain_grad()
        self.loss.backward()

    def _keep(self, module: nn.Module, args: tuple[Tensor], h: Tensor) -> None:
        args[0].retain_grad()
        self.a.append(args[0])
        self.h.append(h)

    @staticmethod
    def _kept_weight(module: Any) -> Tensor:
        """The weights that a module with weight normalisation computes with, which keep their gradient."""
        w: Tensor = module.normalised_weight()
        w.retain_grad()
        module.normalised_weight = lambda: w
        return w

    def weight(self, name: str) -> Tensor:
        return weight_of(self.model, name)

    def grad(self, name: str) -> Tensor:
        grad = (self.w[name] if name in self.w else self.model.get_parameter(name)).grad
        assert grad is not None
        return grad


def weight_of(model: nn.Module, name: str) -> Tensor:
    """The weights that a linear map or convolution computes with."""
    module: Any = model.get_submodule(name.removesuffix(".weight"))
    found: Tensor = module.normalised_weight() if hasattr(module, "weight_v") else module.weight
    return found.detach()


def map_of(model: nn.Module, i: int) -> str:
    """Name of a linear map or convolution."""
    return next(name for name, _ in model.named_children() if name in (f"linear{i}", f"conv{i}"))


def by_unit(x: Tensor) -> Tensor:
    """[B, H] or, of images, every position of a sample as one more of the B."""
    return x.transpose(0, 1).flatten(1).T


def light(config: RunConfig, model: nn.Sequential, x: Tensor, y: Tensor, lr: float) -> dict[str, float]:
    read, n = Read(model, x, y), config.model.layers
    values: dict[str, float] = {}
    d = [a.grad.norm().item() for a in (*read.a, read.logits) if a.grad is not None]
    values["flow"] = math.log10(d[0] / d[n - 1])
    if n > 1:
        backward = torch.arange(n - 1, -1, -1).double()
        log = torch.tensor(d[:n], dtype=torch.float64).square().log()
        line = torch.linalg.lstsq(torch.stack([backward, torch.ones(n).double()], 1), log[:, None]).solution
        values["growth"] = math.exp(line[0, 0].item())
    for i in range(1, n + 2):
        rate = lr * (config.lr.hidden if i <= n else 1)
        w, g = (of(f"{map_of(model, i)}.weight") for of in (read.weight, read.grad))
        values[f"layer/{i}/grad_activation"] = d[i - 1]
        values[f"layer/{i}/grad_weight"] = g.norm().item()
        values[f"layer/{i}/update_ratio"] = rate * g.norm().item() / w.norm().item()
        if i <= n and config.bn.placement == "before":
            values[f"layer/{i}/effective_lr"] = sum(rate / row.norm().item() ** 2 for row in w) / len(w)
    for i, (a, h) in enumerate(zip(read.a, read.h, strict=True), 1):
        values |= {f"layer/{i}/mean": h.mean().item(), f"layer/{i}/std": h.std(correction=0).item()}
        values[f"layer/{i}/nonpositive"] = (a <= 0).double().mean().item()
        if config.activation.name == "relu":
            values[f"layer/{i}/dead"] = (by_unit(h) == 0).all(0).double().mean().item()
        elif config.activation.name == "sigmoid":
            values[f"layer/{i}/saturation"] = ((h < 0.05) | (h > 0.95)).double().mean().item()
        elif config.activation.name == "tanh":
            values[f"layer/{i}/saturation"] = (h.abs() > 0.95).double().mean().item()
    return values


def full(config: RunConfig, model: nn.Sequential, x: Tensor, y: Tensor, lr: float, step: Step) -> dict[str, float]:
    """What one moment tells: all but `shift`, `angular_update` and `dropout_ratio`."""
    read, n = Read(model, x, y), config.model.layers
    values = light(config, model, x, y, lr)
    values["batch/loss"] = read.loss.item()
    values["batch/accuracy"] = (read.logits.argmax(1) == y).double().mean().item()
    if config.bn.placement != "none":
        running = F.cross_entropy(copy.deepcopy(model).eval()(x), y).item()
        values["bn_gap"] = read.loss.item() - running
        for i in range(1, n + 1):
            values[f"layer/{i}/running_variance"] = model.get_buffer(f"bn{i}.running_var").mean().item()
    half = len(x) // 2
    p, alone = read.logits[:half].softmax(1), Read(model, x[:half], y[:half]).logits.softmax(1)
    values["mates"] = (p - alone).abs().sum(1).mean().item() / 2
    for i, q in enumerate(percentiles(model, x, y), 1):
        for name, first in zip(("unit_q15", "unit_q50", "unit_q85"), q[:, 0], strict=True):
            values[f"layer/{i}/{name}"] = first.item()
        values[f"layer/{i}/spread"] = (q[2] - q[0]).mean().item()
    for i in range(1, n + 1):
        w, g = (of(f"{map_of(model, i)}.weight") for of in (read.weight, read.grad))
        values[f"layer/{i}/weight_cosine"] = F.cosine_similarity(w.flatten(), g.flatten(), dim=0).item()
        if config.model.bias:
            values[f"layer/{i}/grad_bias"] = read.grad(f"{map_of(model, i)}.bias").norm().item()
    return values | covariate_shift(model, x, y, n, step) | landscape(model, x, y, lr)


def percentiles(model: nn.Sequential, x: Tensor, y: Tensor) -> list[Tensor]:
    """[3, H] of every hidden layer's activation input."""
    levels = torch.tensor([0.15, 0.5, 0.85], dtype=x.dtype)
    return [by_unit(a.detach()).quantile(levels, dim=0) for a in Read(model, x, y).a]


def trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def covariate_shift(model: nn.Sequential, x: Tensor, y: Tensor, n: int, step: Step) -> dict[str, float]:
    here, updated = Read(model, x, y), copy.deepcopy(model)
    for name in trained(updated):
        updated.get_parameter(name).grad = here.grad(name).clone()
    step(updated)
    values: dict[str, float] = {}
    for i in range(2, n + 2):
        mixed = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in mixed.named_parameters():
                if int("".join(c for c in name.split(".")[0] if c.isdigit())) < i:
                    parameter.copy_(updated.get_parameter(name))
        before, after = (one.grad(f"{map_of(model, i)}.weight") for one in (here, Read(mixed, x, y)))
        values[f"layer/{i}/ics"] = (before - after).norm().item()
        values[f"layer/{i}/ics_ratio"] = ((before - after).norm() / before.norm()).item()
        values[f"layer/{i}/ics_cosine"] = F.cosine_similarity(before.flatten(), after.flatten(), dim=0).item()
    return values


def landscape(model: nn.Sequential, x: Tensor, y: Tensor, lr: float) -> dict[str, float]:
    names, here = trained(model), Read(model, x, y)
    g = torch.cat([here.grad(name).flatten() for name in names])
    losses, changes, betas = [], [], []
    for alpha in (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name in names:
                moved.get_parameter(name).sub_(alpha * lr * here.grad(name))
        there = Read(moved, x, y)
        change = (g - torch.cat([there.grad(name).flatten() for name in names])).norm().item()
        losses.append(there.loss.item())
        changes.append(change)
        betas.append(change / (alpha * lr * g.norm().item()))
    return {
        "landscape/loss_range": max(losses) - min(losses),
        "landscape/gradient_change": max(changes),
        "landscape/beta": max(betas),
    }


def angular_updates(before: nn.Sequential, after: nn.Sequential, n: int) -> dict[str, float]:
    values = {}
    for i in range(1, n + 1):
        rows = [weight_of(model, f"{map_of(model, i)}.weight").flatten(1) for model in (before, after)]
        # By the chord: the arc cosine cannot tell small angles apart.
        chords = [(u / u.norm() - v / v.norm()).norm().item() for u, v in zip(*rows, strict=True)]
        angles = [2 * math.asin(chord / 2) for chord in chords]
        values[f"layer/{i}/angular_update"] = sum(angles) / len(angles)
    return values


def dropout_ratios(config: RunConfig, model: nn.Sequential, x: Tensor, y: Tensor, step: int) -> dict[str, float]:
    """With the same units dropped: those of the seed, the step and the layer."""
    dropped, keep, z = copy.deepcopy(model).train(), 1 - config.model.dropout, []
    h = x
    for name, module in dropped.named_children():
        if name.startswith("dropout"):
            layer = int(name.removeprefix("dropout")) - 1
            uniform = dropout_uniforms(torch.tensor([config.seed]), step, layer, h.shape[1], len(h))[0].T
            h = h * (uniform >= config.model.dropout) / keep
        else:
            h = module(h)
        if name.startswith("linear"):
            z.append(h)
    pairs = enumerate(zip(Read(model, x, y).z[1:], z[1:], strict=True), 2)
    return {f"layer/{i}/dropout_ratio": (a.var(0).mean() / b.var(0).mean()).item() for i, (a, b) in pairs}
