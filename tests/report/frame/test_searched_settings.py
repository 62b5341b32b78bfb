"""A sweep whose settings a sampler chose is no grid: its trials are ranked, and nothing is said of factors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnsweep.report import write_report
from bnsweep.report.claims.asked import asked
from bnsweep.report.claims.claims import CLAIMS
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.pages.write import Report

SEARCHED = ["lr.value", "activation", "bn"]
SAYS = "Optuna chose lr.value, activation, bn, trial by trial: the trials are no grid of factors"
TRIALS = 12


def trials(simulate: Any, seeds: int) -> Any:
    """Trials that differ in all that is searched, each of all seeds."""
    grid = {"activation": ["sigmoid", "relu"], "bn": ["none", "before"], "init": ["he"], "lr.value": [0.1]}
    frame = simulate(lambda run: 0.8 + 0.1 * (run["bn"] == "before"), grid, seeds=seeds)
    runs = pd.concat([frame.runs] * (TRIALS // 4), ignore_index=True)
    trial = np.arange(len(runs)) // seeds
    runs["lr.value"] = np.geomspace(0.01, 1, TRIALS).round(4)[trial]
    runs["run_id"] = [f"r{i}" for i in range(len(runs))]
    return replace(frame, runs=runs, info=replace(frame.info, searched=SEARCHED))


@pytest.fixture(params=[1, 6])
def report(request: pytest.FixtureRequest, tmp_path: Path, simulate: Any) -> Report:
    return write_report(trials(simulate, request.param), tmp_path)


def test_a_trial_is_an_arm_at_its_own_learning_rate(simulate: Any) -> None:
    grid = read_grid(trials(simulate, 3).runs, SEARCHED)
    assert (len(grid.arms), len(grid.lrs), len(grid.bundles)) == (TRIALS, 1, 3)
    assert (grid.run_ALN >= 0).all()
    assert grid.arms["arm"].tolist()[0] == "sigmoid · lr 0.01 · no BN"
    assert asked(grid) == []


def test_no_claim_is_asked_and_each_says_why(report: Report) -> None:
    verdicts = report.content.verdicts
    assert [(v.verdict, v.sentence) for v in verdicts] == [("not asked", f"{SAYS}.")] * len(CLAIMS)


def test_trials_are_ranked_and_factors_are_not(report: Report) -> None:
    content = report.content
    assert len(content.ranking) == TRIALS, "one table, and none at a fixed learning rate"
    assert content.ranking["rank"].notna().all() and "BN before" in content.ranking["arm"][0]
    assert content.effects.empty and content.analysis.table.empty and content.widths.empty
    assert content.sensitivity.empty and content.mattered == ""
    notices = [notice.text for notice in content.notices]
    assert notices[-1].startswith(f"{SAYS}. 12 settings were tried: validation scores, which choose among")
    assert not any("Unbalanced" in text or "Learning rates are chosen" in text for text in notices)


def test_the_pages_say_so(report: Report) -> None:
    page, text = report.html.read_text(), report.file("report.md").read_text()
    assert "At a fixed learning rate" not in page and "best learning rate" not in page.split('id="downloads"')[0]
    assert "Searched by Optuna: activation: sigmoid, relu;" in text
    assert "The arms are trials of a search: validation scores" in report.file("table.md").read_text()
    assert json.loads(report.file("summary.json").read_text())["info"]["searched"] == SEARCHED
