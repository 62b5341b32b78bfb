"""The figures of networks of many layers, with and without skip connections, and their words."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.records import HISTOGRAM_EDGES
from bnsweep.report.figures.draw import FIGURES
from bnsweep.report.figures.histograms import BRIGHTEST, MOST_LAYERS
from bnsweep.report.figures.style import error_ticks, styled
from bnsweep.report.frame.metrics import default_metric
from bnsweep.report.pages.basics import basics
from bnsweep.report.pages.write import build

BINS = len(HISTOGRAM_EDGES) - 1
RESNETS = {"model.family": ["resnet"], "bn": ["none", "before"], "skip": ["off", "on"], "lr.value": [0.1, 1.0]}


def deep(simulate, factors, layers):
    frame = simulate(lambda run: 0.8, factors, seeds=2)
    frame.hidden = layers
    frame.runs = frame.runs.drop(columns="model.hidden") if "model.family" in factors else frame.runs
    sizes = {"model.channels": "16-32-64", "model.blocks": (layers - 1) // 6} if "model.family" in factors else {}
    frame.runs = frame.runs.assign(**(sizes or {"model.hidden": f"32x{layers}"}))
    return build(frame, default_metric(CLASSIFICATION))


def drawn(built, name):
    _, scene = built
    with styled():
        return FIGURES[name](scene)


def texts(drawing):
    return [html.unescape(t) for t in re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)]


@pytest.fixture(scope="module")
def resnet(simulate):
    return deep(simulate, RESNETS, 55)


def test_55_layers_are_a_map_with_a_row_each_and_the_caption_says_so(resnet):
    drawing = drawn(resnet, "histograms")
    images = [ax.images[0].get_array() for ax in drawing.figure.axes if ax.images]
    assert [image.shape for image in images] == [(55, BINS)] * 4, "one of each placement and skip"
    assert np.asarray(images[0]).sum(axis=1) == pytest.approx(np.ones(55)), "shares of a layer's outputs"
    assert "There are 55: a row is a layer" in drawing.caption
    assert f"{100 * BRIGHTEST:.0f} %" in texts(drawing), "the bar of colours"
    assert len(drawing.svg) < 200_000
    assert "56 %" not in drawing.alt and "fullest bin" in drawing.alt


@pytest.mark.parametrize("layers", [2, MOST_LAYERS, MOST_LAYERS + 1])
def test_up_to_six_layers_have_a_panel_each(simulate, layers):
    drawing = drawn(deep(simulate, {"bn": ["none", "before"]}, layers), "histograms")
    panels = [text for text in texts(drawing) if re.fullmatch(r"layer\s\d+", text)]
    assert len(panels) == (layers if layers <= MOST_LAYERS else 0)


def test_gradients_with_and_without_skips_are_lines_of_one_picture(resnet):
    drawing = drawn(resnet, "gradients")
    labels = texts(drawing)
    assert {"skip off", "skip on", "no BN", "BN before"} <= set(labels), "lines by skip, panels by BN"
    assert len([ax for ax in drawing.figure.axes if len(ax.lines) == 4]) == 2, "start and end of both in each panel"
    assert "out" in labels and "50" in labels


def test_of_many_normalisations_bn_and_none_stay_in_the_picture(simulate):
    """However they rank: the others are held against them."""
    kinds = ["none", "before", "layer before", "group before", "instance before", "rms before"]
    truth = {kind: 0.5 + 0.05 * rank for rank, kind in enumerate(kinds)}
    frame = simulate(lambda run: truth[run["bn"]], {"bn": kinds, "skip": ["off", "on"]}, seeds=2)
    drawing = drawn(build(frame, default_metric(CLASSIFICATION)), "gradients")
    titles = {"no BN", "BN before", "InstanceNorm before", "RMSNorm before"}
    assert titles <= set(texts(drawing)) and "GroupNorm before" not in texts(drawing)
    assert drawing.caption.endswith("Only the best-ranked levels are drawn beside those of BN.")


def test_low_accuracies_have_ticks_of_their_own():
    assert error_ticks(0.09, 0.48) == [0.1, 0.2, 0.3, 0.4]
    assert error_ticks(0.1, 0.96) == [0.2, 0.5, 0.8, 0.9, 0.95], "enough as they are"
    assert error_ticks(0.955, 0.985) == [0.97, 0.98]


def test_of_convolutional_networks_channels_are_told_of_and_not_units(resnet, simulate):
    told = " ".join(text for _, text in basics(resnet[0].grid))
    assert "a channel's values" in told and "unit" not in told and "way around the block" in told
    mlp = deep(simulate, {"bn": ["none", "before"]}, 2)
    assert "a unit's values" in " ".join(text for _, text in basics(mlp[0].grid))
