"""Every layer of a network that starts by LSUV gives outputs of variance 1 on the batch that it is trained on first."""

from __future__ import annotations

import pytest
import torch
from members import CPU, changed, make
from torch import Tensor, nn

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.plain import build
from bnsweep.nets.weight_norm import WeightNormLinear
from bnsweep.training.trainer import Trainer

NETWORKS: dict[str, dict[str, object]] = {
    "mlp": {"model.hidden": (20,), "model.depth": 8},
    "weights": {"model.hidden": (20,), "model.depth": 3, "norm.name": "weight"},
    "skips": {"model.hidden": (20,), "model.depth": 7, "skip.name": "on"},
    "conv": {"model.family": "conv", "model.channels": (4, 6)},
    "resnet": {"model.family": "resnet", "model.channels": (4, 6), "skip.name": "on", "model.dropout": 0.3},
    "projected": {"model.family": "resnet", "model.channels": (4, 6), "skip.name": "on", "model.shortcut": "B"},
}


def started(config: RunConfig) -> tuple[nn.Module, Tensor]:
    """The network of a run beside one that starts otherwise, and its first batch."""
    other = changed(config, {"init.name": "he", "seed": 1})
    trainer = Trainer([other, config], data.load(DataConfig()), CPU)
    k = trainer.stack.positions.index(1)
    x_GBD, _ = trainer.batches.take(next(trainer.batches_of(0)), trainer.stack.t)
    theirs, kept = build(other).state_dict(), trainer.stack.export(1 - k).state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in theirs.items() if name.endswith("weight"))
    return trainer.stack.export(k), x_GBD[trainer.stack.data_seeds.index(config.data_seed)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("placement", ["none", "before"])
def test_outputs_of_every_layer_have_variance_one_on_the_first_batch(name: str, placement: str) -> None:
    config = changed(make(("relu", "lsuv", "constant", placement)), {"data.crop": 1, "model.dropout": 0.0})
    config = changed(config, NETWORKS[name])
    model, x = started(config)
    variances, state = [], {name: tensor.clone() for name, tensor in build(config).state_dict().items()}
    for module_name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda _, __, z: variances.append(z.var(correction=0).item()))
            name = "weight_v" if isinstance(module, WeightNormLinear) else "weight"
            ratio = module.get_parameter(name) / state[f"{module_name}.{name}"]
            torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert torch.equal(module.running_mean, state[f"{module_name}.running_mean"])
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    model(x)
    assert len(variances) == config.model.layers + 1 + (config.model.shortcut == "B")
    assert variances == pytest.approx([1] * len(variances), rel=1e-9)


def test_weights_whose_outputs_do_not_vary_stay_orthogonal() -> None:
    dark = {"data.binary": True, "model.hidden": (8,), "model.dropout": 0.0}
    config = changed(make(("relu", "lsuv", "constant", "none")), dark)
    digits = data.load(DataConfig())
    digits.x_ND.mul_(0.4)
    model = Trainer([config], digits, CPU).stack.export(0)
    torch.testing.assert_close(model.linear1.weight, build(config).linear1.weight)
