"""The figures of experiments: drawings of their runs, saved beside the table."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from bnsweep.experiments.figures.arms import drawable
from bnsweep.experiments.figures.catalogue import drawings
from bnsweep.experiments.figures.page import WHITE
from bnsweep.experiments.selection import Run
from bnsweep.report.figures.style import styled

__all__ = ["draw", "figures", "save"]


def figures(name: str, runs: Sequence[Run]) -> dict[str, tuple[Figure, str]]:
    """File stem -> figure and caption; nothing for runs without readings. Called inside `styled(WHITE)`."""
    known = drawable(runs)
    chosen = drawings(name, known) if known else ()
    return {f"{name}-{d.name}".rstrip("-"): (d.draw(known), d.caption) for d in chosen}


def draw(name: str, runs: Sequence[Run], folder: Path) -> dict[Path, str]:
    """Draws experiment `name` into `folder`: the SVG files written -> captions."""
    with styled(WHITE):
        return {save(figure, stem, folder): caption for stem, (figure, caption) in figures(name, runs).items()}


def save(figure: Figure, stem: str, folder: Path) -> Path:
    """As an SVG file on white; the same figure is the same file every time. Called inside `styled(WHITE)`."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.patch.set_alpha(1)
    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": stem}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    draft = folder / f".{stem}.{os.getpid()}.tmp"
    try:
        draft.write_bytes(drawn.getvalue())
        return draft.replace(folder / f"{stem}.svg")
    finally:
        draft.unlink(missing_ok=True)
