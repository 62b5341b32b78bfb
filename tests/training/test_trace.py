"""A traced step is the ordinary one, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import pytest
import torch
from members import CPU, changed, mix
from regressions import regressions, smooth_numbers
from torch import Tensor

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.records import DIVERGED, RunRecord
from bnsweep.training import trace
from bnsweep.training.trace import WARM_UP
from bnsweep.training.trainer import Trainer, train

OPTIONS: dict[str, list[dict[str, object]]] = {
    "plain": [{}],
    "options that members differ in": [
        {"optimizer.clip": 0.1},
        {"optimizer.weight_decay": 0.01, "optimizer.decayed": "weights"},
        {"train.label_smoothing": 0.1},
        {"model.dropout": 0.2, "model.dropout_kind": "alpha"},
        {"lr.schedule": "step", "bn.unbiased": False},
        {"norm.name": "weight", "bn.placement": "none"},
    ],
    "noise and augmentation": [
        {"data.crop": 1, "data.flip": True},
        {"data.crop": 1, "data.flip": True, "bn.noise": 0.5},
    ],
    "small images": [{"model.family": "conv", "model.channels": (2,), "model.dropout": 0.0}],
}


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def ends(configs: Sequence[RunConfig], dataset: data.Dataset) -> tuple[list[RunRecord], list[Tensor], int]:
    """Records, all tensors as bits, and how many steps were taken in the ordinary way."""
    with patch.object(Trainer, "look", autospec=True, side_effect=Trainer.look) as look:
        records, stack = train(configs, dataset, CPU)
    tensors = [*stack.parameters.values(), *stack.running.values(), stack.t]
    return records, [t.contiguous().view(torch.uint8) for t in tensors if t.dim()], look.call_count


def assert_traced_as_ordinary(
    configs: Sequence[RunConfig], dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch, most: int
) -> list[RunRecord]:
    """Of the steps `most` are taken in the ordinary way."""
    traced, bits, looks = ends(configs, dataset)
    monkeypatch.setattr(trace, "WARM_UP", 10**9)
    ordinary, bits_before, all_looks = ends(configs, dataset)
    assert looks <= most < configs[0].total_steps == all_looks
    assert all(torch.equal(a, b) for a, b in zip(bits, bits_before, strict=True))
    for a, b in zip(traced, ordinary, strict=True):
        assert (a.status, a.diverged_step, a.histograms) == (b.status, b.diverged_step, b.histograms)
        for name, values in b.history.items():
            assert a.history[name] == pytest.approx(values, rel=0, abs=0, nan_ok=True), name
    return traced


def varied(option: str, optimizer: str = "sgd") -> list[RunConfig]:
    """Twelve members; the last batch of an epoch is smaller."""
    members, options = mix(optimizer, "float32", subset=310), OPTIONS[option]
    return [changed(config, {"train.epochs": 2} | options[i % len(options)]) for i, config in enumerate(members)]


@pytest.mark.parametrize(
    ("option", "optimizer"),
    [
        ("plain", "momentum"),
        ("options that members differ in", "sgd"),
        ("options that members differ in", "adam"),
        ("noise and augmentation", "sgd"),
        ("small images", "adam"),
    ],
)
def test_traced_steps_change_no_bit(
    option: str, optimizer: str, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sizes of batches, of each the steps before the trace and the traced one."""
    assert_traced_as_ordinary(varied(option, optimizer), digits, monkeypatch, most=2 * (WARM_UP + 1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_members_that_are_lost_one_after_the_other_are_frozen(
    optimizer: str, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them ends the traces of steps in which all are alive."""
    configs = varied("plain", optimizer)
    for i, rate in zip((0, 3, 7), (30.0, 3.0, 1.0), strict=True):
        rate *= 1e20 if optimizer == "adam" else 1
        configs[i] = changed(configs[i], {"lr.value": rate, "activation.name": "identity", "bn.placement": "none"})
    records = assert_traced_as_ordinary(configs, digits, monkeypatch, most=4 * (WARM_UP + 1) + 1)
    lost = {record.diverged_step for record in records if record.status == DIVERGED}
    assert lost and (optimizer == "adam" or (len(lost) == 3 and min(lost) > WARM_UP + 1))


def test_a_regression_and_full_probes_beside_traced_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = smooth_numbers(610)
    configs = [changed(c, {"probes.name": "full", "probes.samples": 100}) for c in regressions(numbers)]
    assert_traced_as_ordinary(configs, numbers, monkeypatch, most=2 * (WARM_UP + 1))


def test_what_is_left_to_autograd_is_not_traced(digits: data.Dataset) -> None:
    settings = {"activation.name": "torch:cos", "train.epochs": 1}
    configs = [changed(config, settings) for config in mix("sgd", "float32")[:3]]
    *_, looks = ends(configs, digits)
    assert looks == configs[0].total_steps


@pytest.mark.parametrize("bound", ["MOST_COPIED", "MOST_KEPT"])
def test_a_step_that_makes_too_much_memory_anew_is_not_traced(
    bound: str, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = varied("plain")
    monkeypatch.setattr(trace, bound, 1000)
    *_, looks = ends(configs, digits)
    assert looks == configs[0].total_steps
