"""Numbers as sentences: the answer, and the small texts of table cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bnsweep.report.grid import Grid, levels, value_text
from bnsweep.report.metrics import Metric
from bnsweep.report.resample import ENOUGH

Row = Mapping[str, Any]

UNTRAINED = (
    "Nothing was trained (train.epochs=0): every number is that of a network as it starts, and the order below"
    " says nothing of learning."
)


def letters(group: int) -> str:
    """1 -> A, 26 -> Z, 27 -> AA; empty where there is no group."""
    text = ""
    while group > 0:
        group, rest = divmod(group - 1, 26)
        text = chr(65 + rest) + text
    return text


def whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def share(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def span(low: str, high: str) -> str:
    return "–" if "–" in (low, high) else f"{low} to {high}"


def interval(metric: Metric, low: float, high: float) -> str:
    return span(metric.text(low).removesuffix(" %"), metric.text(high))


def rank_span(row: Row) -> str:
    low, high = whole(row["rank_low"]), whole(row["rank_high"])
    return low if low == high else f"{low}–{high}"


def tau_text(row: Row) -> str:
    """Restricted mean; "≥" and the share that got there, where some runs did not and count with their whole budget."""
    if not math.isfinite(row["steps_to_tau"]):
        return "–"
    reached = row["tau_share"]
    if reached == 0:
        return "never"
    all_there = not math.isfinite(reached) or reached == 1
    return whole(row["steps_to_tau"]) if all_there else f"≥ {whole(row['steps_to_tau'])} ({share(reached)})"


def gap_text(row: Row) -> str:
    """In percentage points; says of how many runs when some diverged."""
    if not math.isfinite(row["gap_accuracy"]):
        return "–"
    text = f"{100 * row['gap_accuracy']:+.1f}"
    return text if row["gap_n"] == row["n_seeds"] else f"{text} ({whole(row['gap_n'])} of {whole(row['n_seeds'])} runs)"


def p_text(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def lr_text(row: Row) -> str:
    """The learning rate to use, the share of seeds that choose it if not all, and whether it is the grid's edge."""
    text = str(row["lr"])
    if math.isfinite(row["lr_share"]) and row["lr_share"] < 1:
        text += f" ({share(row['lr_share'])})"
    return f"{text}, edge" if row["lr_edge"] else text


def answer(table: pd.DataFrame, metric: Metric, all_diverged: bool) -> str:
    """What the best-lr ranking says, in one or two sentences, and no more than its seeds carry."""
    ranked = table[table["rank"].notna()]
    if ranked.empty:
        return "Nothing can be ranked: no arm has a result at every learning rate in any seed."
    if all_diverged:
        return "No arm trained: every run diverged, so all stand at chance."
    top = ranked.iloc[0]
    n = int(top["n_seeds"])
    at = f" at {top['lr']}" if "lr" not in str(top["arm"]).split(" ") else ""
    result = f"{top['arm']}{at}: {metric.title} {metric.text(top['score'])}"
    if n > 1:
        result += f" (95 % interval {interval(metric, top['low'], top['high'])}, {n} seeds)"
    if len(ranked) == 1:
        return f"{result}."
    if n < ENOUGH:
        return f"Ahead, without inference from {n} seed{'s' * (n > 1)}: {result}."
    mates = list(ranked["arm"][ranked["group"] == 1])
    mates.remove(top["arm"])
    if not mates:
        return f"Best arm: {result}; better than every other arm beyond what the seeds' luck explains."
    if len(mates) == len(ranked) - 1:
        return f"No arm stands out: all {len(ranked)} are tied. Ahead by a nose: {result}."
    named = ", ".join(mates[:3]) + (f" and {len(mates) - 3} more" if len(mates) > 3 else "")
    return f"Best arm: {result}; tied with {named}."


def strongest(effects: pd.DataFrame, metric: Metric) -> str:
    """Which factor moves the mean most; empty where none was compared."""
    if effects.empty:
        return ""
    spread = effects.groupby("factor", sort=False)["behind"].max().sort_values(ascending=False)
    factor = str(spread.index[0])
    unit = f"{100 * spread.iloc[0]:.1f} points" if metric.kind == "accuracy" else metric.text(spread.iloc[0])
    best = effects[(effects["factor"] == factor) & effects["behind"].isna()].iloc[0]
    return f"What moves the mean most is {factor}: {unit} between its best level ({best['level']}) and its worst."


def dataset_text(data: Any) -> str:
    if not isinstance(data, Mapping):
        return str(data)
    return ", ".join([str(data.get("name", "")), *(f"{k} {v}" for k, v in data.items() if k != "name")])


def listed(info: Mapping[str, Any], key: str) -> list[Any]:
    value = info.get(key) or []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def few(names: list[str], most: int = 12) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} … {names[-1]}"


def provenance(info: Mapping[str, Any], grid: Grid) -> list[tuple[str, str]]:
    """What was run, as label and text; what is not known is left out."""
    changed = " with uncommitted changes" if info.get("dirty") else ""
    commit = f"{info['commit']}{changed}" if info.get("commit") else ""
    data = "; ".join(dataset_text(d) for d in listed(info, "data"))
    versions = ", ".join(f"{k} {v}" for k, v in (info.get("versions") or {}).items() if v)
    seconds = {k: v for k, v in (info.get("seconds") or {}).items() if isinstance(v, (int, float)) and math.isfinite(v)}
    seeds = f"{len(grid.bundles)}: {few(grid.bundles)}"
    swept = "; ".join(f"{f}: {few([value_text(v) for v in levels(grid.runs, f)])}" for f in grid.swept)
    rows = [
        ("Command", info.get("command")),
        ("Sweep", info.get("sweep", info.get("sweep_id"))),
        ("Started", info.get("created")),
        ("Commit", commit),
        ("Data", data),
        ("Hardware", info.get("hardware")),
        ("Trained on", ", ".join(map(str, listed(info, "devices")))),
        ("Versions", versions),
        ("Swept", swept),
        ("Held fixed", ", ".join(f"{k}={value_text(v)}" for k, v in grid.fixed.items())),
        ("Seeds", seeds),
        ("MLflow", " · ".join(str(info[k]) for k in ("uri", "tracking_uri", "experiment") if info.get(k))),
        ("Time", ", ".join(f"{k} {v:.1f} s" for k, v in seconds.items())),
    ]
    return [(label, str(text)) for label, text in rows if text]
