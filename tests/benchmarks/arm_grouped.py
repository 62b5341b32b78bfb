"""(h): HFTA's fused convolutions written out: members of one architecture are one network of torch's own grouped
convolutions and BatchNorm over K times the channels, with one rate a member.

Wang et al., "Horizontally Fused Training Array", MLSys 2021. Where they repeat the batch for the first convolution, all
members have the same here, and it is one wide convolution: faster, and the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.nets.plain import build
from tests.benchmarks.arm import NotRun
from tests.benchmarks.arm_hfta import Hfta
from tests.benchmarks.work import Work


class GroupedLinear(nn.Module):
    """[B, K*D] to [B, K*O]."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([part.weight.detach() for part in parts]))
        self.bias = nn.Parameter(torch.stack([part.bias.detach() for part in parts]))

    def forward(self, x: Tensor) -> Tensor:
        k, _, inputs = self.weight.shape
        x_KBD = x.view(len(x), k, inputs).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], x_KBD, self.weight.transpose(1, 2)).transpose(0, 1).flatten(1)


def fused(parts: Sequence[nn.Module], first: bool) -> nn.Module:
    """One module for the same place in all members."""
    one, k = parts[0], len(parts)
    if isinstance(one, nn.Linear):
        return GroupedLinear(parts)  # type: ignore[arg-type]
    if isinstance(one, nn.BatchNorm2d):
        made: nn.Module = nn.BatchNorm2d(k * one.num_features, one.eps, one.momentum)
    elif isinstance(one, nn.Conv2d):
        inputs, groups = (one.in_channels, 1) if first else (k * one.in_channels, k)
        shape = one.kernel_size, one.stride, one.padding
        made = nn.Conv2d(inputs, k * one.out_channels, *shape, groups=groups)  # type: ignore[arg-type]
    else:
        return one
    states = [part.state_dict() for part in parts]
    for name, value in made.state_dict().items():
        if value.dim():  # all but the count of batches
            value.copy_(torch.cat([state[name] for state in states]))
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(one.get_parameter(name).requires_grad)
    return made


class Group:
    """Members of one architecture as one network."""

    def __init__(self, work: Work, members: Sequence[int]) -> None:
        self.members, self.configs = list(members), [work.configs[i] for i in members]
        models = [build(c) for c in self.configs]
        places = zip(*(model.named_children() for model in models), strict=True)
        self.net = nn.Sequential()
        for place in places:
            name = place[0][0]
            self.net.add_module(name, fused([part for _, part in place], first=name == "conv1"))
        self.net.to(work.device)
        lr_K = torch.tensor([c.lr.value for c in self.configs], device=work.device)
        self.trained = [p for p in self.net.parameters() if p.requires_grad]
        self.rates = [-lr_K.repeat_interleave(p.numel() // len(members)).view_as(p) for p in self.trained]

    def step(self, x: Tensor, y: Tensor) -> None:
        k = len(self.members)
        logits = self.net(x).view(len(x) * k, -1)
        loss = F.cross_entropy(logits, y.repeat_interleave(k), reduction="sum") / len(x)
        gradients = torch.autograd.grad(loss, self.trained)
        with torch.no_grad():
            torch._foreach_addcmul_(self.trained, gradients, self.rates)

    def export(self, k: int) -> nn.Sequential:
        model = build(self.configs[k])
        state = self.net.state_dict()
        model.load_state_dict(
            {
                name: state[name].flatten().chunk(len(self.members))[k].view_as(value) if value.dim() else value
                for name, value in model.state_dict().items()
            }
        )
        return model


class Grouped(Hfta):
    label = "(h) grouped convolutions, HFTA's form"
    optimizer = "sgd"
    group = Group

    def __init__(self, work: Work, threads: int | None = None) -> None:
        if not work.spec.convolutional:
            raise NotRun("its network is convolutional; arm g has HFTA's own operators for the MLP")
        super().__init__(work, threads)
