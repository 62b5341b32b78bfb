"""A stack that goes on from a state gives every bit of one that never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from members import CPU, assert_same_numbers, changed, make, mix
from own_runs import known, run
from regressions import regressions, smooth_numbers
from stop_and_go import assert_same_bits, assert_same_record, state_at, trained_from

from bnsweep.catalogue.schedules import SCHEDULES
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.records import DIVERGED

STEPS = 7, 37
"""In the first epoch, and between two evaluations."""

FULL: dict[str, object] = {"probes.name": "full", "probes.samples": 50, "probes.every": 1}
OPTIONS: dict[str, list[dict[str, object]]] = {
    "full probes": [FULL],
    "schedules": [{"lr.schedule": name} for name in SCHEDULES],
    "other normalisations": [
        {"bn.placement": "none", "norm.name": "weight"},
        {"bn.placement": "before", "norm.name": "layer"},
        {"bn.placement": "after", "norm.name": "rms"},
        {"bn.unbiased": False, "bn.placement": "before"},
        {"bn.noise": 0.5, "bn.placement": "before"},
    ],
    "options of training": [
        {"optimizer.clip": 0.1},
        {"optimizer.weight_decay": 0.01, "optimizer.decayed": "weights"},
        {"train.label_smoothing": 0.1},
        {"model.dropout": 0.2, "model.dropout_kind": "alpha"},
        {"init.distribution": "normal", "init.name": "lsuv", "init.std": None},
    ],
    "augmentation": [{"data.crop": 1, "data.flip": True}],
    "draws with replacement": [{"train.replacement": True}],
    "small images": [{"model.family": "conv", "model.channels": (2,), "model.dropout": 0.0}],
    "an activation of one's own": [{"activation.name": "torch:cos"}],
}


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def members(option: str, optimizer: str = "sgd", dtype: str = "float32") -> list[RunConfig]:
    """Twelve; the last batch of an epoch is smaller."""
    options = OPTIONS[option]
    return [changed(c, options[i % len(options)]) for i, c in enumerate(mix(optimizer, dtype, subset=310))]


@pytest.mark.parametrize(
    ("option", "optimizer", "dtype"),
    [
        ("full probes", "sgd", "float32"),
        ("full probes", "momentum", "float64"),
        ("full probes", "adam", "float32"),
        *((option, "momentum", "float32") for option in [*OPTIONS][1:]),
        ("options of training", "adam", "float64"),
    ],
)
def test_a_stack_that_was_stopped_gives_every_bit_of_one_that_was_not(
    option: str, optimizer: str, dtype: str, digits: data.Dataset, tmp_path: Path
) -> None:
    configs = members(option, optimizer, dtype)
    undisturbed = trained_from([], configs, digits, CPU)
    for step in STEPS:
        state = state_at(step, configs, digits, CPU, tmp_path)
        assert_same_bits(trained_from([state], configs, digits, CPU), undisturbed)


def test_it_may_be_stopped_again_and_again(digits: data.Dataset, tmp_path: Path) -> None:
    configs, states = members("full probes", "adam"), []
    for step in range(5, 60, 9):
        states = [state_at(step, configs, digits, CPU, tmp_path, states)]
    assert_same_bits(trained_from(states, configs, digits, CPU), trained_from([], configs, digits, CPU))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_members_that_have_diverged_stay_as_they_are(optimizer: str, digits: data.Dataset, tmp_path: Path) -> None:
    configs, rate = members("full probes", optimizer), 1e30
    for i in (0, 3):
        configs[i] = changed(configs[i], {"lr.value": rate, "activation.name": "identity", "bn.placement": "none"})
    state = state_at(37, configs, digits, CPU, tmp_path)
    assert state.evaluations[-1].diverged[0] >= 0, "it has diverged by then"
    after = trained_from([state], configs, digits, CPU)
    assert after.records()[0].status == DIVERGED
    assert_same_bits(after, trained_from([], configs, digits, CPU))


def test_a_network_of_ones_own_goes_on_with_its_buffers(digits: data.Dataset, tmp_path: Path) -> None:
    settings = {"optimizer.name": "momentum", "train.dtype": "float32"}
    configs = known([run("conv_bn_relu", seed=seed, **settings) for seed in range(3)], digits)
    state = state_at(13, configs, digits, CPU, tmp_path)
    assert any(name.startswith("buffers.") for name in state.tensors)
    assert_same_bits(trained_from([state], configs, digits, CPU), trained_from([], configs, digits, CPU))


def test_a_regression_goes_on(tmp_path: Path) -> None:
    numbers = smooth_numbers(610)
    configs = [changed(config, FULL) for config in regressions(numbers)]
    state = state_at(9, configs, numbers, CPU, tmp_path)
    assert_same_bits(trained_from([state], configs, numbers, CPU), trained_from([], configs, numbers, CPU))


def test_members_of_two_states_become_one_stack(digits: data.Dataset, tmp_path: Path) -> None:
    """With the numbers of one that they were in from the start: what only some have is not made up for the others."""
    configs = [changed(config, FULL) for config in mix("adam", subset=310)]
    configs[5] = changed(configs[5], {"norm.name": "weight", "bn.placement": "none"})
    whole = trained_from([], configs, digits, CPU).records()
    plain = [i for i, config in enumerate(configs) if config.normalisation == "none"]
    others = [i for i in range(len(configs)) if i not in plain]
    states = [state_at(37, [configs[i] for i in part], digits, CPU, tmp_path) for part in (plain, others)]
    assert states[0].tensors.keys() < states[1].tensors.keys()
    picked = [*plain[1:][::-1], *others[:-2]]
    pieces = [states[0].of([*range(len(plain))][1:][::-1]), states[1].of([*range(len(others) - 2)])]
    joined = trained_from(pieces, [configs[i] for i in picked], digits, CPU)
    for i, record in zip(picked, joined.records(), strict=True):
        assert record.status == whole[i].status
        for name in ("train/loss", "val/loss", "layer/1/std", "layer/2/shift"):
            assert_same_numbers(record.history[name], whole[i].history[name], 1e-8, name)


def test_seconds_count_all_of_the_training(digits: data.Dataset, tmp_path: Path) -> None:
    configs = [make(("relu", "he", "constant", "none"), i) for i in range(2)]
    state = state_at(30, configs, digits, CPU, tmp_path)
    state.seconds = [100.0, 200.0]
    first, second = trained_from([state], configs, digits, CPU).records()
    assert 100 < first.seconds < 130 and second.seconds == pytest.approx(first.seconds + 100)


def test_a_part_of_a_state_goes_on_alone(digits: data.Dataset, tmp_path: Path) -> None:
    """In a stack of one, which it also was before."""
    configs = members("full probes")[4:6]
    alone = trained_from([], configs[1:], digits, CPU).records()[0]
    state = state_at(37, configs, digits, CPU, tmp_path).of([1])
    record = trained_from([state], configs[1:], digits, CPU).records()[0]
    for name in ("train/loss", "val/loss"):
        assert_same_numbers(record.history[name], alone.history[name], 1e-5, name)
    assert record.stack_size == 1
    with pytest.raises(AssertionError):
        assert_same_record(record, trained_from([], configs[:1], digits, CPU).records()[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("option", ["full probes", "options of training", "augmentation"])
def test_captured_steps_go_on_from_a_state(option: str, optimizer: str, digits: data.Dataset, tmp_path: Path) -> None:
    configs, cuda = members(option, optimizer), torch.device("cuda")
    state = state_at(37, configs, digits, cuda, tmp_path)
    assert_same_bits(trained_from([state], configs, digits, cuda), trained_from([], configs, digits, cuda))
