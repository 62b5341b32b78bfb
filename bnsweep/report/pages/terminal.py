"""The first screen in a terminal: the answer, the verdicts, whether the sweep is whole, the top arms."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnsweep.config.checks import printable
from bnsweep.report.claims.verdicts import CONTRADICTED, INCONCLUSIVE, MIXED, SUPPORTED, TOO_FEW, UNASKED, Verdict
from bnsweep.report.frame.formats import capital, together
from bnsweep.report.pages import sentences, tables
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.render import ICONS

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 100
"""Columns where no terminal says how many it has."""
MOST = 8
STYLES = {SUPPORTED: "cyan", CONTRADICTED: "bright_red", MIXED: "magenta", INCONCLUSIVE: "yellow", UNASKED: "dim"}
STYLES[TOO_FEW] = STYLES[INCONCLUSIVE]
WORD = 19
"""Columns that a verdict's word takes, with the gaps of its row."""


def console() -> Console:
    """Standard output: in colour on a terminal that wants it, plain text where it is piped."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def plain_text(content: ReportContent) -> str:
    """The first screen as plain text of at most WIDTH columns."""
    from rich.console import Console

    file = io.StringIO()
    to = Console(file=file, width=WIDTH, highlight=False, color_system=None, force_terminal=False, force_jupyter=False)
    show(content, to)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def show(content: ReportContent, to: Console) -> None:
    """Print the first screen."""
    for part in parts(content, to.width):
        to.print(part)


def parts(content: ReportContent, width: int) -> Iterator[RenderableType]:
    """Text objects, not markup: names typed by users stay what they are."""
    from rich.text import Text

    yield Text(content.title, "dim")
    yield Text(folded(content.answer, width), "bold")
    if content.mattered:
        yield Text(folded(content.mattered, width))
    yield Text()
    if content.verdicts:
        yield verdict_table(content, width)
        yield Text()
    for notice in content.notices:
        warns = notice.kind == "warning"
        yield Text(f"{'!' if warns else '·'} {printable(notice.text)}", "yellow" if warns else "dim")
    yield Text()
    yield arm_table(content)
    if (more := len(content.best) - MOST) > 0:
        yield Text(f"… and {more:,} more in ranking.csv", "dim")


def folded(text: str, width: int) -> str:
    """No line ends between a number and its percent sign."""
    lines = textwrap.wrap(together(printable(text)), max(width, 20), break_on_hyphens=False)
    return "\n".join(lines).replace("\u00a0", " ")


def verdict_table(content: ReportContent, width: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    claim = (width - WORD) // 3
    table.add_column(width=claim, overflow="fold")
    table.add_column(overflow="fold")
    for verdict in content.asked:
        word = Text(f"{ICONS[verdict.verdict]} {verdict.verdict}", STYLES[verdict.verdict])
        table.add_row(word, Text(verdict.claim), Text(folded(evidence(verdict), width - WORD - claim), "dim"))
    if content.unasked:
        table.add_row(Text(f"{ICONS[UNASKED]} {UNASKED}", STYLES[UNASKED]), Text(f"{len(content.unasked)} more"), "")
    return table


def evidence(verdict: Verdict) -> str:
    return "; ".join(filter(None, (sentences.in_a_line(verdict), sentences.seeds_for(verdict))))


def arm_table(content: ReportContent) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    metric, best = content.metric, content.best
    lines = tables.ranking_lines(best[best["rank"].notna()].head(MOST), metric, [])
    score, test = capital(metric.title), tables.test_title(metric)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("Rank", "Arm", "Score", "95 % interval", "Group", "Test", "Learning rate"):
        right = name in ("Rank", "Score", "Test")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for line in lines:
        texts = [line.cells[n].text for n in ("Rank", "Arm", score, "95 % interval", "Group", test)]
        row = [*texts, line.cells["Learning rate"].text.removesuffix(tables.EDGE)]
        table.add_row(*map(Text, row), style="" if line.kind else "dim")
    return table
