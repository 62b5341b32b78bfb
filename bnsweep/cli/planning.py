"""What the seeds of a sweep can decide, said before anything is trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.config.checks import ConfigError
from bnsweep.config.identity import numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.inference import least_seeds, looks_until

if TYPE_CHECKING:
    from bnsweep.report.claims.claims import Claim
    from bnsweep.report.claims.verdicts import Unit
    from bnsweep.runs.seed_batches import Looking
    from bnsweep.store.sweep_data import SweepFrame

PILOT = 3
"""Seeds of an earlier sweep that tell how much seeds differ."""
MOST_RUNS = 2000
"""Runs that are read of it: more tell little more, and take seconds."""
MORE = (10, 20, 30, 50, 100)
"""Seeds that are looked ahead to."""
EXAMPLE = "bn=none,before, say"


def looking_for(most: int) -> Looking:
    """The looks of a sweep of at most so many seeds. Raises ConfigError where they are too few to decide anything."""
    from bnsweep.report.claims.looks import Looks
    from bnsweep.runs.seed_batches import Looking

    looks = looks_until(most)
    return Looking(looks, Looks(looks).is_over)


def cells(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """One run for each combination of all but the seeds: those of a seed that has the most."""
    ((most, _),) = Counter((c.seed, c.data.seed) for c in configs).most_common(1)
    return [c for c in configs if (c.seed, c.data.seed) == most]


def planning(
    configs: Sequence[RunConfig], tracking: TrackingConfig | None, auto: bool, searched: Sequence[str] = ()
) -> list[str]:
    """Which claims the grid asks, and what these seeds can decide of them. `tracking`: where an earlier sweep may tell
    how much seeds differ. Raises ConfigError where seeds are to be added until claims are decided (`auto`), and the
    grid asks none. `searched`: settings whose values a sampler chooses."""
    from bnsweep.report.claims.asked import asked
    from bnsweep.report.claims.claims import CLAIMS
    from bnsweep.report.frame.grid import read_grid
    from bnsweep.store.sweep_data import table

    if searched:
        return [f"claims: none is asked, as Optuna chooses {', '.join(searched)}"]
    rows = [{"identity": "", **numbers(c)} for c in cells(configs)]
    found, n = asked(read_grid(table(rows, {}))), len({(c.seed, c.data.seed) for c in configs})
    if auto and not found:
        says = "a seed, or seeds: auto adds them until claims are decided, and this grid asks no claim of the report"
        raise ConfigError(f"seed=auto: must be {says} ({EXAMPLE}, asks some)")
    if not found:
        return [f"claims: this grid asks none of the report's {len(CLAIMS)}"]
    text = f"claims: this grid can ask {len(found)} of the report's {len(CLAIMS)};"
    if n > max(len({c.seed for c in configs}), len({c.data_seed for c in configs})):
        return [f"{text} none can be decided where seed and data.seed vary apart"]
    text += f" {n} seed{'s' * (n > 1)} can decide"
    text += " each of them" if n >= least_seeds() else f" none of them, {least_seeds()} are the least"
    return [text, *differences(found, rows, n, configs[0], tracking)]


def guess(run: RunConfig) -> float:
    """Standard deviation of a difference over seeds where no earlier sweep tells it: the standard error of a score at
    the task's τ that so many validation samples give; of R² by Olkin & Finn (1995, Psychological Bulletin 118:155).
    What two runs of a seed share makes it less, what training does with the seed more."""
    tau = run.task.tau
    share = tau * (1 - tau) if run.task is CLASSIFICATION else 4 * tau * (1 - tau) ** 2
    return math.sqrt(share / run.data.validation_size)


def differences(
    claims: Sequence[Claim], rows: Sequence[Mapping[str, Any]], n: int, run: RunConfig, tracking: TrackingConfig | None
) -> list[str]:
    """The least difference that the seeds find, for each claim that an earlier sweep tells of, else by a guess."""
    from bnsweep.report.claims.noise import scatter
    from bnsweep.report.claims.quantities import quantities
    from bnsweep.report.stats.power import least_difference

    counts = [n] * (n >= least_seeds()) + [more for more in MORE if more > n][:2]
    family, frame = len(claims), earlier(rows, tracking)

    def found(sd: float, unit: Unit) -> str:
        first, *more = (least_difference(sd, count, family) for count in counts)
        rest = ", ".join(f"{count} seeds {unit.text(value)}" for count, value in zip(counts[1:], more, strict=True))
        return unit.difference_text(first) + (f" ({rest})" if rest else "")

    told = scatter(frame, claims) if frame is not None else []
    if frame is None or not told:
        unit, sd = quantities(run.task)["final"].unit, guess(run)
        says = f"a guess: no earlier sweep of this kind tells how much seeds differ, {run.data.validation_size:,}"
        says += f" validation samples alone do by {unit.difference_text(sd)}"
        return [
            f"with 80 % power {counts[0]} seeds find a difference of {found(sd, unit)} in {run.task.title} ({says})"
        ]
    of = f"by the noise of {len(frame.runs['seed'].unique())} seeds of sweep {frame.info.sweep}"
    lines = [f"  {one.claim.text}: {found(one.sd, one.quantity.unit)} in {one.quantity.title}" for one in told]
    return [f"with 80 % power {counts[0]} seeds find these differences, {of}:", *lines]


def earlier(rows: Sequence[Mapping[str, Any]], tracking: TrackingConfig | None) -> SweepFrame | None:
    """A sweep of the same kind that tells how much seeds differ."""
    from bnsweep.store.store import Store

    if tracking is None:
        return None
    with suppress(ConfigError):  # no store yet: there is nothing in it
        return Store.open(tracking, create=False).load_alike(rows, PILOT, MOST_RUNS)
    return None
