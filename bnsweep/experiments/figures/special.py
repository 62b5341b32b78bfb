"""Figures that one experiment has to itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, swept, text
from bnsweep.experiments.figures.curves import bundle, draw, readings, score_axis
from bnsweep.experiments.figures.curves import key as curve_key
from bnsweep.experiments.figures.layers import deepest, layer_axis, name_zeros, profile
from bnsweep.experiments.figures.page import DARK, Page, colour, dash
from bnsweep.experiments.quantities import metric
from bnsweep.experiments.selection import Run
from bnsweep.report.frame.grid import evenly_spaced


def invariance(runs: Sequence[Run]) -> Figure:
    """Loss curves of networks whose weights differ by a factor c, and below how far they lie from that of c = 1. Of the
    arms whose rate does not follow as c², those are drawn that keep it."""
    rest = tuple(f for f in swept(runs) if f not in ("init.gain", "lr.hidden"))
    name, arms, groups = loss_name(runs), list(scales(runs)), by(runs, *rest)
    title = "Hidden weights × c, with their learning rate × c² and without"
    figure, axes = Page(title, curve_key(arms, runs), 1.7, share_y="row").lay_out(2, len(groups))
    for j, (group, some) in enumerate(groups.items()):
        page.title(axes[0][j], group)
        page.logarithmic(axes[1][j])
        base = {run.config.seed: run for run in scales(some).get(scale_text(1, 1), [])}
        for arm, seeds in scales(some).items():
            k = arms.index(arm)
            draw(axes[0][j], seeds, name, k)
            pairs = [(run, base[run.config.seed]) for run in seeds if base.get(run.config.seed, run) is not run]
            deviations(axes[1][j], pairs, name, k)
    page.label(axes, "training steps", "loss")
    axes[1][0].set_ylabel("relative distance")
    return figure


def scale_text(gain: float, rate: float) -> str:
    return f"weights × {gain:g}, rate × {rate:g}"


def scales(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by factor on the weights, the scale-invariant arms first."""
    groups: dict[tuple[bool, float, float], list[Run]] = {}
    for run in runs:
        gain, rate = run.config.init.gain, run.config.lr.hidden
        apart = not math.isclose(rate, gain**2)
        if not apart or rate == 1:
            groups.setdefault((apart, gain, rate), []).append(run)
    return {scale_text(*where[1:]): groups[where] for where in sorted(groups)}


def loss_name(runs: Sequence[Run]) -> str:
    """With batch statistics, where that was read."""
    return next((n for n in ("batch/loss", "train/loss") if any(readings(run, n) for run in runs)), "train/loss")


def deviations(ax: Axes, pairs: Sequence[tuple[Run, Run]], name: str, k: int) -> None:
    """|loss - loss of c = 1| over the latter; ▽ at the foot where it is zero."""
    columns: dict[float, list[float]] = {}
    for run, base in pairs:
        theirs = readings(base, name)
        for at, value in readings(run, name).items():
            if math.isfinite(value) and math.isfinite(other := theirs.get(at, math.nan)) and other:
                columns.setdefault(at, []).append(abs(value - other) / abs(other))
    some = {at: values for at, values in sorted(columns.items()) if max(values) > 0}
    ax.plot(list(some), [max(values) for values in some.values()], color=colour(k), ls=dash(k))
    zero = [at for at in columns if at not in some]
    ax.plot(zero, [0.03] * len(zero), "v", color=colour(k), mfc="none", ms=4, transform=ax.get_xaxis_transform())


def sixteen(runs: Sequence[Run]) -> Figure:
    """Training accuracy with and without BN, one panel an init: the book's sixteen."""
    groups = by(runs, "init")
    arms = list(by(runs, "bn"))
    columns = 4
    around = Page(
        "Training accuracy, one panel a standard deviation W of the initial weights", curve_key(arms, runs), 1.05
    )
    figure, axes = around.lay_out(math.ceil(len(groups) / columns), columns)
    flat = [ax for row in axes for ax in row]
    page.label(axes, "epochs", "accuracy")
    inits = sorted(groups.values(), key=lambda some: -(some[0].config.init.std or 0))
    for ax, some in zip(flat, inits, strict=False):
        std = some[0].config.init.std
        page.title(ax, f"W:{std:.3g}" if std is not None else text(some[0], ("init",)))
        for arm, seeds in by(some, "bn").items():
            draw(ax, seeds, "train/accuracy", arms.index(arm), "epoch")
    for ax in flat:
        score_axis(ax, "train/accuracy")
    page.hide_rest(axes, len(groups), "epochs")
    return figure


def train_and_test(runs: Sequence[Run]) -> Figure:
    """Training and test accuracy over the epochs, one panel an arm, those of fewest remedies first."""
    groups = {name.replace("BN before", "BN"): some for name, some in by(runs, *swept(runs)).items()}
    names = sorted(groups, key=lambda name: 0 if name == "plain" else 1 + name.count(","))
    columns = min(4, len(groups))
    around = Page("Training and test accuracy", curve_key(["training", "test"], runs), 1.7)
    figure, axes = around.lay_out(math.ceil(len(groups) / columns), columns, names)
    page.label(axes, "epochs", "accuracy")
    flat = [ax for row in axes for ax in row]
    for ax, name in zip(flat, names, strict=False):
        page.title(ax, name)
        for k, split in enumerate(("train", "test")):
            draw(ax, groups[name], f"{split}/accuracy", k, "epoch")
        score_axis(ax, "train/accuracy")
    page.hide_rest(axes, len(groups), "epochs")
    return figure


def ioffe(runs: Sequence[Run]) -> Figure:
    """Test accuracy, and the percentiles of the input to one sigmoid of the last hidden layer: the paper's figure 1."""
    arms = by(runs, "bn")
    around = Page(
        "Test accuracy, and the input of one unit of the last hidden layer",
        curve_key(list(arms), runs),
        2.0,
        gap=(0.62, 0.34),
        share_y="none",
    )
    figure, [row] = around.lay_out(1, 1 + len(arms))
    page.title(row[0], "test accuracy")
    row[0].set_ylabel("accuracy")
    row[1].set_ylabel("input of the sigmoid", labelpad=1)
    for k, seeds in enumerate(arms.values()):
        draw(row[0], seeds, "test/accuracy", k)
    page.percent(row[0], 0, 1.02)
    for k, (ax, (name, seeds)) in enumerate(zip(row[1:], arms.items(), strict=True)):
        page.title(ax, name)
        percentiles(ax, min(seeds, key=lambda run: run.config.seed), k)
        ax.sharey(row[1])
        ax.tick_params(labelleft=ax is row[1])
    for ax in row:
        ax.xaxis.set_major_locator(page.few())
        ax.xaxis.set_major_formatter(page.thousands())
        ax.set_xlabel("training steps")
    return figure


def percentiles(ax: Axes, run: Run, k: int) -> None:
    """Of the first unit's input in one run: the median as a line, 15 and 85 % as the edges of a band."""
    last = run.config.model.layers
    low, middle, high = (bundle([run], f"layer/{last}/unit_{q}") for q in ("q15", "q50", "q85"))
    both = sorted({*low.x} & {*high.x})
    edges = [dict(zip(b.x, b.middle, strict=True)) for b in (low, high)]
    ax.fill_between(
        both, [edges[0][at] for at in both], [edges[1][at] for at in both], color=colour(k), alpha=0.18, lw=0
    )
    for each, thick in ((low, 0.9), (middle, 1.7), (high, 0.9)):
        ax.plot(each.x, [v if math.isfinite(v) else math.nan for v in each.middle], color=colour(k), lw=thick)


def deep(runs: Sequence[Run]) -> Figure:
    """The gradient before training, and the loss during it."""
    told = swept(runs)
    arms = by(runs, *told)
    around = Page(
        "The gradient before training, and the loss during it",
        curve_key(list(arms), runs),
        2.2,
        gap=(0.75, 0.3),
        share_x=False,
        share_y="none",
    )
    figure, [[left, right]] = around.lay_out(1, 2)
    page.title(left, "gradient norm at each layer, start")
    page.logarithmic(left)
    zero = [profile(left, seeds, k) for k, seeds in enumerate(arms.values())]
    name_zeros(left, any(zero))
    for k, seeds in enumerate(arms.values()):
        draw(right, seeds, "train/loss", k, "epoch")
    layer_axis(left, deepest(runs))
    left.set(xlabel="layer", ylabel="‖∂L/∂a‖")
    page.title(right, "training loss")
    right.set(xlabel="epochs", ylabel="loss")
    right.xaxis.set_major_locator(page.few())
    return figure


def covariate_shift(runs: Sequence[Run]) -> Figure:
    """Internal covariate shift as Santurkar et al. measure it: its size above, its cosine below, one column a layer
    that has others below it."""
    arms = by(runs, *swept(runs))
    known = [l for l in range(1, deepest(runs) + 1) if any(readings(run, f"layer/{l}/ics") for run in runs)]
    layers = [known[i] for i in evenly_spaced(len(known), 5)]
    title = "How far a layer's gradient moves when the layers below take their step"
    around = Page(title, curve_key(list(arms), runs), 1.5, share_y="row")
    figure, axes = around.lay_out(2, max(1, len(layers)))
    page.label(axes, "training steps", "distance ‖G − G′‖")
    axes[1][0].set_ylabel("cosine of G and G′")
    for j, l in enumerate(layers):
        page.title(axes[0][j], f"layer {l}")
        page.logarithmic(axes[0][j])
        for k, seeds in enumerate(arms.values()):
            draw(axes[0][j], seeds, f"layer/{l}/ics", k)
            draw(axes[1][j], seeds, f"layer/{l}/ics_cosine", k)
        axes[1][j].xaxis.set_major_locator(page.few())
    axes[1][0].set_ylim(None, 1.05)
    return figure


def running_statistics(runs: Sequence[Run]) -> Figure:
    """Accuracy with running and with batch statistics, and what is left of the running average's first value."""
    groups = by(runs, *swept(runs))
    names = ["running statistics (eval mode)", "batch statistics", "share of the initial running value"]
    handles = [*page.key_of(names[:2]), Line2D([], [], color=DARK, lw=1, ls=dash(2), label=names[2])]
    title = "Accuracy by the statistics BN uses"
    figure, axes = Page(title, handles, 2.2).lay_out(1, len(groups), list(groups))
    for ax, (name, some) in zip(axes[0], groups.items(), strict=True):
        page.title(ax, name)
        for k, score in enumerate(("train/accuracy", "batch/accuracy")):
            draw(ax, some, score, k)
        steps = sorted({step for run in some for step in metric(run, "step")})
        if some[0].config.batch_norm:
            keep = 1 - some[0].config.bn.momentum
            ax.plot(steps, [keep**step for step in steps], color=DARK, lw=1, ls=dash(2))
        score_axis(ax, "train/accuracy")
    page.label(axes, "training steps", "accuracy, share")
    return figure
