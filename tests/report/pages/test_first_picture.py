"""The picture of the first screen is the one that shows what the sweep asks."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from bnsweep.report.frame.metrics import default_metric, task_of
from bnsweep.report.pages import picture, render
from bnsweep.report.pages.write import build

PLAIN = {"activation": ["sigmoid", "relu"], "bn": ["none"]}


def built(frame):
    return build(frame, default_metric(task_of(frame.runs)))


def test_gradients_by_layer_stand_first_where_vanishing_is_asked(simulate):
    content, scene = built(simulate(lambda run: 0.5 + 0.4 * (run["activation"] == "relu"), PLAIN, seeds=6))
    assert {v.key for v in content.asked} == {"sigmoid-vanishes", "relu-helps"}
    page = render.page(content, "report.html.j2")
    drawn = re.findall(r'<figure id="figure-([\w-]+)"', page)
    assert drawn[0] == "gradients" and page.index('id="figure-gradients"') < page.index('id="claims"')
    assert drawn.count("gradients") == drawn.count("forest") == 1, "the ranking's picture is further down"
    with Image.open(io.BytesIO(picture.first_screen(content, scene))) as image:
        right = np.asarray(image.convert("RGB"), dtype=int)[:, 780:]
    blue = np.abs(right - (0, 114, 178)).sum(axis=2) < 12
    assert blue.any(axis=0).sum() > 400, "a line from layer to layer, and no dot of a ranking"


@pytest.mark.parametrize(("score", "first"), [(0.9, "forest"), (0.1, "gradients")])
def test_where_no_arm_learned_anything_a_ranking_is_no_picture(simulate, score, first):
    factors = PLAIN | {"bn": ["none", "before"], "init": ["xavier", "he"], "lr.value": [0.1, 1.0]}
    content, _ = built(simulate(lambda run: score, factors, seeds=2, bundle_noise=0.0))
    assert len({name for v in content.asked for name in v.figures}) > 1
    assert content.glance.name == first


def test_without_claims_it_is_the_ranking(simulate):
    content, _ = built(simulate(factors={"optimizer": ["sgd", "adam"]}, seeds=2))
    assert not content.asked and content.glance.name == "forest"
