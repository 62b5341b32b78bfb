"""That simulated sweeps are what they say, and the headline bounds of the report's statistics.
`python -m tests.simulations` is the rest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from bnsweep.report.claims.verdicts import SUPPORTED
from tests.simulations.judged import Claims, claims, many, order
from tests.simulations.sweeps import sweep
from tests.simulations.worlds import EFFECTS, HALF_TRUE, LOUD, NOISES, RATES, SD, World

ARM = ["activation", "init", "bn", "lr.value"]


@pytest.mark.parametrize(("noise", "rates"), list(zip(NOISES, itertools.cycle(RATES), strict=False)))
def test_the_mean_of_every_cell_is_what_its_world_says(noise: str, rates: str) -> None:
    world = World(200, noise, rates, "before-half")
    made = sweep(world, np.random.default_rng(0)).runs
    score = made["final_val_accuracy"].fillna(0.1)
    cells = made.assign(error=score - world.mean(made)).groupby(ARM)["error"].agg(["mean", "sem"])
    assert (cells["mean"].abs() < 5 * cells["sem"] + 1e-12).all()


@pytest.mark.parametrize("noise", NOISES)
def test_without_an_effect_no_arm_differs_in_anything_that_is_measured(noise: str) -> None:
    """54 cells of each quantity: 5 standard errors from their common mean come by chance in 1 of 10,000."""
    made = sweep(World(400, noise, "equal"), np.random.default_rng(0)).runs
    for name in ("final_val_accuracy", "auc", "steps_to_tau", "gap_accuracy", "drift_1"):
        error = made[name] - made[name].mean()
        cells = error.groupby([made[factor] for factor in ARM]).agg(["mean", "sem"])
        # Half of the noise is the seeds' own, in which the common mean shares.
        assert (cells["mean"].abs() < 5 * cells["sem"]).all(), name


def test_a_sweep_is_the_same_whoever_draws_it() -> None:
    world = World(5, "failing", "crossing")
    alone = [claims(world, number) for number in range(2)]
    assert many(claims, world, 2, jobs=2) == alone


def test_a_verdict_on_a_claim_that_nothing_touches_is_false() -> None:
    judged = Claims({"relu-helps": "supported", "bn-before": "contradicted", "bn-faster": "mixed"})
    assert judged.false("nothing") == ["relu-helps", "bn-before"]
    assert judged.false("bn-") == ["relu-helps"]


COUNT = 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "rates", "grid"),
    [
        ("normal", "clear", "lecture"),
        ("skewed", "equal", "lecture"),
        ("failing", "clear", "lecture"),
        ("sides", "crossing", "lecture"),
        ("skewed", "clear", "skips"),
        ("skewed", "clear", "norms"),
    ],
)
def test_one_null_sweep_in_twenty_at_most_has_any_verdict(noise: str, rates: str, grid: str) -> None:
    """As many of them as 1 in 20 gives in 999 of 1,000 tries."""
    judged = many(claims, World(10, noise, rates, grid=grid), COUNT, jobs=1)
    assert sum(bool(one.false("nothing")) for one in judged) <= stats.binom.ppf(0.999, COUNT, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("planted", "least"), [("before-one", 0.9)])
def test_a_planted_point_is_found(planted: str, least: float) -> None:
    judged = many(claims, World(10, planted=planted, sd=LOUD), 60, jobs=1)
    found = [one.verdicts[EFFECTS[planted].claim] == SUPPORTED for one in judged]
    assert np.mean(found) >= least - 3 * np.sqrt(least * (1 - least) / 60)


@pytest.mark.slow
@pytest.mark.parametrize(("planted", "grid"), [(name, grid) for name in HALF_TRUE for grid in HALF_TRUE[name].grids])
def test_a_claim_that_is_half_true_seldom_gets_a_verdict(planted: str, grid: str) -> None:
    world = World(10, "normal", "clear", planted, grid=grid)
    judged = many(claims, world, COUNT, jobs=1)
    assert sum(bool(one.decided([world.effect.claim])) for one in judged) <= stats.binom.ppf(0.999, COUNT, 0.05)


@pytest.mark.slow
def test_of_18_arms_one_that_is_a_point_ahead_is_in_a_small_leading_group() -> None:
    """A run's own standard deviation is half a point. All arms within Bonferroni's reach of it were 14."""
    judged = many(order, World(10, rates="clear", planted="one", sd=np.sqrt(2) * SD), COUNT, jobs=1)
    assert np.mean([one.leads.sum() for one in judged]) <= 6
    assert sum(not one.leads[one.best].all() for one in judged) <= stats.binom.ppf(0.999, COUNT, 0.05)


@pytest.mark.slow
def test_rank_intervals_hold_the_true_ranks() -> None:
    judged = many(order, World(10, rates="clear", planted="graded"), COUNT, jobs=1)
    assert np.mean([one.holds_rank.mean() for one in judged]) >= 0.95
