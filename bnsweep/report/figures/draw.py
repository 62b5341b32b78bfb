"""All figures of a report, in reading order, each with a caption that says what to see."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from bnsweep.catalogue.metrics import Metric
from bnsweep.report.figures import curves, factors, forest, heat, interaction, layers
from bnsweep.report.figures.facets import facets
from bnsweep.report.figures.style import PAPER, Picture, styled
from bnsweep.report.figures.types import Drawing, Scene
from bnsweep.report.frame.design import Design
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.source import Source
from bnsweep.report.stats.factorial import Analysis
from bnsweep.report.stats.ranking import View

FIGURES: tuple[Callable[[Scene], Drawing | None], ...] = (
    forest.top_arms,
    factors.factor_shares,
    interaction.interactions,
    curves.learning_curves,
    heat.init_by_lr,
    layers.gradient_flow,
    layers.activation_histograms,
)


def scene_of(
    frame: Source, grid: Grid, view: View, table: pd.DataFrame, metric: Metric, design: Design, analysis: Analysis
) -> Scene | None:
    """`table`: the best-lr ranking. None where no arm is ranked."""
    order = {name: i for i, name in enumerate(table["arm"])}
    best_first = sorted(view.arms, key=lambda a: order[grid.arms["arm"][a]])
    if not best_first:
        return None
    return Scene(frame, grid, view, table, metric, facets(grid, view, best_first), design, analysis)


def drawings(scene: Scene) -> list[Drawing]:
    """A figure whose data were not recorded is left out."""
    with styled():
        return [drawing for draw in FIGURES if (drawing := draw(scene)) is not None]


def pictures(scene: Scene) -> list[Drawing]:
    """The same figures in colours for paper and notebooks."""
    with styled(PAPER):
        found = [drawing for draw in FIGURES if (drawing := draw(scene)) is not None]
    for drawing in found:
        if isinstance(drawing.figure, Picture):
            drawing.figure.on_white(PAPER)
    return found
