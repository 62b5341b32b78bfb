"""All figures of a report, in reading order, each with a caption that says what to see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from bnsweep.catalogue.metrics import Metric
from bnsweep.config.checks import ConfigError
from bnsweep.report.claims.verdicts import Verdict
from bnsweep.report.figures import curves, factors, forest, heat, histograms, interaction, layers
from bnsweep.report.figures.claims import claim_figures, figure_name
from bnsweep.report.figures.facets import facets
from bnsweep.report.figures.style import ON_PAGE, PAPER, Picture, Size, styled
from bnsweep.report.figures.types import Drawing, Drawn, Scene
from bnsweep.report.frame.design import Design
from bnsweep.report.frame.grid import Grid
from bnsweep.report.frame.source import Source
from bnsweep.report.stats.factorial import Analysis
from bnsweep.report.stats.ranking import View

FIGURES: dict[str, Callable[[Scene], Drawing | None]] = {
    "forest": forest.top_arms,
    "factors": factors.factor_shares,
    "interaction": interaction.interactions,
    "curves": curves.learning_curves,
    "heat": heat.init_by_lr,
    "gradients": layers.gradient_flow,
    "histograms": histograms.activation_histograms,
}
"""Of the sweep, under the names of their drawings."""


def scene_of(
    frame: Source, grid: Grid, view: View, table: pd.DataFrame, metric: Metric, design: Design, analysis: Analysis
) -> Scene | None:
    """`table`: the best-lr ranking. None where no arm is ranked."""
    order = {name: i for i, name in enumerate(table["arm"])}
    best_first = sorted(view.arms, key=lambda a: order[grid.arms["arm"][a]])
    if not best_first:
        return None
    return Scene(frame, grid, view, table, metric, facets(grid, view, best_first), design, analysis)


def drawn(scene: Scene | None, verdicts: Sequence[Verdict] = ()) -> list[Drawn]:
    """For a page, which gives them its colours. A figure whose data were not recorded is left out."""
    with styled():
        return [drawing.drawn for drawing in every(scene, verdicts)]


def pictures(
    scene: Scene | None, verdicts: Sequence[Verdict], size: Size = ON_PAGE, name: str | None = None
) -> list[Drawing]:
    """The same figures in colours for paper and notebooks; the one of that name alone, where one is given."""
    with styled(PAPER, size):
        found = every(scene, verdicts, name)
        for drawing in found:
            if isinstance(drawing.figure, Picture):
                drawing.figure.on_white(PAPER)
    return found


def every(scene: Scene | None, verdicts: Sequence[Verdict], name: str | None = None) -> list[Drawing]:
    """`scene`: None where no arm is ranked. `name`: of the only one to be drawn."""
    of_sweep = [] if scene is None else [draw(scene) for key, draw in FIGURES.items() if name in (None, key)]
    asked = [verdict for verdict in verdicts if name in (None, figure_name(verdict))]
    return [*(drawing for drawing in of_sweep if drawing is not None), *claim_figures(asked)]


def named(found: Sequence[Drawing], key: str, name: str) -> Drawing:
    """The one that has the name, or the only one that has it in its name or title: "flow" is that of gradient flow.
    Raises ConfigError, with the names there are; `key` is the setting that asks."""
    exactly = [d for d in found if d.name == name]
    fitting = exactly or [d for d in found if name.lower() in d.name.lower() or name.lower() in d.title.lower()]
    if len(fitting) != 1:
        names = ", ".join(f"{d.name} ({d.title})" for d in found) or "none, as nothing was measured"
        raise ConfigError(f"{key}={name}: must be one of the figures of this sweep: {names}")
    return fitting[0]
