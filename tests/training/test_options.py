"""Settings that change what a network is or how it is trained: the stack does what the ordinary loop does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from members import make, relative
from plain_loop import train_plain

from bnsweep.config.groups import BnConfig, DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.chance import bn_noise
from bnsweep.nets.plain import build
from bnsweep.training.trainer import train

CPU = torch.device("cpu")
ARMS = [
    ("tanh", "he", "constant", "before"),
    ("relu", "xavier", "cosine", "none"),
    ("silu", "lecun", "constant", "after"),  # smooth: see ADAM_MIX
]

OPTIONS: dict[str, dict[str, object]] = {
    "init.name": {"init.name": "lsuv", "init.std": None},
    "init.gain": {"init.gain": 1.7},
    "lr.hidden": {"lr.hidden": 0.3},
    "lr.per_sample": {"lr.value": 0.001, "lr.per_sample": True},
    "bn.eps": {"bn.eps": 0.0},
    "bn.initial_variance": {"bn.initial_variance": 0.0},
    "bn.unbiased": {"bn.unbiased": False},
    "bn.noise": {"bn.noise": 0.5},
    "model.depth": {"model.hidden": [8], "model.depth": 5},
    "model.bias": {"model.bias": False},
    "model.dropout_scaling": {"model.dropout": 0.3, "model.dropout_scaling": "test"},
    "model.dropout_kind": {"model.dropout": 0.3, "model.dropout_kind": "alpha", "activation.name": "selu"},
    "data.binary": {"data.binary": True},
    "data.crop": {"data.crop": 2},
    "data.flip": {"data.flip": True, "data.crop": 1, "data.standardize": True},
    "data.draw": {"data.draw": "first", "data.test": 50},
    "optimizer.clip": {"optimizer.clip": 0.05},
    "optimizer.decayed": {"optimizer.weight_decay": 0.05, "optimizer.decayed": "weights"},
    "train.label_smoothing": {"train.label_smoothing": 0.1},
    "lr.schedule": {"lr.schedule": "step", "lr.milestones": (0.3, 0.6), "lr.factor": 0.2},
    "train.replacement": {"train.replacement": True, "train.batch_size": 70},
    "train.steps": {"train.steps": 37, "train.evaluate_steps": 10},
}


def changed(config: RunConfig, settings: dict[str, object]) -> RunConfig:
    for key, value in settings.items():
        group, name = key.split(".")
        config = replace(config, **{group: replace(getattr(config, group), **{name: value})})  # type: ignore[arg-type]
    return config


def brief(arm: tuple[str, str, str, str], i: int = 0, optimizer: str = "sgd") -> RunConfig:
    return changed(make(arm, i, optimizer), {"train.epochs": 2})


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


WAYS = [
    pytest.param(
        optimizer, small, id=f"{optimizer}-{name}", marks=[pytest.mark.slow] * (optimizer == "momentum" or small > 0)
    )
    for optimizer in ("sgd", "momentum", "adam")
    for small, name in ((0, "own BN"), (30_000, "torch BN"))
]


@pytest.mark.parametrize(("optimizer", "small"), WAYS)
@pytest.mark.parametrize("option", OPTIONS)
def test_the_stack_trains_as_the_ordinary_loop_does(
    option: str, optimizer: str, small: int, digits: data.Dataset
) -> None:
    """30 steps, beside members without the option, where it does not change shapes or steps."""
    configs = [changed(brief(arm, i, optimizer), OPTIONS[option]) for i, arm in enumerate(ARMS)]
    shared = (option.startswith(("data.", "train.")) and option != "train.label_smoothing") or option == "model.depth"
    if not shared:
        configs += [brief(arm, i + 3, optimizer) for i, arm in enumerate(ARMS)]
    records, stack = train(configs, digits, CPU, native_below=small)
    for k, position in enumerate(stack.positions):
        config, record = configs[position], records[position]
        plain = train_plain(config, digits)
        assert record.history["step"] == config.evaluations
        for name, values in plain.history.items():
            assert record.history[name] == pytest.approx(values, rel=1e-8, abs=1e-12), (name, position)
        theirs = {n.replace(".norm.", "."): t for n, t in plain.model.state_dict().items()}
        ours = stack.export(k).state_dict()
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert relative(ours[name].double(), tensor.double()) < 1e-7, name


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_makes_a_difference(option: str, digits: data.Dataset) -> None:
    one = brief(ARMS[0])
    before = train_plain(one, digits).history["val/loss"]
    (after,), _ = train([changed(one, OPTIONS[option])], digits, CPU)
    assert after.history["val/loss"] != pytest.approx(before, rel=1e-8)


def test_no_steps_look_at_the_network_as_it_starts(digits: data.Dataset) -> None:
    config = changed(make(ARMS[0]), {"train.epochs": 0})
    (record,), stack = train([config], digits, CPU)
    assert record.status == "finished" and record.history["step"] == [0.0]
    assert record.history["layer/1/grad_activation"][0] > 0
    torch.testing.assert_close(stack.export(0).linear1.weight, build(config).linear1.weight)


def test_without_epsilon_a_unit_that_never_varies_gives_its_shift() -> None:
    norm = build(RunConfig(bn=BnConfig("before", eps=0.0))).bn1
    assert torch.equal(norm(torch.full((10, 32), 3.0)), torch.zeros(10, 32))
    torch.testing.assert_close(norm(torch.randn(10, 32)).var(0, correction=0), torch.ones(32))


def test_noise_has_the_moments_that_it_says() -> None:
    """mean in [-n, n] and scale in [1, 1 + n/2] by unit, each sample within n/5 of them; anew at every step."""
    seeds, n = torch.tensor([3]), torch.tensor([0.5])
    scale, shift = (t[0] for t in bn_noise(seeds, 7, 1, 2000, 50, n))
    means, scales = shift.mean(1), scale.mean(1)
    assert means.min() < -0.45 and means.max() > 0.45 and means.mean().abs() < 0.03
    assert scales.min() > 0.95 and scales.max() < 1.3 and scales.mean().item() == pytest.approx(1.125, abs=0.01)
    assert (shift - means[:, None]).abs().max() < 0.13 and (scale - scales[:, None]).abs().max() < 0.13
    assert not torch.equal(shift, bn_noise(seeds, 8, 1, 2000, 50, n)[1][0])
    assert torch.equal(shift, bn_noise(seeds, 7, 1, 2000, 50, n)[1][0])


def test_evaluations_are_counted_back_from_the_end() -> None:
    config = changed(RunConfig(), {"train.steps": 191, "train.evaluate_steps": 10})
    assert config.evaluations == [0, 1, *range(11, 192, 10)] and config.total_steps == 191
    assert len(config.evaluations) - 1 == 20


def test_light_probes_look_where_enough_was_trained_since() -> None:
    short = RunConfig()
    assert short.probed == [0, short.total_steps], "digits: 20 epochs of 1150 samples"
    long = RunConfig(data=DataConfig("mnist", validation=10_000))
    assert long.probed == long.evaluations
    assert changed(short, {"probes.name": "full"}).probed == short.evaluations
    assert changed(short, {"probes.name": "off"}).probed == []
    third = changed(short, {"probes.every": 3}).probed
    assert third == [*short.evaluations[::3], short.total_steps][: len(third)] and third[-1] == short.total_steps
