"""Every kind of layer says of itself what its module has, and a stack runs what it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from members import CPU, mix
from torch import Tensor, nn

from bnsweep.config.run import RunConfig
from bnsweep.nets import stack as stacks
from bnsweep.nets.engine import Engine
from bnsweep.nets.families import layers_of
from bnsweep.nets.layer import Kept, Layer, OverAll
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.nets.workspace import Buffer, Workspace

CONFIGS = mix()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.activation.name}-{c.bn.placement}")
def test_a_layer_keeps_what_its_module_has(config: RunConfig) -> None:
    for layer in layers_of([config]):
        module = layer.module(config)
        assert module is not None, "the layers of one run are those that it has"
        state = {name: v.numel() for name, v in module.state_dict().items() if name != "num_batches_tracked"}
        kept = {name: math.prod(k.shape) for name, k in layer.kept().items()}
        assert state.items() <= kept.items()
        assert kept.keys() - state.keys() <= {"weight", "bias"}, "a BN without scale and shift keeps them still"


def test_the_layers_of_a_stack_are_those_of_all_its_members() -> None:
    names = {layer.name for config in CONFIGS for layer in layers_of([config])}
    assert {layer.name for layer in layers_of(CONFIGS)} == names
    assert names == {f"{kind}{i}" for kind in ("linear", "bn", "activation", "dropout") for i in (1, 2)} | {"linear3"}


def test_the_arithmetic_of_a_run_is_that_of_its_layers() -> None:
    """4 D H + 6 (H^2 + H C) multiplications and additions a sample."""
    inputs, first, second, classes = CONFIGS[0].sizes
    expected = 4 * inputs * first + 6 * (first * second + second * classes)
    assert sum(layer.flops for layer in layers_of(CONFIGS[:1])) == expected


@dataclass(frozen=True)
class Scale(Layer):
    """A kind of layer that the package has never heard of: all outputs of a member times one number."""

    block: int

    @property
    def name(self) -> str:
        return "scale"

    def module(self, config: RunConfig) -> nn.Module:
        return ScaleModule(config)

    def kept(self) -> dict[str, Kept]:
        return {"factor": Kept((1, 1), lambda config, z: 2.0 + config.seed, lambda config: 1.0)}

    def stacked(self, stack: Stack, gradients: Mapping[str, Tensor]) -> OverAll:
        return StackedScale(stack.parameters["scale.factor"], gradients["scale.factor"])


class ScaleModule(nn.Module):
    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(1, 1, dtype=getattr(torch, config.train.dtype)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class StackedScale(OverAll):
    def __init__(self, factor: Tensor, gradient: Tensor) -> None:
        self.factor, self.gradient = factor, gradient

    def evaluate(self, x: Buffer, space: Workspace) -> Buffer:
        x.full.mul_(self.factor)
        return x

    def forward(self, x: Buffer, space: Workspace, step: Tensor | None) -> Buffer:
        self.x, y = x.full, space("scaled", *x.full.shape[1:])
        torch.mul(x.full, self.factor, out=y.full)
        return y

    def backward(self, d: Buffer, space: Workspace) -> Buffer:
        self.gradient.copy_((d.full * self.x).sum((1, 2), keepdim=True))
        d.full.mul_(self.factor)
        return d


def test_a_layer_of_ones_own_needs_nothing_but_its_place_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stack, engine and export ask the layers: forward, backward, evaluation and the ordinary module agree."""
    from bnsweep.nets import plain

    def with_scale(configs: list[RunConfig]) -> list[Layer]:
        layers = layers_of(configs)
        return [*layers[:-1], Scale(2), layers[-1]]

    for module in (stacks, plain):
        monkeypatch.setattr(module, "layers_of", with_scale)
    configs = [c for c in CONFIGS if c.model.dropout == 0]
    stack, generator = Stack(configs, CPU), torch.Generator().manual_seed(0)
    engine, x = Engine(stack), torch.randn(40, 64, dtype=torch.float64, generator=generator)
    d_logits = torch.randn(len(stack), 10, 40, dtype=torch.float64, generator=generator)
    logits = engine.forward(x[None]).clone()
    engine.backward(d_logits)
    for k, config in enumerate(stack.configs):
        network = build(config).train()
        assert network.get_parameter("scale.factor").item() == 2 + config.seed
        outputs = network(x)
        torch.testing.assert_close(logits[k].T, outputs, rtol=1e-9, atol=1e-9)
        outputs.backward(d_logits[k].T)
        for name, parameter in network.named_parameters():
            if parameter.grad is not None and name in engine.gradients:
                ours = engine.gradients[name][k].reshape(parameter.shape)
                torch.testing.assert_close(ours, parameter.grad, rtol=1e-9, atol=1e-11, msg=name)
        torch.testing.assert_close(engine.evaluate(x[None])[k].T, stack.export(k)(x), rtol=1e-9, atol=1e-9)
