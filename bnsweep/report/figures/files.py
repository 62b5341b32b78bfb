"""Figures as files for a paper or a slide: on white, as wide as a column, with what they show in their metadata.

An SVG holds its texts as texts, which can be searched and edited and take the fonts of where they are shown; a PDF
carries its fonts (TrueType, which LaTeX and journals take), and looks the same everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.transforms import Bbox

from bnsweep.config.checks import ConfigError
from bnsweep.report.claims.verdicts import Verdict
from bnsweep.report.figures.draw import named, pictures
from bnsweep.report.figures.style import IN_COLUMN, PAPER, styled
from bnsweep.report.figures.types import Drawing, Scene
from bnsweep.report.frame.figure_files import FORMATS, FigureFiles

FOLDER = "figures"
"""Of a report, beside its page."""
MARK = "bnsweep report "
"""What stands in a figure's metadata before the digest of the numbers that it shows."""
MARGIN = 0.03
"""Inches above and below."""
DPI = 300


def figure_files(
    scene: Scene | None, verdicts: Sequence[Verdict], wanted: FigureFiles, digest: str
) -> dict[str, bytes]:
    """Name below the report's folder -> content. Raises ConfigError for a name that no figure has, and where there is
    nothing to draw.

    `digest`: of the numbers that the report shows.
    """
    if not wanted.formats:
        return {}
    found = pictures(scene, verdicts, IN_COLUMN)
    if not found:
        says = "of a sweep that has something to draw; no arm is ranked and no claim is measured"
        raise ConfigError(f"figures={','.join(wanted.formats)}: must be {says}")
    chosen = [named(found, "only", name) for name in wanted.only] or found
    return {f"{FOLDER}/{d.name}.{kind}": content(d, kind, digest) for d in chosen for kind in wanted.formats}


def content(drawing: Drawing, kind: str, digest: str) -> bytes:
    """A drawing in one of FORMATS; the same numbers are the same bytes."""
    figure, buffer = drawing.figure, io.BytesIO()
    with styled(PAPER, IN_COLUMN), matplotlib.rc_context({"svg.hashsalt": drawing.name}):
        drawn = figure.get_tightbbox()
        within = Bbox([[0, drawn.y0 - MARGIN], [figure.get_figwidth(), drawn.y1 + MARGIN]])
        figure.savefig(buffer, format=kind, dpi=DPI, bbox_inches=within, metadata=about(drawing, kind, MARK + digest))
    return buffer.getvalue()


def about(drawing: Drawing, kind: str, mark: str) -> dict[str, Any]:
    """Metadata, as matplotlib names them in each format."""
    if kind == "pdf":
        return {"Title": drawing.title, "Subject": drawing.alt, "Keywords": mark, "CreationDate": None}
    undated: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    return {"Title": drawing.title, "Description": drawing.alt, "Source": mark} | undated


def outdated(folder: Path, digest: str) -> list[Path]:
    """The figures of reports in a folder that show other numbers than those of the digest."""
    files = [path for kind in FORMATS for path in sorted((folder / FOLDER).glob(f"*.{kind}")) if path.is_file()]
    mark = MARK.encode()
    return [path for path in files if mark in (held := path.read_bytes()) and mark + digest.encode() not in held]
