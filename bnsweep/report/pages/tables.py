"""Rows of the report's tables: every cell has a text and, where it is a number, what it is sorted by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from bnsweep.report.claims.verdicts import Evidence
from bnsweep.report.frame.metrics import Metric
from bnsweep.report.pages import text as words
from bnsweep.report.stats.factorial import spoken

TOP, BOTTOM = 80, 20
"""Ranked arms that a page shows of a longer table; ranking.csv has all."""
MOST_LEVELS = 40
"""Levels of a factor on a page."""
GAP = "Train\u00a0− test"


class Cell(NamedTuple):
    text: str
    number: float | None = None
    """Sorts the cell; NaN where the number is missing, None where the text sorts."""
    link: str = ""


@dataclass(frozen=True)
class Line:
    cells: dict[str, Cell]
    """By column heading; a column that is missing here is empty."""
    kind: str = ""
    """lead: of the first group; more: says how many rows are left out."""
    levels: tuple[str, ...] = field(default=())
    """Values of the factors that a table can be filtered by."""


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def whole(value: float) -> Cell:
    return Cell(words.whole(value), value)


def ranked_cells(row: words.Row, metric: Metric, with_p: bool) -> dict[str, Cell]:
    score = metric.title.capitalize()
    if not math.isfinite(row["rank"]):
        return {"Rank": Cell("–", math.nan), "Arm": Cell(str(row["arm"])), score: Cell(row["note"], math.nan)}
    wins = row["wins"] * row["n_seeds"]
    return {
        "Rank": whole(row["rank"]),
        "Arm": Cell(str(row["arm"])),
        score: Cell(metric.text(row["score"]), row["score"]),
        "95 % interval": Cell(words.interval(metric, row["low"], row["high"]), row["low"]),
        "Tied group": Cell(words.letters(int(row["group"])) or "–", float(row["group"] or math.nan)),
        "Rank interval": Cell(words.rank_span(row), row["rank_low"]),
        "Top arm ahead in": Cell(f"{wins:g} of {row['n_seeds']:g}" if math.isfinite(wins) else "–", wins),
        "Test accuracy": Cell(words.percent(row["test_accuracy"]), row["test_accuracy"]),
        "Learning rate": Cell(words.lr_text(row)),
        "Diverged": Cell(words.share(row["diverged"]), row["diverged"]),
        "Steps to τ": Cell(words.tau_text(row), math.inf if row["tau_share"] == 0 else row["steps_to_tau"]),
        GAP: Cell(words.gap_text(row), row["gap_accuracy"]),
        **({"p (Holm)": Cell(words.p_text(row["p_holm"]), row["p_holm"])} if with_p else {}),
        "Seeds": whole(row["n_seeds"]),
    }


def ranking_lines(table: pd.DataFrame, metric: Metric, factors: list[str]) -> list[Line]:
    """A ranking as a page shows it: of a long one the top and the bottom, and how many are between."""
    with_p, is_ranked = bool(table["p"].notna().any()), table["rank"].notna()
    found: list[Line] = []
    for part, top, bottom in ((table[is_ranked], TOP, BOTTOM), (table[~is_ranked], BOTTOM, 0)):
        more = len(part) - top - bottom
        lines = []
        for row in rows(pd.concat([part[:top], part[top + more :]]) if more > 0 else part):
            kind = "lead" if row["group"] == 1 or row["rank"] == 1 else ""
            here = tuple(words.level_name(f, row[f]) for f in factors)
            lines.append(Line(ranked_cells(row, metric, with_p), kind, here))
        if more > 0:
            lines.insert(top, Line({"Rank": Cell("…"), "Arm": Cell(f"{more:,} more in ranking.csv")}, "more"))
        found += lines
    return found


def top_levels(table: pd.DataFrame) -> pd.DataFrame:
    """One factor's effects, its best levels only where there are very many."""
    best = table["behind"].fillna(-math.inf).nsmallest(MOST_LEVELS).index
    return table[table.index.isin(best)]


def effect_line(row: words.Row, metric: Metric) -> Line:
    points = metric.kind == "accuracy"
    behind = [row[k] * (100 if points else 1) for k in ("behind", "behind_low", "behind_high")]
    text = [words.fixed(b, 1) if points else metric.text(b) for b in behind]
    best = math.isnan(row["behind"])
    return Line(
        {
            "Level": Cell(str(row["level"])),
            metric.title.capitalize(): Cell(metric.text(row["score"]), row["score"]),
            "95 % interval": Cell(words.interval(metric, row["low"], row["high"]), row["low"]),
            f"Behind the best{', points' if points else ''}": Cell(
                "best" if best else text[0], 0.0 if best else behind[0]
            ),
            "95 % interval of that": Cell("–" if best else words.span(text[1], text[2]), behind[1]),
        }
    )


def factor_line(row: words.Row) -> Line:
    """One row of the analysis of variance."""
    low, high = words.percent(row["low"]), words.percent(row["high"])
    return Line(
        {
            "Effect": Cell(spoken(str(row["effect"]))),
            "Share of variance (ω²)": Cell(words.percent(row["omega2"]), row["omega2"]),
            "95 % interval": Cell(words.span(low.removesuffix(" %"), high), row["low"]),
            "p (Holm)": Cell(words.p_text(row["p_holm"]), row["p_holm"]),
            "Degrees of freedom": whole(row["df"]),
        }
    )


def sensitivity_line(row: words.Row, metric: Metric) -> Line:
    points = metric.kind == "accuracy"
    sd, low, high, less, less_low, less_high = (
        row[k] * (100 if points else 1) for k in ("sd", "low", "high", "less", "less_low", "less_high")
    )
    bare = (lambda v: words.fixed(v, 1)) if points else metric.text
    unit = ", points" if points else ""
    return Line(
        {
            "Across": Cell(spoken(str(row["across"]))),
            "At": Cell(str(row["level"])),
            f"Standard deviation{unit}": Cell(bare(sd), sd),
            "95 % interval": Cell(words.span(bare(low), bare(high)), low),
            f"Less than the first{unit}": Cell(bare(less), less),
            "95 % interval of that": Cell(words.span(bare(less_low), bare(less_high)), less_low),
            "p": Cell(words.p_text(row["p"]), row["p"]),
        }
    )


def width_line(row: words.Row) -> Line:
    decades, span = row["decades"], words.span(words.value(row["low"]), words.value(row["high"]))
    interval = words.span(words.fixed(row["decades_low"], 1), words.fixed(row["decades_high"], 1))
    return Line(
        {
            "Arm": Cell(str(row["arm"])),
            "Tolerated": Cell(str(row["kind"])),
            "Width, decades": Cell(("≥ " if row["at_edge"] else "") + words.fixed(decades, 1), decades),
            "95 % interval": Cell(interval, row["decades_low"]),
            "From – to": Cell(span, row["low"]),
        }
    )


def evidence_line(one: Evidence) -> Line:
    low, high = (one.unit.text(v, signed=True) for v in (one.low, one.high))
    return Line(
        {
            "Comparison": Cell(one.name),
            "Claimed side": Cell(words.side(one, 0)),
            "Other side": Cell(words.side(one, 1)),
            "Difference, + as claimed": Cell(words.difference(one), one.effect),
            "95 % interval": Cell(words.span(low, high), one.low),
            "As claimed in": Cell(words.ahead(one), one.ahead if one.measured else math.nan),
            "p": Cell(words.p_text(one.p), one.p),
            "Says": Cell(one.says if one.measured else one.note),
        }
    )
