"""The figures of experiments: name -> drawing of its runs, saved beside the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.experiments.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[Sequence[Run]], Figure]] = {}
"""Experiment -> its drawing; called inside `styled`."""


def draw(name: str, runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draws experiment `name` into `folder`; the files written, none where it has no drawing."""
    if name not in FIGURES:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    with styled():
        FIGURES[name](runs).savefig(path, dpi=150)
    return [path]


def styled() -> Any:
    """The style of the report's figures, in the colours of a white page."""
    import matplotlib
    from matplotlib.rcsetup import cycler

    from bnsweep.report.figures.style import FAINT, FALLBACK, INK, RC

    page = {INK: "#222222", FAINT: "#cccccc"}
    colours = {key: page[value] for key, value in RC.items() if value in page}
    settings: dict[str, Any] = {**RC, **colours, "axes.prop_cycle": cycler(color=FALLBACK)}
    return matplotlib.rc_context(settings)  # type: ignore[arg-type]
