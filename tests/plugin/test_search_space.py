"""What a search looks for, read from overrides."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bnsweep.config.checks import ConfigError
from hydra_plugins.bnsweep.search_space import MOST_CORNERS, Space, read_space


def space(*overrides: str) -> Space:
    return read_space(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(0.01,1)", FloatDistribution(0.01, 1.0)),
        ("tag(log,interval(0.01,1))", FloatDistribution(0.01, 1.0, log=True)),
        ("int(interval(1,8))", IntDistribution(1, 8)),
        ("tag(log,int(interval(1,8)))", IntDistribution(1, 8, log=True)),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(4,0,-2)", IntDistribution(2, 4, step=2)),
        ("tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("shuffle(range(0,3))", CategoricalDistribution((0, 1, 2))),
        ("relu,sigmoid", CategoricalDistribution(("relu", "sigmoid"))),
        ("choice(0.1,1.0)", CategoricalDistribution((0.1, 1.0))),
        ("null,true,'a b'", CategoricalDistribution((None, True, "a b"))),
        ("[32,32],[64]", CategoricalDistribution(("[32,32]", "[64]"))),
        ("1,true", CategoricalDistribution(("1", "True"))),
    ],
)
def test_each_form_of_a_sweep_is_a_distribution(text: str, distribution: Any) -> None:
    (part,) = space(f"x={text}").searched.values()
    assert part.distribution() == distribution


def test_a_trial_has_a_job_for_each_seed_and_its_values_as_they_are_typed() -> None:
    found = space("train=smoke", "x=interval(0,1)", "+name='a b',c", "seed=3,5", "hidden=[8,8],[4]", "n=range(1,4)")
    assert found.names == ["x", "name", "hidden", "n"]
    jobs = found.jobs({"x": 0.25, "name": "a b", "hidden": "[4]", "n": 2})
    head = ["train=smoke", "x=0.25", "+name='a b'", "hidden=[4]", "n=2"]
    assert jobs == [[*head, "seed=3"], [*head, "seed=5"]]
    assert len(space("x=1,2", "seed=range(0,3)", "data.seed=0,1").replicates) == 6
    assert space("x=1,2").replicates == ((),)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seed=0,1"], "hydra/sweeper=optuna: must have a setting to search"),
        (["x=1,2", "seed=interval(0,9)"], "seed=interval(0,9): must be a list of values, such as range(0,3)"),
        (["x=interval(2,1)"], "x=interval(2,1): must be two finite numbers, the lower one first"),
        (["x=interval(0,inf)"], "x=interval(0,inf): must be two finite numbers"),
        (["x=tag(log,interval(0,1))"], "x=tag(log,interval(0,1)): must begin above 0"),
        (["x=tag(log,range(1,9,2))"], "must be an interval on a logarithmic scale, or a range of step 1"),
        (["x=range(3,3)"], "x=range(3,3): must have values, has none"),
        (["x=1,2,1"], "x=1,2,1: must name each value once"),
    ],
)
def test_what_cannot_be_searched_is_refused(overrides: list[str], says: str) -> None:
    with pytest.raises((ConfigError, HydraException)) as refusal:
        space(*overrides)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_corners_hold_every_choice_and_both_ends() -> None:
    corners = space("fixed=1", "x=interval(0,1)", "a=p,q,r", "seed=4,5").corners()
    assert len(corners) == 6 and ["fixed=1", "x=1.0", "a=r", "seed=4"] in corners
    many = space(*(f"k{i}=range(0,2)" for i in range(12)), "a=" + ",".join(map(str, range(50)))).corners()
    assert len(many) < 2 * MOST_CORNERS
    assert {text for job in many for text in job} >= {"k0=1", "k11=1", *(f"a={i}" for i in range(50))}
    assert len({tuple(job) for job in many}) > MOST_CORNERS
