"""Networks with any normalisation train in a stack as an ordinary torch loop trains them alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from members import CPU, changed, make, relative
from plain_loop import train_plain

from bnsweep.catalogue.norms import PLACED
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.norm import NATIVE_BELOW
from bnsweep.records import DIVERGED
from bnsweep.training.trainer import train

KINDS = [kind for kind in PLACED if kind != "instance"]
"""Those of a network without positions."""


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def runs(optimizer: str) -> list[RunConfig]:
    """Every kind at both places, none, and some with settings of their own: 12 members."""
    arms = [("silu", init, "constant", place) for init in ("xavier", "he") for place in ("before", "after")]
    found = []
    for i, kind in enumerate(KINDS):
        found += [make(arm, 2 * i + j, optimizer) for j, arm in enumerate(arms[2 * (i % 2) : 2 * (i % 2) + 2])]
        found[-2:] = [changed(config, {"norm.name": kind}) for config in found[-2:]]
    found += [changed(make(("tanh", "xavier", "cosine", "none"), 8, optimizer), {"norm.name": "none"})]
    found += [changed(found[4], {"norm.groups": 2, "activation.name": "tanh"})]
    found += [changed(found[2], {"bn.affine": False, "bn.eps": 0.1, "seed": 4})]
    found += [changed(make(("relu", "he", "warmup", "before"), 11, optimizer), {"norm.name": "weight"})]
    return found


def deviation(config: RunConfig, history: dict[str, list[float]], model: torch.nn.Module, on: data.Dataset) -> float:
    """Largest relative deviation from the ordinary loop: every parameter, buffer and per-epoch metric."""
    plain = train_plain(config, on)
    ours, theirs = model.state_dict(), plain.model.state_dict()
    assert ours.keys() == theirs.keys()
    states = [relative(ours[name].double(), theirs[name].double()) for name in theirs]
    curves = [
        (torch.tensor(history[name], dtype=torch.float64), torch.tensor(values, dtype=torch.float64))
        for name, values in plain.history.items()
    ]
    return max(*states, *(relative(a, b) for a, b in curves))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_twelve_kinds_and_places_in_one_stack_equal_the_ordinary_loop(optimizer: str, digits: data.Dataset) -> None:
    configs = runs(optimizer)
    assert len(configs) == 12 and len({c.normalisation for c in configs}) == 10 and configs[0].total_steps >= 40
    records, stack = train(configs, digits, CPU, native_below=0)
    models = {stack.positions[k]: stack.export(k) for k in range(len(stack))}
    for i, config in enumerate(configs):
        assert deviation(config, records[i].history, models[i], digits) < 1e-9, config


@pytest.mark.parametrize(
    ("kind", "place"), [*((kind, place) for kind in KINDS for place in ("before", "after")), ("weight", "none")]
)
def test_a_network_alone_equals_the_ordinary_loop(kind: str, place: str, digits: data.Dataset) -> None:
    config = changed(make(("silu", "he", "cosine", place), 3, "adam"), {"norm.name": kind})
    (record,), stack = train([config], digits, CPU, native_below=NATIVE_BELOW)
    assert deviation(config, record.history, stack.export(0), digits) < 1e-9


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_what_weight_normalisation_makes_weights_of_trains_as_weights_do(optimizer: str, digits: data.Dataset) -> None:
    """It decays with them, at their rate, and is clipped with all else."""
    given: dict[str, object] = {"optimizer.weight_decay": 0.05, "optimizer.clip": 0.3, "lr.hidden": 2.0}
    configs = [
        changed(make(("tanh", "he", "cosine", "none"), i, optimizer), {"norm.name": kind, "optimizer.decayed": decayed})
        for i, (kind, decayed) in enumerate(
            [("weight", "weights"), ("none", "weights"), ("weight", "all"), ("batch", "all")]
        )
    ]
    configs = [changed(config, given) for config in configs]
    records, stack = train(configs, digits, CPU)
    for k, i in enumerate(stack.positions):
        assert deviation(configs[i], records[i].history, stack.export(k), digits) < 1e-9, configs[i]


def test_members_that_diverge_change_no_bit_of_those_with_other_kinds(digits: data.Dataset) -> None:
    configs = [changed(config, {"train.dtype": "float32"}) for config in runs("sgd")]
    healthy, stack = train(configs, digits, CPU)
    sick = [replace(c, lr=replace(c.lr)) for c in configs]
    for i in (2, 7, 8):
        object.__setattr__(sick[i].lr, "value", float("nan"))  # past the range checks, which would refuse it
    records, sick_stack = train(sick, digits, CPU)
    assert [i for i, record in enumerate(records) if record.status == DIVERGED] == [2, 7, 8]
    for k, i in enumerate(stack.positions):
        if i in (2, 7, 8):
            continue
        assert records[i].history == healthy[i].history
        theirs = sick_stack.export(k).state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in stack.export(k).state_dict().items())


def test_only_batch_norm_makes_training_and_evaluation_differ(digits: data.Dataset) -> None:
    """The gap that the full probe reads is there for BN, and missing, not 0, for what acts alike in both modes; so are
    running variances and the rate that BN before the activation makes effective. Dropout shifts no variance where each
    sample's own one is divided by."""
    values = {"probes.name": "full", "train.epochs": 1, "model.dropout": 0.2}
    configs = [changed(config, values) for config in runs("sgd")]
    records, _ = train(configs, digits, CPU)
    for config, record in zip(configs, records, strict=True):
        last = {name: values[-1] for name, values in record.history.items() if not math.isnan(values[-1])}
        for name in ("bn_gap", "layer/1/running_variance"):
            assert (name in last) == config.batch_norm, (name, config.normalisation)
        own = config.placement == "before" and not config.batch_norm
        assert ("layer/2/dropout_ratio" in last) == (not own), config.normalisation
        assert ("layer/1/effective_lr" in last) == (config.normalisation == "before"), config.normalisation
        if not config.batch_norm:
            assert abs(last["mates"]) < 1e-12, "a sample's outputs heed no other sample"


IMAGES = {
    "conv": {"model.family": "conv", "model.channels": (8, 16)},
    "flat": {"model.family": "conv", "model.channels": (8, 16), "model.head": "flat"},
    "resnet": {"model.family": "resnet", "model.channels": (8, 16), "model.preactivation": True},
}


@pytest.mark.parametrize("family", ["conv", "flat", pytest.param("resnet", marks=pytest.mark.slow)])
def test_every_kind_in_networks_of_images_equals_the_ordinary_loop(family: str, digits: data.Dataset) -> None:
    """12 members, some of them with InstanceNorm, every other one with skips where the family has blocks; 44 steps."""
    values = {"data.subset": 220, "data.test": 50, "train.evaluate_every": 4, "model.hidden": (32, 32)}
    values |= {"probes.name": "off"} | IMAGES[family]
    configs = [changed(config, values) for config in runs("sgd")]
    for i in (2, 10, 3) if family == "flat" else (2, 10):
        configs[i] = changed(configs[i], {"norm.name": "instance"})
    configs[8] = changed(configs[8], {"norm.name": "batch", "bn.placement": "after", "bn.unbiased": False})
    if family not in ("conv", "flat"):
        configs = [changed(config, {"skip.name": ("off", "on")[i % 2]}) for i, config in enumerate(configs)]
    assert configs[0].total_steps >= 40
    records, stack = train(configs, digits, CPU)
    models = {stack.positions[k]: stack.export(k) for k in range(len(stack))}
    for i, config in enumerate(configs):
        assert deviation(config, records[i].history, models[i], digits) < 1e-9, (i, config)
