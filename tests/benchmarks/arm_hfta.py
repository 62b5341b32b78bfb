"""(g): HFTA's fused Linear and BatchNorm1d with its fused Adam (it has no fused SGD), from a checkout given by --hfta.

Wang et al., "Horizontally Fused Training Array", MLSys 2021. Nothing of it is in this repository.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep.nets.activation import Activation
from bnsweep.nets.norm import bias_is_removed
from bnsweep.nets.plain import build
from tests.benchmarks.arm import Arm, NotRun, fastest_threads
from tests.benchmarks.work import BATCH, Work


def fused_ops() -> tuple[Any, Any]:
    """HFTA's ops and optimizers."""
    path = os.environ.get("HFTA_PATH")
    if not path:
        raise NotRun("no HFTA given; --hfta PATH (or HFTA_PATH) names a checkout of UofT-EcoSystem/hfta")
    if not (Path(path) / "hfta" / "ops").is_dir():
        raise NotRun(f"{path} holds no hfta/ops")
    if path not in sys.path:
        sys.path.insert(0, path)
    import hfta.ops
    import hfta.optim

    return hfta.ops, hfta.optim


class Group:
    """Members of one architecture as one fused network; HFTA's arrays are [members, batch, units]."""

    def __init__(self, work: Work, members: Sequence[int]) -> None:
        ops, optim = fused_ops()
        if work.spec.convolutional:
            raise NotRun("its network is the MLP's; arm h writes HFTA's convolutions out")
        self.members, self.configs = list(members), [work.configs[i] for i in members]
        one, k = self.configs[0], len(members)
        models = [build(c) for c in self.configs]
        layers: list[nn.Module] = []
        for name, module in models[0].named_children():
            if isinstance(module, nn.Linear):
                # Of hidden layers before BN the bias is not trained; HFTA leaves it out in the same way.
                last = name == f"linear{len(one.model.hidden) + 1}"
                bias = last or not bias_is_removed(one)
                layers.append(ops.Linear(module.in_features, module.out_features, bias=bias, B=k))
            elif isinstance(module, nn.BatchNorm1d):
                layers.append(ops.BatchNorm1d(module.num_features, eps=one.bn.eps, momentum=one.bn.momentum, B=k))
            elif isinstance(module, Activation):
                layers.append(module)
        self.net = nn.Sequential(*layers)
        for layer, parts in zip(layers, zip(*(m.children() for m in models), strict=True), strict=True):
            for b, part in enumerate(parts):
                if hasattr(layer, "snatch_parameters"):
                    layer.snatch_parameters(part, b)
        self.net.to(work.device)
        self.optimizer = optim.Adam(self.net.parameters(), lr=[c.lr.value for c in self.configs], B=k)

    def step(self, x: Tensor, y: Tensor) -> None:
        k = len(self.members)
        logits = self.net(x.expand(k, *x.shape))
        loss = F.cross_entropy(logits.flatten(0, 1), y.repeat(k), reduction="none").view(k, -1).mean(1).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def export(self, k: int) -> nn.Sequential:
        model = build(self.configs[k])
        with torch.no_grad():
            for fused, part in zip(self.net, model, strict=True):
                if isinstance(part, nn.Linear):
                    part.weight.copy_(fused.weight[k].T)
                    if fused.bias is not None:
                        part.bias.copy_(fused.bias[k, 0])
                elif isinstance(part, nn.BatchNorm1d):
                    for name in ("weight", "bias", "running_mean", "running_var"):
                        getattr(part, name).copy_(getattr(fused, name)[k])
        return model


class Hfta(Arm):
    label = "(g) HFTA fused ops, Adam"
    optimizer = "adam"
    group: Any = Group

    def __init__(self, work: Work, threads: int | None = None) -> None:
        super().__init__(work)
        self.threads = threads or self.trial([self.group(work, members) for members in work.groups()])
        self.settings = {"threads": self.threads}
        torch.set_num_threads(self.threads)
        self.groups = [self.group(work, members) for members in work.groups()]
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
            for group, rows in zip(self.groups, batches, strict=True):
                group.step(self.x[rows], self.y[rows])
        if self.work.device.type == "cuda":
            torch.cuda.synchronize()

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        place = {i: (group, k) for group in self.groups for k, i in enumerate(group.members)}
        return [place[i][0].export(place[i][1]) for i in members]
