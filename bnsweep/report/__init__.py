"""What a sweep says: a tidy frame in, statistics, figures and files out. `python -m bnsweep.report --help`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.report.frame.figure_files import FigureFiles
from bnsweep.report.frame.libraries import load_libraries

if TYPE_CHECKING:
    from bnsweep.config.run import TrackingConfig
    from bnsweep.report.frame.source import Source
    from bnsweep.report.pages.write import Report
    from bnsweep.store.store import Store
    from bnsweep.store.sweep_data import SweepInfo

NO_FIGURES = FigureFiles()
__all__ = ["compare_sweeps", "report_sweep", "write_report"]


def write_report(
    frame: Source,
    out: Path,
    metric: str | None = None,
    figures: FigureFiles = NO_FIGURES,
    links: bool = True,
    beside: bool = False,
) -> Report:
    """Write report.html, report.md, report.png, summary.json, the tables as CSV and for a paper, and the wanted figures
    into `out`; each file appears whole or not at all. The default metric is the final validation score of the sweep's
    task. `links`: whether the page leads to the runs in MLflow. `beside`: whether copies of this process may draw
    meanwhile, which is for one that does nothing else.

    Raises ConfigError for a metric that cannot rank, a figure that there is not, a frame without runs, or a folder that
    cannot be written.
    """
    load_libraries()
    from bnsweep.report.pages.write import write

    return write(frame, out, metric, figures, links, beside)


def report_sweep(
    tracking: TrackingConfig,
    sweep: str = "latest",
    out: Path = Path("report"),
    metric: str | None = None,
    own_run: str = "",
    figures: FigureFiles = NO_FIGURES,
    links: bool = True,
    beside: bool = False,
) -> Report:
    """Write the report of a tracked sweep into `out`. `own_run`: id of its own run in MLflow; by default the newest.
    `links` and `beside`: as of `write_report`.

    Raises ConfigError, having written nothing, for what `write_report` and `Store.load` refuse.
    """
    from bnsweep.config.checks import check_folder
    from bnsweep.store.store import Store

    check_folder("out", out)
    with collector_at_rest():
        store = Store.open(tracking, create=False)
        frame = store.load(sweep, own_run)
        written = write_report(frame, out, metric, figures, links, beside)
    note = attach(store, frame.info, written) if written.by_default else ""
    return replace(written, note=note)


def attach(store: Store, info: SweepInfo, written: Report) -> str:
    """Keeps the report with the sweep in MLflow, where the newest one by the default metric stands for it: a look by
    another metric, or one without links to hand on, stays in its folder. A store that cannot take it costs a line, not
    the report."""
    from bnsweep.config.checks import ConfigError

    try:
        store.attach(info.sweep, list(written.files), info.own_run)
    except ConfigError as error:
        return f"Not attached to MLflow: {error}"
    return ""


def compare_sweeps(tracking: TrackingConfig, sweeps: str, out: Path = Path("report"), metric: str | None = None) -> str:
    """Write the comparison of two tracked sweeps, `A,B`, into `out`; returns its first screen and where it is.

    Each is a sweep's id or latest, EXPERIMENT/ID where it is in another experiment of the same store. Raises
    ConfigError, having written nothing, for what cannot be compared.
    """
    load_libraries()
    from bnsweep.config.checks import check_folder
    from bnsweep.report.compare.pages import load_two, write_comparison

    check_folder("out", out)
    with collector_at_rest():
        content, files = write_comparison(*load_two(tracking, sweeps), out, metric)
    page = next(path for path in files if path.suffix == ".html")
    return f"{content.first_screen()}\n\nComparison: {page.resolve()}"


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Reading a sweep makes very many objects that stay; the collector looks through all of them again and again and
    finds nothing, for about half of the time that reading takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
