"""The back-propagated gradient from layer to layer at the start of training, before any step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bnsweep.catalogue.inits import INITS
from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, level_label, swept
from bnsweep.experiments.figures.page import DARK, Page, colour, dash, marker
from bnsweep.experiments.quantities import growth, metric
from bnsweep.experiments.selection import Run
from bnsweep.experiments.verdicts import median_of
from bnsweep.probes.theory import bn_before_rate, chi1, fixed_point

GRADIENT = "‖∂L/∂a‖"


def at_start(run: Run, layer: int, name: str = "grad_activation") -> float:
    """The first reading of a layer's metric; NaN where there is none."""
    return next(iter(metric(run, f"layer/{layer}/{name}")), math.nan)


def depth(run: Run) -> int:
    """Hidden layers."""
    return run.config.model.layers


def deepest(runs: Sequence[Run]) -> int:
    """Hidden layers of the deepest of the networks."""
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


def name_zeros(ax: Axes, there: bool) -> None:
    """Says what the marks at the foot are, where there are any."""
    if there:
        ax.annotate("▽ zero", (0.98, 0.02), xycoords="axes fraction", ha="right")


def layer_axis(ax: Axes, layers: int) -> None:
    """An x axis of the layers 1 to `layers`."""
    ax.set_xlim(0.6, layers + 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def gradients(runs: Sequence[Run]) -> Figure:
    """One panel an activation, one line an init (and placement, where several are swept)."""
    told = tuple(f for f in swept(runs) if f in ("init", "bn", "skip", "init.distribution")) or ("init",)
    rest = tuple(f for f in swept(runs) if f not in told) or ("activation",)
    arms, groups = list(by(runs, *told)), by(runs, *rest)
    title = "Gradient norm at each layer's activation input, before training"
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
    name_zeros(flat[0], zero)
    page.label(axes, "layer", GRADIENT)
    page.hide_rest(axes, len(groups), "layer")
    return figure


@dataclass(frozen=True)
class Slopes:
    """ln of the squared gradient norm over that of the last hidden layer: seeds' median as points, the slope fitted
    between two layers as a line, theory's slope dashed; one panel an arm."""

    first: int
    last: int

    def __call__(self, runs: Sequence[Run]) -> Figure:
        groups = by(runs, *(swept(runs) or ("activation",)))
        columns = 3 if len(groups) in (3, 5, 6, 9) else min(4, len(groups))
        lines = [Line2D([], [], color=DARK, lw=1.2, label=f"fitted to layers {self.first} to {self.last}")]
        lines.append(Line2D([], [], color=THEORY, lw=1.6, ls=dash(1), label="theory"))
        around = Page("Growth of the squared gradient norm on its way back, before training", lines, 1.7)
        figure, axes = around.lay_out(math.ceil(len(groups) / columns), columns)
        flat = [ax for row in axes for ax in row]
        for ax, (name, some) in zip(flat, groups.items(), strict=False):
            page.title(ax, name or level_label(some[0], "activation"))
            layer_axis(ax, deepest(some))
        said = [self.draw(ax, some) for ax, some in zip(flat, groups.values(), strict=False)]
        low, high = flat[0].get_ylim()
        at, align = (0.97, "top") if high > -low else (0.03, "bottom")
        for ax, factors in zip(flat, said, strict=False):
            ax.annotate(factors, (0.97, at), xycoords="axes fraction", ha="right", va=align, size=8)
        page.label(axes, "layer", "ln ‖∂L/∂a‖², last layer 0")
        page.hide_rest(axes, len(groups), "layer")
        return figure

    def draw(self, ax: Axes, runs: Sequence[Run]) -> str:
        """What the factors are, in words."""
        depths = range(1, min(map(depth, runs)) + 1)
        known = {l: logs for l in depths if (logs := relative_logs(runs, l, depths[-1]))}
        lowest, highest = [min(values) for values in known.values()], [max(values) for values in known.values()]
        ax.fill_between(list(known), lowest, highest, color=colour(1), alpha=0.25, lw=0)
        ax.plot(list(known), [median_of(values) for values in known.values()], ".", color=colour(1), ms=5)
        rates = [next(iter(growth(run, str(self.first), str(self.last))), math.nan) for run in runs]
        rates = [rate for rate in rates if math.isfinite(rate)]
        fitted = range(self.first, self.last + 1)
        if not rates or not known.keys() >= set(fitted):
            return ""
        at, height = np.array([self.first, self.last]), float(np.mean([median_of(known[l]) for l in fitted]))
        measured, theory = median_of(rates), rate_in_theory(runs[0])
        for rate, style in (
            (measured, {"color": DARK, "lw": 1.2}),
            (theory, {"color": THEORY, "lw": 1.6, "ls": dash(1)}),
        ):
            if math.isfinite(rate):
                ax.plot(at, height - math.log(rate) * (at - at.mean()), **style)
        return f"× {measured:.4g}" + (f", theory {theory:.4g}" if math.isfinite(theory) else "")


THEORY = "#d55e00"


def weight_variance(init: str) -> float | None:
    """Fan-in times a weight's variance, at equal widths; None where the init's row does not say."""
    std = INITS[init].std
    return std(1, 1) ** 2 if std else None


def rate_in_theory(run: Run) -> float:
    """Factor on the squared gradient norm a backward step deep in a wide network, by `probes.theory`; NaN where that
    has none."""
    name, config = run.config.activation.name, run.config
    samples, variance = config.probe_samples, weight_variance(config.init.name)
    if config.normalisation == "before" and samples > 3:
        return bn_before_rate(name, samples)
    if config.normalisation == "none" and variance is not None:
        return chi1(name, variance, fixed_point(name, variance))
    return math.nan


def relative_logs(runs: Sequence[Run], layer: int, last: int) -> list[float]:
    """ln of a layer's squared gradient norm over the last one's, of the runs where both are finite and above 0."""
    pairs = [(at_start(run, layer), at_start(run, last)) for run in runs]
    return [2 * math.log(a / b) for a, b in pairs if a > 0 and b > 0 and math.isfinite(a / b) and a / b > 0]
