"""What was trained on what, in a line at the top of the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages.provenance import about

NET = "hidden layers 32-32 · sgd · 20 epochs"


@pytest.mark.parametrize(
    ("factors", "data", "told"),
    [
        ({"bn": ["none", "before"]}, [{"name": "mnist", "source": "/x/raw"}], f"mnist · {NET}"),
        ({"bn": ["none", "before"]}, [{"name": "table", "source": "/x/cancer.csv"}], f"table cancer.csv · {NET}"),
        ({"bn": ["none", "before"]}, [], f"digits · {NET}"),
        ({"optimizer": ["sgd", "adam"], "data": ["digits", "mnist"]}, [], NET.replace("sgd · ", "")),
    ],
)
def test_what_all_runs_share_is_said_first(simulate, factors, data, told):
    frame = simulate(factors=factors, seeds=2)
    assert about(replace(frame.info, data=data), read_grid(frame.runs)) == told
