"""The init x learning-rate map: where in the grid a network trains at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bnsweep.catalogue.metrics import ACCURACY, STEPS, Metric
from bnsweep.report.figures.facets import same, with_text
from bnsweep.report.figures.style import BETWEEN, LETTER, Sheet, ink, most_labels, panels, points
from bnsweep.report.figures.types import Drawing, Scene
from bnsweep.report.frame.design import shown_apart
from bnsweep.report.frame.formats import capped, censored, rounded_apart
from bnsweep.report.frame.grid import evenly_spaced, level_text, levels

MOST, MOST_RATES = 8, 16
MOST_WRITTEN = 60
"""Cells of a panel whose numbers are written into them."""
CLOSE = 0.1
"""Share of the range of all cells."""


def init_by_lr(scene: Scene) -> Drawing | None:
    grid = scene.grid
    factors, goes_with = shown_apart(grid.arms, grid.arm_factors)
    wishes = ("init", *(f for f in factors if f not in ("bn", "activation")), *factors)
    tall = next((f for f in wishes if f in factors), "")
    if len(grid.lrs) < 2 or not tall:
        return None
    rest = [f for f in ("activation", "bn") if f in factors and f != tall]
    rates = evenly_spaced(len(grid.lrs), MOST_RATES)
    score_AL, reached_AL = (values[:, rates] for values in cell_means(scene))
    stopped_AL = grid.stopped_AL[:, rates]
    levels_of = {f: levels(grid.runs, f)[:MOST] for f in (tall, *rest)}
    row, column = (rest if len(rest) == 2 else [None, rest[0]]) if rest else [None, None]
    rows, columns = levels_of.get(row or "", [None]), levels_of.get(column or "", [None])
    maps = [
        Map(
            " · ".join(level_text(f, v) for f, v in ((row, r), (column, c)) if f),
            np.array([np.where(stopped_AL[at].any(axis=0), np.nan, mean(score_AL[at])) for at in here]),
            np.array([mean(reached_AL[at]) for at in here]) < 1,
        )
        for r in rows
        for c in columns
        for here in [[same_level(pick(grid.arms, {row: r, column: c}), tall, v) for v in levels_of[tall]]]
    ]
    names, of_rates = [level_text(tall, v) for v in levels_of[tall]], rounded_apart(grid.lrs["lr"].iloc[rates].tolist())
    figure, axes = panels(len(rows), len(columns), sheet_of(maps, names, of_rates, scene.metric))
    good = Normalize(float(np.nanmin(score_AL)), float(np.nanmax(score_AL)))
    colours = matplotlib.colormaps["cividis" if scene.metric.sign > 0 else "cividis_r"]
    ticks = range(0, len(rates), math.ceil(len(rates) / most_labels(axes[0][0], max(map(len, of_rates)))))
    for ax, one in zip((ax for line in axes for ax in line), maps, strict=True):
        paint(ax, one.score, one.never & (scene.metric.kind == STEPS), good, colours, scene)
        ax.set_yticks(range(len(names)), names)
        ax.set_xticks(ticks, [of_rates[at] for at in ticks])
    colour_bar(figure, ScalarMappable(good, colours), scene.metric.text)
    shown = [f for f in (tall, *rest) if f]
    text = caption(scene, shown, [f for f in factors if f not in shown]) + with_text(goes_with)
    told = alt(scene.metric, maps, names, of_rates)
    return Drawing("heat", f"{tall} × learning rate".capitalize(), text, told, figure)


@dataclass(frozen=True)
class Map:
    """One panel: a row a level, a column a learning rate."""

    title: str
    score: NDArray[np.float64]
    never: NDArray[np.bool_]
    """Where some runs never got to τ."""


def same_level(arms: pd.DataFrame, factor: str, level: Any) -> list[int]:
    """The arms that have it."""
    return [int(a) for a in arms.index[same(arms[factor], level)]]


def sheet_of(maps: Sequence[Map], names: Sequence[str], rates: Sequence[str], metric: Metric) -> Sheet:
    written = len(rates) * len(names) <= MOST_WRITTEN
    digits = 0 if not written else 3 if metric.kind == ACCURACY else 6
    cell = 0.55 if written else 0.2
    overhang = LETTER * max(map(len, rates)) - cell
    return Sheet(
        (max(1.9, cell * len(rates)), 0.32 * len(names)),
        gap=(max(0.22, overhang + BETWEEN), 0.34),
        left=0.3 + LETTER * max(map(len, names)),
        right=0.9,
        top=0.35,
        bottom=0.35,
        titles=[one.title for one in maps],
        least=len(rates) * (LETTER * digits + 0.1),
    )


def alt(metric: Metric, maps: Sequence[Map], names: Sequence[str], rates: Sequence[str]) -> str:
    """The best and the worst cell, and how many cells of each panel are about as good as the best."""
    every = np.stack([one.score for one in maps]) * metric.sign
    if not np.isfinite(every).any():
        return "No cell has a result."
    text = []
    for word, at in (("Best", np.nanargmax(every)), ("Worst", np.nanargmin(every))):
        p, i, j = (int(k) for k in np.unravel_index(at, every.shape))
        where = f" in {maps[p].title}" if maps[p].title else ""
        text.append(f"{word}: {metric.text(maps[p].score[i, j])} with {names[i]} at {rates[j]}{where}.")
    good = np.nanmax(every) - CLOSE * (np.nanmax(every) - np.nanmin(every))
    near = [
        f"{(v >= good).sum()} of {np.isfinite(v).sum()} {f'in {one.title}' if one.title else ''}".rstrip()
        for one, v in zip(maps, every, strict=True)
    ]
    return f"{' '.join(text)} Cells within a tenth of the range of the best: {', '.join(near)}."


def colour_bar(figure: Figure, colours: ScalarMappable, text: Callable[[float], str]) -> None:
    edges = figure.subplotpars
    inch = 1 / figure.get_figwidth()
    place = (edges.right + points(0.15) * inch, edges.bottom, points(0.12) * inch, edges.top - edges.bottom)
    bar = figure.colorbar(colours, cax=figure.add_axes(place))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.yaxis.set_major_formatter(lambda v, _: text(v))


def caption(scene: Scene, shown: Sequence[str], others: Sequence[str]) -> str:
    """`shown`: the factor of the map's rows, then those of the panels; `others`: those that are averaged over."""
    tall = shown[0]
    unit = ", in %," if scene.metric.kind == ACCURACY else ""
    text = (
        f"Mean {scene.metric.title}{unit} over seeds{' and over ' + ', '.join(others) if others else ''}; diverged runs"
    )
    text += f" count as chance. The wider the bright area, the less a network depends on {tall} and learning rate:"
    text += " compare its size between panels, not only its brightest cell."
    text += censored(scene.metric) + capped(scene.metric)
    uneven = scene.grid.arms.groupby(list(shown), dropna=False).size().nunique() > 1
    if others and uneven:
        text += f" Not all cells have the same settings of {', '.join(others)} to average over."
    if scene.grid.stopped_AL.any():
        text += f" Empty cells: {'some of the runs were' if others else 'the runs were'} stopped early."
    cut = [f for f in shown if len(levels(scene.grid.runs, f)) > MOST]
    text += f" Only the first {MOST} levels of {', '.join(cut)} are drawn." if cut else ""
    many = len(scene.grid.lrs)
    return text + (f" {MOST_RATES} of {many} learning rates are drawn, at even distances." if many > MOST_RATES else "")


def cell_means(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean score of every arm at every learning rate, and the share of its runs that got to τ, [A, L]."""
    rows = scene.grid.run_ALN
    reached = np.where(rows >= 0, scene.grid.reached[rows], np.nan)
    score, share = (mean(np.moveaxis(x, 2, 0)) for x in (scene.grid.scores(scene.metric, rows), reached))
    return score, share


def mean(values: NDArray[np.float64]) -> Any:
    """Mean over the first axis of what is there; NaN where nothing is, without numpy's warning."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(axis=0)
    return np.divide(total, there.sum(axis=0), out=np.full(total.shape, np.nan), where=there.any(axis=0))


def pick(arms: pd.DataFrame, where: dict[str | None, Any]) -> pd.DataFrame:
    for factor, level in where.items():
        if factor is not None:
            arms = arms[same(arms[factor], level)]
    return arms


def paint(
    ax: Axes, cells: NDArray[np.float64], never: NDArray[np.bool_], good: Normalize, colours: Any, scene: Scene
) -> None:
    """`never`: the cells in which some runs never got to τ."""
    down, across = cells.shape
    x, y = np.arange(across + 1) - 0.5, np.arange(down + 1) - 0.5
    ax.pcolormesh(x, y, np.ma.masked_invalid(cells), cmap=colours, norm=good)
    ax.set_ylim(down - 0.5, -0.5)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if cells.size > MOST_WRITTEN:
        return
    for (i, j), value in np.ndenumerate(cells):
        known = np.isfinite(value)
        dark = known and np.dot(colours(good(value))[:3], (0.3, 0.59, 0.11)) < 0.5
        text = f"{100 * value:.0f}" if known and scene.metric.kind == ACCURACY else scene.metric.text(value)
        text = f"≥ {text}" if never[i, j] else text
        ax.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            color=("white" if dark else "black") if known else ink(),
            size=points(8.5),
        )
