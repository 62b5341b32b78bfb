"""(own): the same networks as an ordinary torch module, which bnsweep trains as one of its user's (model=module)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.plain import build
from bnsweep.training.known import with_facts
from bnsweep.training.trainer import Trainer
from tests.benchmarks.arm_ours import Ours
from tests.benchmarks.work import CHANNELS, Work

Make = Callable[..., Any]


def network(activation: Make, norm: Make, init: Make, sizes: Sequence[int], convolutional: bool = False) -> nn.Module:
    """As `plain.build` makes it, by the names of its layers."""
    maps: list[tuple[str, nn.Module, int]] = []
    if convolutional:
        widths = [1, *CHANNELS]
        maps = [("conv", nn.Conv2d(n, m, 3, padding=1), m) for n, m in pairwise(widths)]
    else:
        maps = [("linear", nn.Linear(n, m), m) for n, m in pairwise(sizes[:-1])]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (kind, layer, units) in enumerate(maps, start=1):
        before, after = norm(units, "before"), norm(units, "after")
        layers[f"{kind}{i}"] = layer
        if not isinstance(before, nn.Identity):
            layers[f"bn{i}"] = before
        layers[f"activation{i}"] = activation()
        if not isinstance(after, nn.Identity):
            layers[f"bn{i}"] = after
        if convolutional:
            layers[f"pool{i}"] = nn.MaxPool2d(2) if i < len(maps) else nn.AdaptiveAvgPool2d(1)
    if convolutional:
        layers["row"] = nn.Flatten()
    else:
        layers = OrderedDict([("row", nn.Flatten()), *layers.items()])
    layers[f"linear{len(maps) + 1}"] = nn.Linear(maps[-1][2], sizes[-1])
    model = nn.Sequential(layers)
    init(model)
    return model


class Own(Ours):
    label = "(own) bnsweep, networks as a module of the user's"

    @staticmethod
    def runs(work: Work) -> list[RunConfig]:
        def own(config: RunConfig) -> RunConfig:
            given = {"convolutional": True} if work.spec.convolutional else {}
            hidden = config.model.hidden
            model = ModelConfig(hidden, family="module", target=f"{__name__}:network", kwargs=given)
            return replace(config, model=model)

        return with_facts(map(own, work.configs), {work.configs[0].data.key: work.dataset})

    @staticmethod
    @torch.no_grad()
    def begin(trainer: Trainer, configs: Sequence[RunConfig]) -> None:
        """From the weights that the other arms start from."""
        for k, position in enumerate(trainer.stack.positions):
            for name, value in build(configs[position]).named_parameters():
                trainer.stack.parameters[name][k].copy_(value)
