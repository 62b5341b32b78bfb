"""The first screen in a terminal: the answer, the verdicts, whether the sweep is whole, the top arms."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bnsweep.config.checks import printable
from bnsweep.report.claims.verdicts import CONTRADICTED, INCONCLUSIVE, MIXED, SUPPORTED, TOO_FEW, UNASKED, Verdict
from bnsweep.report.frame.formats import capital, together
from bnsweep.report.pages import sentences, tables
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.render import ICONS
from bnsweep.report.stats.stopped import standing_metric, standing_title

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 100
"""Columns where no terminal says how many it has."""
WIDEST, NARROW = 120, 72
"""Columns of text that are read with ease; below so many a verdict's evidence stands under its claim."""
MOST, MOST_STOPPED = 8, 3
STYLES = {SUPPORTED: "cyan", CONTRADICTED: "bright_red", MIXED: "magenta", INCONCLUSIVE: "yellow", UNASKED: "dim"}
STYLES[TOO_FEW] = STYLES[INCONCLUSIVE]
WORD = 19
"""Columns that a verdict's word takes, with the gaps of its row."""
LEAST_OF_ARM = 24
"""Columns that an arm's name keeps before others are left out."""
LEFT_OUT_FIRST = ("Test", "Learning rate", "Group", "95 % interval")


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


def parts(content: ReportContent, columns: int) -> Iterator[RenderableType]:
    """Text objects, not markup: names typed by users stay what they are."""
    from rich.text import Text

    width = min(columns, WIDEST)
    yield Text(content.title, "dim")
    yield Text(folded(content.answer, width), "bold")
    if content.mattered:
        yield Text(folded(content.mattered, width))
    yield Text()
    if content.verdicts:
        yield from verdict_lines(content, width) if width < NARROW else [verdict_table(content, width)]
        yield Text()
    for notice in content.notices:
        warns = notice.kind == "warning"
        yield Text(folded(f"{'!' if warns else '·'} {notice.text}", width, "  "), "yellow" if warns else "dim")
    if len(content.best):
        yield Text()
        yield arm_table(content, width)
    if (more := len(content.best) - MOST) > 0:
        yield Text(f"… and {more:,} more in ranking.csv", "dim")
    yield from stopped_text(content, width)


def stopped_text(content: ReportContent, width: int) -> Iterator[RenderableType]:
    """Of what was stopped early that which stood best."""
    from rich.text import Text

    if len(content.stopped):
        by = standing_metric(content.grid, content.metric)
        yield Text(f"\nStopped early, by {standing_title(by)} when stopped")
        for row in tables.row_dicts(content.stopped.head(MOST_STOPPED)):
            at = f" at {row['lr']}" if len(content.grid.lrs) > 1 else ""
            said = f"{row['arm']}{at}: {by.text(row['score'])}, {row['reason']}"
            yield Text(folded(said, width, "  "), "dim")
        if (more := len(content.stopped) - MOST_STOPPED) > 0:
            yield Text(f"… and {more:,} more in stopped.csv", "dim")


def folded(text: str, width: int, indent: str = "") -> str:
    """No line ends between a number and its percent sign. `indent`: of all lines but the first."""
    lines = textwrap.wrap(together(printable(text)), max(width, 20), break_on_hyphens=False, subsequent_indent=indent)
    return "\n".join(lines).replace("\u00a0", " ")


def verdict_lines(content: ReportContent, width: int) -> Iterator[RenderableType]:
    """For a narrow terminal."""
    from rich.text import Text

    for verdict in content.asked:
        said = f"{ICONS[verdict.verdict]} {verdict.verdict}: {verdict.claim}"
        yield Text(folded(said, width, "  "), STYLES[verdict.verdict])
        yield Text(folded(f"  {evidence(verdict)}", width, "  "), "dim")
    if content.unasked:
        yield Text(f"{ICONS[UNASKED]} {UNASKED}: {len(content.unasked)} more", STYLES[UNASKED])


def verdict_table(content: ReportContent, width: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    claim = min((width - WORD) // 3, max(len(verdict.claim) for verdict in content.verdicts))
    rest = width - WORD - claim
    table.add_column(width=claim, overflow="fold")
    table.add_column(width=rest, overflow="fold")
    for verdict in content.asked:
        word = Text(f"{ICONS[verdict.verdict]} {verdict.verdict}", STYLES[verdict.verdict])
        table.add_row(word, Text(verdict.claim), Text(folded(evidence(verdict), rest), "dim"))
    if content.unasked:
        table.add_row(Text(f"{ICONS[UNASKED]} {UNASKED}", STYLES[UNASKED]), Text(f"{len(content.unasked)} more"), "")
    return table


def evidence(verdict: Verdict) -> str:
    return "; ".join(filter(None, (sentences.in_a_line(verdict), sentences.seeds_for(verdict))))


def arm_table(content: ReportContent, width: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    metric, best = content.metric, content.best
    lines = tables.ranking_lines(best[best["rank"].notna()].head(MOST), metric, [])
    sources = {"Rank": "Rank", "Arm": "Arm", "Score": capital(metric.title), "95 % interval": "95 % interval"}
    sources |= {"Group": "Group", "Test": tables.test_title(metric), "Learning rate": "Learning rate"}
    columns = {
        name: [line.cells[source].text.removesuffix(tables.EDGE) for line in lines] for name, source in sources.items()
    }
    shown = fitting(columns, width)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in shown:
        right = name in ("Rank", "Score", "Test")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for line, texts in zip(lines, zip(*(columns[name] for name in shown), strict=True), strict=True):
        table.add_row(*map(Text, texts), style="" if line.kind else "dim")
    return table


def fitting(columns: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """The names of those that leave an arm's name its room."""
    widths = {name: max(map(len, (name, *texts))) + 1 for name, texts in columns.items()}
    least = widths | {"Arm": min(widths["Arm"], LEAST_OF_ARM)}
    for name in LEFT_OUT_FIRST:
        if sum(least.values()) > width:
            del least[name]
    return list(least)
