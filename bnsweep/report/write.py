"""From a frame to four files: computed whole, written under temporary names, then renamed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bnsweep.checks import ConfigError, check_folder
from bnsweep.report import render
from bnsweep.report.completeness import ledger, notices
from bnsweep.report.effects import main_effects
from bnsweep.report.figures import drawings
from bnsweep.report.grid import read_grid
from bnsweep.report.metrics import DEFAULT_METRIC, METRICS, Metric, metric_named, scored
from bnsweep.report.ranking import BEST, best_lr_view, ranking
from bnsweep.report.source import Source


@dataclass(frozen=True)
class Report:
    """What was written, and its first screen."""

    html: Path
    markdown: Path
    ranking: Path
    summary: Path
    answer: str
    screen: str

    def first_screen(self) -> str:
        """Plain text for a terminal: the answer, the completeness notices and the top of the ranking."""
        return self.screen


def write(frame: Source, out: Path, metric: str = DEFAULT_METRIC) -> Report:
    check_folder("out", out)
    content = build(frame, metric_named(metric))
    texts = {
        "ranking.csv": content.ranking.to_csv(index=False),
        "report.md": render.page(content, "report.md.j2"),
        "summary.json": render.summary_json(content),
        "report.html": render.page(content, "report.html.j2"),
    }
    paths = write_all(out, texts)
    html, markdown, table, summary = (paths[n] for n in ("report.html", "report.md", "ranking.csv", "summary.json"))
    return Report(html, markdown, table, summary, content.answer, render.first_screen(content))


def build(frame: Source, metric: Metric) -> render.Content:
    """All numbers and pictures of a report; reads the frame, writes nothing."""
    if len(frame.runs) == 0:
        raise ConfigError(f"sweep={frame.info.get('sweep', '?')}: must hold at least one run to report on")
    if scored(frame.runs, metric).isna().all():
        there = [name for name, other in METRICS.items() if scored(frame.runs, other).notna().any()]
        if there:
            raise ConfigError(f"metric={metric.name}: must be one that this sweep recorded ({', '.join(there)})")
    grid = read_grid(frame.runs)
    view = best_lr_view(grid, metric)
    table = ranking(grid, view, metric)
    best = table[table["view"] == BEST]
    effects = main_effects(grid, view, metric)
    pictures = drawings(frame, grid, view, best, metric)
    return render.Content(frame.info, grid, metric, table, effects, notices(grid, view, metric), ledger(grid), pictures)


def write_all(out: Path, texts: dict[str, str]) -> dict[str, Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out}: must be a folder that can be written ({error.strerror})") from error
    paths = {name: out / name for name in texts}
    drafts = {name: out / f".{name}.{os.getpid()}.tmp" for name in texts}
    try:
        for name, text in texts.items():
            drafts[name].write_text(text, encoding="utf-8")
        for name in texts:
            drafts[name].replace(paths[name])
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return paths
