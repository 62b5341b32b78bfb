"""Curves over the training: an arm's median over seeds, its range as a band, and where seeds diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bnsweep.catalogue.metrics import ACCURACY, R2
from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, chance, swept
from bnsweep.experiments.figures.page import Page, colour, dash
from bnsweep.experiments.quantities import metric
from bnsweep.experiments.selection import Run
from bnsweep.experiments.verdicts import median_of
from bnsweep.records import DIVERGED
from bnsweep.report.frame.grid import evenly_spaced

MOST = 120
"""Readings drawn of a curve."""
MOST_PANELS = 24


@dataclass(frozen=True)
class Bundle:
    """One number an x; infinite where most seeds have diverged."""

    x: list[float]
    middle: list[float]
    low: list[float]
    high: list[float]


def readings(run: Run, name: str, x: str = "step") -> dict[float, float]:
    """x -> value. From divergence on a score is at chance and anything else infinite; what was not read is left out."""
    task = run.config.task
    score = name.endswith(f"/{task.score}")
    lost = run.record.diverged_step if run.record.status == DIVERGED else None
    instead = chance(run) if score else math.inf
    steps = run.record.history["step"]
    found = {}
    for step, at, value in zip(steps, metric(run, x), metric(run, name), strict=True):
        if not math.isnan(value):
            found[at] = task.counted(value) if score else value
        elif lost is not None and step >= lost:
            found[at] = instead
    return found


def bundle(runs: Sequence[Run], name: str, x: str = "step") -> Bundle:
    """An arm's seeds together, at the x where any of them has a number."""
    columns: dict[float, list[float]] = {}
    for run in runs:
        for at, value in readings(run, name, x).items():
            columns.setdefault(at, []).append(value)
    known = sorted(at for at, values in columns.items() if any(map(math.isfinite, values)))
    known = [known[i] for i in evenly_spaced(len(known), MOST)]
    finite = [[v for v in columns[at] if math.isfinite(v)] for at in known]
    middle = [median_of(columns[at]) for at in known]
    return Bundle(known, middle, [min(values) for values in finite], [max(values) for values in finite])


def draw(ax: Axes, runs: Sequence[Run], name: str, k: int, x: str = "step") -> None:
    """The arm's curve in its colour and dash; × where a seed diverged."""
    found = bundle(runs, name, x)
    linear = ax.get_yscale() == "linear"
    if len(runs) > 1 and found.x:
        low = found.low if linear else [v if v > 0 else math.nan for v in found.low]
        ax.fill_between(found.x, low, found.high, color=colour(k), alpha=0.18, lw=0)
    shown = [v if math.isfinite(v) and (linear or v > 0) else math.nan for v in found.middle]
    ax.plot(found.x, shown, color=colour(k), ls=dash(k), marker="." if len(found.x) == 1 else "")
    for at, value in filter(None, (divergence(run, name, x) for run in runs)):
        ax.plot([at], [value], "x", color=colour(k), ms=6, mew=1.6, zorder=3)


def divergence(run: Run, name: str, x: str) -> tuple[float, float] | None:
    """Where a run's curve ends: at its last number, or at chance."""
    if run.record.status != DIVERGED:
        return None
    values = readings(run, name, x)
    lost = [
        at
        for at, step in zip(metric(run, x), run.record.history["step"], strict=True)
        if step >= (run.record.diverged_step or 0)
    ]
    if name.endswith(f"/{run.config.task.score}") and lost and lost[0] in values:
        return lost[0], values[lost[0]]
    finite = [(at, value) for at, value in values.items() if math.isfinite(value)]
    return finite[-1] if finite else None


def diverged(runs: Sequence[Run]) -> bool:
    """Whether any of the runs did."""
    return any(run.record.status == DIVERGED for run in runs)


def key(names: Sequence[str], runs: Sequence[Run]) -> list[Line2D]:
    """Handles of the legend: the arms, and the mark of a seed that diverged."""
    marks = [page.sign("x", "a seed diverged")] if diverged(runs) else []
    return page.key_of(names) + marks


AXES = {"step": "training steps", "epoch": "epochs"}


@dataclass(frozen=True)
class Multiples:
    """Learning curves as small multiples."""

    title: str
    metric: str
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    colour: tuple[str, ...] = ("bn",)
    x: str = "step"
    high: float = 1.4

    def __call__(self, runs: Sequence[Run]) -> Figure:
        arms = list(by(runs, *self.colour))
        across, down = list(by(runs, *self.columns)), list(by(runs, *self.rows))
        around = Page(self.title, key(arms, runs), self.high)
        figure, axes = around.lay_out(len(down), len(across))
        for i, (row, some) in enumerate(by(runs, *self.rows).items()):
            for column, here in by(some, *self.columns).items():
                ax = axes[i][across.index(column)]
                page.title(ax, ", ".join(part for part in (row, column) if part))
                for arm, seeds in by(here, *self.colour).items():
                    draw(ax, seeds, self.metric, arms.index(arm), self.x)
        for ax in (ax for row in axes for ax in row):
            score_axis(ax, self.metric)
        page.label(axes, AXES[self.x], self.metric.partition("/")[2])
        return figure


def score_axis(ax: Axes, name: str) -> None:
    """Ticks of training time, and of a score from 0 to 1."""
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    kind = name.partition("/")[2]
    if kind == ACCURACY:
        page.percent(ax, 0, 1.02)
    if kind in (ACCURACY, R2):
        ax.set_ylim(0, 1.02)
        ax.set_yticks([0, 0.5, 1])


def at_best_rate(runs: Sequence[Run]) -> Figure:
    """Learning curves by BN placement, activation and init, each arm at its best learning rate."""
    arms = by(runs, "activation", "init", "bn")
    best = [max(by(some, "lr.value").values(), key=final) for some in arms.values()]
    title = "Validation accuracy, each arm at its best learning rate"
    drawing = Multiples(title, "val/accuracy", ("activation",), ("init",), x="epoch")
    return drawing([run for some in best for run in some])


def final(runs: Sequence[Run]) -> float:
    """Median final validation accuracy; that of nothing measured is the lowest."""
    ends = [list(readings(run, "val/accuracy").values())[-1:] for run in runs]
    return median_of([end[0] for end in ends if end] or [-math.inf])


def learning_curves(runs: Sequence[Run]) -> Figure:
    """Of any experiment: one panel a setting of all factors but one, whose levels colours tell apart."""
    factors = swept(runs)
    shade = next((f for f in ("bn", "init", "lr.value", *factors) if f in factors and len(by(runs, f)) <= 8), None)
    rest = tuple(f for f in factors if f != shade)
    told = (shade,) if shade else ()
    arms, groups = list(by(runs, *told)), by(runs, *rest)
    shown = dict(list(groups.items())[:MOST_PANELS])
    columns = min(4, len(shown))
    cut = f", the first {len(shown)} of {len(groups)} settings" if len(groups) > len(shown) else ""
    task = runs[0].config.task
    around = Page(f"Validation {task.title} over the training{cut}", key(arms if told else (), runs), 1.4)
    figure, axes = around.lay_out(math.ceil(len(shown) / columns), columns, list(shown))
    flat = [ax for row in axes for ax in row]
    page.label(axes, AXES["step"], task.title)
    for ax, (name, some) in zip(flat, shown.items(), strict=False):
        page.title(ax, name)
        for arm, seeds in by(some, *told).items():
            draw(ax, seeds, f"val/{task.score}", arms.index(arm))
    for ax in flat:
        score_axis(ax, f"val/{task.score}")
    page.hide_rest(axes, len(shown), AXES["step"])
    return figure
