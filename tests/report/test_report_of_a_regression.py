"""A regression is scored by R², in every number and every sentence."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from bnsweep.catalogue.metrics import metrics
from bnsweep.catalogue.tasks import CLASSIFICATION, REGRESSION
from bnsweep.config.checks import ConfigError
from bnsweep.report import write_report
from bnsweep.report.compare.pages import write_comparison
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.frame.metrics import metric_named, rankable, scored, task_of
from bnsweep.report.stats.ranking import best_lr_view, ranking
from bnsweep.store.sweep_data import SweepInfo

R2, LOSS = metrics(REGRESSION)["final_val_r2"], metrics(REGRESSION)["final_val_loss"]
BN = {"bn": ["none", "before", "after"], "lr.value": [0.1, 1.0]}


@pytest.fixture(scope="module")
def files(tmp_path_factory, regression, lecture):
    """The texts of a report on the lecture's grid, in which some runs diverge."""
    written = write_report(regression(lecture), tmp_path_factory.mktemp("report"))
    texts = {path.name: path.read_text() for path in written.files if path.suffix != ".png"}
    return texts | {"terminal": written.first_screen()}


def test_nothing_is_called_accuracy_and_no_score_is_in_percent(files) -> None:
    assert {name for name, text in files.items() if "accuracy" in text.lower() or re.search(r"\br²", text)} == set()
    assert "percentage point" not in files["report.html"]
    for name in ("report.html", "report.md", "terminal"):
        assert "final validation R² 0.9" in files[name] and "validation R² 9" not in files[name]
    answer = json.loads(files["summary.json"])
    assert answer["metric"] == "final_val_r2" and {"test_r2", "gap_r2"} <= set(answer["ranking"][0])


def test_words_tell_what_r2_is_and_what_tau_is(files) -> None:
    assert "<dt>R²</dt>" in files["report.html"] and "until validation R² reaches τ = 0.5" in files["report.html"]
    assert "Steps to R² 0.5 there: " in files["report.md"] and "an R² of 0 and a loss of 1" in files["report.html"]


def test_what_is_worse_than_the_mean_scores_as_a_run_that_diverged() -> None:
    runs = pd.DataFrame(
        {
            "status": ["finished", "finished", "finished", "diverged", "failed"],
            "final_val_r2": [0.7, -0.1, -1e6, math.nan, math.nan],
            "final_val_loss": [0.3, 1.1, 1e6, math.nan, math.nan],
            "data.task": "regression",
            "classes": 0.0,
        }
    )
    assert scored(runs, R2).tolist()[:4] == [0.7, 0, 0, 0] and math.isnan(scored(runs, R2)[4])
    assert scored(runs, LOSS).tolist()[:4] == [0.3, 1, 1, 1] and math.isnan(scored(runs, LOSS)[4])


def test_one_run_far_below_0_does_not_decide_a_mean(simulate, regression) -> None:
    made = regression(simulate(lambda run: {"none": 0.5, "before": 0.8, "after": 0.7}[run["bn"]], BN, bundle_noise=0))
    bad = made.runs.index[(made.runs["bn"] == "before") & (made.runs["seed"] == 0)]
    made.runs.loc[bad, "final_val_r2"] = -1e6
    grid = read_grid(made.runs)
    table = ranking(grid, best_lr_view(grid, R2), R2)
    best = table[table["view"] == "best lr"].set_index("arm")
    assert best["score"]["BN before"] == pytest.approx(0.8 * 9 / 10, abs=0.01)
    assert np.all(best[["low", "high"]].to_numpy() >= 0)


def test_the_default_metric_and_those_that_rank_are_the_task_s(simulate, regression) -> None:
    made = regression(simulate(factors=BN, seeds=2))
    assert task_of(made.runs) is REGRESSION and task_of(simulate(factors=BN, seeds=2).runs) is CLASSIFICATION
    assert metric_named(None, REGRESSION) is R2 and metric_named("auc", REGRESSION).title == "time-mean validation R²"
    assert [name.replace("r2", "accuracy") for name in rankable(REGRESSION)] == list(rankable(CLASSIFICATION))


def test_a_metric_of_another_task_is_refused_and_nothing_written(simulate, regression, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"^metric=final_val_accuracy: must be one of final_val_r2, .* in a regr"):
        write_report(regression(simulate(factors=BN, seeds=2)), tmp_path / "out", "final_val_accuracy")
    assert not (tmp_path / "out").exists()


def test_runs_of_two_tasks_are_no_sweep(simulate, regression, tmp_path) -> None:
    made = simulate(factors=BN, seeds=2)
    made.runs = pd.concat([made.runs, regression(made).runs], ignore_index=True)
    with pytest.raises(ConfigError, match=r"^data.task=classification,regression: must be one in all runs of a sweep"):
        write_report(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("metric", "unit"), [(None, "R²"), ("final_val_loss", "variances"), ("steps_to_tau", "steps")])
def test_two_regressions_are_compared_in_their_own_unit(simulate, regression, tmp_path, metric, unit) -> None:
    a, b = (regression(simulate(lambda run, x=x: x, BN)) for x in (0.5, 0.6))
    for made in (a, b):
        made.runs["final_val_loss"] = 1 - made.runs["final_val_r2"]
    b.info = SweepInfo("s2")
    content, paths = write_comparison(a, b, tmp_path, metric)
    assert f"B − A, {unit}" in content.first_screen()
    assert not any("accuracy" in path.read_text() for path in paths)


def test_two_sweeps_of_two_tasks_are_not_compared(simulate, regression, tmp_path) -> None:
    a = simulate(factors=BN, seeds=2)
    b = regression(a)
    b.info = SweepInfo("s2")
    with pytest.raises(ConfigError, match=r"^sweep=s1,s2: must be two of the same task, and they are a classification"):
        write_comparison(a, b, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
