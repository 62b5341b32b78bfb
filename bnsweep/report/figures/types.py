"""What a figure is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnsweep.catalogue.metrics import Metric
from bnsweep.report.figures.facets import Facets
from bnsweep.report.figures.style import DASHES, MARKERS, SERIES, points, styled, to_svg
from bnsweep.report.frame.design import Design
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.source import Source
from bnsweep.report.stats.factorial import Analysis
from bnsweep.report.stats.ranking import View


@dataclass(frozen=True)
class Drawn:
    """A drawing as a page has it."""

    name: str
    title: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True)
class Drawing:
    name: str
    title: str
    caption: str
    """What is drawn, and what to look for."""
    alt: str
    """What it shows, in numbers, for those who do not see it."""
    figure: Figure

    @cached_property
    def svg(self) -> str:
        """For a page, which gives it its colours."""
        with styled():
            return to_svg(self.figure, self.name)

    @property
    def drawn(self) -> Drawn:
        return Drawn(self.name, self.title, self.caption, self.alt, self.svg)


@dataclass(frozen=True)
class Scene:
    """What figures draw: a sweep with its ranking and its analysis."""

    frame: Source
    grid: Grid
    view: View
    table: pd.DataFrame
    """The ranking of the view."""
    metric: Metric
    facets: Facets
    design: Design
    analysis: Analysis
    """Of the design."""

    @cached_property
    def run_ids(self) -> dict[int, list[str]]:
        """Arm drawn -> its runs at the learning rate all bundles together choose, in the ranked bundles."""
        names = self.grid.runs["run_id"].to_numpy(str)
        found = {}
        for arm in (arm for *_, lines in self.facets.panels for _, _, arm in lines if arm in self.view.lr):
            rows = self.grid.run_ALN[arm, self.view.lr[arm], self.view.bundles]
            found[arm] = names[rows[rows >= 0]].tolist()
        return found

    @property
    def all_run_ids(self) -> list[str]:
        return [run_id for ids in self.run_ids.values() for run_id in ids]


def level_key(scene: Scene, markers: bool = False) -> list[Line2D]:
    """A handle for each level that has a colour: told by colour and by dash or marker."""
    names = {k: name for *_, lines in scene.facets.panels for k, name, _ in lines if name}
    handles = []
    for k, name in sorted(names.items()):
        style = {"marker": MARKERS[k], "ls": "-"} if markers else {"ls": DASHES[k]}
        handles.append(Line2D([], [], color=SERIES[k], label=name, ms=points(5), **style))
    return handles
