"""Dropout of either kind: what it keeps, and that kinds do not mix."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from members import CPU, changed, make
from plain_loop import alpha_dropout

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.engine import Engine
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.training.trainer import train


def selu(dropout: float, kind: str) -> RunConfig:
    settings = {"model.dropout": dropout, "model.dropout_kind": kind}
    return changed(make(("selu", "lecun", "constant", "none")), settings)


def test_the_ordinary_loops_alpha_dropout_is_torchs() -> None:
    """So that what the stack is held against is not of this project's making."""
    torch.manual_seed(0)
    h = torch.randn(50, 40, dtype=torch.float64)
    theirs = F.alpha_dropout(h, 0.3, training=True)
    values, counts = theirs.unique(return_counts=True)
    keep = theirs != values[counts.argmax()]
    assert 0.25 < 1 - keep.double().mean() < 0.35
    torch.testing.assert_close(alpha_dropout(h, keep, 0.3), theirs)


def test_selu_keeps_mean_and_variance_through_50_layers_and_alpha_dropout_keeps_them_too() -> None:
    """Klambauer et al. 2017; ordinary dropout does not."""
    x = torch.randn(1, 500, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    deep = {"model.hidden": (100,), "model.depth": 50}
    spreads = []
    for dropout, kind in ((0.0, "standard"), (0.2, "alpha"), (0.2, "standard")):
        stack = Stack([changed(selu(dropout, kind), deep)], CPU)
        engine = Engine(stack)
        engine.forward(x, stack.t)
        h = torch.cat([layer[0].h[0] for layer in engine.activated[-5:]])
        spreads.append((abs(h.mean().item()), h.var().item()))
    for mean, variance in spreads[:2]:
        assert mean < 0.1 and variance == pytest.approx(1, abs=0.25)
    assert spreads[2][1] > 1.8


def test_alpha_dropout_changes_nothing_at_test() -> None:
    digits, config = data.load(DataConfig()), selu(0.3, "alpha")
    stack, model = Stack([config], CPU), build(config).eval()
    assert isinstance(model.dropout1, torch.nn.AlphaDropout)
    x = digits.x_ND[:20].double()
    torch.testing.assert_close(Engine(stack).evaluate(x[None])[0].T, model(x))


def test_members_with_ordinary_dropout_keep_every_bit_beside_alpha_dropout() -> None:
    digits, ordinary = data.load(DataConfig()), selu(0.3, "standard")
    ends = []
    for kind in ("standard", "alpha"):
        _, stack = train([ordinary, changed(selu(0.2, kind), {"seed": 1})], digits, CPU)
        ends.append({name: p[stack.positions.index(0)].clone() for name, p in stack.parameters.items()})
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))
