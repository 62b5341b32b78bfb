"""Cells are left out of a grid by what their settings mean, and what is mistyped is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bnsweep.config.cells import excluded, refused_text
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import BnConfig, InitConfig, LrConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.norm import NormConfig
from bnsweep.config.run import RunConfig

GRID = {
    i: RunConfig(bn=BnConfig(bn), init=InitConfig(init), lr=LrConfig(lr), model=ModelConfig(hidden), seed=seed)
    for i, (bn, init, lr, hidden, seed) in enumerate(
        (bn, init, lr, hidden, seed)
        for bn in ("none", "before")
        for init in ("he", "xavier")
        for lr in (0.1, 1.0)
        for hidden in ((32,), (64, 64))
        for seed in (0, 1)
    )
}


def left_out(*entries: Any) -> set[int]:
    return excluded(GRID, entries)


def those(**wanted: Any) -> set[int]:
    return {i for i, run in GRID.items() if all(value(run, key) in values for key, values in wanted.items())}


def value(run: RunConfig, key: str) -> Any:
    return {
        "bn": run.bn.placement,
        "init": run.init.name,
        "lr": run.lr.value,
        "hidden": run.model.hidden,
        "seed": run.seed,
    }[key]


def test_all_settings_of_an_entry_count_and_any_entry_does() -> None:
    both = those(bn=["none"], init=["he"])
    assert left_out({"bn": "none", "init": "he"}) == both and len(both) == 8
    assert left_out({"bn": "none", "init": "he"}, {"seed": 1}) == both | those(seed=[1])


def test_a_list_stands_for_any_of_its_values() -> None:
    assert left_out({"lr.value": [0.1, 1], "bn": "none"}) == those(bn=["none"])
    assert left_out({"lr.value": 1}) == those(lr=[1.0])


def test_a_setting_that_is_a_list_is_one_value() -> None:
    assert left_out({"model.hidden": [32]}) == those(hidden=[(32,)])
    assert left_out({"model.hidden": [[32], [64, 64]], "seed": 0}) == those(seed=[0])


def test_a_run_without_a_normalisation_is_found_by_either_name_of_it() -> None:
    """Whichever of bn=none and norm=none it was made by: a report has one factor of both."""
    ways = [("none", "batch"), ("before", "none"), ("before", "batch"), ("before", "group"), ("after", "group")]
    runs = {i: RunConfig(bn=BnConfig(bn), norm=NormConfig(norm)) for i, (bn, norm) in enumerate(ways)}
    assert excluded(runs, [{"bn": "none"}]) == excluded(runs, [{"norm": "none"}]) == {0, 1}
    assert excluded(runs, [{"norm": "batch"}]) == {2}
    assert excluded(runs, [{"norm": "group", "bn": "before"}]) == {3}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"bnn": "none"}], r"sweep.exclude=\[{bnn: none}\]: bnn must be a setting \(did you mean bn"),
        ([{"lr": 0.1}], r"sweep.exclude=\[{lr: 0.1}\]: lr must be a setting \(did you mean lr.value"),
        ([{"bn": "non"}], r"sweep.exclude=\[{bn: non}\]: bn must be one of none, before, after"),
        ([{"lr.value": "small"}], r"sweep.exclude=\[{lr.value: small}\]: lr.value must be a number"),
        ([{"lr.value": -1}], r"sweep.exclude=\[{lr.value: -1}\]: lr.value must be a finite number > 0"),
        ([{"bn.affine": 1}], r"sweep.exclude=\[{bn.affine: 1}\]: bn.affine must be true or false"),
        ([{"bn": "after"}], r"sweep.exclude=\[{bn: after}\]: must match a run of the sweep, matches none of 32"),
        (
            [{"bn": ["none", "before"]}],
            r"sweep.exclude=\[{bn: \[none, before\]}\]: must leave a run .*, matches all 32",
        ),
        (["none"], r"sweep.exclude=\[none\]: must be settings with their values, as in '"),
        ([{}], r"sweep.exclude=\[{}\]: must be settings with their values"),
        ([None], r"sweep.exclude=\[null\]: must be settings with their values"),
    ],
)
def test_what_is_mistyped_is_said(entries: list[Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        excluded(GRID, entries)


def test_what_a_sweep_leaves_out_changes_no_run() -> None:
    from bnsweep.config.identity import identity, stack_key

    run = GRID[0]
    other = replace(run, sweep=replace(run.sweep, exclude=({"bn": "none"},), zip=(("a", "b"),), invalid="skip"))
    assert identity(run) == identity(other) and stack_key(run) == stack_key(other)


def test_rules_are_told_with_how_many_jobs_they_refused() -> None:
    reasons = [f"init.std={i}: must be left out with init=he" for i in range(5)] + ["seed=-1: must be >= 0"]
    assert refused_text(reasons) == [
        "sweep.invalid=skip leaves out 5 jobs: init.std=0: must be left out with init=he",
        "sweep.invalid=skip leaves out 1 jobs: seed=-1: must be >= 0",
    ]
    many = refused_text([f"seed={i}: must be {i}" for i in range(20)])
    assert len(many) == 6 and many[-1] == "sweep.invalid=skip leaves out 15 more, for 15 more rules"
