"""The back-propagated gradient from layer to layer at the start of training, before any step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, swept, word
from bnsweep.experiments.figures.page import DARK, Page, colour, dash, marker
from bnsweep.experiments.judge import median_of
from bnsweep.experiments.quantities import growth, metric
from bnsweep.experiments.runs import Run

FITTED = (5, 17)
"""Layers of the slope, in networks that have them: away from the input's and the loss's own statistics."""
GRADIENT = "‖∂L/∂a‖"


def at_start(run: Run, layer: int, name: str = "grad_activation") -> float:
    return next(iter(metric(run, f"layer/{layer}/{name}")), math.nan)


def depth(run: Run) -> int:
    """Hidden layers."""
    return len(run.config.model.units)


def deepest(runs: Sequence[Run]) -> int:
    return max(map(depth, runs))


def profile(ax: Axes, runs: Sequence[Run], k: int) -> bool:
    """Median and range over seeds of every hidden layer's gradient norm, on a log axis. A norm of zero has no place
    there: it is marked at the foot. Returns whether there was one."""
    layers = range(1, deepest(runs) + 1)
    values = {l: [v for run in runs if math.isfinite(v := at_start(run, l))] for l in layers}
    seen = {l: some for l, some in values.items() if some and median_of(some) > 0}
    zero = [l for l, some in values.items() if some and median_of(some) <= 0]
    if len(runs) > 1 and seen:
        low = [min(v for v in some if v > 0) for some in seen.values()]
        ax.fill_between(list(seen), low, [max(some) for some in seen.values()], color=colour(k), alpha=0.18, lw=0)
    many = len(layers) > 12
    style: dict[str, Any] = {
        "color": colour(k),
        "marker": "" if many else marker(k),
        "ms": 4,
        "ls": dash(k) if many else "-",
    }
    ax.plot(list(seen), [median_of(some) for some in seen.values()], **style)
    if zero:
        ax.plot(zero, [0.03] * len(zero), "v", color=colour(k), mfc="none", ms=5, transform=ax.get_xaxis_transform())
    return bool(zero)


def layer_axis(ax: Axes, layers: int) -> None:
    ax.set_xlim(0.6, layers + 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))


def gradients(runs: Sequence[Run]) -> Figure:
    """One panel an activation, one line an init (and placement, where several are swept)."""
    told = tuple(f for f in swept(runs) if f in ("init", "bn", "init.distribution")) or ("init",)
    rest = tuple(f for f in swept(runs) if f not in told) or ("activation",)
    return gradient_panels("Gradient norm at each layer's activation input, before training", runs, rest, told)


def gradient_panels(title: str, runs: Sequence[Run], panels: tuple[str, ...], told: tuple[str, ...]) -> Figure:
    arms, groups = list(by(runs, *told)), by(runs, *panels)
    columns = min(3, len(groups))
    key = page.key_of(arms, markers=deepest(runs) <= 12)
    figure, axes = Page(title, key, 2.4, share_x=False).lay_out(math.ceil(len(groups) / columns), columns)
    flat, zero = [ax for row in axes for ax in row], False
    for ax, (name, some) in zip(flat, groups.items(), strict=False):
        page.title(ax, name)
        page.logarithmic(ax)
        for arm, seeds in by(some, *told).items():
            zero |= profile(ax, seeds, arms.index(arm))
        layer_axis(ax, deepest(some))
    if zero:
        flat[0].annotate("▽ zero", (0.98, 0.02), xycoords="axes fraction", ha="right")
    page.label(axes, "layer", GRADIENT)
    page.hide_rest(axes, len(groups), "layer")
    return figure


def slopes(runs: Sequence[Run]) -> Figure:
    """ln of the squared gradient norm over that of the last hidden layer, with its fitted slope."""
    factors = tuple(f for f in swept(runs) if f in ("activation", "train.batch_size", "probes.samples", "bn"))
    groups = by(runs, *(factors or ("activation",)))
    columns = min(3, len(groups))
    around = Page("Growth of the squared gradient norm on its way back, before training", high=1.9)
    figure, axes = around.lay_out(math.ceil(len(groups) / columns), columns)
    flat = [ax for row in axes for ax in row]
    for k, (ax, (name, some)) in enumerate(zip(flat, groups.items(), strict=False)):
        page.title(ax, name or word(some[0], "activation"))
        slope(ax, some, k)
        layer_axis(ax, deepest(some))
    page.label(axes, "layer", "ln ‖∂L/∂a‖², last layer 0")
    page.hide_rest(axes, len(groups), "layer")
    return figure


def slope(ax: Axes, runs: Sequence[Run], k: int) -> None:
    last = min(map(depth, runs))
    first, end = FITTED if last >= FITTED[1] else (1, last)
    known = {l: logs for l in range(1, last + 1) if (logs := relative_logs(runs, l, last))}
    for l, values in known.items():
        ax.plot([l] * len(values), values, ".", color=colour(k), ms=4, alpha=0.5, mew=0)
    factors = [rate for run in runs if math.isfinite(rate := next(iter(growth(run, str(first), str(end))), math.nan))]
    if not factors or not all(l in known for l in range(first, end + 1)):
        return
    rate, middle = median_of(factors), (first + end) / 2
    height = float(np.mean([median_of(known[l]) for l in range(first, end + 1)]))
    at = np.array([first, end])
    ax.plot(at, height - math.log(rate) * (at - middle), color=DARK, lw=1.2)
    ax.annotate(f"× {rate:.4g} a layer", (0.97, 0.97), xycoords="axes fraction", ha="right", va="top")


def relative_logs(runs: Sequence[Run], layer: int, last: int) -> list[float]:
    pairs = [(at_start(run, layer), at_start(run, last)) for run in runs]
    return [2 * math.log(a / b) for a, b in pairs if a > 0 and b > 0 and math.isfinite(a / b)]
