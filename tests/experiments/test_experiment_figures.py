"""The figures of experiments on synthetic records in the shape of the real experiments' runs: what is shown, and where
runs diverged, failed, or were never read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic_runs import BINS, NAN, failed, lost, panels, synthetic

from bnsweep.config.groups import BnConfig, InitConfig, LrConfig, ProbesConfig, TrainConfig
from bnsweep.config.network import ModelConfig, SkipConfig
from bnsweep.config.run import RunConfig
from bnsweep.experiments.compose import Library
from bnsweep.experiments.figures import (
    arms,
    curves,
    dots,
    draw,
    figures,
    heat,
    histograms,
    layers,
    special,
)
from bnsweep.experiments.figures.page import WHITE
from bnsweep.experiments.selection import Run
from bnsweep.experiments.table import Result, Table, markdown
from bnsweep.report.figures.style import styled


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with styled(WHITE):
        yield


@cache
def library() -> Library:
    return Library(["seed=range(0,2)"])


@cache
def measured(name: str) -> tuple[Run, ...]:
    return tuple(synthetic(config) for config in library().experiment(name, "full").configs)


def runs_like(name: str) -> list[Run]:
    """Two seeds of an experiment as its file has it."""
    return list(measured(name))


def config(seed: int = 0, bn: str = "none", std: float | None = None, hidden: int = 3, lr: float = 0.1) -> RunConfig:
    init = InitConfig("xavier") if std is None else InitConfig("normal", std=std)
    train, probes = TrainConfig(steps=4, evaluate_steps=1), ProbesConfig("full")
    model = ModelConfig([8] * hidden)
    return RunConfig(bn=BnConfig(bn), init=init, model=model, lr=LrConfig(lr), train=train, probes=probes, seed=seed)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in panels(figure)]


def lines(ax: Axes) -> list[list[float]]:
    """What the lines of a panel show, marks aside."""
    return [points(line)[1] for line in ax.lines if line.get_linestyle() not in ("None", "")]


def points(line: Any) -> tuple[list[float], list[float]]:
    return [float(x) for x in line.get_xdata()], [float(y) for y in line.get_ydata()]


def marks(ax: Axes, mark: str) -> list[tuple[float, float]]:
    found = [line for line in ax.lines if line.get_marker() == mark and line.get_linestyle() in ("None", "")]
    return [point for line in found for point in zip(*points(line), strict=True)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_figure_is_the_same_file_every_time(tmp_path: Path) -> None:
    runs = [synthetic(config(seed)) for seed in range(2)]
    first, second = (next(iter(draw("any", runs, tmp_path / folder))) for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_nothing_is_drawn_of_runs_without_readings(tmp_path: Path) -> None:
    assert draw("any", [failed(synthetic(config()))], tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


def test_an_experiment_without_a_drawing_gets_learning_curves_by_arm() -> None:
    runs = [synthetic(config(seed, bn, lr=lr)) for seed in range(2) for bn in ("none", "before") for lr in (0.1, 1.0)]
    [(figure, _)] = figures("any", runs).values()
    assert titles(figure) == ["lr 0.1", "lr 1"] and legend(figure) == ["no BN", "BN before"]
    assert [len(lines(ax)) for ax in panels(figure)] == [2, 2]


def test_an_experiment_that_trains_nothing_gets_its_gradients_at_the_start() -> None:
    untrained = replace(config(), train=TrainConfig(epochs=0))
    [(figure, _)] = figures("any", [synthetic(untrained)]).values()
    assert panels(figure)[0].get_xlabel() == "layer"


def test_a_line_is_the_median_over_seeds_and_its_band_their_range() -> None:
    runs = [synthetic(config(seed)) for seed in range(3)]
    for run, loss in zip(runs, ([3.0, 2.0, 1.0], [4.0, 9.0, 0.5], [5.0, 5.0, 5.0]), strict=True):
        run.record.history |= {"step": [0.0, 10.0, 20.0], "train/loss": loss}
    found = curves.bundle(runs, "train/loss")
    assert (found.x, found.middle) == ([0, 10, 20], [4, 5, 1])
    assert (found.low, found.high) == ([3, 2, 0.5], [5, 9, 5])


def test_a_diverged_run_stays_at_chance_and_is_marked() -> None:
    runs = [lost(synthetic(config()), step=3)]
    [(figure, _)] = figures("any", runs).values()
    [ax] = panels(figure)
    assert lines(ax)[0][3:] == [0.1, 0.1] and lines(ax)[0][2] > 0.1
    assert marks(ax, "x") == [(3, 0.1)]
    assert "a seed diverged" in legend(figure)


def test_a_median_ends_where_most_seeds_have_diverged() -> None:
    runs = [lost(synthetic(config(0)), 2), lost(synthetic(config(1)), 2), synthetic(config(2))]
    found = curves.bundle(runs, "train/loss")
    assert [math.isfinite(value) for value in found.middle] == [True, True, False, False, False]


def test_readings_that_were_not_made_are_left_out_of_a_curve() -> None:
    run = synthetic(config())
    run.record.history["layer/2/ics"] = [1.0, NAN, 3.0, NAN, 5.0]
    assert curves.bundle([run], "layer/2/ics").x == [0, 2, 4]


def test_an_arm_is_told_apart_by_what_differs_and_not_by_settings_that_only_bn_has() -> None:
    runs = [synthetic(config(seed, bn, std)) for seed in range(2) for bn in ("none", "before") for std in (0.1, None)]
    assert sorted(arms.swept(runs)) == ["bn", "init"]
    assert list(arms.by(runs, "bn", "init")) == ["std 0.1", "Xavier", "BN before, std 0.1", "BN before, Xavier"]
    assert list(arms.by(runs, "bn")) == ["no BN", "BN before"]


def test_the_book_has_sixteen_panels_of_two_lines() -> None:
    [(figure, _)] = figures("bn-vs-init-scale", runs_like("bn-vs-init-scale")).values()
    assert len(panels(figure)) == 16
    assert titles(figure)[0] == "W:1" and titles(figure)[-1] == "W:0.0001"
    assert [len(lines(ax)) for ax in panels(figure)] == [2] * 16
    assert [bool(ax.get_ylabel()) for ax in panels(figure)] == [True, False, False, False] * 4
    assert [bool(ax.get_xlabel()) for ax in panels(figure)] == [False] * 12 + [True] * 4


def test_a_zero_gradient_is_left_out_of_the_log_axis_and_marked() -> None:
    run = synthetic(config(hidden=4))
    run.record.history["layer/1/grad_activation"] = [0.0] * 5
    figure = layers.gradients([run])
    [ax] = panels(figure)
    assert ax.get_yscale() == "log" and len(lines(ax)[0]) == 3
    assert [x for x, _ in marks(ax, "v")] == [1]


def test_gradients_have_a_panel_an_activation_and_a_line_an_init() -> None:
    [(figure, _)] = figures("mean-field-plain", runs_like("mean-field-plain")).values()
    assert titles(figure) == ["sigmoid", "ReLU"]
    assert legend(figure) == ["std 0.01", "std 1", "Xavier", "He"]
    assert [len(lines(ax)) for ax in panels(figure)] == [4, 4]


def test_slopes_say_the_factor_of_a_layer_beside_theory() -> None:
    base = config(bn="before", hidden=20)
    run = synthetic(replace(base, probes=ProbesConfig(samples=100)))
    for l in range(1, 21):
        run.record.history[f"layer/{l}/grad_activation"] = [1.5 ** (-l / 2)] * 5
    figure = layers.Slopes(5, 17)([run])
    [ax] = panels(figure)
    assert ax.texts[0].get_text() == "× 1.5, theory 1.483"
    fitted, theory = lines(ax)
    assert fitted[0] - fitted[1] == pytest.approx(12 * math.log(1.5))
    assert theory[0] - theory[1] == pytest.approx(12 * math.log(1.4834), rel=1e-3)


def test_the_invariance_is_drawn_as_the_distance_to_weights_as_they_are() -> None:
    runs = []
    for gain, rate, loss in (
        (1.0, 1.0, 2.0),
        (10.0, 100.0, 2.0 + 2e-12),
        (0.1, 0.01, 2.0),
        (10.0, 1.0, 3.0),
        (1, 100, 4),
    ):
        base = config(bn="before")
        run = synthetic(replace(base, init=InitConfig("he", gain=gain), lr=LrConfig(hidden=rate)))
        run.record.history["batch/loss"] = [loss] * 5
        runs.append(run)
    figure = special.invariance(runs)
    loss_panel, distance = panels(figure)
    assert legend(figure)[-1] == "weights × 10, rate × 1" and len(legend(figure)) == 4, "one control, and not all"
    assert len(lines(loss_panel)) == 4
    found = [line for line in lines(distance) if line]
    assert [line[0] for line in found] == pytest.approx([1e-12, 0.5], rel=1e-3)
    assert len(marks(distance, "v")) == 5, "no distance at all has no place on a log axis"


def test_histograms_say_what_share_a_cut_bar_holds() -> None:
    run = synthetic(config(hidden=2))
    all_alike, spread = [0] * BINS, [10] * BINS
    all_alike[30] = 300
    run.record.histograms["start"] = [all_alike, spread]
    figure = histograms.grid([run])
    first, second = panels(figure)
    assert [text.get_text() for text in first.texts] == ["100 %", "layer 1"]
    assert [text.get_text() for text in second.texts] == ["layer 2"]


def test_histograms_have_a_row_a_setting_and_a_column_a_layer() -> None:
    [(figure, _)] = figures("activation-histograms", runs_like("activation-histograms")).values()
    assert len(panels(figure)) == 2 * 4 * 5
    assert [title for title in titles(figure) if title][:2] == ["sigmoid, std 0.01", "sigmoid, std 1"]


def test_histograms_of_deep_networks_are_maps_of_all_their_layers() -> None:
    deep = ModelConfig((8,) * 20)
    runs = [synthetic(replace(config(seed, bn), model=deep)) for bn in ("none", "before") for seed in (0, 1)]
    for draw_them, count in ((histograms.grid, 2), (histograms.overlaid, 1)):
        figure = draw_them(runs)
        shown = [ax.images[0].get_array() for ax in panels(figure)]
        assert [np.shape(image) for image in shown] == [(20, BINS)] * count
        assert np.asarray(shown[0]).sum(axis=1) == pytest.approx(np.ones(20))
        assert "20 hidden layers" in figure.texts[0].get_text()


def test_gradients_have_a_line_with_and_without_skips() -> None:
    runs = [config(bn=bn, hidden=4) for bn in ("none", "before")]
    runs += [replace(run, skip=SkipConfig("on")) for run in runs]
    figure = layers.gradients([synthetic(run) for run in runs])
    assert legend(figure) == ["plain", "skip on", "BN before", "BN before, skip on"]
    assert [len(ax.lines) for ax in panels(figure)] == [4]


def test_the_lecture_shows_every_run_once() -> None:
    runs = runs_like("lecture")
    runs[3] = lost(runs[3])
    dot_figure, _ = figures("lecture", runs)["lecture"]
    assert len(panels(dot_figure)) == 2 * 3
    shown = sum(len(marks(ax, mark)) for ax in panels(dot_figure) for mark in "xos^")
    assert shown == len(runs)
    assert [y for ax in panels(dot_figure) for _, y in marks(ax, "x")] == [0.1]


def test_each_arm_is_shown_at_its_best_rate() -> None:
    runs = [synthetic(config(0, lr=lr)) for lr in (0.1, 1.0)]
    runs[0].record.history["val/accuracy"] = [0.1, 0.2, 0.3, 0.4, 0.5]
    [ax] = panels(curves.at_best_rate(runs))
    assert lines(ax) == [runs[1].record.history["val/accuracy"]]


def test_rates_are_on_a_log_axis_with_diverged_runs_at_chance() -> None:
    runs = [synthetic(config(0, bn, lr=lr)) for bn in ("none", "before") for lr in (0.01, 0.1, 1.0)]
    runs[2] = lost(runs[2])
    train, test = panels(dots.over_rates(runs))
    assert train.get_xscale() == test.get_xscale() == "log"
    assert marks(train, "x") == [(1.0, 0.1)]
    assert lines(train)[0][-1] == 0.1


@pytest.mark.parametrize(("keep", "ratio"), [(0.5, 0.405), (0.8, 0.732)])
def test_dropout_shifts_the_variance_as_theory_says(keep: float, ratio: float) -> None:
    assert dots.predicted("relu", keep) == pytest.approx(ratio, abs=5e-4)
    assert dots.predicted("identity", keep) == pytest.approx(keep)
    assert dots.predicted("tanh", keep) == pytest.approx(keep), "its outputs have mean zero, too"


def test_the_map_of_depths_has_the_boundary_of_theory() -> None:
    def run(depth: int, batch: int) -> Run:
        base = config(bn="before", hidden=depth)
        return synthetic(replace(base, train=TrainConfig(steps=2, batch_size=batch)))

    runs = [run(depth, batch) for depth in (20, 40, 60) for batch in (10, 100)]
    for one in runs:
        one.record.summary["final_train_accuracy"] = 0.9 if len(one.config.model.units) < 50 else 0.1
    runs[0] = lost(runs[0])
    [ax] = panels(heat.trainable(runs))
    [image] = ax.images
    assert np.asarray(image.get_array()).tolist() == [[0.1, 0.9], [0.9, 0.9], [0.1, 0.1]]
    ten, _, hundred, _ = lines(ax)[0]  # each across its cell
    assert ten == pytest.approx((16 / math.log(1.696) - 20) / 20, abs=0.01), "30 lies between rows 20 and 40"
    assert hundred == pytest.approx(1 + (16 / math.log(1.4834) - 40) / 20, abs=0.01)


def test_the_first_experiment_of_the_bn_paper_shows_one_units_percentiles() -> None:
    runs = [synthetic(config(seed, bn)) for seed in range(2) for bn in ("none", "before")]
    figure = special.ioffe(runs)
    accuracy, plain, normed = panels(figure)
    assert [len(lines(ax)) for ax in (accuracy, plain, normed)] == [2, 3, 3]
    seed_0 = runs[0].record.history
    assert lines(plain) == [seed_0[f"layer/3/unit_q{q}"] for q in (15, 50, 85)]


def test_running_statistics_forget_their_first_value() -> None:
    figure = special.running_statistics([synthetic(config(bn="before"))])
    [ax] = panels(figure)
    assert lines(ax)[-1] == pytest.approx([0.9**t for t in range(5)])


def test_arms_that_overfit_stand_side_by_side() -> None:
    [(figure, _)] = figures("overfit", runs_like("overfit")).values()
    assert titles(figure)[:4] == ["plain", "decay 0.1", "dropout 0.2", "BN"]
    assert titles(figure)[-1] == "BN, dropout 0.2,\ndecay 0.1" and len(panels(figure)) == 8
    assert [len(lines(ax)) for ax in panels(figure)] == [2] * 8


def test_noise_and_covariate_shift_have_three_arms() -> None:
    accuracy, shift = (figure for figure, _ in figures("santurkar-noise", runs_like("santurkar-noise")).values())
    assert legend(accuracy) == legend(shift) == ["plain", "BN before", "BN before, noise 0.5"]
    assert titles(shift)[:4] == ["layer 2", "layer 3", "layer 4", "layer 5"], "nothing lies below layer 1"
    assert [ax.get_yscale() for ax in panels(shift)] == ["log"] * 4 + ["linear"] * 4


def test_the_course_grid_has_a_panel_a_setting() -> None:
    [(figure, _)] = figures("udacity-grid", runs_like("udacity-grid")).values()
    assert len(panels(figure)) == 12 and "ReLU, std 5, lr 2" in titles(figure)


def test_captions_stand_below_the_figures_in_the_table_s_file() -> None:
    result = Result("small", "Purpose.", "Source", "", "", [], figures={"small/small.svg": "What | there is to see."})
    assert "![small](small/small.svg)\n\nWhat \\| there is to see.\n" in markdown(Table([result]))


Draw = Callable[[Sequence[Run]], Figure]


@pytest.mark.parametrize("drawing", [special.deep, layers.gradients, special.covariate_shift])
def test_gradients_that_are_not_finite_are_left_out(drawing: Draw) -> None:
    run = synthetic(config())
    run.record.history["layer/1/grad_activation"] = [math.inf] * 5
    run.record.history["layer/2/ics"] = [NAN] * 5
    assert panels(drawing([run]))
