"""The ordinary way: one `nn.Module`, `torch.optim`, a loop. What the stack is held against."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep import data
from bnsweep.config import RunConfig
from bnsweep.dropout import dropout_uniforms
from bnsweep.model import build


@dataclass
class PlainRun:
    model: nn.Sequential
    step_losses: list[float] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)


class BundleDropout(nn.Module):
    """nn.Dropout with the masks of the run's seed bundle instead of torch's global generator."""

    def __init__(self, config: RunConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer, self.step = config, layer, 0

    def forward(self, h_BH: Tensor) -> Tensor:
        if not self.training:
            return h_BH
        p, (batch, units) = self.config.model.dropout, h_BH.shape
        keep = dropout_uniforms(torch.tensor([self.config.seed]), self.step, self.layer, units, batch)[0].T >= p
        self.step += 1
        return h_BH * keep / (1 - p)


def make_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    o = config.optimizer
    if o.name == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr.value, weight_decay=o.weight_decay)
    momentum = o.momentum if o.name == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), lr=config.lr.value, momentum=momentum, weight_decay=o.weight_decay)


def score(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    model.eval()
    with torch.no_grad():
        logits = model(x)
        return F.cross_entropy(logits, y).item(), (logits.argmax(1) == y).double().mean().item()


def train_plain(config: RunConfig, dataset: data.Dataset) -> PlainRun:
    model = build(config)
    for i in range(1, len(config.model.hidden) + 1):
        if config.model.dropout > 0:
            setattr(model, f"dropout{i}", BundleDropout(config, i - 1))
    optimizer = make_optimizer(config, model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: config.lr.scale(t, config.total_steps))
    x, y = dataset.x_ND.to(getattr(torch, config.train.dtype)), dataset.y_N
    split = data.split(dataset, config.data, config.data_seed)
    run = PlainRun(model)
    for epoch in range(config.train.epochs + 1):
        if epoch:
            order = split.train[data.batch_order(config.data_seed, epoch - 1, len(split.train))]
            for rows in order.split(config.train.batch_size):
                model.train()
                loss = F.cross_entropy(model(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                run.step_losses.append(loss.item())
        for name, rows in (("train", split.train), ("val", split.validation), ("test", split.test)):
            for kind, value in zip(("loss", "accuracy"), score(model, x[rows], y[rows]), strict=True):
                run.history.setdefault(f"{name}/{kind}", []).append(value)
    return run
