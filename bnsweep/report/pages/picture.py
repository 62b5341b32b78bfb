"""The first screen as a picture for a README or a slide: answer, verdicts, top arms."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from bnsweep.report.claims.verdicts import CONTRADICTED, INCONCLUSIVE, MIXED, SUPPORTED, TOO_FEW, UNASKED
from bnsweep.report.figures import Drawing, Scene, forest, pictures
from bnsweep.report.figures.style import PAPER, styled
from bnsweep.report.frame.formats import GROUPS, together
from bnsweep.report.pages import sentences
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.render import ICONS

WIDE, TALLEST = 14.0, 7.6
"""Inches."""
DPI = 100
COLOURS = 256
MOST_ARMS = 18
ROW, ARM = 0.6, 0.4
"""Height of a verdict and of an arm where there is room, in inches."""
TWO_LINES = 0.5
"""Height of a verdict from which its evidence may take two lines."""
SHADES = {SUPPORTED: "#0b6a5b", CONTRADICTED: "#a63c06", MIXED: "#7a3a86", INCONCLUSIVE: "#3c4a6b", TOO_FEW: "#3c4a6b"}
SHADES[UNASKED] = "#5b6275"
SOFT = "#5b6275"
LETTERS = f"Lines: 95 % intervals. {GROUPS}"
MARGIN, INDENT, MIDDLE = 0.3, 1.75, 7.6
"""Where texts begin, claims begin, and the right half begins, from the left."""


ASIDE, TITLE = 0.2, 0.3
"""Inches before a picture, and of the line of its title."""


class Sheet:
    """A figure on which places are inches from its top left corner."""

    def __init__(self, high: float) -> None:
        self.high = high
        self.figure = Figure(figsize=(WIDE, high), facecolor="white")

    def text(self, right: float, down: float, text: str, size: float, **style: Any) -> None:
        self.figure.text(right / WIDE, 1 - down / self.high, text, size=size, va="top", **style)


def first_screen(content: ReportContent, scene: Scene | None) -> bytes:
    """PNG of 1,400 pixels across and at most 760 down."""
    title = textwrap.wrap(together(content.answer), 106, max_lines=3, placeholder=" …")
    aside = textwrap.wrap(together(content.mattered), 156, max_lines=2, placeholder=" …")
    rows, drawing = verdict_rows(content), None if scene is None else glance(content, scene)
    arms = 0 if scene is None or drawing else len(forest.shown(scene, MOST_ARMS))
    left = MIDDLE if rows else MARGIN
    head = MARGIN + 0.32 * len(title) + 0.23 * len(aside) + 0.2
    with styled(PAPER):
        high = drawn_high(drawing, left) if drawing else ARM * arms + 1.1
        sheet = Sheet(min(TALLEST, head + max(ROW * len(rows), high) + 0.4))
        for i, line in enumerate(title):
            sheet.text(MARGIN, MARGIN + 0.32 * i, line, 16, weight="bold")
        for i, line in enumerate(aside):
            sheet.text(MARGIN, head - 0.2 - 0.23 * (len(aside) - i), line, 11, color=SOFT)
        draw_verdicts(sheet, rows, head)
        if drawing:
            draw_picture(sheet, drawing, head, left)
        elif scene is not None:
            draw_arms(sheet, scene, head, left)
        foot = f"{content.title} · {sentences.runs_text(content.ledger, len(content.grid.bundles))}"
        foot += f" · {LETTERS}" if (content.best["group"] > 0).any() and not drawing else ""
        sheet.text(MARGIN, sheet.high - 0.25, foot, 9, color=SOFT)
        buffer = io.BytesIO()
        sheet.figure.savefig(buffer, format="png", dpi=DPI)
    return in_few_colours(buffer)


def in_few_colours(png: io.BytesIO) -> bytes:
    """The same with a palette, at about a third of the size. In the pictures of two reports no pixel's red, green or
    blue was off by more than 3 of 255, where PIL's default was off by up to 75 and took twice as long."""
    small = io.BytesIO()
    Image.open(png).convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE).save(small, format="png")
    return small.getvalue()


def verdict_rows(content: ReportContent) -> list[tuple[str, str, str, str]]:
    """Word, claim, seeds for it and line of evidence; what was not asked is one row."""
    rows = [(v.verdict, v.claim, sentences.seeds_for(v), sentences.in_a_line(v)) for v in content.asked]
    if content.unasked:
        rows.append((UNASKED, f"{len(content.unasked)} more", "", ""))
    return rows


def draw_verdicts(sheet: Sheet, rows: list[tuple[str, str, str, str]], down: float) -> None:
    step = min(ROW, (sheet.high - 0.4 - down) / max(len(rows), 1))
    most = 2 if step > TWO_LINES else 1
    for i, (word, claim, seeds, line) in enumerate(rows):
        y = down + i * step
        sheet.text(MARGIN, y, f"{ICONS[word]} {word}", 10.5, color=SHADES[word], weight="bold")
        sheet.text(INDENT, y, textwrap.shorten(claim, 72, placeholder=" …"), 10.5)
        for right, text, width in ((MARGIN, seeds, 21), (INDENT, line, 102)):
            lines = textwrap.wrap(together(text), width, max_lines=most, placeholder=" …")
            sheet.text(right, y + 0.2, "\n".join(lines), 8.5, color=SOFT, linespacing=1.15)


def glance(content: ReportContent, scene: Scene) -> Drawing | None:
    """The picture of the first screen in colours for paper, where it is another than the arms."""
    first = content.glance
    if first is None or first.name == "forest":
        return None
    (drawing,) = pictures(scene, content.verdicts, name=first.name)
    return drawing


def drawn_high(drawing: Drawing, left: float) -> float:
    """Inches that a picture takes which begins `left` inches from the left."""
    wide, high = drawing.figure.get_size_inches()
    return float(high * min(1, (WIDE - MARGIN - left - ASIDE) / wide)) + TITLE


def draw_picture(sheet: Sheet, drawing: Drawing, down: float, left: float) -> None:
    """As large as there is room for it, below its title."""
    left, down = left + ASIDE, down + TITLE
    sheet.text(left, down - TITLE, drawing.title, 10.5, weight="bold")
    wide, high = drawing.figure.get_size_inches()
    scale = min(1, (WIDE - MARGIN - left) / wide, (sheet.high - 0.4 - down) / high)
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format="png", dpi=DPI * scale)
    pixels = np.asarray(Image.open(buffer).convert("RGB"))
    place = round(left * DPI), round((sheet.high - down) * DPI) - len(pixels)
    sheet.figure.figimage(pixels, *place, origin="upper")


def draw_arms(sheet: Sheet, scene: Scene, down: float, right: float) -> None:
    ranked = forest.shown(scene, MOST_ARMS)
    left = min(right + forest.label_width(ranked), WIDE - 3.2)
    high = min(sheet.high - down - 1.15, ARM * len(ranked) + 0.2)
    bottom = sheet.high - down - 0.3 - high
    place = (left / WIDE, bottom / sheet.high, (WIDE - 0.5 - left) / WIDE, high / sheet.high)
    ax = sheet.figure.add_axes(place)
    forest.draw(ax, scene, ranked)
    key: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2, "ncols": 6}
    ax.legend(handles=forest.key(scene), handlelength=1.6, columnspacing=1.2, **key)
