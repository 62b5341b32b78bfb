"""Whether a sweep is whole, and what its seeds allow to be said: the banner above every number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bnsweep.catalogue.metrics import Metric
from bnsweep.config.checks import printable
from bnsweep.inference import ENOUGH, seeds_text
from bnsweep.records import AT_RUNG, DIVERGED, FAILED, FINISHED, STOPPED
from bnsweep.report.frame.design import coded
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.metrics import scored
from bnsweep.report.stats.ranking import View, grid_end
from bnsweep.store.sweep_data import SweepInfo


@dataclass(frozen=True)
class Notice:
    kind: str
    """ok, note or warning."""
    text: str


def ledger(grid: Grid) -> dict[str, int]:
    """Planned runs by what became of them; what is none of these is missing. Stopped ones are counted where there are
    any."""
    status = grid.runs["status"]
    statuses = (FINISHED, DIVERGED, *([STOPPED] if grid.stopped.any() else []), FAILED)
    counts = {name: int((status == name).sum()) for name in statuses}
    return {"planned": len(status), **counts, "missing": len(status) - sum(counts.values())}


def notices(grid: Grid, view: View, metric: Metric, info: SweepInfo) -> list[Notice]:
    """Whether runs are missing comes first; then what else has to be known before the ranking is read."""
    found = [
        so_far(grid, info) if info.running else complete(grid, metric, info.closed),
        *stopped_notice(grid, view),
        *holes(grid, view),
        *failures(grid),
        *([seeds_notice(view, chosen=len(grid.lrs) > 1)] if (grid.run_ALN >= 0).any() else []),
        *edge_notice(grid, view),
        *search_notice(grid),
    ]
    if grid.crossed:
        text = "seed and data.seed vary apart: bundles that share one of them are not independent, so intervals are"
        found.append(Notice("warning", f"{text} too narrow."))
    return found


def so_far(grid: Grid, info: SweepInfo) -> Notice:
    """Of a sweep under way."""
    count = ledger(grid)
    done, under_way = count[FINISHED] + count[DIVERGED], min(info.under_way, count["missing"])
    numbers = {name: count.get(name, 0) for name in (FINISHED, DIVERGED, STOPPED, FAILED)}
    numbers |= {"under way": under_way, "to come": count["missing"] - under_way}
    text = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return Notice("warning", f"Running: {done} of {count['planned']} planned runs have a result so far: {text}.")


def complete(grid: Grid, metric: Metric, closed: bool) -> Notice:
    """`closed`: whether its sweep has come to its end."""
    count = ledger(grid)
    done = count[FINISHED] + count[DIVERGED]
    parts = [f"{number} {name}" for name, number in count.items() if number and name != "planned"]
    has = "ran to the end" if grid.stopped.any() else "have a result"
    text = f"{done} of {count['planned']} planned runs {has}: {', '.join(parts) or 'none'}."
    unscored = int((scored(grid.runs, metric).isna() & grid.runs["status"].isin([FINISHED, DIVERGED])).sum())
    if unscored:
        text += f" {unscored} of them lack {metric.name} and count as holes."
    if done + count.get(STOPPED, 0) < count["planned"] or unscored:
        text += "" if closed else " The sweep was ended before all were over; its command goes on from there."
        return Notice("warning", f"Incomplete grid. {text}")
    return Notice("note", text) if grid.stopped.any() else Notice("ok", f"Complete. {text}")


def stopped_notice(grid: Grid, view: View) -> list[Notice]:
    """What early stopping costs whoever reads the report."""
    if not grid.stopped.any():
        return []
    planned_AL = (grid.planned_ALN >= 0).any(axis=2)
    ended, planned = int((planned_AL & ~grid.stopped_AL).sum()), int(planned_AL.sum())
    what = "combinations of arm and learning rate" if len(grid.lrs) > 1 else "arms"
    if not ended:
        text = (
            f"All {planned} {what} were stopped early, and nothing is ranked. “Stopped early” lists their last scores."
        )
        return [Notice("warning", text)]
    text = f"Stopped runs are not ranked: {planned - ended} of {planned} {what} were stopped early."
    by_rung = grid.runs["reason"][grid.stopped].str.startswith(AT_RUNG)
    if by_rung.any():
        text += " They fell behind in validation score at few steps, which favours arms that learn fast."
    if not by_rung.all():
        text += " Their validation score did not improve any more, at whatever height it stood."
    text += (
        f" Ranking, effects and claims are of the {ended} that ran to the end, which are no random part of the sweep."
    )
    fewer = int((grid.stopped_AL[view.arms].any(axis=1)).sum())
    if fewer:
        arms = f"{fewer} ranked arm{' was' if fewer == 1 else 's were'} stopped at some learning rate"
        text += f" {arms}, and stood lower there than at the end of another."
    return [Notice("warning", text)]


def holes(grid: Grid, view: View) -> list[Notice]:
    """Cells that were never planned, factor combinations that are absent, and what the ranking does about holes."""
    found = []
    unplanned = int((grid.planned_ALN < 0).sum())
    if unplanned:
        text = (
            f"Unbalanced grid: {unplanned} of {grid.planned_ALN.size} combinations of arm × learning rate × seed were"
        )
        given_A = (grid.planned_ALN >= 0).any(axis=2).sum(axis=1)
        most, fewer = int(given_A.max()), int((given_A < given_A.max()).sum())
        text += " not planned."
        text += f" {fewer} of {len(given_A)} arms choose among fewer learning rates than the others." if fewer else ""
        few = not fewer and most < len(grid.lrs)
        text += f" Each arm has {most} of the {len(grid.lrs)} learning rates." if few else ""
        found.append(Notice("warning", text))
    found += [] if grid.searched else unbalanced(grid)
    short = len(grid.bundles) - len(view.bundles)
    if view.dropped:
        names = ", ".join(grid.arms["arm"][a] for a in list(view.dropped)[:5]) + (" …" if len(view.dropped) > 5 else "")
        rest = "the others are ranked" if view.arms else "nothing can be ranked"
        arms = len(view.dropped) + len(view.arms)
        found.append(Notice("warning", f"{len(view.dropped)} of {arms} arms not ranked: {names}; {rest}."))
    if short and view.arms:
        text = f"Ranked on the {len(view.bundles)} of {len(grid.bundles)} seeds that all ranked arms have in common."
        found.append(Notice("warning", text))
    if grid.duplicates:
        found.append(Notice("note", f"{grid.duplicates} runs repeat a cell and seed; one result a cell is used."))
    return found


def unbalanced(grid: Grid) -> list[Notice]:
    """Combinations of factors that are absent. Those that no sweep could have do not count."""
    arms = grid.arms[grid.arm_factors]
    factors, level_AF = coded(arms, arms, grid)
    places = sorted(range(len(factors)), key=lambda i: grid.arm_factors.index(factors[i].columns[0]))
    crossed = [i for i in places if len(factors[i].columns) > 1 or not arms[factors[i].columns[0]].isna().any()]
    product = math.prod(len(factors[i].values) for i in crossed)
    present = len(np.unique(level_AF[:, crossed], axis=0)) if crossed else 1
    if present == product:
        return []
    names = " × ".join(factors[i].name for i in crossed)
    text = f"Unbalanced grid: {present} of {product} combinations of {names} were planned"
    return [Notice("warning", f"{text}; main effects compare only what all levels share.")]


def failures(grid: Grid) -> list[Notice]:
    failed = grid.runs[grid.runs["status"] == FAILED]
    if failed.empty:
        return []
    reasons = failed["reason"].fillna("").replace("", "no reason recorded").value_counts()
    text = "; ".join(f"{printable(str(reason))} ({count})" for reason, count in reasons.head(5).items())
    return [Notice("warning", f"Why runs failed: {text}{' …' if len(reasons) > 5 else ''}")]


def edge_notice(grid: Grid, view: View) -> list[Notice]:
    """How many arms do best at the largest or smallest learning rate that they were given."""
    end_A = grid_end(grid, view.arms, np.array([view.lr[a] for a in view.arms], dtype=np.int64))
    large, small = int((end_A > 0).sum()), int((end_A < 0).sum())
    told = [f"{large} at the largest"] * bool(large) + [f"{small} at the smallest"] * bool(small)
    if not told:
        return []
    text = f"Best learning rates at the grid's edge: of {len(end_A)} arms, {' and '.join(told)} that was tried."
    return [Notice("note", f"{text} Better ones may lie beyond.")]


def search_notice(grid: Grid) -> list[Notice]:
    """What is to be known of a ranking of trials that a sampler chose."""
    if not grid.searched:
        return []
    text = f"{grid.search_text}. {len(grid.arms)} settings were tried: validation scores, which choose among so many,"
    text += " flatter the best ones, and intervals and groups know nothing of that"
    return [Notice("note", f"{text}; their test {grid.task.title} did not choose.")]


def seeds_notice(view: View, chosen: bool = True) -> Notice:
    """What n paired bundles can carry (SCIENCE section 4: 3 smoke, 10 default, 30 headline). `chosen`: whether each arm
    chooses among learning rates."""
    n = len(view.bundles)
    if n == 0:
        return Notice("warning", "No seed has a result for every learning rate of any arm: nothing is ranked.")
    if n == 1:
        rates = "Learning rates are chosen and ranked on that same seed, which flatters every arm."
        return Notice("warning", f"1 seed: no inference. {rates if chosen else 'The order below may be chance.'}")
    if n < ENOUGH:
        return Notice("warning", f"{n} seeds: a smoke test, no inference. The order below may be chance.")
    if not (few := seeds_text(n)):
        return Notice("ok", f"{n} seeds, shared by all arms." + (" A ranking wants 10 or more." if n < 10 else ""))
    return Notice("note", f"{few}.")
