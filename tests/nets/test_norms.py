"""Every normalisation in a stack is torch's own module, member by member, forward and back, also over the positions of
images and signals.

Shapes: K members, H units, B samples, P positions, S = B*P.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from members import CPU, changed, make
from torch import Tensor, nn

from bnsweep.catalogue.norms import PLACED
from bnsweep.config.run import RunConfig
from bnsweep.nets import stack as stacks
from bnsweep.nets.layer import Layer
from bnsweep.nets.norm import Norm, RunningStatistics, bias_is_removed
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.nets.workspace import LayerBuffers, share

UNITS, SAMPLES = 32, 6
ROW, SIGNAL, IMAGE, PIXEL = (), (1, 10), (3, 4), (1, 1)
WHERE = pytest.mark.parametrize("where", [ROW, SIGNAL, IMAGE, PIXEL], ids=["row", "signal", "image", "pixel"])


def run(kind: str, place: str = "before", seed: int = 0, **values: object) -> RunConfig:
    """Its layer 1 has UNITS; the kind is not checked against the network, which has no positions."""
    config = changed(make(("relu", "he", "constant", place)), {"seed": seed, **values})
    norm = replace(config.norm)
    object.__setattr__(norm, "name", kind)
    changed_run = replace(config)
    object.__setattr__(changed_run, "norm", norm)
    return changed_run


def several() -> list[RunConfig]:
    """All kinds at one place, most of them twice."""
    runs = [run(kind, seed=seed) for kind in PLACED for seed in (0, 1)]
    runs += [run("group", **{"norm.name": "group", "norm.groups": 2}), run("layer", **{"bn.eps": 1e-2})]
    return [*runs, run("rms", **{"bn.affine": False}), run("batch", **{"bn.unbiased": False})]


def stack_over(where: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> tuple[Stack, Norm]:
    """A stack of all kinds whose first normalisation is over these positions."""
    norm = Norm(1, UNITS, "before", torch.Size(where).numel(), images=where != ROW)

    def layers(configs: list[RunConfig]) -> list[Layer]:
        return [norm]

    monkeypatch.setattr(stacks, "layers_of", layers)
    return Stack(several(), CPU), norm


def draw(stack: Stack, where: tuple[int, ...], number: int) -> Tensor:
    """[K, B, H, ...], far from mean 0 and standard deviation 1."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(len(stack), SAMPLES, UNITS, *where, generator=generator, dtype=torch.float64) * 3 + 1


def stacked(x_KBH: Tensor) -> Tensor:
    """[K, B, H, ...] as a stack keeps it: [K, H, S]."""
    return x_KBH.transpose(1, 2).flatten(2).contiguous()


def passed(stack: Stack, norm: Norm, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Outputs in training and in eval mode, the gradient of the input, and those of the parameters."""
    gradients = stack.rest.alike()
    layer, ways = norm.stacked(stack, gradients), []
    for y in (torch.empty_like(x), torch.empty_like(x)):
        ways.append(y)
        for n, some in enumerate(stack.neighbours):
            buffers = LayerBuffers(*(share(t, some) for t in (x.clone(), y, torch.empty_like(x))))
            if len(ways) == 1:
                layer.evaluate(n, buffers)
            else:
                layer.forward(n, buffers, None)
                layer.backward(n, buffers, share(d, some), share(torch.empty_like(x), some))
    return ways[1], ways[0], d, dict(gradients)


@WHERE
def test_every_kind_is_torchs_module(where: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    stack, norm = stack_over(where, monkeypatch)
    generator = torch.Generator().manual_seed(7)
    for name in ("bn1.weight", "bn1.bias"):
        rate = stack.rates()[name].view(-1, 1)
        start = stack.parameters[name]
        start += rate * torch.randn(start.shape, generator=generator, dtype=torch.float64)
    x, d = draw(stack, where, 0), draw(stack, where, 1)
    y, evaluated, dx, gradients = passed(stack, norm, stacked(x), stacked(d))
    kinds = set()
    for k, config in enumerate(stack.configs):
        if config.norm.name == "instance" and where in (ROW, PIXEL):
            continue
        module = norm.module(config)
        assert module is not None
        kinds.add(type(module).__name__)
        state = {f: stack.parameters[f"bn1.{f}"][k].clone() for f in ("weight", "bias") if f in module.state_dict()}
        module.load_state_dict(state, strict=False)
        own = x[k].clone().requires_grad_()
        expected = module(own)
        expected.backward(d[k])
        assert own.grad is not None
        close(y[k], stacked(expected[None])[0], config)
        close(dx[k], stacked(own.grad[None])[0], config)
        for name, parameter in module.named_parameters():
            close(gradients[f"bn1.{name}"][k], parameter.grad, config)
        if not config.batch_norm:
            close(evaluated[k], y[k], config)
    assert kinds == KINDS[where]


OF_IMAGES = {"BatchNorm2d", "BiasedBatchNorm2d", "GroupNorm", "RMSNorm"}
KINDS = {
    ROW: {"BatchNorm1d", "BiasedBatchNorm1d", "LayerNorm", "GroupNorm", "RMSNorm"},
    SIGNAL: OF_IMAGES | {"InstanceNorm2d"},
    IMAGE: OF_IMAGES | {"InstanceNorm2d"},
    PIXEL: OF_IMAGES,
}


def close(ours: Tensor, theirs: Tensor | None, config: RunConfig) -> None:
    assert theirs is not None
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11, msg=lambda text: f"{config.norm}: {text}")


@WHERE
def test_a_batch_counts_in_the_running_variance_with_all_its_positions(
    where: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, norm = stack_over(where, monkeypatch)
    statistics, x = RunningStatistics(stack), draw(stack, where, 0)
    passed(stack, norm, stacked(x), stacked(x))
    statistics.update(SAMPLES, None)
    conventions = set()
    for k, config in enumerate(stack.configs):
        if not config.batch_norm:
            continue
        conventions.add(config.bn.unbiased)
        module = norm.module(config)
        assert module is not None
        module(x[k])
        for name in ("running_mean", "running_var"):
            close(stack.running[f"bn1.{name}"][k], module.state_dict()[name], config)
    assert conventions == {True, False}


def test_a_normalisation_over_all_units_and_positions_has_one_scale_a_unit() -> None:
    """Of an image LayerNorm and RMSNorm are over H, height and width together."""
    x = torch.randn(SAMPLES, UNITS, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 + 3
    for kind, torchs in (("layer", nn.LayerNorm), ("rms", nn.RMSNorm)):
        module = Norm(1, UNITS, "before", 12, images=True).module(run(kind))
        assert module is not None
        expected = torchs((UNITS, 3, 4), eps=1e-5, dtype=torch.float64)(x)
        torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
        assert module.get_parameter("weight").shape == (UNITS,)


@pytest.mark.parametrize("kind", PLACED)
def test_a_bias_is_held_at_zero_only_where_its_gradient_is_zero(kind: str) -> None:
    """Before the activation, and after one that is linear, of an image: the ordinary module's gradient says which."""
    for place, activation in (("before", "relu"), ("after", "identity"), ("after", "relu")):
        config = run(kind, place, **{"activation.name": activation})
        module = Norm(1, UNITS, place, 12, images=True).module(config)
        assert module is not None
        generator = torch.Generator().manual_seed(0)
        x, d = torch.randn(2, SAMPLES, UNITS, 3, 4, dtype=torch.float64, generator=generator)
        bias = torch.zeros(UNITS, 1, 1, dtype=torch.float64, requires_grad=True)
        inputs = x + bias
        (module(inputs.relu() if activation == "relu" and place == "after" else inputs) * d).sum().backward()
        assert bias.grad is not None
        assert bias_is_removed(config) == bool(bias.grad.abs().max() < 1e-9), (kind, place, activation)


def test_an_exported_member_has_the_module_of_its_kind() -> None:
    kinds = [kind for kind in PLACED if kind != "instance"]
    stack = Stack([run(kind, place) for kind in kinds for place in ("before", "after")], CPU)
    x = torch.randn(7, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    titles = {"batch": "BatchNorm1d", "layer": "LayerNorm", "group": "GroupNorm", "rms": "RMSNorm"}
    for k, config in enumerate(stack.configs):
        network = stack.export(k)
        names = [type(module).__name__ for module in network]
        assert names[1 if config.placement == "before" else 2] == titles[config.norm.name]
        assert torch.equal(network(x), build(config).eval()(x))
