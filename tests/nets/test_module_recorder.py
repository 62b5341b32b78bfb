"""Activations of the user's networks are read however they are called."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from members import CPU
from own_runs import known, run
from torch import Tensor, nn

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.engine import Engine
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.training.trainer import Trainer

MODULES = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def calling(digits: data.Dataset, **kwargs: Any) -> list[RunConfig]:
    given = {"model.kwargs": kwargs, "probes.name": "light"}
    return known([run("own_activations:Calling", seed=seed, **given) for seed in (0, 1)], digits)


def ways(name: str) -> list[dict[str, Any]]:
    """To call an activation, other than by its module."""
    found: list[dict[str, Any]] = []
    for place, of in (("F", F), ("torch", torch), ("Tensor", Tensor)):
        found += [{"place": place, "name": name}] if hasattr(of, name) else []
        found += [{"place": place, "name": f"{name}_", "in_place": True}] if hasattr(of, f"{name}_") else []
    if inspect.isfunction(getattr(F, name)) and "inplace" in inspect.signature(getattr(F, name)).parameters:
        found += [
            {"place": of, "name": called, "in_place": True}
            for of, called in (("F", name), ("nn", MODULES[name].__name__))
        ]
    return found


@pytest.mark.parametrize("name", MODULES)
def test_records_are_the_same_however_an_activation_is_called(name: str, digits: data.Dataset) -> None:
    by_module = calling(digits, place="nn", name=MODULES[name].__name__)
    wanted = Trainer(by_module, digits, CPU).evaluate(0)
    metrics = {key for key in wanted.values if key.startswith(("layer/2", "flow"))}
    assert {"flow", "layer/2/mean", "layer/2/std", "layer/2/grad_activation"} <= metrics
    assert min(wanted.values["layer/1/grad_activation"]) > 0
    for way in ways(name):
        configs = calling(digits, **way)
        network = configs[0].model.network
        assert network.alone == "" and network.calls == by_module[0].model.network.calls, way
        alone = [config.with_network(replace(network, alone="to compare")) for config in configs]
        for runs in (configs, alone):
            found = Trainer(runs, digits, CPU).evaluate(0)
            assert found.counts == wanted.counts and found.values.keys() == wanted.values.keys()
            for key, values in found.values.items():
                assert values == pytest.approx(wanted.values[key], rel=1e-9, abs=1e-12, nan_ok=True), (way, key)


def test_calls_are_read_in_their_order_once_each_and_of_samples_alone(
    digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own activation calls torch.sigmoid; gates of four numbers are as long as the trial's batch."""
    monkeypatch.chdir(tmp_path)
    text = "import torch\ndef swish2(a):\n    return a * torch.sigmoid(2 * a)\n"
    Path("my_swish_of_recorder.py").write_text(text, encoding="utf-8")
    given = {"activation.name": "my_swish_of_recorder:swish2", "probes.name": "light"}
    configs = known([run("own_activations:Mixed", seed=seed, **given) for seed in (0, 1)], digits)
    network = configs[0].model.network
    prelu, swish = "torch.nn.functional:prelu", "my_swish_of_recorder:swish2"
    assert network.activations == [((16,), row) for row in ("tanh", swish, prelu, "leaky_relu", "relu")]
    assert [row for shape, row in network.calls if shape is None] == ["sigmoid", "torch.nn.functional:softplus"]
    assert network.alone == "" and network.chance
    x = digits.x_ND[:20].double()
    stack = Stack(configs, CPU)
    engine = Engine(stack)
    outputs = engine.forward(x.expand(2, 20, 64).contiguous(), None)
    for k in range(2):
        module = build(configs[stack.positions[k]])
        module.get_submodule("drop").eval()
        h = torch.tanh(module.get_submodule("maps.0")(x))
        assert torch.allclose(outputs[k].T, module(x.view(20, 1, 8, 8)), rtol=1e-12)
        assert torch.allclose(engine.activated[0][0].h[k].T, h, rtol=1e-12)


def test_a_member_that_makes_other_calls_than_the_one_tried_has_no_numbers_of_them(digits: data.Dataset) -> None:
    configs = [run("own_activations:BySign", seed=seed, **{"probes.name": "light"}) for seed in range(6)]
    configs = known(configs, digits)
    (_, row) = configs[0].model.network.activations[-1]
    found = Trainer(configs, digits, CPU).evaluate(0).values
    like_the_first = [
        ("relu" if build(config).get_parameter("last.bias")[0] > 0 else "tanh") == row for config in configs
    ]
    assert {*like_the_first} == {True, False}
    for key in ("layer/1/mean", "layer/2/std", "layer/1/grad_activation"):
        assert [not math.isnan(value) for value in found[key]] == like_the_first
    assert not any(math.isnan(value) for value in found["train/loss"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("x", "it calls none of torch's activations"),
        ("x * torch.tanh(self.weight).mean()", "no activation that it calls sees the samples in its first dimension"),
        (
            "[x := torch.relu(x) for _ in range(1001)][-1]",
            "it calls 1,001 activations, and no more than 1,000 are read",
        ),
    ],
)
def test_why_nothing_is_read_is_said(
    body: str, says: str, digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"my_net_of_recorder_{len(body)}"
    lines = ("import torch", "class Net(torch.nn.Linear):", "    def __init__(self): super().__init__(64, 10)")
    lines += ("    def forward(self, x):", f"        return super().forward(({body}).flatten(1))")
    Path(f"{name}.py").write_text("\n".join(lines), encoding="utf-8")
    (config,) = known([run(f"{name}:Net")], digits)
    assert config.model.network.unread == says and config.model.layers == 0
