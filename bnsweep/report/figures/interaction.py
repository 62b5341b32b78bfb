"""What one factor does at each level of another: the strongest interactions of the sweep.

K levels along the axis, J levels as lines, N seeds.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from bnsweep.inference import ALPHA, ENOUGH
from bnsweep.report.figures.style import DASHES, LETTER, MARKERS, SERIES, Sheet, most_labels, panels, points, within_all
from bnsweep.report.figures.types import Drawing, Scene
from bnsweep.report.frame.design import Design, Factor
from bnsweep.report.frame.formats import capped, censored, rounded_apart
from bnsweep.report.frame.grid import BN_PLACEMENT, evenly_spaced, value_text
from bnsweep.report.stats import resample
from bnsweep.report.stats.factorial import TIMES, Analysis, spoken

MOST = 3
LEAST = 0.01
"""Share of the variance that a second and third interaction must have to be drawn."""
MOST_LINES, MOST_TICKS, MOST_NUMBERS = 6, 10, 40
WIDE_LABELS = 60
"""Characters of all labels of an axis from which they are set at an angle."""


def interactions(scene: Scene) -> Drawing | None:
    table, design, bn_title = scene.analysis.table, scene.design, scene.grid.bn_title
    pairs = table[table["order"] == 2]
    sure = pairs[pairs["p_holm"] <= ALPHA]
    shown = (sure if len(sure) else pairs).head(MOST)
    shown = shown[(shown["omega2"] >= LEAST) | (np.arange(len(shown)) == 0)]
    if shown.empty:
        return None
    chosen = [axes_of(design, effect) for effect in shown["effect"]]
    right = 0.5 + LETTER * max(len(text) for _, by in chosen for text in [*by.texts, spoken(by.name, bn_title)])
    aslant = any(slanted(across) for across, _ in chosen)
    tall = 1.05 if aslant else 0.55
    sheet = Sheet(
        (4.0, 1.75),
        left=1.05 if aslant else 0.75,
        right=right,
        top=0.3,
        bottom=tall,
        gap=(0.2, tall + 0.3),
        share=False,
        titles=[
            f"{spoken(row['effect'], bn_title)}: {100 * row['omega2']:.1f} % of the variance"
            for _, row in shown.iterrows()
        ],
        least=1.5,
    )
    figure, axes = panels(len(shown), 1, sheet)
    for (ax,), (across, by) in zip(axes, chosen, strict=True):
        draw_pair(ax, design, across, by, scene.metric.is_score, bn_title)
        ax.set_ylabel(scene.metric.title, fontsize=points(8))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: scene.metric.text(v).replace(".0 %", " %")))
    limits = [ax.get_ylim() for (ax,) in axes]
    ends = min(low for low, _ in limits), max(high for _, high in limits)
    for (ax,) in axes:
        ax.set_ylim(within_all(*ends) if scene.metric.is_score else ends)
    text = caption(scene.analysis, len(sure) > 0) + censored(scene.metric) + capped(scene.metric) + cut_text(chosen)
    told = " ".join(alt(scene, across, by) for across, by in chosen)
    return Drawing("interaction", "How factors act together", text, told, figure)


def alt(scene: Scene, across: Factor, by: Factor) -> str:
    """What the first and the last level of one factor come to at each level of the other."""
    score_JK = level_means(scene.design, by, across).mean(axis=2)
    texts = rounded_apart(across.texts)
    ends = texts[0], texts[-1]
    lines = [
        f"{by.texts[j]} from {scene.metric.text(score_JK[j, 0])} to {scene.metric.text(score_JK[j, -1])}"
        for j in evenly_spaced(len(by.values), MOST_LINES)
    ]
    return f"From {ends[0]} to {ends[1]} ({spoken(across.name, scene.grid.bn_title)}): {', '.join(lines)}."


def axes_of(design: Design, effect: str) -> tuple[Factor, Factor]:
    """The factor along the axis and the one whose levels are lines: BN is lines, numbers lie along the axis."""
    pair = [f for f in design.factors if f.name in effect.split(TIMES)]
    pair.sort(key=lambda f: (f.name == "bn", f.numbers is None, -len(f.values)))
    return pair[0], pair[1]


def draw_pair(
    ax: Axes, design: Design, across: Factor, by: Factor, bounded: bool, bn_title: str = BN_PLACEMENT
) -> None:
    """`bounded`: whether scores lie between 0 and 1; `bn_title`: the grid's."""
    score_JKN = level_means(design, by, across)
    n = design.n
    longest = max(map(len, numbers_text(across)), default=0)
    ticks = evenly_spaced(len(across.values), min(MOST_TICKS, most_labels(ax, longest)))
    drawn = ticks if across.numbers is None else evenly_spaced(len(across.values), MOST_NUMBERS)
    x_K = places(ax, across)[drawn]
    lines = evenly_spaced(len(by.values), MOST_LINES)
    for i, j in enumerate(lines):
        mean_KN = score_JKN[j][drawn]
        x = aside(x_K, (i - (len(lines) - 1) / 2) * 0.012, ax.get_xscale() == "log")
        low, high = resample.mean_interval(resample.bootstrap_means(mean_KN, resample.bundle_counts(n)), n)
        if bounded:  # what all runs of a seed share is taken out, which can leave a mean of seeds beyond 100 %
            low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
        ax.vlines(x, low, high, color=SERIES[i], lw=points(1.6))
        look = {"color": SERIES[i], "ls": DASHES[i], "marker": MARKERS[i], "ms": points(4.5)}
        ax.plot(x, mean_KN.mean(axis=1), label=by.texts[j], **look)
    label_axis(ax, across, ticks)
    ax.set_xlabel(spoken(across.name, bn_title))
    title = {"title": spoken(by.name, bn_title), "alignment": "left", "title_fontsize": points(9)}
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=2.2, **title)


def numbers_text(factor: Factor) -> list[str]:
    """Of a factor of numbers: they alone, without the factor's name."""
    return [] if factor.numbers is None else rounded_apart([value_text(v) for v in factor.numbers.tolist()])


def level_means(design: Design, by: Factor, across: Factor) -> NDArray[np.float64]:
    """Mean score by pair of levels, [J, K, N], without what all runs of a seed share."""
    i, j = design.axis(by.name), design.axis(across.name)
    score = design.means((i, j))
    score = score - score.mean(axis=(0, 1)) + score.mean()
    return score if i < j else np.moveaxis(score, 0, 1)


def places(ax: Axes, factor: Factor) -> NDArray[np.float64]:
    numbers = factor.numbers
    if numbers is None:
        return np.arange(len(factor.values), dtype=np.float64)
    if numbers.min() > 0 and numbers.max() >= 9 * numbers.min():
        ax.set_xscale("log")
    return numbers


def aside(x_K: NDArray[np.float64], share: float, log: bool) -> NDArray[np.float64]:
    """Moved by a share of the axis, so that intervals of different lines stand beside each other."""
    if log:
        return np.asarray(10 ** aside(np.log10(x_K), share, False), dtype=np.float64)
    return x_K + share * float(np.ptp(x_K))


def slanted(factor: Factor) -> bool:
    texts = [factor.texts[k] for k in evenly_spaced(len(factor.values), MOST_TICKS)]
    return factor.numbers is None and sum(map(len, texts)) > WIDE_LABELS


def label_axis(ax: Axes, factor: Factor, ticks: list[int]) -> None:
    numbers = factor.numbers
    texts = factor.texts if numbers is None else numbers_text(factor)
    at = np.arange(len(texts)) if numbers is None else numbers
    ax.set_xticks(at[ticks], [texts[k] for k in ticks])
    if slanted(factor):
        for label in ax.get_xticklabels():
            label.set(rotation=20, ha="right", rotation_mode="anchor")
    ax.xaxis.set_minor_locator(NullLocator())


def cut_text(chosen: list[tuple[Factor, Factor]]) -> str:
    many = any(len(by.values) > MOST_LINES for _, by in chosen)
    text = f" Of long lists of levels {MOST_LINES} are drawn." if many else ""
    if any(across.numbers is not None and len(across.values) > MOST_NUMBERS for across, _ in chosen):
        text += f" {MOST_NUMBERS} of many numbers are drawn, at even distances in their order."
    return text


def caption(analysis: Analysis, sure: bool) -> str:
    text = "Parallel lines: the two factors only add up. Lines that fan out or cross: what one does hangs on the other."
    text += " Mean over all other settings, the same scale in all panels; diverged runs count as chance."
    if analysis.n >= ENOUGH:
        text += " Intervals are 95 % bootstrap intervals over seeds, without what all runs of a seed share."
    if analysis.testable and not sure:
        text += " No interaction of this sweep is more than chance (p > .05 after Holm)."
    return text
