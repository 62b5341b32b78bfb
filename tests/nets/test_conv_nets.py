"""Convolutional and residual networks: the stack trains every member as an ordinary torch loop would train it alone."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from members import CPU, changed, mix, relative
from plain_loop import loss_distance, nudged_distance, train_plain

from bnsweep.catalogue.norms import PLACED, PLACEMENTS
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig, InitConfig
from bnsweep.config.network import SKIPS, SkipConfig
from bnsweep.config.norm import NormConfig
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
        "model.channels": (16,),  # which a CPU has side by side
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
PROJECTED = {f"{name}, projected": IMAGES[name] | {"model.shortcut": "B"} for name in IMAGES if "resnet" in name}
IMAGES |= PROJECTED
ROWS: dict[str, dict[str, Any]] = {"mlp": {"model.hidden": (16,), "model.depth": 4}}
FAMILIES = IMAGES | ROWS
WIDE: dict[str, dict[str, Any]] = {
    "conv, channels side by side": {"model.family": "conv", "model.channels": (16, 18)},
    "resnet, channels side by side": {"model.family": "resnet", "model.channels": (16, 18)},
}
WEIGHTS = {"conv with mean pooling, kernels of five", *PROJECTED, *ROWS}
"""Families of which some members normalise their weights."""
BRIEFLY = [pytest.param(name, marks=pytest.mark.slow if "projected" in name else ()) for name in FAMILIES]
"""All of them, the longest left out unless asked for."""


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def members(family: str, optimizer: str = "sgd") -> list[RunConfig]:
    """Twelve that differ in everything in which members may differ; every other one skips where the family has blocks,
    all of them where shortcuts are projected; in some families two of them normalise their weights. 44 steps."""
    shape = (FAMILIES | WIDE)[family]
    values = shape | {"data.subset": 220, "train.epochs": 4, "train.batch_size": 20, "train.evaluate_every": 4}
    configs = [changed(config, values) for config in mix(optimizer)]
    blocks = shape.get("model.family") != "conv"
    skip = (family in PROJECTED, blocks)
    configs = [changed(c, {"skip.name": "on"}) if skip[i % 2] else c for i, c in enumerate(configs)]
    without = [i for i, c in enumerate(configs) if c.bn.placement == "none"] if family in WEIGHTS else []
    return [changed(c, {"norm.name": "weight"}) if i in without[::2] else c for i, c in enumerate(configs)]


def with_scalars(config: RunConfig, bias: bool) -> RunConfig:
    """The run with Fixup in place of its init and any normalisation."""
    model = replace(config.model, dropout=0.0, bias=bias)
    init, norm = InitConfig("fixup", scalars=True), NormConfig("none")
    return replace(config, init=init, norm=norm, model=model, skip=SkipConfig("on"))


def deviation(config: RunConfig, history: dict[str, list[float]], model: torch.nn.Module, read: data.Dataset) -> float:
    """Largest relative deviation from the ordinary loop, of every parameter, statistic and score."""
    plain = train_plain(config, read)
    pairs = [(model.state_dict()[name], theirs) for name, theirs in plain.model.state_dict().items()]
    pairs += [(torch.tensor(history[name]), torch.tensor(theirs)) for name, theirs in plain.history.items()]
    return max(relative(ours.double(), theirs.double()) for ours, theirs in pairs)


def moved_by_nudges(config: RunConfig, read: data.Dataset) -> float:
    """Largest relative deviation of the ordinary loop from itself with first weights changed by 1e-15."""
    offs = []
    for number in range(1, 11):
        nudged = train_plain(config, read, nudged=number, size=1e-15)
        offs.append(deviation(config, nudged.history, nudged.model, read))
    return max(offs)


@pytest.mark.parametrize("family", BRIEFLY)
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


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, *WIDE])
def test_each_normalisation_at_each_place_with_skips_and_without(
    family: str, digits: data.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone, and all of them in one stack; those that a rule refuses left out. What is chaotic, so that nudges of 1e-15
    move it as far, is told apart: normalised over four positions, units of next to no variance are."""
    kinds = [*itertools.product(PLACEMENTS[1:], PLACED), ("none", "weight")]
    arms = [(*kind, skip) for kind in kinds for skip in (["on"] if family in PROJECTED else SKIPS)]
    configs = []
    for i, (place, kind, skip) in enumerate(arms):
        with contextlib.suppress(ConfigError):
            base = changed(members(family)[i % 12], {"norm.name": "batch", "skip.name": "off", "bn.placement": place})
            configs.append(changed(base, {"norm.name": kind, "skip.name": skip}))
    records, stack = train(configs, digits, CPU)
    models = {stack.positions[k]: stack.export(k) for k in range(len(stack))}
    offs = [deviation(c, records[i].history, models[i], digits) for i, c in enumerate(configs)]
    for i, config in enumerate(configs):
        (alone,), one = train([config], digits, CPU)
        offs[i] = max(offs[i], deviation(config, alone.history, one.export(0), digits))
    chaotic = [
        i for i, config in enumerate(configs) if offs[i] > 1e-9 and moved_by_nudges(config, digits) > offs[i] / 10
    ]
    offs = [off for i, off in enumerate(offs) if i not in chaotic]
    assert len(chaotic) <= 3
    with capsys.disabled():
        print(
            f"\n{family}: {max(offs):.1e} largest relative deviation of {len(offs)} kinds, alone and together",
            end="",
        )
    assert max(offs) < 1e-9, offs


@pytest.mark.parametrize("family", ["resnet", "resnet with preactivation", "mlp"])
def test_branches_that_start_at_0_leave_the_shortcuts(family: str, digits: data.Dataset) -> None:
    """Fixup without normalisation, and a last scale of 0 with it: the blocks hand on what they are given, and train as
    the ordinary network does."""
    fixup = {"init.name": "fixup", "init.std": None, "init.distribution": "normal", "bn.placement": "none"}
    zero = {"norm.zero_init_residual": True, "bn.placement": "before"}
    configs = [
        changed(c, {"skip.name": "on"} | (fixup if i % 2 else zero)) for i, c in enumerate(members(family)[8:12])
    ]
    records, stack = train(configs, digits, CPU)
    for k, i in enumerate(stack.positions):
        assert deviation(configs[i], records[i].history, stack.export(k), digits) < 1e-9
    start = build(configs[1])
    last = f"{'conv' if family != 'mlp' else 'linear'}{3}.weight"
    assert not start.get_parameter(last).any()
    assert not start.get_parameter(f"linear{configs[1].model.layers + 1}.weight").any()
    if family != "resnet with preactivation":
        assert not build(configs[0]).get_parameter("bn3.weight").any()


PREACTIVATED = pytest.param("resnet with preactivation, projected", marks=pytest.mark.slow)


@pytest.mark.parametrize("family", ["resnet, projected", "mlp", PREACTIVATED])
def test_members_with_fixups_scalars_equal_the_ordinary_loop(family: str, digits: data.Dataset) -> None:
    """Three in a stack of twelve, whose neighbours train as without them, and one of them alone; 44 steps. Their biases
    and multipliers leave the start."""
    configs = members(family, "momentum")
    for i in (3, 7, 10):
        configs[i] = with_scalars(configs[i], bias=i == 3)
    records, stack = train(configs, digits, CPU)
    for i in (2, 3, 6, 7, 10, 11):
        model = stack.export(stack.positions.index(i))
        assert deviation(configs[i], records[i].history, model, digits) < 1e-9, i
    (alone,), one = train(configs[3:4], digits, CPU)
    assert deviation(configs[3], alone.history, one.export(0), digits) < 1e-9
    first, trained = build(configs[3]).state_dict(), one.export(0).state_dict()
    scalars = {name: tensor for name, tensor in trained.items() if name.startswith("scalars")}
    layers = configs[3].model.layers
    assert sum(name.endswith("bias") for name in scalars) == 2 * layers, "before and behind each map but the outer ends"
    assert sum(name.endswith("scale") for name in scalars) == (layers - 1) // 2 + (layers - 1) % 2
    assert all(first[name].item() == float(name.endswith("scale")) for name in scalars)
    assert all(tensor.item() != first[name].item() for name, tensor in scalars.items())


SIGNALS: dict[str, Any] = {"data.name": "mnist1d", "data.validation": 100, "train.epochs": 1}


@pytest.fixture(scope="module")
def signals() -> data.Dataset:
    return data.load(changed(RunConfig(), SIGNALS).data)


@pytest.mark.parametrize("family", ["conv", "resnet", "resnet, projected"])
def test_a_signal_is_an_image_of_height_1(family: str, signals: data.Dataset) -> None:
    configs = [changed(config, SIGNALS | {"train.evaluate_every": 1}) for config in members(family)[2:6]]
    records, stack = train(configs, signals, CPU)
    assert all(w.shape[-2:] == (1, 3) for w in stack.weights[:-1])
    for k, i in enumerate(stack.positions):
        assert deviation(configs[i], records[i].history, stack.export(k), signals) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("family", [*FAMILIES, *WIDE])
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


@pytest.mark.parametrize("family", ["conv", "resnet", "resnet, projected", "mlp"])
def test_a_diverging_member_changes_no_bit_of_the_others(family: str, digits: data.Dataset) -> None:
    configs = [changed(c, {"train.dtype": "float32", "train.epochs": 1}) for c in members(family, "momentum")]
    if family == "resnet, projected":
        configs[6:8] = [with_scalars(config, bias=True) for config in configs[6:8]]
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
        assert repr(records[i].history) == repr(healthy[i].history)  # NaN, what is missing, is as good as NaN
        for name, tensor in stack.export(k).state_dict().items():
            assert torch.equal(tensor, sick_stack.export(k).state_dict()[name]), (i, name)


@pytest.mark.parametrize("preactivation", [False, True])
def test_a_projection_is_where_a_block_changes_the_shape_and_the_normalisation_before_activations_behind_it(
    preactivation: bool,
) -> None:
    """He et al. 2016; with preactivation it sees what the block's first convolution sees, and nothing is behind it."""
    of = {"model.family": "resnet", "model.channels": (4, 6), "model.blocks": 2, "skip.name": "on"}
    config = changed(RunConfig(), of | {"model.preactivation": preactivation, "bn.placement": "before"})
    network, without = build(changed(config, {"model.shortcut": "B"})), build(config)
    projections = {name: dict(module.named_children()) for name, module in network.named_children() if "skip" in name}
    assert [name for name, parts in projections.items() if parts] == ["skip6"]
    conv = projections["skip6"].pop("conv")
    assert (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride) == (4, 6, (1, 1), (2, 2))
    assert [type(module).__name__ for module in projections["skip6"].values()] == ["BatchNorm2d"] * (not preactivation)
    names = [name for name, _ in network.named_children()]
    assert names[names.index("skip6") - 1] == "activation5"
    assert names[names.index("skip6") + 1] == "conv6"
    for name, tensor in without.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), "all arms of a seed share the other weights"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_member_is_the_plain_network(family: str) -> None:
    configs = members(family)
    stack = Stack(configs, CPU)
    x = torch.randn(7, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k, config in enumerate(stack.configs):
        ours, plain = stack.export(k), build(config).eval()
        assert ours.state_dict().keys() == plain.state_dict().keys()
        assert torch.equal(ours(x), plain(x))
