"""Links into MLflow: said to be local where they are, and left out where a page is to be handed on."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bnsweep.report import write_report


def page_of(simulate, folder, ui="", links=True):
    frame = simulate(factors={"bn": ["none", "before"]}, seeds=5)
    frame.info = replace(frame.info, experiment="lab", experiment_id="7", ui=ui)
    report = write_report(frame, folder, links=links)
    return report, report.html.read_text(encoding="utf-8")


LOCAL = "⌂ marks addresses that answer only on the sweep's own machine"


@pytest.mark.parametrize(
    ("ui", "local"), [("", True), ("http://localhost:5001", True), ("https://mlflow.example.org", False)]
)
def test_links_that_answer_on_one_machine_only_are_said_to(simulate, tmp_path, ui, local):
    _, page = page_of(simulate, tmp_path, ui)
    assert page.count(f'<a href="{ui or "http://127.0.0.1:5000"}/#/compare-runs') == 2
    assert (LOCAL in page) == local


@pytest.mark.parametrize(
    ("seeds", "says", "shown"), [(100, "comparison of its runs", 100), (101, "its first 100 runs", 100)]
)
def test_an_arm_of_many_seeds_leads_to_as_many_runs_as_mlflow_loads(simulate, tmp_path, seeds, says, shown):
    frame = simulate(factors={"bn": ["none", "before"]}, seeds=seeds)
    frame.info = replace(frame.info, experiment="lab", experiment_id="7")
    page = write_report(frame, tmp_path).html.read_text(encoding="utf-8")
    addresses = re.findall(r'href="[^"]*compare-runs[^"]*"', page)
    assert [address.count("%22r") for address in addresses] == [shown] * 2 and says in page


def test_a_page_to_hand_on_has_no_links_and_says_how_it_was_made(simulate, tmp_path):
    report, page = page_of(simulate, tmp_path, links=False)
    assert "/#/" not in page
    assert LOCAL not in page
    assert "Every run in MLflow" not in page
    assert "tracking.experiment=lab" in page
    assert "links=false" in page
    assert not report.by_default, "the report that is kept in MLflow has its links"
