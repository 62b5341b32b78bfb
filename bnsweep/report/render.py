"""One report as HTML, Markdown, JSON and CSV. Text typed by users reaches HTML through autoescape only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from bnsweep.report import words
from bnsweep.report.completeness import Notice
from bnsweep.report.figures.types import Drawing
from bnsweep.report.grid import Grid, spread
from bnsweep.report.metrics import Metric, untrained
from bnsweep.report.ranking import BEST
from bnsweep.report.resample import ENOUGH, RESAMPLES

TOP, BOTTOM = 80, 20
"""Ranked arms that a page shows of a longer table; ranking.csv has all."""
MOST_VIEWS, MOST_LEVELS = 12, 40
"""Tables at a fixed learning rate, and levels of a factor, on a page."""


@dataclass(frozen=True)
class Content:
    """Everything a report says, before it takes a form."""

    info: Mapping[str, Any]
    grid: Grid
    metric: Metric
    ranking: pd.DataFrame
    effects: pd.DataFrame
    notices: list[Notice]
    ledger: dict[str, int]
    drawings: list[Drawing]

    @property
    def best(self) -> pd.DataFrame:
        return self.ranking[self.ranking["view"] == BEST]

    @cached_property
    def answer(self) -> str:
        if untrained(self.grid.runs):
            return words.UNTRAINED
        all_diverged = 0 < self.ledger["planned"] == self.ledger["diverged"]
        return words.answer(self.best, self.metric, all_diverged)

    @property
    def title(self) -> str:
        return f"Sweep {self.info.get('sweep', self.info.get('sweep_id', ''))}".strip()


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def cells(row: words.Row, metric: Metric, with_p: bool = True) -> dict[str, str]:
    """A ranking row as the texts of its cells, by column heading."""
    ranked = math.isfinite(row["rank"])
    if not ranked:
        return {"Rank": "–", "Arm": str(row["arm"]), metric.title.capitalize(): row["note"]}
    return {
        "Rank": words.whole(row["rank"]),
        "Arm": str(row["arm"]),
        metric.title.capitalize(): metric.text(row["score"]),
        "95 % interval": words.interval(metric, row["low"], row["high"]),
        "Tied group": words.letters(int(row["group"])) or "–",
        "Rank interval": words.rank_span(row),
        "Test accuracy": "–" if math.isnan(row["test_accuracy"]) else f"{100 * row['test_accuracy']:.1f} %",
        "Learning rate": words.lr_text(row),
        "Diverged": words.share(row["diverged"]),
        "Steps to τ": words.tau_text(row),
        "Train\u00a0− test": words.gap_text(row),
        **({"p (Holm)": words.p_text(row["p_holm"])} if with_p else {}),
        "Seeds": words.whole(row["n_seeds"]),
    }


def ranking_cells(table: pd.DataFrame, metric: Metric) -> list[dict[str, str]]:
    """A ranking as a page shows it: of a long one the top and the bottom, and how many are between."""
    with_p, is_ranked = bool(table["p"].notna().any()), table["rank"].notna()
    found: list[dict[str, str]] = []
    for part, top, bottom in ((table[is_ranked], TOP, BOTTOM), (table[~is_ranked], BOTTOM, 0)):
        more = len(part) - top - bottom
        shown = rows(pd.concat([part[:top], part[top + more :]]) if more > 0 else part)
        texts = [cells(row, metric, with_p) for row in shown]
        if more > 0:
            texts.insert(top, {"Rank": "…", "Arm": f"{more:,} more in ranking.csv"})
        found += texts
    return found


def top_levels(table: pd.DataFrame) -> pd.DataFrame:
    """One factor's effects, its best levels only where there are very many."""
    best = table["behind"].fillna(-math.inf).nsmallest(MOST_LEVELS).index
    return table[table.index.isin(best)]


def effect_cells(row: words.Row, metric: Metric) -> dict[str, str]:
    points = metric.kind == "accuracy"
    behind = [row[k] * (100 if points else 1) for k in ("behind", "behind_low", "behind_high")]
    text = ["–" if not math.isfinite(b) else f"{b:.1f}" if points else metric.text(b) for b in behind]
    best = math.isnan(row["behind"])
    return {
        "Level": str(row["level"]),
        metric.title.capitalize(): metric.text(row["score"]),
        "95 % interval": words.interval(metric, row["low"], row["high"]),
        f"Behind the best{', points' if points else ''}": "best" if best else text[0],
        "95 % interval of that": "–" if best else words.span(text[1], text[2]),
    }


def environment() -> Environment:
    env = Environment(
        loader=PackageLoader("bnsweep.report"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["md"] = markdown_text
    env.filters["together"] = lambda text: text.replace(" %", "\u00a0%").replace(" · ", "\u00a0· ")
    return env


def markdown_text(text: object) -> str:
    """User text inside a Markdown table or line: nothing in it is markup."""
    flat = " ".join(str(text).split())
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "#"):
        flat = flat.replace(mark, f"\\{mark}")
    return flat.replace("<", "&lt;").replace(">", "&gt;")


def page(content: Content, template: str) -> str:
    metric = content.metric
    tables = list(content.ranking.groupby("view", sort=False))
    shown = [tables[0], *(tables[1 + i] for i in spread(len(tables) - 1, MOST_VIEWS))]
    effects = [(str(factor), top_levels(t), t) for factor, t in content.effects.groupby("factor", sort=False)]
    env = environment()
    css = Markup(env.get_template("style.css").render())  # noqa: S704 - the package's own file
    return env.get_template(template).render(
        title=content.title,
        answer=content.answer,
        strongest="" if untrained(content.grid.runs) else words.strongest(content.effects, metric),
        notices=content.notices,
        metric=metric,
        arms=len(content.best),
        views=[(str(view), ranking_cells(table, metric)) for view, table in shown],
        views_left_out=len(tables) - len(shown),
        effects=[
            {
                "factor": factor,
                "rows": [effect_cells(row, metric) for row in rows(top)],
                "left_out": len(whole) - len(top),
                "cells": int(whole["cells"].iloc[0]),
                "seeds": int(whole["n_seeds"].iloc[0]),
            }
            for factor, top, whole in effects
        ],
        drawings=[(d, Markup(d.svg)) for d in content.drawings],  # noqa: S704 - matplotlib escapes texts in its SVG
        provenance=words.provenance(content.info, content.grid),
        bundles=len(content.grid.bundles),
        lr_swept=len(content.grid.lrs) > 1,
        enough=ENOUGH,
        resamples=RESAMPLES,
        css=css,
    )


def plain(value: Any) -> Any:
    """JSON has no NaN and knows no numpy: missing numbers become null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def summary_json(content: Content) -> str:
    grid = content.grid
    summary = {
        "answer": content.answer,
        "metric": content.metric.name,
        "info": content.info,
        "ledger": content.ledger,
        "complete": content.notices[0].kind == "ok",
        "notices": [{"kind": n.kind, "text": n.text} for n in content.notices],
        "swept": grid.swept,
        "fixed": grid.fixed,
        "seeds": grid.bundles,
        "ranking": rows(content.ranking),
        "main_effects": rows(content.effects),
    }
    return json.dumps(plain(summary), indent=1, ensure_ascii=False) + "\n"


def first_screen(content: Content, most: int = 8) -> str:
    """The answer for a terminal: plain text, at most about 100 columns."""
    lines = [f"{content.title}: {content.answer}"]
    lines += [f"  {'!' if n.kind == 'warning' else '·'} {n.text}" for n in content.notices]
    best = content.best
    names = [str(arm) for arm in best["arm"]]
    wide = max([3, *(len(name) for name in names[:most])])
    lines += ["", f"  rank  {'arm':<{wide}}  {content.metric.title:<28}  group  test     lr"]
    for row in rows(best[best["rank"].notna()].head(most)):
        cell = cells(row, content.metric)
        score = f"{content.metric.text(row['score'])} [{cell['95 % interval']}]"
        line = f"  {cell['Rank']:>4}  {cell['Arm']:<{wide}}  {score:<28}  {cell['Tied group']:<5}"
        lines.append(f"{line}  {cell['Test accuracy']:<7}  {cell['Learning rate']}")
    more = len(best) - most
    return "\n".join(lines + ([f"        … and {more} more in ranking.csv"] if more > 0 else []))
