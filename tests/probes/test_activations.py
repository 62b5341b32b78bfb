"""Statistics of activations by hand, and what a training reads of them with its probes light."""

from __future__ import annotations

import math
from dataclasses import replace

import plain_diagnostics as plain
import pytest
import torch
from torch import nn

from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    ProbesConfig,
    TrainConfig,
)
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.data import splits
from bnsweep.nets.plain import build
from bnsweep.probes import activations as probes
from bnsweep.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def runs() -> list[RunConfig]:
    arms = [("sigmoid", "none"), ("relu", "before"), ("tanh", "after"), ("relu", "none")]
    train = TrainConfig(epochs=2, dtype="float64")
    model = ModelConfig(dropout=0.5)  # which diagnostics leave out
    return [RunConfig(ActivationConfig(a), InitConfig("he"), bn=BnConfig(b), model=model, train=train) for a, b in arms]


def test_light_probes_are_the_default_and_read_what_the_plain_network_reads(digits: data.Dataset) -> None:
    """On the first 1000 training samples, as the network is built."""
    records, _ = train(runs(), digits, CPU)
    for config, record in zip(runs(), records, strict=True):
        rows = splits.split(digits, config.data, config.seed).train[:1000]
        config = replace(config, model=replace(config.model, dropout=0.0))
        model = build(config)
        assert isinstance(model, nn.Sequential)
        expected = plain.light(config, model, digits.x_ND[rows].double(), digits.y_N[rows], config.lr.value)
        scores = ("train/", "val/", "test/", "lr", "step", "epoch")
        measured = {name: values[0] for name, values in record.history.items() if not name.startswith(scores)}
        assert measured.keys() == expected.keys(), "what has no meaning for an activation is missing, not 0"
        for name, value in expected.items():
            assert measured[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_histograms_count_every_output_once(digits: data.Dataset) -> None:
    (record, *_), _ = train(runs(), digits, CPU)
    for layer in (*record.histograms["start"], *record.histograms["end"]):
        assert sum(layer) == 1000 * 32
    h = torch.tensor([[[-5.0, -1.0, 0.0, 0.049, 1.99, 7.0]], [[math.nan, math.inf, -math.inf, 0.5, 0.5, 0.5]]])
    first, second = probes.histogram_counts(h, -1, 2, 60)
    assert {i: n for i, n in enumerate(first.tolist()) if n} == {0: 2, 20: 2, 59: 2}
    assert {i: n for i, n in enumerate(second.tolist()) if n} == {0: 1, 20: 1, 30: 3, 59: 1}


def test_a_probe_batch_larger_than_the_training_set_is_all_of_it(digits: data.Dataset) -> None:
    config = replace(runs()[1], data=DataConfig(subset=150), probes=ProbesConfig("full", samples=5000))
    (record,), _ = train([config], digits, CPU)
    assert sum(record.histograms["end"][0]) == 150 * 32
    assert 0 <= record.history["batch/accuracy"][-1] <= 1


def test_means_and_deviations_keep_members_apart() -> None:
    h = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.01, 0.5], [0.99, 0.5]]])
    mean, std = probes.means_stds(h)
    assert mean.tolist() == pytest.approx([0.25, 0.5])
    assert std.tolist() == pytest.approx(h.flatten(1).std(1, correction=0).tolist())


@pytest.mark.parametrize("mean", [0.0, 0.5, 100.0])
def test_the_deviation_of_a_narrow_distribution_survives_float32(mean: float) -> None:
    """A sigmoid of small weights: outputs around one half that hardly differ."""
    h = mean + 1e-4 * torch.randn(2, 30, 1000, generator=torch.Generator().manual_seed(0))
    expected = h.double().flatten(1).std(1, correction=0).tolist()
    assert probes.means_stds(h)[1].tolist() == pytest.approx(expected, rel=1e-3)


def test_saturation_counts_both_flat_parts_and_not_their_bounds() -> None:
    h = torch.tensor([[[0.0, 0.05, 0.5, 0.95]], [[0.96, 0.04, 1.0, 0.5]]], dtype=torch.float64)
    assert probes.saturation(h, 0.05, 0.95).tolist() == [0.25, 0.75]
    h = torch.tensor([[[-0.96, 0.96, 0.0, -0.94]]])
    assert probes.saturation(h, -0.95, 0.95).tolist() == [0.5]


def test_a_unit_is_dead_only_where_it_is_silent_on_every_sample() -> None:
    h = torch.tensor([[[0.0, 0.0], [0.0, 1e-30]], [[0.0, 0.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, 3.0]]])
    assert probes.dead_units(h).tolist() == [0.5, 1, 0]


def test_nonpositive_counts_inputs_at_zero() -> None:
    a = torch.tensor([[[0.0, -1.0], [1.0, 2.0]], [[-0.0, 0.0], [-3.0, 1e-30]]])
    assert probes.nonpositive(a).tolist() == [0.5, 0.75]


@pytest.mark.parametrize("shape", [(5, 3, 7), (9, 40, 1000), (2, 300, 1000), (1, 1, 1)])
def test_pieces_are_the_members_in_order(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    assert torch.equal(torch.cat(list(probes.pieces(x))), x)
    assert all(len(piece) == 1 or piece.numel() <= probes.PIECE for piece in probes.pieces(x))


def test_a_sigmoid_of_small_normal_weights_lets_the_gradient_vanish(digits: data.Dataset) -> None:
    deep = RunConfig(ActivationConfig("sigmoid"), InitConfig("normal", std=0.01), model=ModelConfig((100,) * 5))
    deep = replace(deep, train=TrainConfig(epochs=0))
    (record,), _ = train([deep], digits, CPU)
    assert record.history["flow"][0] < -5


def test_thirty_such_layers_leave_a_gradient_that_float32_still_measures(digits: data.Dataset) -> None:
    """Its squares, below 1e-45, would be 0."""
    read = {}
    for dtype in ("float32", "float64"):
        deep = RunConfig(
            ActivationConfig("sigmoid"), InitConfig("normal", std=0.02), model=ModelConfig((100,), depth=24)
        )
        deep = replace(deep, train=TrainConfig(epochs=0, dtype=dtype))
        (record,), _ = train([deep], digits, CPU)
        read[dtype] = record.history["flow"][0], record.history["growth"][0]
    assert read["float64"][0] < -25
    assert read["float32"] == pytest.approx(read["float64"], rel=1e-3)
