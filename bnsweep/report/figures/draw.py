"""All figures of a report, in reading order, each with a caption that says what to see."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from bnsweep.report.figures import curves, factors, forest, heat, interaction, layers
from bnsweep.report.figures.facets import facets
from bnsweep.report.figures.style import styled
from bnsweep.report.figures.types import Drawing, Scene
from bnsweep.report.grid import Grid
from bnsweep.report.metrics import Metric
from bnsweep.report.ranking import View
from bnsweep.report.source import Source

FIGURES: tuple[Callable[[Scene], Drawing | None], ...] = (
    forest.top_arms,
    factors.factor_shares,
    interaction.interactions,
    curves.learning_curves,
    heat.init_by_lr,
    layers.gradient_flow,
    layers.activation_histograms,
)


def drawings(frame: Source, grid: Grid, view: View, table: pd.DataFrame, metric: Metric) -> list[Drawing]:
    """`table`: the best-lr ranking. A figure whose data were not recorded is left out."""
    order = {name: i for i, name in enumerate(table["arm"])}
    best_first = sorted(view.arms, key=lambda a: order[grid.arms["arm"][a]])
    if not best_first:
        return []
    scene = Scene(frame, grid, view, table, metric, facets(grid, view, best_first))
    with styled():
        return [drawing for draw in FIGURES if (drawing := draw(scene)) is not None]
