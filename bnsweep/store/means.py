"""The mean run of each combination that several seeds share. MLflow's pages load a hundred runs at once, and average
only what they have loaded: of a sweep of 540 runs its own grouping shows the first seed or two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bnsweep.catalogue.metrics import LOSS, SPLITS, Metric, curves, metrics
from bnsweep.catalogue.tasks import Task
from bnsweep.records import DIVERGED, FINISHED, STOPPED
from bnsweep.store.backend import NewRun
from bnsweep.store.encode import arm_name, milliseconds, source_tags, typed
from bnsweep.store.sweep_data import SweepFrame
from bnsweep.store.view import FACTORS, LOADED, SEEDS, UNTOLD, task_of, varied

if TYPE_CHECKING:
    import pandas as pd

MEAN = "mean"
"""The kind of such a run."""


def mean_runs(frame: SweepFrame, planned: Sequence[dict[str, Any]]) -> list[NewRun]:
    """Those that MLflow's pages load, by mean validation score. `planned`: a row each run of the frame, in its order.
    Empty where no combination has two runs that gave numbers. One with a stopped run has no mean, as it has no rank:
    the others alone would be those that a strategy chose."""
    runs, task = frame.runs, task_of(planned)
    members = runs.assign(combination=combinations(planned))
    stopped = members.loc[members["status"] == STOPPED, "combination"]
    members = members[members["status"].isin([FINISHED, DIVERGED]) & ~members["combination"].isin(stopped)]
    sizes = members.groupby("combination").size()
    if members.empty or sizes.max() < 2:
        return []
    numbers = mean_numbers(members, task)
    best = numbers.sort_values(f"final_val_{task.score}", ascending=False).index[:LOADED]
    members = members[members["combination"].isin(best)]
    along, rows = mean_curves(frame, members, task), members.groupby("combination").head(1)
    shown = [key for key in varied(planned) if key not in (*FACTORS, *UNTOLD)]
    found = []
    for place, combination in zip(rows.index, rows["combination"], strict=True):
        single = [(name, value, 0) for name, value in numbers.loc[combination].items() if math.isfinite(value)]
        params = {k: str(typed(k, v)) for k, v in planned[place].items() if k not in ("seed", *UNTOLD)}
        count = int(sizes[combination])
        name = f"{mean_name(planned[place], shown)}, mean of {count}"
        tags = mean_tags(frame.info.sweep, planned[place]["identity"])
        now, values = milliseconds(), [*single, *along.get(combination, ())]
        found.append(NewRun(name, "FINISHED", now, now, tags, params | {SEEDS: str(count)}, values))
    return found


def combinations(planned: Sequence[dict[str, Any]]) -> list[int]:
    """A number for each row, the same for rows that differ in nothing but their seeds."""
    numbers: dict[frozenset[Any], int] = {}
    keys = (frozenset(item for item in row.items() if item[0] not in ("seed", *UNTOLD)) for row in planned)
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def mean_name(row: dict[str, Any], shown: Sequence[str]) -> str:
    """As a run's, and with what else the sweep varies."""
    return " ".join([arm_name(row), *(f"{key}={row[key]}" for key in shown)])


def mean_tags(sweep: str, member: str) -> dict[str, str]:
    """`member`: the identity of one of the runs."""
    return {
        "bnsweep.kind": MEAN,
        "bnsweep.sweep_id": sweep,
        "bnsweep.identity": f"mean with {member}",
        **source_tags(),
    }


def mean_numbers(members: pd.DataFrame, task: Task) -> pd.DataFrame:
    """One row a combination. Steps to τ are missing where not all runs got there: no mean of theirs is a number."""
    import pandas as pd

    rows, ranked = metrics(task), f"final_val_{task.score}"
    final, of = members["status"] == FINISHED, members["combination"]
    # Where all runs diverged there are no final scores, which then count as guessing.
    scores = members.reindex(columns=[f"final_{split}_{task.score}" for split in SPLITS]).astype(float)
    read = scores.assign(auc=members["auc"]) if "auc" in members else scores
    values = pd.DataFrame({name: counted(rows[name], read[name].where(final), members) for name in map(str, read)})
    if "tau_reached" in members:
        all_reached = members["tau_reached"].fillna(0).groupby(of).transform("min") == 1
        values["steps_to_tau"] = members["steps_to_tau"].where(all_reached)
    groups = values.groupby(of)
    return groups.mean().assign(**{f"{ranked}_sd": groups[ranked].std()})


def mean_curves(frame: SweepFrame, members: pd.DataFrame, task: Task) -> dict[int, list[tuple[str, float, int]]]:
    """Combination -> name, mean and step of what was evaluated along the training."""
    facts, found = members[["run_id", "combination", "status", "classes"]], dict[int, list[tuple[str, float, int]]]()
    for name in (metric.name for metric in curves(task)):  # one at a time: of very many runs it is a gigabyte together
        long = frame.history([name], list(members["run_id"])).merge(facts, on="run_id")
        long["value"] = counted(metrics(task)[name], long["value"], long)
        means = long.groupby(["combination", "step"])["value"].mean().dropna()
        for combination, step, value in means.reset_index().itertuples(index=False, name=None):
            found.setdefault(combination, []).append((name, float(value), int(step)))
    return found


def counted(metric: Metric, values: pd.Series[float], of: pd.DataFrame) -> pd.Series[float]:
    """Values as they count in means, as in a report: what a run that diverged has no score or loss for counts as
    guessing. `of`: `status` and `classes` of their runs."""
    if metric.kind not in (LOSS, metric.task.score):
        return values
    guess = of["classes"].map(metric.task.chance_loss if metric.kind == LOSS else metric.task.chance)
    if metric.task.capped:
        values = values.clip(upper=guess) if metric.kind == LOSS else values.clip(lower=guess)
    return values.where(values.notna() | (of["status"] != DIVERGED), guess)
