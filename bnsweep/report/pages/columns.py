"""The data dictionary: what every column of the report's CSV files means, and in which unit it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from bnsweep.catalogue.metrics import Metric, metric_of, metrics
from bnsweep.config.docs import doc_of
from bnsweep.config.identity import NAME_FIELDS, factor_types
from bnsweep.config.tree import KINDS
from bnsweep.report.frame.formats import in_channels
from bnsweep.report.frame.grid import Grid
from bnsweep.report.stats.stopped import standing_metric, standing_title

TEXT, NUMBER, SHARE, COUNT, PLACE, FLAG = "text", "number", "share", "count", "rank", "true or false"
TABLE = r"^One of [A-Z]+[;.] ?"
"""How the doc of a choice begins: the name of a table in the code."""
P = "number from 0 to 1"
Entry = tuple[str, str]
"""Meaning and unit."""

RUN: dict[str, Entry] = {
    "run_id": ("id of the run in MLflow; empty of a run that was never started", TEXT),
    "status": ("finished, diverged (its loss was no longer finite), failed or missing", TEXT),
    "reason": ("why it diverged or failed", TEXT),
    "classes": ("classes of the data; 0 of a regression", COUNT),
    "seconds": ("seconds of training, the run's share of its stack", "seconds"),
}
OF_STOPPED: dict[str, Entry] = {
    "status": ("finished, diverged (its loss was no longer finite), stopped (early), failed or missing", TEXT),
    "reason": ("why it diverged, was stopped or failed", TEXT),
    "stopped_step": ("step at which it was stopped; its other numbers are of that step", "steps"),
}
"""Of a run, in a sweep of which some were stopped early."""
FACTORS: dict[str, Entry] = {
    "effect": (
        "a factor, or factors together beyond what each does alone (×), as a command names them",
        TEXT,
    ),
    "order": ("factors that act together; 0 of what is left", COUNT),
    "df": ("degrees of freedom", COUNT),
    "omega2": ("share of the variance within seeds (ω²); by chance below 0", SHARE),
    "low": ("lower end of its 95 % bootstrap interval over seeds", SHARE),
    "high": ("upper end of that interval", SHARE),
    "p": ("p by sign flips of whole seeds, of this effect alone", P),
    "p_holm": ("the same after Holm over all effects", P),
}
CLAIMS: dict[str, Entry] = {
    "key": ("short name of the claim", TEXT),
    "claim": ("the claim", TEXT),
    "verdict": ("supported, contradicted, mixed, inconclusive, too few seeds or not asked", TEXT),
    "claim_p_adjusted": ("p of the claim as a whole, adjusted over all claims that were asked", P),
    "comparison": ("one comparison of the claim", TEXT),
    "expected_ahead": ("the side that the claim favours", TEXT),
    "held_against": ("the other side", TEXT),
    "unit": ("unit of the means, the effect and its interval in this row", TEXT),
    "mean_expected": ("mean of the favoured side over seeds", "that of the column unit"),
    "mean_against": ("mean of the other side", "that of the column unit"),
    "effect": (
        "mean difference over seeds, above 0 where it is as claimed (of a factor above 1, how many times as much)",
        "that of the column unit",
    ),
    "low": ("lower end of its 95 % bootstrap interval over seeds", "that of the column unit"),
    "high": ("upper end of that interval", "that of the column unit"),
    "p": ("two-sided p of this comparison alone", P),
    "says": ("for, against or open", TEXT),
    "n_seeds": ("seeds compared", COUNT),
    "ahead": ("seeds in which the difference is as claimed", COUNT),
    "equal": ("seeds without a difference", COUNT),
    "wins": ("share of seeds in which the difference is as claimed, one without a difference as half", SHARE),
    "pairs": ("pairs of arms or runs a seed that the difference averages", COUNT),
    "beside": ("what else was measured on the same runs; it decides nothing", TEXT),
    "remark": ("which runs were left out, and of how many layers they are", TEXT),
    "note": ("why there is no number, or why it decides nothing", TEXT),
}


def ranking_entries(metric: Metric) -> dict[str, Entry]:
    """Of ranking.csv, but for the settings. `metric`: what ranks."""
    unit, known, score = metric.unit, metrics(metric.task), metric.task.score
    test, steps, gap = known[metric.test], known["steps_to_tau"], known[f"gap_{score}"]
    return {
        "view": ("where arms are compared: best lr, each at its own best learning rate, or one rate for all", TEXT),
        "arm": ("the combination of all that was swept but the learning rate", TEXT),
        "score": (f"{metric.title}, mean over seeds; it ranks", unit),
        "rank": ("place by score; empty where the arm is not ranked, and note says why", PLACE),
        "low": ("lower end of the 95 % bootstrap interval of score", unit),
        "high": ("upper end of that interval", unit),
        "rank_low": ("best place in the 95 % interval of rank", PLACE),
        "rank_high": ("worst place in that interval", PLACE),
        "behind": ("how much worse than the first arm of the view, paired by seed", unit),
        "behind_low": ("lower end of an interval that holds for all arms at once in 95 % of sweeps", unit),
        "behind_high": ("upper end of that interval", unit),
        "wins": ("share of seeds in which the first arm is ahead of this one, an equal one as half", SHARE),
        "group": ("as on the page: A can be the best; B can be the best of those that are left, and so on", TEXT),
        "n_seeds": ("seeds averaged", COUNT),
        "lr": ("learning rate of the arm in this view; in best lr the one to use", NUMBER),
        "lr_share": ("share of seeds whose others chose that rate", SHARE),
        "lr_edge": ("whether it is the largest or the smallest that was tried", FLAG),
        f"test_{score}": (f"{test.title}, mean over seeds; it ranks nothing", test.unit),
        "diverged": ("share of the averaged runs that diverged", SHARE),
        "diverged_all_lr": ("share of the arm's runs at any learning rate that diverged", SHARE),
        "no_result_all_lr": ("share of the arm's runs at any learning rate without a result", SHARE),
        "steps_to_tau": (f"{steps.title}; a run that never gets there counts with its whole budget", steps.unit),
        "tau_share": ("share of the averaged runs that got to τ; below 1, steps_to_tau is a lower bound", SHARE),
        "gap_n": ("runs that gap averages: those that finished", COUNT),
        f"gap_{score}": (f"{gap.title}, mean over them", gap.unit),
        "note": ("why the arm is not ranked, or what is to be known of it", TEXT),
    }


def stopped_entries(by: Metric) -> dict[str, Entry]:
    """Of stopped.csv. `by`: what its scores are of."""
    return {
        "arm": ("the combination of all that was swept but the learning rate", TEXT),
        "lr": ("learning rate", NUMBER),
        "score": (f"{standing_title(by)} when it was stopped, mean over seeds; it ranks nothing", by.unit),
        "first_step": ("step at which the first of its runs was stopped", "steps"),
        "last_step": ("step at which the last of them was stopped", "steps"),
        "runs_stopped": ("runs that were stopped", COUNT),
        "runs": ("runs planned", COUNT),
        "reason": ("why the most of them were stopped", TEXT),
    }


def dictionary(files: Mapping[str, Iterable[str]], grid: Grid, metric: Metric) -> pd.DataFrame:
    """One row a column of each file, in their order."""
    known = {"ranking.csv": ranking_entries(metric), "claims.csv": CLAIMS, "factors.csv": FACTORS, "runs.csv": RUN}
    known["stopped.csv"] = stopped_entries(standing_metric(grid, metric))
    if grid.stopped.any():
        known["runs.csv"] = RUN | OF_STOPPED
    rows = [
        (file, name, *(known[file].get(name) or run_entry(name, grid)))
        for file, names in files.items()
        for name in names
    ]
    return pd.DataFrame(rows, columns=["file", "column", "meaning", "unit"])


def run_entry(name: str, grid: Grid) -> Entry:
    """Of a setting, or of a number that runs end with."""
    if name in factor_types():
        doc = re.sub(TABLE, "", doc_of(name, NAME_FIELDS.get(name, "")))
        kind = KINDS[factor_types()[name]].removeprefix("a ").removeprefix("an ")
        return f"setting: {doc or f'the choice of {name}'}", kind
    row = metrics(grid.task).get(name) or metric_of(name)
    return (in_channels(row.title, grid), row.unit) if row else ("", "")
