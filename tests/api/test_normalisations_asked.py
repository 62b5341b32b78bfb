"""Grids of normalisations and placements: cells that contradict themselves are refused or left out, from a command and
from Python alike."""

from __future__ import annotations

import pytest

import bnsweep
from bnsweep.api.compose import wanted
from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import identity, numbers
from bnsweep.store.encode import run_name

FEW = {"seed": range(2), "epochs": 1, "track": False, "workers": 1}


def levels(texts: list[str], invalid: str = "refuse") -> list[str]:
    return [run.normalisation for run in wanted(texts, [], [], invalid).runs]


def test_the_default_placement_gives_way_to_no_normalisation() -> None:
    assert levels(["norm=none,batch,group"]) == ["none", "before", "group before"]
    assert levels(["norm=layer,rms", "bn=before,after"]) == [
        *("layer before", "layer after"),
        *("rms before", "rms after"),
    ]
    assert levels(["bn=none,before", "norm=batch"]) == ["none", "before"]
    assert levels(["bn=none", "norm=none"]) == ["none"]


def test_weight_normalisation_has_no_place() -> None:
    """It is beside those that stand before or after activations, and beside none; typed with a place it is refused."""
    assert levels(["norm=none,batch,weight"]) == ["none", "before", "weight"]
    assert levels(["bn=none", "norm=batch,weight"]) == ["none", "weight"]
    (run,) = wanted(["norm=weight", "seed=3"], [], [], "refuse").runs
    assert run_name(numbers(run)) == "relu xavier lr=0.1 norm=weight seed=3"


@pytest.mark.parametrize(
    ("texts", "says", "left"),
    [
        (["bn=none,before", "norm=batch,group"], "norm=group: must be none, batch or weight with bn=none", 3),
        (["bn=before,after", "norm=none,layer"], "norm=none: must be one of .* with bn=before, or bn left out", 2),
        (["bn=before,after", "norm=weight,rms"], "norm=weight: must be one of .* with bn=before, or bn left out", 2),
        (["bn.placement=none,after", "norm.name=none,rms"], "norm=rms: must be none, batch or weight with bn=none", 2),
    ],
)
def test_cells_that_contradict_themselves_are_refused_or_left_out(texts: list[str], says: str, left: int) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        levels(texts)
    assert len(levels(texts, "skip")) == left
    assert len(levels([*texts, "seed=range(0,20)"], "skip")) == 20 * left, "of many seeds few are composed"


def test_a_sweep_from_python_takes_normalisations(capsys: pytest.CaptureFixture[str]) -> None:
    result = bnsweep.sweep(norm=["none", "batch", "group"], **FEW)
    assert set(result.runs["bn"]) == {"none", "before", "group before"} and set(result.runs["status"]) == {"finished"}
    assert set(result.ranking["arm"]) == {"no BN", "BN before", "GroupNorm before"}
    assert "norm=none,batch,group" in result.command
    with pytest.raises(ConfigError, match=r"^norm=none: must be one of batch, .* with bn=after, or bn left out$"):
        bnsweep.sweep(norm="none", bn="after", **FEW)
    capsys.readouterr()


def test_a_run_is_named_by_its_settings() -> None:
    runs = wanted(["norm=none,batch,group", "seed=3"], [], [], "refuse").runs
    names = [run_name(numbers(run)) for run in runs]
    assert [name.removeprefix("relu xavier lr=0.1 ") for name in names] == [
        *("bn=none seed=3", "bn=before seed=3", "norm=group bn=before seed=3"),
    ]
    assert identity(runs[0]) == identity(wanted(["bn=none", "seed=3"], [], [], "refuse").runs[0])
