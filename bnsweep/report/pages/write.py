"""From a frame to the files: computed whole, written under temporary names, then renamed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bnsweep.catalogue.metrics import Metric
from bnsweep.config.checks import ConfigError, check_folder, printable
from bnsweep.records import STOPPED
from bnsweep.report.claims.looks import answer_at_looks, looks_notice
from bnsweep.report.figures import FOLDER, Scene, drawn, figure_files, outdated, scene_of
from bnsweep.report.frame.aside import aside
from bnsweep.report.frame.design import read_design
from bnsweep.report.frame.figure_files import FigureFiles
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.frame.metrics import default_metric, metric_named, rankable, scored, task_of
from bnsweep.report.frame.source import Source
from bnsweep.report.pages import machine, paper_table, picture, render, terminal
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.stats.completeness import ledger, notices
from bnsweep.report.stats.factorial import analyse
from bnsweep.report.stats.main_effects import main_effects
from bnsweep.report.stats.ranking import BEST, best_lr_view, ranking
from bnsweep.report.stats.sensitivity import sensitivity
from bnsweep.report.stats.stability import stability
from bnsweep.report.stats.stopped import stopped_table
from bnsweep.report.stats.widths import widths

MOST_NAMED = 4
"""Figures that a terminal names."""


@dataclass(frozen=True)
class Report:
    """What was written, and its first screen."""

    content: ReportContent = field(repr=False)
    files: tuple[Path, ...]
    """All but the figures."""
    figures: tuple[Path, ...] = ()
    """Those that were asked for as files."""
    note: str = ""
    """What went wrong after the report was written."""

    @property
    def html(self) -> Path:
        return self.file("report.html")

    def file(self, name: str) -> Path:
        return next(path for path in self.files if path.name == name)

    @property
    def by_default(self) -> bool:
        """Whether it ranks by the default metric, and has its links."""
        metric = self.content.metric
        return metric is default_metric(metric.task) and self.content.links

    @property
    def answer(self) -> str:
        return self.content.answer

    def first_screen(self) -> str:
        """Plain text for a terminal: the answer, the verdicts, the completeness notices and the top of the ranking."""
        return terminal.plain_text(self.content)

    def show(self) -> None:
        """Print the first screen and where the report is: with colours on a terminal, plain text otherwise."""
        terminal.show(self.content, terminal.console())
        print(f"\nReport: {printable(str(self.html.resolve()))}")
        if self.figures:
            names = ", ".join(path.name for path in self.figures[:MOST_NAMED])
            more = f" and {len(self.figures) - MOST_NAMED} more" if len(self.figures) > MOST_NAMED else ""
            print(f"Figures: {printable(str(self.figures[0].parent.resolve()))} ({names}{more})")
        print(f"{self.note}\n" * bool(self.note), end="", flush=True)


def write(frame: Source, out: Path, metric: str | None, figures: FigureFiles, links: bool, beside: bool) -> Report:
    """Raises ConfigError; see `write_report`."""
    for folder in (out, out / FOLDER) if figures.formats else (out,):
        check_folder("out", folder)
    content, scene = build(frame, metric_named(metric, task_of(frame.runs)), beside)
    content = replace(content, links=links)
    texts = files(content, scene, beside)
    digest = hashlib.sha256(texts["ranking.csv"] + texts["runs.csv"]).hexdigest()[:16]
    drawn = figure_files(scene, content.verdicts, figures, digest)
    paths = write_all(out, texts | drawn)
    for path in outdated(out, digest):
        path.unlink(missing_ok=True)
    return Report(content, paths[: len(texts)], paths[len(texts) :])


def files(content: ReportContent, scene: Scene | None, beside: bool) -> dict[str, bytes]:
    """Everything a report consists of, by file name."""
    content.drawings  # noqa: B018  # a copy of this process would wait for them in vain
    screen = aside(partial(picture.first_screen, content, scene), beside)
    tables = machine.csv_files(content) | {
        "table.tex": paper_table.latex(content),
        "table.md": paper_table.markdown(content),
    }
    texts = tables | {
        "report.md": machine.shown(render.page(content, "report.md.j2")),
        "summary.json": machine.summary_json(content),
        "report.html": machine.shown(render.page(content, "report.html.j2", tables)),
    }
    return {"report.png": screen()} | {k: v.encode() for k, v in texts.items()}


def build(frame: Source, metric: Metric, beside: bool = False) -> tuple[ReportContent, Scene | None]:
    """All numbers and pictures of a report; reads the frame, writes nothing."""
    if len(frame.runs) == 0:
        raise ConfigError(f"sweep={frame.info.sweep}: must hold at least one run to report on")
    if scored(frame.runs, metric).isna().all() and not (frame.runs["status"] == STOPPED).all():
        there = [name for name, other in rankable(metric.task).items() if scored(frame.runs, other).notna().any()]
        if there:
            raise ConfigError(f"metric={metric.name}: must be one that this sweep recorded ({', '.join(there)})")
    grid = read_grid(frame.runs, frame.info.searched)
    view = best_lr_view(grid, metric)
    table = ranking(grid, view, metric)
    design = read_design(grid, metric)
    analysis = analyse(design)
    scene = scene_of(frame, grid, view, table[table["view"] == BEST], metric, design, analysis)
    of_sweep = aside(partial(drawn, scene), beside)
    verdicts = answer_at_looks(frame, grid, metric)
    content = ReportContent(
        info=frame.info,
        grid=grid,
        metric=metric,
        ranking=table,
        effects=main_effects(grid, view, metric),
        notices=[*notices(grid, view, metric, frame.info), *looks_notice(grid, frame.info.looks)],
        ledger=ledger(grid),
        draw=lambda: [*of_sweep(), *drawn(None, verdicts)],
        verdicts=verdicts,
        analysis=analysis,
        sensitivity=sensitivity(design),
        widths=widths(grid),
        stability=stability(grid, view, metric),
        stopped=stopped_table(grid, metric),
    )
    return content, scene


def write_all(out: Path, contents: dict[str, bytes]) -> tuple[Path, ...]:
    """Writes files by name: under temporary names, then renamed. Raises ConfigError for a bad folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out}: must be a folder that can be written ({error.strerror})") from error
    drafts = {name: (out / name).with_name(f".{Path(name).name}.{os.getpid()}.tmp") for name in contents}
    try:
        for name, content in contents.items():
            drafts[name].parent.mkdir(exist_ok=True)
            drafts[name].write_bytes(content)
        for name in contents:
            drafts[name].replace(out / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return tuple(out / name for name in contents)
