"""Learning curves: the middle of the seeds and the middle half as a band."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bnsweep.catalogue.metrics import ACCURACY, LOSS, Metric, metrics
from bnsweep.report.figures.facets import facets
from bnsweep.report.figures.style import (
    DASHES,
    OF_ERROR,
    SERIES,
    WIDE,
    Sheet,
    error_ticks,
    ink,
    panels,
    points,
    within_all,
)
from bnsweep.report.figures.types import Drawing, Scene, level_key
from bnsweep.report.frame.formats import capital, capped, tau_value
from bnsweep.report.frame.metrics import chance
from bnsweep.report.stats.stopped import standing, standing_metric

CAPTION = (
    "Median over seeds, band from the lower to the upper quartile{rate}; a run that"
    " diverged stays at chance from there on. See how steeply a line rises before where it ends: a wide band means the"
    " outcome hangs on the seed."
)

OF_STOPPED = (
    " Thin lines that end in a cross: arms that were stopped early at every learning rate, at the one at which they"
    " stood best, up to where the first of their seeds was stopped."
)

SQUEEZED = 0.85
"""Accuracy from which a plain axis squeezes what is left above it."""


def learning_curves(scene: Scene) -> Drawing | None:
    task = scene.metric.task
    shown = metrics(task)["val/loss" if scene.metric.kind == LOSS else f"val/{task.score}"]
    stopped = stopped_runs(scene)
    scene = with_stopped(scene, list(stopped)) if stopped else scene
    history = scene.frame.history([shown.name], [*scene.all_run_ids, *(i for ids in stopped.values() for i in ids)])
    if scene.grid.untrained or history.empty or not np.isfinite(history["value"]).any():
        return None
    curves = run_curves(scene, history, shown)
    rows, columns = scene.facets.shape
    titles = [title for _, _, title, _ in scene.facets.panels]
    sheet = Sheet(
        (max(2.1, 5.6 / columns), 1.5), titles=titles, legend=[*level_key(scene), *([stop_key()] if stopped else [])]
    )
    figure, axes = panels(rows, columns, sheet)
    for i, j, _, lines in scene.facets.panels:
        for k, _, arm in lines:
            if arm in stopped:
                line_to_the_stop(axes[i][j], curves[curves.columns.intersection(stopped[arm])], k)
            else:
                band(axes[i][j], curves[curves.columns.intersection(scene.run_ids[arm])], k)
    label_edges(axes, "epoch", shown.title)
    for ax in (ax for row in axes for ax in row):
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    rate = "" if scene.grid.searched else ", each arm at its best learning rate"
    text, every = CAPTION.format(rate=rate), [ax for row in axes for ax in row]
    text += capped(shown) + OF_STOPPED * bool(stopped)
    if shown.is_score:
        axes[0][0].set_ylim(within_all(*axes[0][0].get_ylim()))
        text += (stretched(every) if shown.kind == ACCURACY else "") + goal(scene, every)
    if shown.kind == ACCURACY:
        axes[0][0].yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))  # all panels share it
    text += scene.facets.held_text("drawn")
    return Drawing("curves", "Learning curves", text, alt(scene, curves, shown), figure)


def alt(scene: Scene, curves: pd.DataFrame, metric: Metric) -> str:
    """Where the lines of each colour end."""
    ends: dict[str, list[float]] = {}
    for *_, lines in scene.facets.panels:
        for _, name, arm in (line for line in lines if line[2] in scene.run_ids):
            own = curves[curves.columns.intersection(scene.run_ids[arm])].dropna(how="all")
            if len(own):
                ends.setdefault(name, []).append(float(own.iloc[-1].median()))
    told = []
    for name, found in ends.items():
        low, high = metric.text(min(found)), metric.text(max(found))
        told.append(f"{name} {low}".strip() if low == high else f"{name} between {low} and {high}".strip())
    return f"{capital(metric.title)} after epoch {curves.index.max():g}, median over seeds: {', '.join(told)}."


def stretched(axes: list[Axes]) -> str:
    """Draws by the logarithm of the error where a plain axis would squeeze the good end; what to say of it."""
    ends = np.array([ax.dataLim.intervaly for ax in axes if ax.has_data()])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if high - low <= WIDE or high <= SQUEEZED:
        return ""
    high += 0.1 * (1 - high)
    axes[0].set_yscale("function", functions=OF_ERROR)
    axes[0].set_ylim(max(low - 0.02, 0), high)
    for ax in axes:
        ax.yaxis.set_major_locator(FixedLocator(error_ticks(low, high)))
        ax.yaxis.set_minor_locator(NullLocator())
    return " The axis is stretched towards 100 % (log scale of the error)."


def goal(scene: Scene, axes: list[Axes]) -> str:
    """Draws τ where the sweep has one; what to say of it."""
    tau = scene.grid.fixed.get("train.tau")
    if not isinstance(tau, (int, float)):
        return ""
    for ax in axes:
        ax.axhline(tau, color=ink(), lw=points(0.9), ls=(0, (2, 3)), zorder=1)
    return f" Thin dotted line: τ = {tau_value(scene.grid)}, to which steps to τ count."


def run_curves(scene: Scene, history: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Epoch x run. A diverged run goes on at chance: leaving it out would show the survivors only."""
    history = history.drop_duplicates(["run_id", "epoch"], keep="last")
    wide = history.pivot(index="epoch", columns="run_id", values="value").astype(float)
    runs = scene.grid.runs[scene.grid.diverged]
    floor = dict(zip(runs["run_id"], chance(runs, metric), strict=True))
    wide = wide.replace([np.inf, -np.inf], np.nan)
    if metric.task.capped:
        guess = chance(scene.grid.runs, metric).set_axis(scene.grid.runs["run_id"]).reindex(wide.columns)
        wide = wide.clip(lower=guess, axis=1) if metric.is_score else wide.clip(upper=guess, axis=1)
    return wide.fillna({run_id: floor[run_id] for run_id in wide.columns.intersection(list(floor))})


def band(ax: Axes, curves: pd.DataFrame, k: int) -> None:
    values = curves.dropna(how="all")
    if values.empty:
        return
    low, middle, high = np.nanquantile(values.to_numpy(), [0.25, 0.5, 0.75], axis=1)
    ax.fill_between(values.index, low, high, color=SERIES[k], alpha=0.2, lw=0)
    ax.plot(values.index, middle, color=SERIES[k], ls=DASHES[k])


def stopped_runs(scene: Scene) -> dict[int, list[str]]:
    """Arm -> its runs at the learning rate at which it stood best, of those that were stopped at every rate; best
    first."""
    grid, by = scene.grid, standing_metric(scene.grid, scene.metric)
    arms = np.flatnonzero(grid.stopped_AL.any(axis=1) & (grid.run_ALN < 0).all(axis=(1, 2)))
    good_AL = np.nan_to_num(by.sign * standing(grid, by)[arms], nan=-np.inf)
    names, order = grid.runs["run_id"].to_numpy(str), np.argsort(-good_AL.max(axis=1), kind="stable")
    rows_A = {int(arms[i]): grid.planned_ALN[arms[i], good_AL[i].argmax()] for i in order}
    return {arm: names[rows[rows >= 0]].tolist() for arm, rows in rows_A.items()}


def with_stopped(scene: Scene, arms: list[int]) -> Scene:
    """With panels and colours for these arms, too; colours that other figures give a level stay its own."""
    place = {name: a for a, name in enumerate(scene.grid.arms["arm"])}
    ranked = [place[name] for name in scene.table["arm"][scene.table["rank"].notna()]]
    found, before = facets(scene.grid, scene.view, [*ranked, *arms]), scene.facets
    if found.colour is not None:
        had = before.levels_of(found.colour)
        found.shown[found.colour].sort(key=lambda level: had.index(level) if level in had else len(had))
    return replace(scene, facets=found)


def line_to_the_stop(ax: Axes, curves: pd.DataFrame, k: int) -> None:
    """The median, as long as all runs go on."""
    values = curves.dropna(how="any").median(axis=1)
    if len(values):
        ax.plot(values.index, values, color=SERIES[k], ls=DASHES[k], lw=points(0.9))
        ax.plot(values.index[-1], values.iloc[-1], marker="x", ms=points(5), color=SERIES[k])


def stop_key() -> Line2D:
    return Line2D([], [], color=ink(), lw=points(0.9), marker="x", ms=points(5), label="stopped early")


def label_edges(axes: list[list[Axes]], x: str, y: str) -> None:
    """Names the axes at the left and at the foot of the panels."""
    for ax in axes[-1]:
        ax.set_xlabel(x)
    for row in axes:
        row[0].set_ylabel(y)
