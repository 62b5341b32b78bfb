"""Rows of the report's tables: every cell has a text and, where it is a number, what it is sorted by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from bnsweep.catalogue.metrics import ACCURACY, METRICS, Metric, metrics
from bnsweep.catalogue.tasks import Task
from bnsweep.report.claims.verdicts import Evidence
from bnsweep.report.frame.formats import (
    at_least,
    capital,
    fixed,
    integer,
    interval,
    letters,
    level_name,
    p_text,
    percent,
    shortest,
    span,
)
from bnsweep.report.frame.grid import UNNAMED
from bnsweep.report.stats.factorial import spoken
from bnsweep.report.stats.stopped import standing_title

TOP, BOTTOM = 80, 20
"""Ranked arms that a page shows of a longer table; ranking.csv has all."""
MOST_LEVELS = 40
"""Levels of a factor on a page."""
EDGE = ", edge"
TableRow = Mapping[str, Any]


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


def row_dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by its columns."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def integer_cell(value: float) -> Cell:
    """A number without decimals, which also sorts the cell."""
    return Cell(integer(value), value)


def rank_span(row: TableRow) -> str:
    """The interval of a rank: 3–7."""
    low, high = integer(row["rank_low"]), integer(row["rank_high"])
    return low if low == high else f"{low}–{high}"


def tau_text(row: TableRow) -> str:
    """Restricted mean; "≥" and the share that got there, where some runs did not and count with their whole budget."""
    if not math.isfinite(row["steps_to_tau"]):
        return "–"
    reached = row["tau_share"]
    return "never" if reached == 0 else at_least(METRICS["steps_to_tau"], row["steps_to_tau"], reached)


def gap_text(row: TableRow, task: Task) -> str:
    """Of accuracy in percentage points; says of how many runs when some diverged."""
    gap = row[f"gap_{task.score}"]
    if not math.isfinite(gap):
        return "–"
    text = (f"{100 * gap:+.1f}" if task.score == ACCURACY else f"{gap:+.3f}").replace("-", "−")
    there, seeds = row["gap_n"], row["n_seeds"]
    return text if there == seeds else f"{text} ({integer(there)} of {integer(seeds)} runs)"


def lr_text(row: TableRow) -> str:
    """The learning rate to use, the share of seeds that choose it if not all, and whether it is the grid's edge."""
    if row["lr"] == UNNAMED:
        return "see arm"
    text = str(row["lr"])
    if math.isfinite(row["lr_share"]) and row["lr_share"] < 1:
        text += f" ({percent(row['lr_share'], 0)})"
    return f"{text}{EDGE}" if row["lr_edge"] else text


def ahead(one: Evidence) -> str:
    """Seeds in which the difference is as claimed, and how many have none."""
    if not one.measured:
        return "–"
    return f"{one.ahead} of {one.n} seeds" + (f", {one.equal} equal" if one.equal else "")


def difference(one: Evidence) -> str:
    return one.unit.difference_text(one.effect, signed=True) if one.measured else "–"


def side(one: Evidence, which: int) -> str:
    """A side of a comparison with its mean; a dash where the comparison has one side only."""
    name, mean = one.sides[which], one.means[which]
    if not name:
        return "–"
    return f"{name}: {one.mean_text(which)}" if math.isfinite(mean) else name


def gap_title(task: Task) -> str:
    """Heading of the difference between training and test score."""
    return "Train\u00a0− test" + ", points" * (task.score == ACCURACY)


def test_title(metric: Metric) -> str:
    """Heading of the test score beside a ranking."""
    return f"Test {metric.task.title}"


def ranked_cells(row: TableRow, metric: Metric, tau: str) -> dict[str, Cell]:
    score, task = capital(metric.title), metric.task
    test, gap = row[f"test_{task.score}"], row[f"gap_{task.score}"]
    if not math.isfinite(row["rank"]):
        return {"Rank": Cell("–", math.nan), "Arm": Cell(str(row["arm"])), score: Cell(row["note"], math.nan)}
    wins = row["wins"] * row["n_seeds"]
    return {
        "Rank": integer_cell(row["rank"]),
        "Arm": Cell(str(row["arm"])),
        score: Cell(at_least(metric, row["score"], row["tau_share"]), row["score"]),
        "95 % interval": Cell(interval(metric, row["low"], row["high"]), row["low"]),
        "Group": Cell(letters(int(row["group"])) or "–", float(row["group"] or math.nan)),
        "Rank interval": Cell(rank_span(row), row["rank_low"]),
        "Top arm ahead in": Cell(f"{wins:g} of {row['n_seeds']:g}" if math.isfinite(wins) else "–", wins),
        test_title(metric): Cell(metrics(task)[metric.test].text(test), test),
        "Learning rate": Cell(lr_text(row)),
        "Diverged": Cell(percent(row["diverged"], 0), row["diverged"]),
        f"Steps to {tau}": Cell(tau_text(row), math.nan if row["tau_share"] == 0 else row["steps_to_tau"]),
        gap_title(task): Cell(gap_text(row, task), gap),
        "Seeds": integer_cell(row["n_seeds"]),
    }


def ranking_lines(table: pd.DataFrame, metric: Metric, factors: list[str], tau: str = "τ") -> list[Line]:
    """A ranking as a page shows it: of a long one the top and the bottom, and how many are between. `tau`: the score
    that training is timed to."""
    is_ranked = table["rank"].notna()
    found: list[Line] = []
    for part, top, bottom in ((table[is_ranked], TOP, BOTTOM), (table[~is_ranked], BOTTOM, 0)):
        more = len(part) - top - bottom
        lines = []
        for row in row_dicts(pd.concat([part[:top], part[top + more :]]) if more > 0 else part):
            kind = "lead" if row["group"] == 1 or row["rank"] == 1 else ""
            here = tuple(level_name(f, row[f]) for f in factors)
            lines.append(Line(ranked_cells(row, metric, tau), kind, here))
        if more > 0:
            lines.insert(top, Line({"Rank": Cell("…"), "Arm": Cell(f"{more:,} more in ranking.csv")}, "more"))
        found += lines
    return found


def stopped_lines(table: pd.DataFrame, by: Metric, lr_swept: bool) -> list[Line]:
    """What was stopped early, as a page shows it: the first TOP. `by`: what the scores are of."""
    lines = [Line(stopped_cells(row, by, lr_swept)) for row in row_dicts(table.head(TOP))]
    more = len(table) - TOP
    return [*lines, Line({"Arm": Cell(f"… {more:,} more in stopped.csv")}, "more")] if more > 0 else lines


def stopped_cells(row: TableRow, by: Metric, lr_swept: bool) -> dict[str, Cell]:
    steps, runs = span(integer(row["first_step"]), integer(row["last_step"])), row["runs"]
    return {
        "Arm": Cell(str(row["arm"])),
        **({"Learning rate": Cell(str(row["lr"]))} if lr_swept else {}),
        f"{capital(standing_title(by))} when stopped": Cell(by.text(row["score"]), row["score"]),
        "Step": Cell(integer(row["last_step"]) if row["first_step"] == row["last_step"] else steps, row["last_step"]),
        "Runs stopped": Cell(f"{row['runs_stopped']} of {runs}", row["runs_stopped"] / runs),
        "Why": Cell(str(row["reason"]) or "–"),
    }


def top_levels(table: pd.DataFrame) -> pd.DataFrame:
    """One factor's effects, its best levels only where there are very many."""
    best = table["behind"].fillna(-math.inf).nsmallest(MOST_LEVELS).index
    return table[table.index.isin(best)]


def effect_line(row: TableRow, metric: Metric) -> Line:
    """One level of a factor, averaged over all else."""
    points = metric.kind == ACCURACY
    behind = [row[k] * (100 if points else 1) for k in ("behind", "behind_low", "behind_high")]
    text = [fixed(b, 1) if points else metric.text(b) for b in behind]
    best = math.isnan(row["behind"])
    return Line(
        {
            "Level": Cell(str(row["level"])),
            capital(metric.title): Cell(at_least(metric, row["score"], row["reached"]), row["score"]),
            "95 % interval": Cell(interval(metric, row["low"], row["high"]), row["low"]),
            f"Behind the best{', points' if points else ''}": Cell(
                "best" if best else text[0], 0.0 if best else behind[0]
            ),
            "95 % interval of that": Cell("–" if best else span(text[1], text[2]), behind[1]),
        }
    )


def factor_line(row: TableRow, bn_title: str) -> Line:
    """One row of the analysis of variance."""
    low, high = percent(row["low"]), percent(row["high"])
    return Line(
        {
            "Effect": Cell(spoken(str(row["effect"]), bn_title)),
            "Share of variance (ω²)": Cell(percent(row["omega2"]), row["omega2"]),
            "95 % interval": Cell(span(low.removesuffix(" %"), high), row["low"]),
            "p (Holm)": Cell(p_text(row["p_holm"]), row["p_holm"]),
            "Degrees of freedom": integer_cell(row["df"]),
        }
    )


def sensitivity_line(row: TableRow, metric: Metric, bn_title: str) -> Line:
    """How much the score depends on one factor, at a level of another."""
    points = metric.kind == ACCURACY
    sd, low, high, less, less_low, less_high = (
        row[k] * (100 if points else 1) for k in ("sd", "low", "high", "less", "less_low", "less_high")
    )
    bare = (lambda v: fixed(v, 1)) if points else metric.text
    unit = ", points" if points else ""
    return Line(
        {
            "Across": Cell(spoken(str(row["across"]), bn_title)),
            "At": Cell(str(row["level"])),
            f"Standard deviation{unit}": Cell(bare(sd), sd),
            "95 % interval": Cell(span(bare(low), bare(high)), low),
            f"Less than the first{unit}": Cell(bare(less), less),
            "95 % interval of that": Cell(span(bare(less_low), bare(less_high)), less_low),
            "p": Cell(p_text(row["p"]), row["p"]),
        }
    )


def width_line(row: TableRow) -> Line:
    """How wide a range of rates or weights an arm tolerates."""
    decades, ends = row["decades"], span(shortest(row["low"]), shortest(row["high"]))
    between = span(fixed(row["decades_low"], 1), fixed(row["decades_high"], 1))
    return Line(
        {
            "Arm": Cell(str(row["arm"])),
            "Tolerated": Cell(str(row["kind"])),
            "Width, decades": Cell(("≥ " if row["at_edge"] else "") + fixed(decades, 1), decades),
            "95 % interval": Cell(between, row["decades_low"]),
            "From – to": Cell(ends, row["low"]),
        }
    )


def evidence_line(one: Evidence) -> Line:
    """One comparison of a claim."""
    low, high = (one.unit.text(v, signed=True) for v in (one.low, one.high))
    return Line(
        {
            "Comparison": Cell(one.name),
            "Claimed side": Cell(side(one, 0)),
            "Other side": Cell(side(one, 1)),
            "Difference, + as claimed": Cell(difference(one), one.effect),
            "95 % interval": Cell(span(low, high), one.low),
            "As claimed in": Cell(ahead(one), one.ahead if one.measured else math.nan),
            "p": Cell(p_text(one.p), one.p),
            "Says": Cell(one.says if one.measured and not one.cut else one.note),
        }
    )
