"""The first screen in terminals of 40, 80 and 200 columns."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.report.frame.metrics import default_metric
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.terminal import WIDEST, show
from bnsweep.report.pages.write import build


@pytest.fixture(scope="module")
def content(simulate: Any) -> ReportContent:
    return build(simulate(seeds=8), default_metric(CLASSIFICATION))[0]


def screen(content: ReportContent, width: int) -> list[str]:
    file = io.StringIO()
    show(content, Console(file=file, width=width, color_system=None, force_terminal=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_or_than_is_read_with_ease(content: ReportContent, width: int) -> None:
    assert max(map(len, screen(content, width))) <= min(width, WIDEST)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_words_and_names_are_whole_at_every_width(content: ReportContent, width: int) -> None:
    lines = screen(content, width)
    read = " ".join(" ".join(lines).split())
    said = {word for verdict in content.asked for word in f"{verdict.verdict} {verdict.claim}".split()}
    assert content.asked and [word for word in said if word not in read] == []
    head = next(place for place, line in enumerate(lines) if line.startswith("Rank Arm"))
    assert " · ".join(("relu", "he", "BN after")) in "\n".join(lines[head:])


def test_a_narrow_terminal_keeps_rank_arm_and_score(content: ReportContent) -> None:
    def columns(width: int) -> str:
        return " ".join(next(line for line in screen(content, width) if line.startswith("Rank")).split())

    assert columns(40) == "Rank Arm Score"
    assert columns(60) == "Rank Arm Score 95 % interval Group"
    assert columns(80) == "Rank Arm Score 95 % interval Group Test Learning rate"
