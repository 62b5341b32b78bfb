"""The ranking as a table for a paper: LaTeX with booktabs, and the same as Markdown.

An interval stands beside each mean, and not a standard deviation: it says how sure the mean is, over the very seeds and
with the choice of the learning rate in it, as everywhere in a report.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import pandas as pd

from bnsweep.catalogue.metrics import ACCURACY, STEPS, Metric, metrics
from bnsweep.config.checks import printable
from bnsweep.inference import ENOUGH
from bnsweep.report.frame.formats import GROUPS, at_least, capital, letters, tau
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.render import markdown_text
from bnsweep.report.pages.tables import TableRow, row_dicts

MOST = 20
"""Arms of a table."""
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{mark: f"\\{mark}" for mark in "&%$#_"},
    **{mark: f"{{{mark}}}" for mark in "[]*"},  # after the end of a row they would be LaTeX's own
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "“": "``",
    "”": "''",
    "’": "'",
    "–": "--",
    "…": r"\dots{}",
    "\u00a0": "~",
    "²": r"$^2$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "τ": r"$\tau$",
    "−": r"$-$",
}
"""What a letter is in LaTeX's text."""
HEADING = 10
"""Letters of a line of a heading."""
LAST_LATIN = "\u017f"
"""Of the letters that pdfLaTeX knows without a package."""


@dataclass(frozen=True)
class Column:
    title: str
    unit: str = ""
    aligned: str = "r"

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class PaperTable:
    columns: list[Column]
    rows: list[tuple[bool, list[str]]]
    """Whether the arm is of the leading group, and its cells; the second is its mean, with an interval."""
    remarks: list[str]
    """Sentences below it."""


def bare(metric: Metric, value: float) -> str:
    """Without the unit, which stands in the heading."""
    return metric.text(value).removesuffix(" %")


def unit(metric: Metric) -> str:
    return "%" if metric.kind == ACCURACY else ""


def paper_table(content: ReportContent) -> PaperTable:
    """The first arms of the ranking, each at its best learning rate."""
    best, metric = content.best, content.metric
    ranked = best[best["rank"].notna()]
    known, score = metrics(metric.task), metric.task.score
    test, steps = known[metric.test], known["steps_to_tau"]
    grouped, swept = bool((ranked["group"] > 0).any()), len(content.grid.lrs) > 1
    timed = metric.kind != STEPS and bool(ranked["steps_to_tau"].notna().any())
    columns = [Column("Arm", aligned="l"), Column(capital(metric.title), unit(metric))]
    columns += [Column("Learning rate", aligned="l")] * swept
    columns += [Column(capital(test.title), unit(test))]
    columns += [Column(f"Steps to {tau(content.grid)}")] * timed + [Column("Group", aligned="l")] * grouped
    rows = []
    for row in row_dicts(ranked.head(MOST)):
        cells = [str(row["arm"]), mean_text(metric, row)]
        cells += [str(row["lr"]).removeprefix("lr ")] * swept
        cells += [bare(test, row[f"test_{score}"])]
        cells += [at_least(steps, row["steps_to_tau"], row["tau_share"])] * timed
        cells += [letters(int(row["group"]))] * grouped
        rows.append((row["group"] == 1, cells))
    return PaperTable(columns, rows, remarks(content, ranked, timed or metric.kind == STEPS))


def mean_text(metric: Metric, row: TableRow) -> str:
    """The mean score, and its interval where there is one."""
    text = at_least(metric, row["score"], row["tau_share"]).removesuffix(" %")
    between = f" [{bare(metric, row['low'])}, {bare(metric, row['high'])}]"
    return text + between if math.isfinite(row["low"]) else text


def remarks(content: ReportContent, ranked: pd.DataFrame, timed: bool) -> list[str]:
    """What a reader has to know of the table, who has nothing else of the report."""
    if ranked.empty:
        return ["No arm is ranked."]
    stopped = len(content.stopped)
    seeds, best = int(ranked["n_seeds"].iloc[0]), content.best
    found = [f"Mean over {seeds} seed{'s' * (seeds != 1)}"]
    found[0] += " [95 % bootstrap interval]." if ranked["low"].notna().any() else "."
    if len(content.grid.lrs) > 1:
        found.append("Each arm is at its best learning rate, which the other seeds choose on validation data.")
    if content.grid.searched:
        found.append(
            "The arms are trials of a search: validation scores, which choose among them, flatter the best ones."
        )
    if (ranked["group"] > 0).any():
        found.append(f"{GROUPS} Bold: group A.")
    elif seeds < ENOUGH:
        found.append("So few seeds carry no inference: the order may be chance.")
    if timed and (ranked["tau_share"] < 1).any():
        found.append("≥: some runs never get there and count with all of their steps; beside it the share that did.")
    more, unranked = len(ranked) - MOST, len(best) - len(ranked)
    found += [f"The first {MOST} of {len(ranked)} arms; ranking.csv has all."] if more > 0 else []
    found += [f"{unranked} more not ranked; ranking.csv says why."] if unranked else []
    found += [f"Of what ran to the end; {stopped} settings that were stopped early are in stopped.csv."] * bool(stopped)
    return found


def latex_text(text: str) -> str:
    """Text inside LaTeX: nothing in it is a command."""
    flat = printable(" ".join(text.split(" ")), "\u00a0").replace(" %", "\u00a0%")
    return "".join(LATEX.get(mark, mark) for mark in flat)


def latex(content: ReportContent) -> str:
    """table.tex, to be put into any table environment by \\input."""
    table = paper_table(content)
    cells = [[latex_text(cell) for cell in row] for _, row in table.rows]
    for (leads, _), row in zip(table.rows, cells, strict=True):
        if leads:
            mean, between, rest = row[1].partition(" {[}")
            row[1] = rf"\textbf{{{mean}}}{between}{rest}"
    about = f"bnsweep, {content.title}; needs \\usepackage{{booktabs}}, and a table around it:"
    lines = [f"% {about}", r"% \begin{table}\centering\caption{...}\label{...}\input{table.tex}\end{table}"]
    if any(mark > LAST_LATIN and mark not in LATEX for row in table.rows for cell in row[1] for mark in cell):
        lines.append("% Some names hold letters that want LuaLaTeX or XeLaTeX.")
    lines += [r"{\footnotesize\setlength{\tabcolsep}{4pt}%"]
    lines += [r"\begin{tabular}{@{}" + "".join(c.aligned for c in table.columns) + r"@{}}", r"\toprule"]
    lines += [" & ".join(map(latex_text, line)) + r" \\" for line in headings(table.columns)]
    lines += [r"\midrule", *(" & ".join(row) + r" \\" for row in cells)]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip"]
    lines += [rf"\parbox{{\linewidth}}{{{latex_text(' '.join(table.remarks))}}}}}"]
    return "\n".join(lines) + "\n"


def headings(columns: list[Column]) -> list[list[str]]:
    """The headings in as many lines as the longest takes, so that none makes its column wide."""
    broken = [
        textwrap.wrap(column.heading.replace(" (", "\u00a0("), HEADING, break_long_words=False) for column in columns
    ]
    high = max(map(len, broken))
    return [list(line) for line in zip(*([""] * (high - len(lines)) + lines for lines in broken), strict=True)]


def markdown(content: ReportContent) -> str:
    """table.md."""
    table = paper_table(content)
    lines = ["| " + " | ".join(markdown_text(c.heading) for c in table.columns) + " |"]
    lines.append("|" + "".join("---|" if c.aligned == "l" else "---:|" for c in table.columns))
    for leads, row in table.rows:
        cells = [markdown_text(cell) for cell in row]
        if leads:
            mean, between, rest = cells[1].partition(" \\[")
            cells[1] = f"**{mean}**{between}{rest}"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", markdown_text(" ".join(table.remarks))]) + "\n"
