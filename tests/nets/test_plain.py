"""The plain network is the note's, generalised; its weights start as the inits promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsweep.config.groups import ActivationConfig, BnConfig, DataConfig, InitConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.nets.init import draw_normals, initial_weight
from bnsweep.nets.plain import build


def test_the_lecture_network_is_the_notes_dnn_batchnorm() -> None:
    model = build(RunConfig(data=DataConfig("mnist", validation=10_000), bn=BnConfig("before")))
    assert [type(m).__name__ for m in model] == [
        *("Linear", "BatchNorm1d", "Activation", "Linear", "BatchNorm1d", "Activation", "Linear"),
    ]
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "linear1.weight": (32, 784),
        "bn1.weight": (32,),
        "linear2.weight": (32, 32),
        "bn2.weight": (32,),
        "linear3.weight": (10, 32),
    }


def test_bn_can_stand_before_or_after_the_activation_or_nowhere() -> None:
    def kinds(placement: str, dropout: float = 0.0) -> str:
        model = build(RunConfig(bn=BnConfig(placement), model=ModelConfig([8], dropout)))
        return " ".join(name for name, _ in model.named_children())

    assert kinds("none") == "linear1 activation1 linear2"
    assert kinds("before") == "linear1 bn1 activation1 linear2"
    assert kinds("after", 0.5) == "linear1 activation1 bn1 dropout1 linear2"


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("xavier", math.sqrt(2 / (400 + 600))),
        ("he", math.sqrt(2 / 400)),
        ("lecun", math.sqrt(1 / 400)),
        ("normal", 0.05),
    ],
)
def test_an_init_has_its_papers_standard_deviation(init: str, std: float, distribution: str) -> None:
    (z,) = draw_normals(0, [(600, 400)])
    w = initial_weight(InitConfig(init, distribution, std=std if init == "normal" else None), z)
    assert w.std().item() == pytest.approx(std, rel=0.01)
    assert abs(w.mean().item()) < 0.01 * std * 3
    if distribution == "uniform":
        assert w.abs().max().item() == pytest.approx(math.sqrt(3) * std, rel=1e-3)
        assert torch.equal(w.sign(), z.sign()), "uniform and normal arms stay paired"


def test_xavier_has_the_spread_of_torchs_own() -> None:
    ours = initial_weight(InitConfig("xavier"), draw_normals(1, [(500, 784)])[0])
    theirs = nn.init.xavier_normal_(torch.empty(500, 784))
    assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.01)


@pytest.mark.parametrize("sizes", [[32, 64], [64, 32]])
def test_orthogonal_weights_are_orthogonal(sizes: list[int]) -> None:
    w = initial_weight(InitConfig("orthogonal"), draw_normals(0, [(sizes[1], sizes[0])])[0])
    assert w.shape == (sizes[1], sizes[0])
    small = w.T @ w if sizes[1] > sizes[0] else w @ w.T
    torch.testing.assert_close(small, torch.eye(32, dtype=torch.float64))
    z = draw_normals(0, [(sizes[1], sizes[0])])[0]
    r = w.T @ z if sizes[1] > sizes[0] else w @ z.T
    assert (r.diagonal() > 0).all(), "the sign that makes them uniform over orthogonal matrices"


def test_all_arms_of_a_seed_share_their_normals() -> None:
    he, xavier = (build(RunConfig(init=InitConfig(name))).get_parameter("linear1.weight") for name in ("he", "xavier"))
    torch.testing.assert_close(he / he.std(), xavier / xavier.std())
    other = build(RunConfig(seed=1)).get_parameter("linear1.weight")
    assert not torch.allclose(other, xavier)


def test_a_bias_that_bn_removes_stays_at_zero_and_untrained() -> None:
    def trained(placement: str, activation: str) -> list[bool]:
        model = build(RunConfig(ActivationConfig(activation), bn=BnConfig(placement)))
        return [model.get_parameter(f"linear{i}.bias").requires_grad for i in (1, 2, 3)]

    assert trained("before", "relu") == trained("after", "identity") == [False, False, True]
    assert trained("after", "relu") == trained("none", "relu") == [True, True, True]
