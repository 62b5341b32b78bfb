"""Tables of what many simulated sweeps gave, in Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, product

import numpy as np

from bnsweep.inference import least_seeds
from bnsweep.report.claims.verdicts import SUPPORTED
from tests.simulations.judged import Claims, Order, claims, many, order
from tests.simulations.worlds import EFFECTS, HALF_TRUE, LOUD, NOISES, ORDERS, RATE_TITLES, SD, World

Rows = Iterator[tuple[str, ...]]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def share(flags: Sequence[bool]) -> str:
    return percent(float(np.mean(flags))) if flags else "–"


def of_claims(judged: Sequence[Claims]) -> tuple[str, ...]:
    """Coverage of the comparisons' intervals, at equal rates and at best ones, and the latter's width in points."""
    held = {where: list(chain.from_iterable(one.holds[where] for one in judged)) for where in ("same", "best")}
    width = [100 * w for one in judged for w in one.widths["best"]]
    return (*(share(held[where]) for where in held), f"{np.mean(width):.2f}" if width else "–")


WORLD = ("seeds", "noise", "learning rates")
NULL_GRIDS = ("lecture", "skips", "norms")
NULL = (*WORLD, "grid", "sweeps", "any false verdict", "of which claims", "same lr holds", "best lr holds", "its width")


def null(worlds: Sequence[World], count: int, jobs: int) -> Rows:
    """Nothing differs."""
    for world, grid in product(worlds, NULL_GRIDS):
        judged = many(claims, replace(world, grid=grid), count, jobs)
        false = [one.false(world.effect.touches) for one in judged]
        which = ", ".join(f"{key} {n}" for key, n in Counter(chain.from_iterable(false)).most_common()) or "–"
        yield (*where(world), grid, str(count), share([*map(bool, false)]), which, *of_claims(judged))


def where(world: World) -> tuple[str, str, str]:
    return str(world.seeds), NOISES[world.noise].title, RATE_TITLES[world.rates]


POWER = (*WORLD, "planted", "sweeps", "supported", "verdicts", "any false verdict")


def power(worlds: Sequence[World], count: int, jobs: int) -> Rows:
    for world in worlds:
        for planted, effect in EFFECTS.items():
            judged = many(claims, replace(world, planted=planted, sd=LOUD), count, jobs)
            found = np.mean([one.verdicts[effect.claim] == SUPPORTED for one in judged])
            false = share([bool(one.false(effect.touches)) for one in judged])
            told = verdicts(judged, effect.claim)
            yield (*where(world), effect.title, str(count), f"{found:.2f}", told, false)


SEQUENTIAL = (*WORLD, "planted", "sweeps", "supported", "verdicts", "any false verdict", "mean seeds to its verdict")


def sequential(worlds: Sequence[World], count: int, jobs: int) -> Rows:
    """`seed=auto`, with the seeds of each world at the most: nothing planted, then each effect. Worlds of too few seeds
    to decide anything are left out."""
    for world in [each for each in worlds if each.seeds >= least_seeds()]:
        for planted in ("nothing", *EFFECTS):
            one = replace(world, planted=planted, sd=LOUD, looks=True)
            judged = many(claims, one, count, jobs)
            effect = one.effect
            false = share([bool(found.false(effect.touches)) for found in judged])
            told = ("–", "–", false, "–")
            if effect.claim:
                found = np.mean([each.verdicts[effect.claim] == SUPPORTED for each in judged])
                seeds = np.mean([each.seeds[effect.claim] for each in judged])
                told = (f"{found:.2f}", verdicts(judged, effect.claim), false, f"{seeds:.1f}")
            yield (*where(world), effect.title if effect.claim else "nothing", str(count), *told)


HALF = (*WORLD, "grid", "planted", "sweeps", "supported or contradicted", "verdicts")


def half_true(worlds: Sequence[World], count: int, jobs: int) -> Rows:
    for world in worlds:
        pairs = [(planted, effect, grid) for planted, effect in HALF_TRUE.items() for grid in effect.grids]
        for planted, effect, grid in pairs:
            judged = many(claims, replace(world, planted=planted, grid=grid), count, jobs)
            false = [bool(one.decided([effect.claim])) for one in judged]
            yield (*where(world), grid, effect.title, str(count), share(false), verdicts(judged, effect.claim))


def verdicts(judged: Sequence[Claims], claim: str) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(one.verdicts[claim] for one in judged).most_common())


RANKING = (
    *WORLD,
    "arms",
    "sweeps",
    "leading group",
    "a best arm outside",
    "any arm apart",
    "apart, fixed lr",
    "rank intervals hold",
    "their width",
    "score intervals hold, best lr",
    "fixed lr",
)


def ranks(worlds: Sequence[World], count: int, jobs: int) -> Rows:
    """A run's own standard deviation, beside its seed's, is half a point."""
    for world in worlds:
        for planted, effect in ORDERS.items():
            judged = many(order, replace(world, planted=planted, sd=math.sqrt(2) * SD), count, jobs)
            yield (*where(world), effect.title, str(count), *of_ranking(judged))


def of_ranking(judged: Sequence[Order]) -> tuple[str, ...]:
    def mean(read: Callable[[Order], np.generic]) -> float:
        return float(np.mean([read(one) for one in judged]))

    return (
        f"{mean(lambda one: one.leads.sum()):.1f}",
        percent(mean(lambda one: (~one.leads[one.best]).mean())),
        percent(mean(lambda one: ~one.leads.all())),
        percent(mean(lambda one: (~one.leads_fixed.all(axis=1)).mean())),
        percent(mean(lambda one: one.holds_rank.mean())),
        f"{mean(lambda one: one.rank_width.mean()):.1f}",
        percent(mean(lambda one: one.holds_score.mean())),
        percent(mean(lambda one: one.holds_fixed.mean())),
    )


TABLES: dict[str, tuple[tuple[str, ...], Callable[[Sequence[World], int, int], Rows]]] = {
    "null": (NULL, null),
    "power": (POWER, power),
    "sequential": (SEQUENTIAL, sequential),
    "half-true": (HALF, half_true),
    "ranking": (RANKING, ranks),
}


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
