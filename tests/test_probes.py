"""Diagnostics say of each member what plain autograd and arithmetic say of it alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnsweep import data, probes
from bnsweep.config import ActivationConfig, BnConfig, DataConfig, InitConfig, RunConfig
from bnsweep.model import build
from bnsweep.train import Trainer, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def runs() -> list[RunConfig]:
    arms = [("sigmoid", "none"), ("relu", "before"), ("tanh", "after"), ("relu", "none")]
    configs = [RunConfig(ActivationConfig(a), InitConfig("he"), bn=BnConfig(b)) for a, b in arms]
    for config in configs:
        config.train.dtype = "float64"
        config.model.dropout = 0.5  # which diagnostics leave out
    return configs


def plain_diagnostics(config: RunConfig, digits: data.Dataset) -> dict[str, float]:
    """With hooks on the ordinary module, in training mode, on the first 1000 training samples."""
    config = replace(config, model=replace(config.model, dropout=0.0))
    model, rows = build(config).train(), data.split(digits, config.data, config.seed).train[:1000]
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        args[0].retain_grad()
        inputs.append(args[0])
        outputs.append(output)

    for i in (1, 2):
        model.get_submodule(f"activation{i}").register_forward_hook(keep)
    logits = model(digits.x_ND[rows].double())
    logits.retain_grad()
    F.cross_entropy(logits, digits.y_N[rows]).backward()
    grads = [a.grad for a in (*inputs, logits)]
    values = {f"layer/{i}/grad_activation": g.norm().item() for i, g in enumerate(grads, 1) if g is not None}
    for i in (1, 2, 3):
        grad = model.get_parameter(f"linear{i}.weight").grad
        assert grad is not None
        values[f"layer/{i}/grad_weight"] = grad.norm().item()
    for i, h in enumerate(outputs, 1):
        values |= {f"layer/{i}/mean": h.mean().item(), f"layer/{i}/std": h.std(correction=0).item()}
        if config.activation.name == "relu":
            values[f"layer/{i}/dead"] = (h == 0).all(0).double().mean().item()
        elif config.activation.name == "sigmoid":
            values[f"layer/{i}/saturation"] = ((h < 0.05) | (h > 0.95)).double().mean().item()
        else:
            values[f"layer/{i}/saturation"] = (h.abs() > 0.95).double().mean().item()
    return values


def test_every_member_reads_what_hooks_on_the_plain_module_read(digits: data.Dataset) -> None:
    records, _ = train([*runs()], digits, CPU)
    for config, record in zip(runs(), records, strict=True):
        expected = plain_diagnostics(config, digits)
        measured = {name: values[0] for name, values in record.history.items() if name.startswith("layer/")}
        assert measured.keys() == expected.keys(), "what has no meaning for an activation is missing, not 0"
        for name, value in expected.items():
            assert measured[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_probing_changes_nothing_of_the_training(digits: data.Dataset) -> None:
    left, right = Trainer(runs(), digits, CPU), Trainer(runs(), digits, CPU)
    for epoch in range(2):
        left.epoch(epoch)
        right.diagnostics.light(histograms=True)
        right.evaluate(epoch)
        right.epoch(epoch)
    for a, b in zip(left.stack.parameters + left.stack.means, right.stack.parameters + right.stack.means, strict=True):
        assert torch.equal(a, b)


def test_histograms_count_every_output_once(digits: data.Dataset) -> None:
    (record, *_), _ = train(runs(), digits, CPU)
    for layer in record.histograms["start"]:
        assert sum(layer) == 1000 * 32
    h = torch.tensor([[[-5.0, -1.0, 0.0, 0.049, 1.99, 7.0]]])
    counts = probes.histogram_counts(h, -1, 2, 60)[0]
    assert counts.nonzero().flatten().tolist() == [0, 20, 59]
    assert counts[[0, 20, 59]].tolist() == [2, 2, 2]


def test_small_cases_by_hand() -> None:
    h = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.01, 0.5], [0.99, 0.5]]])
    relu = torch.tensor([True, False])
    dead = probes.dead_units(h, relu)
    assert dead[0] == 0.5 and math.isnan(dead[1])
    low, high = torch.tensor([math.nan, 0.05]), torch.tensor([math.nan, 0.95])
    saturated = probes.saturation(h, low, high)
    assert math.isnan(saturated[0]) and saturated[1] == 0.5
    mean, std = probes.means_stds(h)
    assert mean.tolist() == pytest.approx([0.25, 0.5])
    assert std.tolist() == pytest.approx(h.flatten(1).std(1, correction=0).tolist())
    assert probes.norms(torch.tensor([[[3.0, 4.0]]])).tolist() == [5.0]


def test_a_sigmoid_of_small_normal_weights_lets_the_gradient_vanish(digits: data.Dataset) -> None:
    deep = RunConfig(ActivationConfig("sigmoid"), InitConfig("normal", std=0.01))
    deep.model.hidden = [100] * 5
    (record,), _ = train([deep], digits, CPU)
    first, last = (record.history[f"layer/{i}/grad_activation"][0] for i in (1, 5))
    assert math.log10(first / last) < -5
