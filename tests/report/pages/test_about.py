"""What was trained on what, in a line at the top of the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages.provenance import about, trained_on

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


def test_several_kinds_of_device_are_said_and_so_are_the_machines_of_a_cluster(simulate):
    info = simulate(factors={"bn": ["none", "before"]}, seeds=2).info
    assert trained_on(replace(info, devices=["cpu"])) == "cpu"
    assert trained_on(replace(info, devices=["cpu"], hosts=["n1", "n2"])) == "cpu (machines: n1, n2)"
    says = (
        "2 kinds of device (runs that are compared may be of different ones, which round differently): cpu, cuda (H100)"
    )
    assert trained_on(replace(info, devices=["cpu", "cuda (H100)"])) == says
