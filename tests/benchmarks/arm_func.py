"""(e): torch.func over nets of equal architecture: vmap of grad, parameters and BN buffers stacked.

`functional_call` of the module itself would do, and agrees to 1e-7 with stacked buffers, but vmap of its BatchNorm
took 11 ms a member and step on a CPU: the forward is written out, and the running statistics are kept by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, stack_module_state, vmap

from bnsweep.config.run import RunConfig
from bnsweep.nets.plain import build
from tests.benchmarks.arm import Arm, NotRun, fastest_threads
from tests.benchmarks.arm_single import has_compiler
from tests.benchmarks.work import BATCH, Work

Tensors = dict[str, Tensor]


def normalise(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Batch norm of one member's [B, H] or [B, C, H, W], and its batch mean and unbiased variance [2, C]."""
    over = [axis for axis in range(x.dim()) if axis != 1]
    n, column = x.numel() // x.shape[1], (-1, *[1] * (x.dim() - 2))
    mean = x.mean(over)
    centred = x - mean.view(column)
    variance = (centred * centred).mean(over)
    stats = torch.stack([mean.detach(), variance.detach() * (n / (n - 1))])
    return centred * (torch.rsqrt(variance + eps) * gamma).view(column) + beta.view(column), stats


class Group:
    """Members of one architecture and one data order."""

    def __init__(self, work: Work, members: Sequence[int], compiled: bool) -> None:
        self.members = list(members)
        self.configs = [work.configs[i] for i in members]
        models = [build(c) for c in self.configs]
        parameters, buffers = stack_module_state(models)
        device = work.device
        self.fixed_names = {name for name, p in models[0].named_parameters() if not p.requires_grad}
        stacked = {name: p.detach().to(device) for name, p in parameters.items()}
        self.trained = {name: p for name, p in stacked.items() if name not in self.fixed_names}
        self.fixed = {name: stacked[name] for name in self.fixed_names}
        self.buffers = {name: b.to(device) for name, b in buffers.items()}
        lr_K = torch.tensor([c.lr.value for c in self.configs], device=device)
        self.minus_lr = {name: -lr_K.view(-1, *[1] * (p.dim() - 1)) for name, p in self.trained.items()}
        gradients = vmap(grad(loss_of(self.configs[0]), has_aux=True), (0, 0, None, None))
        self.gradients: Any = torch.compile(gradients) if compiled else gradients

    @torch.no_grad()
    def step(self, x: Tensor, y: Tensor) -> None:
        gradients, stats = self.gradients(self.trained, self.fixed, x, y)
        for name, p in self.trained.items():
            p.addcmul_(gradients[name], self.minus_lr[name])
        momentum = self.configs[0].bn.momentum
        for layer, (mean, variance) in ((layer, both.unbind(1)) for layer, both in stats.items()):
            self.buffers[f"{layer}.running_mean"].lerp_(mean, momentum)
            self.buffers[f"{layer}.running_var"].lerp_(variance, momentum)

    def export(self, k: int) -> nn.Sequential:
        model = build(self.configs[k])
        state = {**self.trained, **self.fixed, **self.buffers}
        model.load_state_dict({name: value[k].cpu() for name, value in state.items()})
        return model


def loss_of(config: RunConfig) -> Any:
    """Loss of one member as a function of its parameters; its batch statistics come beside it."""
    modules = dict(build(config).named_children())

    def loss(trained: Tensors, fixed: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensors]:
        p, stats = {**trained, **fixed}, {}
        for name, module in modules.items():
            weight, bias = p.get(f"{name}.weight"), p.get(f"{name}.bias")
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                x, stats[name] = normalise(x, weight, bias, config.bn.eps)
            elif isinstance(module, nn.Linear):
                x = F.linear(x, weight, bias)
            elif isinstance(module, nn.Conv2d):
                x = F.conv2d(x, weight, bias, module.stride, module.padding)
            else:
                x = module(x)
        return F.cross_entropy(x, y), stats

    return loss


class Vmap(Arm):
    label = "(e) torch.func vmap"
    compiled = False

    def __init__(self, work: Work, threads: int | None = None) -> None:
        super().__init__(work)
        self.threads = threads or self.trial([Group(work, members, compiled=False) for members in work.groups()])
        self.settings = {"threads": self.threads}
        torch.set_num_threads(self.threads)
        self.groups = [Group(work, members, self.compiled) for members in work.groups()]
        self.x, self.y = work.dataset.x_ND.to(work.device), work.dataset.y_N.to(work.device)
        self.note = f"{len(self.groups)} groups of equal architecture, torch threads: {self.threads}"

    def trial(self, groups: Sequence[Group]) -> int:
        """The faster number of threads."""
        rows = self.work.train_rows(self.configs[0])[:BATCH]
        x, y = (t[rows].to(self.work.device) for t in (self.work.dataset.x_ND, self.work.dataset.y_N))
        return fastest_threads(lambda: [group.step(x, y) for group in groups])

    def epoch(self, number: int) -> None:
        torch.set_num_threads(self.threads)
        orders = [self.work.order(g.configs[0], number).to(self.work.device).split(BATCH) for g in self.groups]
        for batches in zip(*orders, strict=True):
            gathered: dict[int, tuple[Tensor, Tensor]] = {}
            for group, rows in zip(self.groups, batches, strict=True):
                seed = group.configs[0].data_seed
                if seed not in gathered:
                    gathered[seed] = self.x[rows], self.y[rows]
                group.step(*gathered[seed])
        if self.work.device.type == "cuda":
            torch.cuda.synchronize()

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        place = {i: (group, k) for group in self.groups for k, i in enumerate(group.members)}
        return [place[i][0].export(place[i][1]) for i in members]


class VmapCompiled(Vmap):
    label = "(e) torch.func vmap, compiled"
    compiled = True

    def __init__(self, work: Work, threads: int | None = None) -> None:
        if not has_compiler():
            raise NotRun("torch.compile needs a C++ compiler")
        # A group is a function of its own, and dynamo keeps few versions of one code object.
        torch._dynamo.reset()
        super().__init__(work, threads)
