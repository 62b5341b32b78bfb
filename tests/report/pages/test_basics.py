"""The words that a student meets for the first time, each in a sentence."""

from __future__ import annotations

import pytest

from bnsweep.catalogue.inits import INITS
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages.basics import basics, saturates

BN, NORMAL, XAVIER, HE, SATURATION = "BN", "init: normal", "init: xavier", "init: he", "saturation"
GROUP, LAYER, NO_BN = "GroupNorm", "LayerNorm", "no BN"


@pytest.mark.parametrize(
    ("factors", "has", "lacks"),
    [
        ({"activation": ["sigmoid", "relu"], "bn": ["none", "before"]}, {BN, SATURATION}, {NORMAL, XAVIER, HE}),
        ({"activation": ["relu"], "init": ["xavier", "he"], "bn": ["none"]}, {XAVIER, HE}, {BN, NORMAL, SATURATION}),
        ({"activation": ["tanh"], "init": ["normal"]}, {NORMAL, SATURATION}, {BN, XAVIER, HE}),
        ({"bn": ["none", "before", "group after"]}, {BN, GROUP, NO_BN}, {LAYER}),
        ({"init": list(INITS)}, {f"init: {name}" for name in INITS}, {BN}),
        ({"bn": ["layer before", "group before"]}, {GROUP, LAYER}, {BN, NO_BN}),
        ({"optimizer": ["sgd", "adam"]}, {"learning rate (lr)"}, {BN, NORMAL, XAVIER, HE, SATURATION, "activation"}),
    ],
)
def test_the_words_are_those_of_the_sweep(simulate, factors, has, lacks):
    grid = read_grid(simulate(factors=factors, seeds=2).runs)
    told = dict(basics(grid))
    assert has <= set(told)
    assert not lacks & set(told)
    assert (SATURATION in told) == saturates(grid)
    assert all(text.endswith(".") and len(text) < 250 for text in told.values())
