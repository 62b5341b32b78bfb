"""Single numbers of runs: seeds as points, their median as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, chance
from bnsweep.experiments.figures.curves import diverged
from bnsweep.experiments.figures.page import DARK, Page, colour, marker
from bnsweep.experiments.selection import Run
from bnsweep.experiments.verdicts import median_of
from bnsweep.probes.theory import activate, normal_nodes
from bnsweep.records import DIVERGED
from bnsweep.report.figures.style import OF_ERROR


def score(run: Run, name: str) -> float:
    """An accuracy of the summary; chance for a run that diverged."""
    return chance(run) if run.record.status == DIVERGED else run.record.summary.get(f"final_{name}", math.nan)


def lecture(runs: Sequence[Run]) -> Figure:
    """Final validation accuracy: panels activation x init, learning rates along x, BN placement by colour."""
    arms = list(by(runs, "bn"))
    down, across = list(by(runs, "activation")), list(by(runs, "init"))
    title = "Final validation accuracy of every run"
    figure, axes = Page(title, key(arms, runs), 1.9).lay_out(len(down), len(across))
    rates = sorted({run.config.lr.value for run in runs})
    for i, row in enumerate(by(runs, "activation").values()):
        for column, here in by(row, "init").items():
            ax = axes[i][across.index(column)]
            page.title(ax, f"{down[i]}, {column}")
            for arm, seeds in by(here, "bn").items():
                k = arms.index(arm)
                dodge = 0.22 * (k - (len(arms) - 1) / 2)
                by_rate(ax, seeds, k, {rate: i + dodge for i, rate in enumerate(rates)})
    for ax in (ax for row in axes for ax in row):
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_xlim(-0.5, len(rates) - 0.5)
        error_scale(ax)
        guess(ax, runs)
    page.label(axes, "learning rate", "validation accuracy")
    return figure


def error_scale(ax: Axes) -> None:
    """Accuracy on the scale of the logarithm of its error: 90 to 99 % as high as 0 to 90 %."""
    ax.set_yscale("function", functions=OF_ERROR)
    ticks = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
    ax.set_yticks(ticks, [f"{100 * t:g} %" for t in ticks])
    ax.set_ylim(0, 0.995)


def by_rate(ax: Axes, runs: Sequence[Run], k: int, x: dict[float, float], name: str = "val_accuracy") -> None:
    """Seeds as points (those that diverged as ×, at chance), medians joined by a line."""
    places: dict[float, list[float]] = {}
    for run in runs:
        value, at = score(run, name), x[run.config.lr.value]
        if not math.isnan(value):
            places.setdefault(at, []).append(value)
            lost = run.record.status == DIVERGED
            ax.plot(
                at, value, "x" if lost else marker(k), color=colour(k), alpha=0.55, ms=4.5, mew=1.3 if lost else 0.5
            )
    joined = sorted(places)
    ax.plot(joined, [median_of(places[at]) for at in joined], color=colour(k), lw=1.4)


def guess(ax: Axes, runs: Sequence[Run]) -> None:
    """Draws the accuracy of guessing."""
    ax.axhline(chance(runs[0]), color=DARK, lw=0.8, ls=(0, (1, 3)))


def key(arms: Sequence[str], runs: Sequence[Run]) -> list[Line2D]:
    """Handles of the legend: the arms, the mark of a seed that diverged, chance."""
    marks = [page.sign("x", "diverged, drawn at chance")] if diverged(runs) else []
    chance_line = Line2D([], [], color=DARK, lw=0.8, ls=(0, (1, 3)), label="chance")
    return [*page.key_of(arms, markers=True), *marks, chance_line]


def over_rates(runs: Sequence[Run]) -> Figure:
    """Final accuracy against the learning rate, one panel each for training and test, one line an arm."""
    arms = list(by(runs, "bn"))
    rates = {run.config.lr.value for run in runs}
    title = "Final accuracy over the learning rate"
    figure, axes = Page(title, key(arms, runs), 2.4).lay_out(1, 2)
    for ax, split, name in zip(axes[0], ("train", "test"), ("training", "test"), strict=True):
        page.title(ax, name)
        page.logarithmic(ax, "x")
        for k, seeds in enumerate(by(runs, "bn").values()):
            by_rate(ax, seeds, k, {r: r for r in rates}, f"{split}_accuracy")
        page.percent(ax, 0, 1.03)
        guess(ax, runs)
    page.label(axes, "learning rate", "accuracy")
    return figure


def predicted(activation: str, keep: float) -> float:
    """Variance of a linear output without dropout over that with it, v / ((v + c²) / p - c²), for independent inputs of
    mean c and variance v kept with probability p (Li et al. 2019, arXiv 1801.05134, section 3): here the activation's
    outputs for standard normal inputs."""
    c, v = output_moments(activation)
    return v / ((v + c**2) / keep - c**2)


@cache
def output_moments(activation: str) -> tuple[float, float]:
    """Mean and variance of an activation's outputs for standard normal inputs."""
    z, weight = normal_nodes()
    h, _ = activate(activation, z)
    mean = weight @ h
    return float(mean), float(weight @ (h - mean) ** 2)


def dropout_ratios(runs: Sequence[Run]) -> Figure:
    """Measured at the start as points, predicted as a line: one panel an activation, one colour a layer."""
    deepest = max(run.config.model.layers for run in runs)
    layers = [l for l in range(2, deepest + 2) if any(first_ratio(run, l) for run in runs)]
    title = "Variance of a linear output without dropout over that with it"
    handles = [*page.key_of([f"measured, layer {l}" for l in layers], markers=True, lines=False)]
    handles.append(Line2D([], [], color=DARK, lw=1.2, label="predicted"))
    groups = by(runs, "activation")
    figure, axes = Page(title, handles, 2.4).lay_out(1, len(groups))
    keeps = np.linspace(0.05, 1, 96)
    for ax, (name, some) in zip(axes[0], groups.items(), strict=True):
        page.title(ax, name)
        ax.plot(keeps, [predicted(some[0].config.activation.name, p) for p in keeps], color=DARK, lw=1.2)
        for k, layer in enumerate(layers):
            dodge = 0.012 * (k - (len(layers) - 1) / 2)
            points = [(1 - run.config.model.dropout + dodge, v) for run in some if (v := first_ratio(run, layer))]
            ax.plot(*(zip(*points, strict=True) if points else ((), ())), marker(k), color=colour(k), ms=4, alpha=0.7)
        ax.set(xlim=(0, 1.02), ylim=(0, 1.05))
    page.label(axes, "keep probability p", "variance ratio")
    return figure


def first_ratio(run: Run, layer: int) -> float | None:
    """The first variance ratio that was measured in a layer."""
    values = run.record.history.get(f"layer/{layer}/dropout_ratio", [])
    return next((value for value in values if math.isfinite(value)), None)
