"""Weight normalisation is torch's own, forward and back, and starts from the weights of the swept init."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from members import CPU, changed, make
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bnsweep.catalogue.inits import INITS
from bnsweep.config.groups import InitConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.engine import Engine
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.nets.weight_norm import WeightNormConv2d, WeightNormLinear

MLP: dict[str, object] = {"model.hidden": (9, 7)}
RESNET: dict[str, object] = {
    "model.family": "resnet",
    "model.channels": (3, 4),
    "model.shortcut": "B",
    "skip.name": "on",
}
NETWORKS = {"mlp": MLP, "resnet": RESNET}


def run(seed: int, kind: str = "weight", **of: object) -> RunConfig:
    config = changed(make(("tanh", "he", "constant", "none"), seed), {"model.dropout": 0.0, **of})
    return changed(config, {"norm.name": kind})


def with_torchs(network: nn.Module) -> nn.Module:
    """The same network by torch's modules and parametrisation."""
    for name, module in list(network.named_modules()):
        if isinstance(module, WeightNormLinear | WeightNormConv2d):
            bias, dtype = module.bias is not None, module.weight_v.dtype
            if isinstance(module, WeightNormConv2d):
                window = (module.kernel_size, module.stride, module.padding)
                own: nn.Module = nn.Conv2d(module.in_channels, module.out_channels, *window, bias=bias, dtype=dtype)
            else:
                own = nn.Linear(module.in_features, module.out_features, bias=bias, dtype=dtype)
            state = module.state_dict()
            own.load_state_dict({"weight": state.pop("weight_v")} | {n: p for n, p in state.items() if n == "bias"})
            own = weight_norm(own)
            g = own.get_parameter("parametrizations.weight.original0")
            with torch.no_grad():
                g.copy_(module.weight_g.view_as(g))
            network.set_submodule(name, own)
    return network


def gradients_of(network: nn.Module, x: Tensor, d: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs, and the gradients of all parameters under the names that they have here."""
    outputs = network.train()(x)
    outputs.backward(d)
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        found[name] = parameter.grad
    return outputs, found


@pytest.mark.parametrize("network", NETWORKS)
def test_outputs_and_gradients_are_those_of_torchs_parametrisation(network: str) -> None:
    """Of members beside others without it, where lengths and directions are no longer those of the start."""
    runs = [run(0, **NETWORKS[network]), run(1, "none", **NETWORKS[network]), run(2, **NETWORKS[network])]
    stack, generator = Stack(runs, CPU), torch.Generator().manual_seed(0)
    for name in ("weight_g", "weight_v"):
        for of in (of for of in stack.parameters if of.endswith(f".{name}")):
            tensor = stack.parameters[of]
            tensor.mul_(1 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64))
    engine, x = Engine(stack), torch.randn(5, 64, dtype=torch.float64, generator=generator)
    d = torch.randn(len(stack), 10, 5, dtype=torch.float64, generator=generator)
    logits = engine.forward(x.expand(len(stack.data_seeds), -1, -1)).clone()
    engine.backward(d.clone())
    for k, config in enumerate(stack.configs):
        ours = stack.export(k)
        kinds = [type(module).__name__ for module in ours.modules()]
        assert any("WeightNorm" in kind for kind in kinds) == config.weight_norm
        outputs, theirs = gradients_of(with_torchs(ours), x, d[k].T)
        torch.testing.assert_close(logits[k].T, outputs, rtol=1e-11, atol=1e-12)
        for name, g in theirs.items():
            if name in stack.products:
                continue
            torch.testing.assert_close(engine.gradients[name][k].reshape(g.shape), g, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("init", [name for name, row in INITS.items() if not (row.of_branches or row.by_batch)])
def test_the_first_weights_are_those_of_the_init(init: str) -> None:
    std = 0.3 if INITS[init].takes_std else None
    of = run(3, **RESNET)
    of = replace(of, init=InitConfig(init, std=std))
    normed, without = (build(changed(of, {"norm.name": kind})) for kind in ("weight", "none"))
    for name, module in normed.named_modules():
        if isinstance(module, WeightNormLinear | WeightNormConv2d):
            first = without.get_parameter(f"{name}.weight")
            assert torch.equal(module.weight_v, first)
            torch.testing.assert_close(module.normalised_weight(), first, rtol=1e-14, atol=0)


def test_only_hidden_layers_are_normalised() -> None:
    names = [name for name, module in build(run(0, **MLP)).named_children() if isinstance(module, WeightNormLinear)]
    assert names == ["linear1", "linear2"]
    names = [name for name, module in build(run(0, **RESNET)).named_modules() if isinstance(module, WeightNormConv2d)]
    assert names == ["conv1", "conv2", "conv3", "skip4.conv", "conv4", "conv5"]


def test_a_stack_without_it_keeps_nothing_for_it() -> None:
    with_it, without = Stack([run(0), run(1, "none")], CPU), Stack([run(1, "none")], CPU)
    more = {name for name in with_it.parameters if name not in without.parameters}
    assert more == {f"linear{i}.weight_{part}" for i in (1, 2) for part in "vg"}
