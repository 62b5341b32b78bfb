"""Ten thousand runs of twenty epochs: the report stays small, and its numbers are the plain ones."""

from __future__ import annotations

import csv
import time
import tracemalloc
from dataclasses import replace

import pytest

from bnsweep.report import write_report
from bnsweep.report.compare.pages import write_comparison

INITS = ["normal", "xavier", "he", "lecun", "orthogonal"]
SHAPES = {
    "a grid": ({"activation": ["sigmoid", "relu"], "init": INITS, "bn": ["none", "before"]}, [0.01, 0.1], 250, 0),
    "few arms, many seeds": ({"bn": ["none", "before"]}, [0.001, 0.01, 0.1, 0.3, 1.0], 1000, 0),
    "many arms": (
        {"model.dropout": [i / 200 for i in range(100)], "init": INITS, "bn": ["none", "before"]},
        None,
        10,
        0,
    ),
    "many arms, twenty seeds": (
        {"model.dropout": [i / 200 for i in range(50)], "init": INITS, "bn": ["none", "before"]},
        None,
        20,
        0,
    ),
    "two seeds": ({"model.dropout": [i / 1500 for i in range(1000)], "init": INITS}, None, 2, 0),
    "many rates": ({"bn": ["none", "before"]}, [0.001 * 1.015**i for i in range(500)], 10, 0),
    "one in twenty failed": ({"init": INITS, "bn": ["none", "before"]}, [0.01, 0.1], 500, 20),
}


def best(run):
    """Without noise BN and the last init win, and no rate is better than another."""
    return 0.7 + 0.1 * (run.get("bn") == "before") + 0.05 * INITS.index(run.get("init", "normal"))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_ten_thousand_runs_are_reported_within_two_gigabytes(simulate, tmp_path, shape):
    factors, rates, seeds, failing = SHAPES[shape]
    frame = simulate(best, factors | ({"lr.value": rates} if rates else {}), seeds=seeds)
    assert len(frame.runs) == 10_000
    if failing:
        lost = frame.runs.index % failing == 3
        frame.runs.loc[lost, ["status", "final_val_accuracy"]] = ["failed", float("nan")]
    started = time.process_time()
    write_report(frame, tmp_path)
    print(f"{shape}: {time.process_time() - started:.1f} s of CPU")
    tracemalloc.start()
    report = write_report(frame, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e9
    assert report.html.stat().st_size < 2e6
    with report.file("ranking.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    arms = len(frame.runs) // seeds // (len(rates) if rates else 1)
    views = 1 + (len(rates) if rates else 0)
    assert len(table) == arms * views
    top = table[0]
    assert top.get("bn", "before") == "before"
    assert top.get("init", INITS[-1]) == INITS[-1]
    row = table[-1]  # at a fixed rate, or where none was swept, a score is the mean of the arm's runs
    mine = frame.runs[frame.runs["status"] == "finished"]
    for factor in factors:
        mine = mine[mine[factor].astype(str) == row[factor]]
    mine = mine[mine["lr.value"] == rates[-1]] if rates else mine
    if not failing:
        assert float(row["score"]) == pytest.approx(mine["final_val_accuracy"].mean())


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["a grid", "many arms", "many arms, twenty seeds", "two seeds", "many rates"])
def test_two_sweeps_of_ten_thousand_runs_are_compared_within_two_gigabytes(simulate, tmp_path, shape):
    factors, rates, seeds, _ = SHAPES[shape]
    frames = [simulate(best, factors | ({"lr.value": rates} if rates else {}), seeds=seeds, rng=i) for i in range(2)]
    frames[1].runs["run_id"] = "b" + frames[1].runs["run_id"]
    frames[1].info = replace(frames[1].info, sweep="s2")
    started = time.process_time()
    write_comparison(*frames, tmp_path, "final_val_accuracy")
    print(f"{shape}: {time.process_time() - started:.1f} s of CPU")
    tracemalloc.start()
    content, files = write_comparison(*frames, tmp_path, "final_val_accuracy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e9
    assert all(path.stat().st_size < 5e6 for path in files)
    arms = 10_000 // seeds // (len(rates) if rates else 1)
    assert len(content.found.table) == arms
    assert list(content.found.table["difference"]) == pytest.approx([0] * arms, abs=0.1)
