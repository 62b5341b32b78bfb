"""Verdicts of a sweep whose claims were looked at while seeds were added (`seed=auto`): group-sequential, by a fixed
schedule of looks and their levels (`bnsweep.inference.looks_until`).

A look takes the seeds that were over when it was made, and its own level. A claim that it decides stays decided, with
the numbers of that look; one that none decides is as the last look leaves it. So the verdicts of a sweep are the same
however often its report is made, and whatever seeds it got later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ALPHA, Look
from bnsweep.report.claims.answers import answer_claims
from bnsweep.report.claims.verdicts import CONTRADICTED, INCONCLUSIVE, MIXED, SUPPORTED, TOO_FEW, UNASKED, Verdict
from bnsweep.report.frame.formats import p_text, percent
from bnsweep.report.frame.grid import Grid, read_grid
from bnsweep.report.frame.metrics import default_metric, task_of
from bnsweep.report.frame.source import Source
from bnsweep.report.stats.completeness import Notice
from bnsweep.store.encode import MISSING

DECIDED = (SUPPORTED, CONTRADICTED, MIXED)
"""Verdicts that more seeds do not change."""


def is_open(verdict: Verdict) -> bool:
    """Whether more seeds may decide it. One that has no p, as nothing of it can be measured, waits for none."""
    return verdict.verdict not in (*DECIDED, UNASKED) and not (
        verdict.verdict == INCONCLUSIVE and verdict.p_adjusted != verdict.p_adjusted
    )


def first_seeds(grid: Grid, n: int) -> Grid:
    """The sweep as it was when n seeds were over."""
    seeds = sorted(grid.runs["seed"].unique())[:n]
    return read_grid(grid.runs[grid.runs["seed"].isin(seeds)], grid.searched)


def made(grid: Grid, looks: Sequence[Look]) -> list[Look]:
    """Those of the looks whose seeds are over: a run that is still to be trained could change what they say."""
    waiting = {*grid.runs["seed"][grid.runs["status"] == MISSING]}
    seeds = sorted(grid.runs["seed"].unique())
    complete = next((place for place, seed in enumerate(seeds) if seed in waiting), len(seeds))
    return [look for look in looks if look.seeds <= complete]


def answer_at(frame: Source, grid: Grid, metric: Metric, look: Look) -> list[Verdict]:
    """The verdicts of one look."""
    found = answer_claims(frame, first_seeds(grid, look.seeds), metric, look.level)
    return [decided_at(look, v) if v.verdict in DECIDED else v for v in found]


def decided_at(look: Look, verdict: Verdict) -> Verdict:
    says = f"{verdict.sentence} Decided at the look after {look.seeds} seeds, of level {p_text(look.level)}."
    return replace(verdict, sentence=says, looked_at=look)


def before_the_first(look: Look, verdict: Verdict) -> Verdict:
    """Of a sweep that was cut short before its first look."""
    if verdict.verdict not in DECIDED:
        return verdict
    says = f"The sweep was cut short before the first look at its claims, which is after {look.seeds} seeds."
    return replace(verdict, verdict=TOO_FEW, sentence=says)


def answer_at_looks(frame: Source, grid: Grid, metric: Metric) -> list[Verdict]:
    """One verdict a claim, in the note's order: of a sweep without looks from all of its seeds."""
    if not frame.info.looks:
        return answer_claims(frame, grid, metric)
    done, first = made(grid, frame.info.looks), frame.info.looks[0]
    if not done:
        return [before_the_first(first, v) for v in answer_claims(frame, grid, metric, first.level)]
    verdicts = answer_at(frame, grid, metric, first)
    for look in done[1:]:
        if not any(map(is_open, verdicts)):
            break
        newer = answer_at(frame, grid, metric, look)
        verdicts = [old if old.verdict in DECIDED else new for old, new in zip(verdicts, newer, strict=True)]
    return verdicts


def looks_notice(grid: Grid, looks: Sequence[Look]) -> list[Notice]:
    """That the number of seeds was not fixed beforehand, and what is made of it."""
    if not looks:
        return []
    seeds = ", ".join(str(look.seeds) for look in made(grid, looks)) or "none yet"
    text = f"Seeds were added until claims were decided: looks after {seeds} of {looks[-1].seeds} seeds at the most."
    text += f" The levels of all {len(looks)} looks that there could be sum to {percent(ALPHA, 0)}."
    return [Notice("note", f"{text} A claim keeps the verdict and the numbers of the look that decided it.")]


class Looks:
    """The looks at the claims of a sweep that is under way."""

    def __init__(self, looks: Sequence[Look]) -> None:
        self._left = list(looks)
        self._decided: set[str] = set()

    def is_over(self, frame: Source) -> bool:
        """Makes the next look, at a sweep whose seeds for it are over, and says what it found: whether no claim is open
        any more, or no look is left."""
        look, *self._left = self._left
        verdicts = answer_at(frame, read_grid(frame.runs), default_metric(task_of(frame.runs)), look)
        self._decided |= {v.key for v in verdicts if v.verdict in DECIDED}
        waiting = {v.key for v in verdicts if is_open(v)} - self._decided
        found = f"{look.seeds} seeds: {len(self._decided)} of {len(self._decided | waiting)} claims decided"
        if waiting and self._left:
            print(f"{found}, going on to {self._left[0].seeds}", flush=True)
            return False
        print(f"{found}; {'these are the most seeds (sweep.max_seeds)' if waiting else 'no more seeds are needed'}")
        return True
