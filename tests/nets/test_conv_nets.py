"""Convolutional and residual networks: the stack trains every member as an ordinary torch loop would train it alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from members import CPU, changed, mix, relative
from plain_loop import loss_distance, nudged_distance, train_plain

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.records import DIVERGED
from bnsweep.training.trainer import train

IMAGES: dict[str, dict[str, Any]] = {
    "conv": {"model.family": "conv", "model.channels": (4, 6)},
    "conv of one width, strided, flat": {
        "model.family": "conv",
        "model.channels": (4,),
        "model.blocks": 2,
        "model.stride": 2,
        "model.head": "flat",
    },
    "conv with mean pooling, kernels of five": {
        "model.family": "conv",
        "model.channels": (3, 5),
        "model.pool": "average",
        "model.kernel": 5,
    },
    "resnet": {"model.family": "resnet", "model.channels": (4, 6)},
    "resnet with preactivation": {"model.family": "resnet", "model.channels": (4, 6), "model.preactivation": True},
}
ROWS: dict[str, dict[str, Any]] = {"mlp": {"model.hidden": (16,), "model.depth": 4}}
FAMILIES = IMAGES | ROWS


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def members(family: str, optimizer: str = "sgd") -> list[RunConfig]:
    """Twelve that differ in everything in which members may differ; every other one skips where the family has blocks.
    44 steps."""
    values = FAMILIES[family] | {"data.subset": 220, "train.epochs": 4, "train.batch_size": 20}
    configs = [changed(config, values) for config in mix(optimizer)]
    blocks = FAMILIES[family].get("model.family") != "conv"
    return [changed(c, {"skip.name": "on"}) if blocks and i % 2 else c for i, c in enumerate(configs)]


def deviation(config: RunConfig, history: dict[str, list[float]], model: torch.nn.Module, read: data.Dataset) -> float:
    """Largest relative deviation from the ordinary loop, of every parameter, statistic and score."""
    plain = train_plain(config, read)
    pairs = [(model.state_dict()[name], theirs) for name, theirs in plain.model.state_dict().items()]
    pairs += [(torch.tensor(history[name]), torch.tensor(theirs)) for name, theirs in plain.history.items()]
    return max(relative(ours.double(), theirs.double()) for ours, theirs in pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_members_equal_the_ordinary_loop(family: str, digits: data.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    configs = members(family)
    records, stack = train(configs, digits, CPU)
    models = {stack.positions[k]: stack.export(k) for k in range(len(stack))}
    offs = [deviation(c, records[i].history, models[i], digits) for i, c in enumerate(configs)]
    with capsys.disabled():
        print(
            f"\n{family}: {max(offs):.1e} largest relative deviation in {configs[0].total_steps} float64 steps", end=""
        )
    assert configs[0].total_steps >= 40
    assert max(offs) < 1e-9


@pytest.mark.parametrize("family", ["conv", "resnet"])
def test_a_signal_is_an_image_of_height_1(family: str) -> None:
    changes: dict[str, Any] = {"data.name": "mnist1d", "data.validation": 100, "train.epochs": 1}
    configs = [changed(config, changes) for config in members(family)[2:6]]
    signals = data.load(configs[0].data)
    records, stack = train(configs, signals, CPU)
    assert all(w.shape[-2:] == (1, 3) for w in stack.weights[:-1])
    for k, i in enumerate(stack.positions):
        assert deviation(configs[i], records[i].history, stack.export(k), signals) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_losses_are_as_exact_as_the_ordinary_loops(family: str, optimizer: str, digits: data.Dataset) -> None:
    """As of fully connected networks: within 1e-5, or three times the largest of 20 nudges' moves."""
    configs = [changed(config, {"train.dtype": "float32"}) for config in members(family, optimizer)]
    records, _ = train(configs, digits, CPU)
    calm = 0
    for config, record in zip(configs, records, strict=True):
        off = loss_distance(record.history, train_plain(config, digits).history)
        calm += off < 1e-5
        assert off < 1e-5 or off < 3 * nudged_distance(config, digits), config
    assert calm >= 6


@pytest.mark.parametrize("family", ["conv", "resnet", "mlp"])
def test_a_diverging_member_changes_no_bit_of_the_others(family: str, digits: data.Dataset) -> None:
    configs = [changed(c, {"train.dtype": "float32", "train.epochs": 1}) for c in members(family, "momentum")]
    healthy, stack = train(configs, digits, CPU)
    sick = [changed(c, {}) for c in configs]
    for i in (3, 6):
        sick[i] = replace(sick[i], lr=replace(sick[i].lr))
        object.__setattr__(sick[i].lr, "value", math.nan)  # past the range checks, which would refuse it
    records, sick_stack = train(sick, digits, CPU)
    for k, i in enumerate(stack.positions):
        if i in (3, 6):
            assert records[i].status == DIVERGED
            continue
        assert records[i].history == healthy[i].history
        for name, tensor in stack.export(k).state_dict().items():
            assert torch.equal(tensor, sick_stack.export(k).state_dict()[name]), (i, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_member_is_the_plain_network(family: str) -> None:
    configs = members(family)
    stack = Stack(configs, CPU)
    x = torch.randn(7, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k, config in enumerate(stack.configs):
        ours, plain = stack.export(k), build(config).eval()
        assert ours.state_dict().keys() == plain.state_dict().keys()
        assert torch.equal(ours(x), plain(x))
