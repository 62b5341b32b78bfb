"""From a matplotlib Figure to an SVG string whose colours are CSS variables of the page."""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from numpy.typing import NDArray

INK, FAINT = "#010203", "#010204"
SERIES = [f"C{i}" for i in range(8)]
"""Colours of the palette in force: `styled` says which."""
CODES = [f"#0102{i:02x}" for i in range(16, 24)]
"""Placeholders that `to_svg` turns into var(--s0) … var(--s7); style.css holds the palettes."""
FALLBACK = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a7a7a", "#8c6bb1")
"""Okabe & Ito's palette, for an SVG taken out of its page."""
DASHES: list[Any] = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), "-", (0, (5, 2)), (0, (1.5, 1.5)), "-."]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]

POINTS = 9.0
"""Size of letters for which figures are laid out."""
RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # whole TrueType fonts; journals refuse matplotlib's own choice, type 3
    "text.parse_math": False,  # names typed by users are not formulas
    "axes.titley": 1.0,  # left to itself, a title measures every tick of its panel
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    **{f"{axis}tick.{kind}.size": 0 for axis in "xy" for kind in ("major", "minor")},
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
BACKEND = ("backend", "interactive", "toolbar", "webagg", "svg.hashsalt")
"""How settings begin that are of windows or of a file, and of no picture."""


@dataclass(frozen=True)
class Palette:
    ink: str
    """Of texts."""
    faint: str
    """Of grid lines."""
    series: Sequence[str]
    fonts: Sequence[str] = ()
    """Names of font families; none: matplotlib's."""


PLACEHOLDERS = Palette(INK, FAINT, CODES)
"""For `to_svg`."""
PAPER = Palette("#1d2230", "#dcdfe6", FALLBACK)
"""For a picture by itself."""


@dataclass(frozen=True)
class Size:
    """How large figures are drawn."""

    points: float = POINTS
    """Of letters; lines, markers and distances go with them."""
    widths: tuple[float, ...] = ()
    """Inches: a figure takes the first in which its panels are wide enough. None: as wide as it likes."""

    @property
    def scale(self) -> float:
        return self.points / POINTS

    @property
    def on_paper(self) -> bool:
        return bool(self.widths)


ON_PAGE = Size()
IN_COLUMN = Size(7.5, (3.25, 6.75))
"""Of a paper: a column of a page of two, or both; ICML's, and CVPR's, ACM's and IEEE's are a little wider."""
IN_FORCE: ContextVar[Size] = ContextVar("size", default=ON_PAGE)


@contextmanager
def styled(palette: Palette = PLACEHOLDERS, size: Size = ON_PAGE) -> Iterator[None]:
    """Context in which figures are made and saved: matplotlib's settings as they are shipped, whatever the user's are,
    and RC. Afterwards they are as before."""
    colours = {INK: palette.ink, FAINT: palette.faint}
    shipped = matplotlib.rcParamsDefault
    rc: dict[Any, Any] = {key: value for key, value in shipped.items() if not key.startswith(BACKEND)}
    rc |= {key: colours.get(value, value) for key, value in RC.items()}
    rc["axes.prop_cycle"] = cycler(color=palette.series)
    rc |= {"font.size": size.points, "axes.titlesize": points(9.5, size), "lines.linewidth": points(1.7, size)}
    if palette.fonts:
        rc["font.sans-serif"] = list(palette.fonts)
    before = IN_FORCE.set(size)
    try:
        with matplotlib.rc_context(rc), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # pages have fonts of their own
            yield
    finally:
        IN_FORCE.reset(before)


def points(number: float, size: Size | None = None) -> float:
    """A size of a letter, a line or a marker, given for letters of POINTS, in the size in force."""
    return number * (size or IN_FORCE.get()).scale


def ink() -> str:
    """The colour of texts in the palette in force."""
    return str(matplotlib.rcParams["text.color"])


def faint() -> str:
    """The colour of grid lines in the palette in force."""
    return str(matplotlib.rcParams["grid.color"])


LETTER = 0.076
"""Width of a character of a label, in inches."""
LINE = 0.2
"""Height of a line of text, in inches."""
TALLEST, SQUEEZED = 9.0, 0.6
"""Inches of a paper's page, and the share of their height to which panels are squeezed to fit it."""
BETWEEN = 0.12
"""Inches between two labels of an axis."""
KEY = 0.55
"""Inches that a legend takes for each entry beside its text."""


@dataclass(frozen=True)
class Sheet:
    """Small multiples laid out in inches, for letters of POINTS. matplotlib's own layout engines measure every text and
    take seconds."""

    panel: tuple[float, float]
    """Width and height of each panel; on paper the width is what the column leaves."""
    left: float = 0.75
    right: float = 0.15
    top: float = 0.62
    """The first line of the legend and the first row's titles."""
    bottom: float = 0.5
    gap: tuple[float, float] = (0.22, 0.34)
    share: bool = True
    titles: Sequence[str] = ()
    """Of the panels, row by row."""
    legend: Sequence[Artist] = ()
    """Handles of the legend, which stands above all panels."""
    least: float = 0.75
    """Width below which a panel cannot be read: the figure is then wider than a column of a paper."""


WIDE = 0.3
"""Spread of accuracies from which the good end would be squeezed on a plain axis."""
FLOOR = 0.003
"""Error at which the stretched axis ends; an error of 0 has no logarithm."""
Array = NDArray[np.float64]


def log_error(accuracy: Array) -> Array:
    return np.asarray(-np.log10(np.maximum(1 - accuracy, 0) + FLOOR))


def from_log_error(value: Array) -> Array:
    return np.asarray(1 + FLOOR - 10.0**-value)


OF_ERROR = (log_error, from_log_error)
"""Accuracy to the logarithm of its error, and back: the scale of a stretched axis."""


def error_ticks(low: float, high: float) -> list[float]:
    """Ticks of a stretched axis between two accuracies; more of them where both are low."""
    few = [t for t in (0.2, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 1) if low <= t <= high]
    return few if len(few) > 2 else sorted({*few, *(t for t in (0.1, 0.3, 0.4, 0.6, 0.7) if low <= t <= high)})


def within_all(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis of accuracies: it has no tick beyond 0 and 100 %, and room for a marker there."""
    room = 0.01 * (high - low)
    return max(low, -room), min(high, 1 + room)


LARGEST = 130
"""Pixels an inch of a figure may take on a wide page: 9 pt letters at about the size of the tables'."""


class Picture(Figure):
    """A figure that looks the same wherever it is drawn. Colours are looked up as late as that, and in a notebook they
    would be those of the caller's own figures, which may have fewer."""

    palette: Palette | None = None
    """None: what is in force where it is drawn."""
    size: Size = ON_PAGE

    def draw(self, renderer: RendererBase) -> None:
        with nullcontext() if self.palette is None else styled(self.palette, self.size):
            super().draw(renderer)

    def on_white(self, palette: Palette) -> None:
        """From now on it is a picture by itself."""
        self.palette, self.size = palette, IN_FORCE.get()
        self.patch.set(facecolor="white", alpha=1)

    def _repr_png_(self) -> bytes:
        """A notebook shows it, whether or not it was told of matplotlib's."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def panels(rows: int, columns: int, sheet: Sheet) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns axes, laid out as the sheet says."""
    size = IN_FORCE.get()
    (_, high), (across, down) = sheet.panel, sheet.gap
    aside = sheet.left + (columns - 1) * across + sheet.right
    wide = panel_width(sheet, columns, aside, size)
    room = wide + across if columns > 1 else wide + sheet.right
    titles = [broken(title, room) for title in sheet.titles]
    lines = max((title.count("\n") for title in titles), default=0)
    down += 0.8 * LINE * lines
    width = aside + columns * wide
    ncols = entries_across(sheet.legend, width - 0.1)
    top = sheet.top + 0.8 * LINE * lines + LINE * max(math.ceil(len(sheet.legend) / ncols) - 1, 0)
    around = top + (rows - 1) * down + sheet.bottom
    if size.on_paper:
        high = max(SQUEEZED * high, min(high, (TALLEST / size.scale - around) / rows))
    height = around + rows * high
    figure = Picture(figsize=(width * size.scale, height * size.scale))
    figure.patch.set_alpha(0)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sheet.share, sharey=sheet.share)
    edges = {"left": sheet.left / width, "right": 1 - sheet.right / width}
    edges |= {"bottom": sheet.bottom / height, "top": 1 - top / height}
    figure.subplots_adjust(**edges, wspace=across / wide, hspace=down / high)
    for ax in grid.flat:
        ax.patch.set_alpha(0)
    for ax, title in zip(grid.flat, titles, strict=False):
        ax.set_title(title, loc="left")
    if sheet.legend:
        style: dict[str, Any] = {"loc": "upper left", "handlelength": 2.2, "columnspacing": 1.4}
        figure.legend(handles=list(sheet.legend), ncols=ncols, **style)
    return figure, [list(row) for row in grid]


def panel_width(sheet: Sheet, columns: int, aside: float, size: Size) -> float:
    """Of each panel, for letters of POINTS. `aside`: what the figure holds beside its panels."""
    if not size.on_paper:
        return sheet.panel[0]
    given = [(width / size.scale - aside) / columns for width in size.widths]
    return next((wide for wide in given if wide >= sheet.least), sheet.least)


def entries_across(handles: Sequence[Artist], width: float) -> int:
    """How many entries of a legend stand in a row of so many inches."""
    widths = [KEY + LETTER * len(str(handle.get_label())) for handle in handles] or [1.0]
    return len(widths) if sum(widths) <= width else max(1, int(width // max(widths)))


def broken(text: str, inches: float) -> str:
    """A text on paper in as many lines as it takes; on a page, which has room, as it is. `inches`: for letters of
    POINTS."""
    if not IN_FORCE.get().on_paper:
        return text
    return textwrap.fill(text.replace(" · ", "\u00a0· ").replace(" %", "\u00a0%"), max(int(inches / LETTER), 8))


def most_labels(ax: Axes, letters: int) -> int:
    """How many labels of so many letters stand beside each other along the horizontal axis."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    wide = ax.get_position().width * figure.get_figwidth() / IN_FORCE.get().scale
    return max(2, int(wide / (LETTER * letters + BETWEEN)))


def label_below(ax: Axes, text: str) -> None:
    """Names the horizontal axis; on paper a long name ends where the panel ends."""
    figure, place = ax.get_figure(root=True), ax.get_position()
    assert figure is not None
    inches = figure.get_figwidth() / IN_FORCE.get().scale
    text = broken(text, place.x1 * inches)
    wide = max(map(len, text.split("\n"))) * LETTER
    aside = IN_FORCE.get().on_paper and wide > place.width * inches
    ax.set_xlabel(text, loc="right" if aside else "center", multialignment="right" if aside else "center")


def to_svg(figure: Figure, name: str) -> str:
    """Inline SVG without prolog or metadata; `name` keeps its ids apart from those of the page's other figures."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    widest = f"max-width:{LARGEST * figure.get_figwidth():.0f}px"
    head = rf'<svg viewBox="\1" aria-hidden="true" style="{widest}">'
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', head, text, count=1)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", text)
    colours = {INK: "var(--ink,#222)", FAINT: "var(--line,#ccc)"}
    colours |= {code: f"var(--s{i},{FALLBACK[i]})" for i, code in enumerate(CODES)}
    for code, css in colours.items():
        text = text.replace(code, css)
    return text
