"""The files of a sweep of which runs were stopped early."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from store_runs import log_run

from bnsweep.config.groups import BnConfig
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import RunRecord
from bnsweep.report import write_report
from bnsweep.report.pages.paper_table import paper_table
from bnsweep.store.store import Store

FLAT = "stopped at step {step} of 360: no better validation accuracy since step 18"
GRID = {"activation": ["sigmoid", "relu"], "bn": ["none", "before"], "lr.value": [0.1, 1.0]}


@pytest.fixture(scope="module")
def made(simulate):
    return simulate(lambda run: 0.7 + 0.1 * (run["bn"] == "before") + 0.05 * (run["activation"] == "relu"), GRID, 6)


@pytest.fixture(scope="module")
def written(made, stop, tmp_path_factory):
    """All without BN, and sigmoid with BN at the larger rate."""
    gone = (made.runs["bn"] == "none") | ((made.runs["activation"] == "sigmoid") & (made.runs["lr.value"] == 1.0))
    return write_report(stop(made, gone, 0.4), tmp_path_factory.mktemp("stopped"))


def rows_of(report, name):
    with report.file(name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_was_stopped_is_a_table_of_its_own_and_not_in_the_ranking(written):
    stopped, ranked = rows_of(written, "stopped.csv"), rows_of(written, "ranking.csv")
    assert {(row["arm"], row["lr"]) for row in stopped} == {
        ("sigmoid · no BN", "0.1"),
        ("sigmoid · no BN", "1.0"),
        ("relu · no BN", "0.1"),
        ("relu · no BN", "1.0"),
        ("sigmoid · BN before", "1.0"),
    }
    assert {row["first_step"] for row in stopped} == {"90"} and {row["activation"] for row in stopped} == {
        "sigmoid",
        "relu",
    }
    assert {row["arm"] for row in ranked} == {"sigmoid · BN before", "relu · BN before"}
    assert {(row["view"], row["arm"]) for row in ranked} >= {("lr 0.1", "sigmoid · BN before")}
    assert ("lr 1", "sigmoid · BN before") not in {(row["view"], row["arm"]) for row in ranked}


def test_every_column_is_explained(written):
    entries = {(row["file"], row["column"]): row["meaning"] for row in rows_of(written, "columns.csv")}
    for file in ("stopped.csv", "runs.csv", "ranking.csv"):
        for column in rows_of(written, file)[0]:
            assert entries[file, column], column
    assert "stopped" in entries["runs.csv", "status"]


def test_page_and_markdown_list_it_with_where_it_stood_and_why(written):
    html, text = (written.file(name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    for page in (html, text):
        assert "Stopped early" in page and "Validation accuracy when stopped" in page
        assert "stopped at rung 1 (step 90 of 360): arm 7 of 12 by mean validation accuracy" in page
        assert "6 of 6" in page
    assert "missing by choice and not by chance" in html
    assert 'download="stopped.csv.gz"' in html


def test_the_first_screen_counts_it_and_names_the_best_of_it(written):
    text = " ".join(written.first_screen().split())
    assert "5 combinations were stopped early and are not ranked." in text
    assert "Stopped early, by validation accuracy when stopped" in text
    assert "18 of 48 planned runs ran to the end: 18 finished, 30 stopped." in text
    assert text.endswith("… and 2 more in stopped.csv")


def test_summary_and_the_paper_table_say_it_too(written):
    summary = json.loads(written.file("summary.json").read_text(encoding="utf-8"))
    assert summary["ledger"]["stopped"] == 30 and not summary["complete"]
    assert len(summary["stopped"]) == 5 and summary["stopped"][0]["lr"] in (0.1, 1.0)
    remarks = " ".join(paper_table(written.content).remarks)
    assert "5 settings that were stopped early are in stopped.csv." in remarks


def test_what_stood_higher_when_it_was_stopped_is_named_in_the_answer(made, stop, tmp_path):
    best = (made.runs["bn"] == "before") & (made.runs["activation"] == "relu")
    report = write_report(stop(made, best, why=FLAT), tmp_path)
    assert report.answer.startswith("Best combination: sigmoid · BN before")
    assert "2 combinations were stopped early and are not ranked, though relu · BN before at lr" in report.answer
    assert report.answer.endswith("and 1 other stood no lower when stopped.")


def test_curves_are_drawn_to_the_stop_and_the_key_says_so(written):
    curves = written.content.drawing("curves")
    assert "arms that were stopped early at every learning rate" in curves.caption
    assert "stopped early" in curves.svg
    assert "no BN" in curves.svg, "no arm without BN is ranked"
    assert "stopped early" in written.content.drawing("heat").caption


def test_where_everything_was_stopped_it_is_listed_and_nothing_is_ranked(made, stop, tmp_path):
    report = write_report(stop(made, made.runs["seed"] >= 0, 0.4, why=FLAT), tmp_path)
    assert report.answer == "Nothing is ranked: every arm was stopped early. They are listed by their last scores."
    assert rows_of(report, "ranking.csv") == [] and len(rows_of(report, "stopped.csv")) == 8
    assert {v.verdict for v in report.content.verdicts if "before training" not in v.sentence} == {"not asked"}
    html = report.html.read_text(encoding="utf-8")
    assert "No arm is ranked." in html and "Validation accuracy when stopped" in html
    assert "8 more" not in report.first_screen() and "… and 5 more in stopped.csv" in report.first_screen()


def test_a_store_gives_all_that_a_report_says_of_stopped_runs(empty_database, tmp_path):
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    store = Store.open(TrackingConfig(uri=f"sqlite:///{tmp_path / 'mlflow.db'}"))
    configs = [RunConfig(bn=BnConfig(bn), seed=seed) for seed in range(5) for bn in ("none", "before")]
    curve = [0.1, 0.5, 0.7, 0.8, 0.9]
    for config in configs:
        n, value = (3, 0.7) if config.bn.placement == "none" else (5, 0.9 + 0.001 * config.seed)
        history = {
            "step": [90.0 * i for i in range(n)],
            "epoch": [5.0 * i for i in range(n)],
            "val/accuracy": curve[:n],
        }
        summary = {"final_val_accuracy": value, "final_test_accuracy": value, "final_train_accuracy": value}
        record = RunRecord("finished", history=history, summary=summary, seconds=0.1, device="cpu")
        if n == 3:
            reason = "stopped at rung 1 (step 180 of 360): arm 2 of 2 by mean validation accuracy"
            record = replace(record, status="stopped", stopped_step=180, reason=reason)
        log_run(store, config, record, "s")
    report = write_report(store.load("s"), tmp_path / "report")
    (row,) = rows_of(report, "stopped.csv")
    assert (row["arm"], row["first_step"], row["runs_stopped"], float(row["score"])) == ("no BN", "180", "5", 0.7)
    assert row["reason"] == "stopped at rung 1 (step 180 of 360): arm 2 of 2 by mean validation accuracy"
    assert [row["arm"] for row in rows_of(report, "ranking.csv")] == ["BN before"]
    assert "1 of 2 arms were stopped early. They fell behind" in " ".join(n.text for n in report.content.notices)
    assert "stopped early" in report.content.drawing("curves").svg


def test_a_sweep_without_stopped_runs_does_not_speak_of_them(lecture_report):
    names = {path.name for path in lecture_report.files}
    assert "stopped.csv" not in names
    for name in ("report.html", "report.md", "summary.json", "columns.csv"):
        text = lecture_report.file(name).read_text(encoding="utf-8")
        assert "topped early" not in text and "stopped.csv" not in text, name
    assert not np.any(lecture_report.content.grid.stopped)
