"""The first screen as a picture for a README or a slide: answer, verdicts, top arms."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from matplotlib.figure import Figure

from bnsweep.report import words
from bnsweep.report.content import Content
from bnsweep.report.figures import Scene, forest
from bnsweep.report.figures.style import LETTER, styled
from bnsweep.report.render import ICONS
from bnsweep.report.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNASKED

WIDE, HIGH = 14.0, 7.6
"""Inches; a hundred pixels each."""
COLOURS = 128
MOST_ARMS, MOST_CLAIMS = 18, 10
SHADES = {SUPPORTED: "#0b6a5b", CONTRADICTED: "#a63c06", INCONCLUSIVE: "#3c4a6b", UNASKED: "#5b6275"}
SOFT = "#5b6275"


def first_screen(content: Content, scene: Scene | None) -> bytes:
    """PNG, WIDE x HIGH at 100 pixels an inch."""
    with styled(paper=True):
        figure = Figure(figsize=(WIDE, HIGH), facecolor="white")
        down = write(figure, 0.3, textwrap.wrap(content.answer, 108)[:3], 16, weight="bold")
        down = write(figure, down + 0.02, textwrap.wrap(content.mattered, 150)[:2], 11, color=SOFT)
        verdicts(figure, content, down + 0.2)
        if scene is not None:
            arms(figure, content, scene, down + 0.2)
        foot = f"{content.title} · {words.runs_text(content.ledger, len(content.grid.bundles))}"
        figure.text(0.3 / WIDE, 0.14 / HIGH, foot, size=9, color=SOFT)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
    return in_few_colours(buffer)


def in_few_colours(png: io.BytesIO) -> bytes:
    """The same with a palette, at about a third of the size."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(png).convert("RGB").quantize(COLOURS).save(small, format="png", optimize=True)
    return small.getvalue()


def write(figure: Figure, down: float, lines: list[str], size: float, **style: Any) -> float:
    """Lines of text from `down` inches below the top; how far down they end."""
    for line in lines:
        figure.text(0.3 / WIDE, 1 - down / HIGH, line, size=size, va="top", **style)
        down += size * 1.45 / 72
    return down


def verdicts(figure: Figure, content: Content, down: float) -> None:
    """Left half: word, claim and its line of evidence."""
    shown = [*content.asked, *content.unasked][:MOST_CLAIMS]
    step = min(0.62, (HIGH - 0.5 - down) / max(len(shown), 1))
    for i, verdict in enumerate(shown):
        y, shade = 1 - (down + i * step) / HIGH, SHADES[verdict.verdict]
        word = f"{ICONS[verdict.verdict]} {verdict.verdict}"
        figure.text(0.3 / WIDE, y, word, size=10.5, va="top", color=shade, weight="bold")
        figure.text(1.75 / WIDE, y, textwrap.shorten(verdict.claim, 62, placeholder=" …"), size=10.5, va="top")
        figure.text(0.3 / WIDE, y - 0.22 / HIGH, words.seeds_for(verdict), size=8.5, va="top", color=SOFT)
        line = "" if verdict.verdict == UNASKED else textwrap.shorten(words.in_a_line(verdict), 96, placeholder=" …")
        figure.text(1.75 / WIDE, y - 0.22 / HIGH, line, size=8.5, va="top", color=SOFT)


def arms(figure: Figure, content: Content, scene: Scene, down: float) -> None:
    """Right half, or all of it where no claim was asked."""
    ranked = forest.shown(scene, MOST_ARMS)
    left = (7.4 if content.verdicts else 0.3) + 0.2 + LETTER * max(len(str(arm)) for arm in ranked["arm"])
    left = min(left, WIDE - 3.5)
    ax = figure.add_axes((left / WIDE, 0.85 / HIGH, (WIDE - 0.5 - left) / WIDE, (HIGH - 1.15 - down) / HIGH))
    ax.tick_params(which="both", length=0)
    forest.draw(ax, scene, ranked)
    handles = forest.key(scene)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2, "ncols": 6}
    ax.legend(handles=handles, handlelength=1.6, columnspacing=1.2, **place)
