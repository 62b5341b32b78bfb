"""`python -m bnsweep.report sweep=A,B`: what it writes, from real stores, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from dataclasses import replace
from itertools import product

import pytest

from bnsweep.cli.report import main
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import BnConfig, TrainConfig
from bnsweep.config.identity import identity, numbers
from bnsweep.config.run import RunConfig, TrackingConfig
from bnsweep.records import DatasetInfo, RunRecord
from bnsweep.report import compare_sweeps
from bnsweep.report.compare.pages import write_comparison
from bnsweep.store.store import Manifest, Store
from tests.browser import CHROMIUM, Browser

SEEDS = 6
FILES = {"compare.html", "compare.md", "compare.csv", "compare.json"}


def log(tracking, sweep_id, epochs=20, placements=("none", "before"), score=0.8, metric="final_val_accuracy"):
    """A closed sweep; BN before is 5 points better, and a seed's luck is shared by all sweeps."""
    store = Store.open(tracking)
    arms = list(product(range(SEEDS), placements))
    configs = [RunConfig(bn=BnConfig(bn), train=TrainConfig(epochs=epochs), seed=seed) for seed, bn in arms]
    planned = [{"identity": identity(config), **numbers(config)} for config in configs]
    store.open_sweep(Manifest(sweep_id, f"python -m bnsweep -m {sweep_id}", "2026-01-02T03:04:05+00:00", planned))
    dataset = DatasetInfo("digits", "0123456789abcdef", "scikit-learn", 1797, 64, 10)
    done = store.done()
    runs = []
    for i, (config, (seed, bn)) in enumerate(zip(configs, arms, strict=True)):
        value = score + 0.05 * (bn == "before") + 0.01 * seed + 0.001 * (i * (epochs + len(tracking.experiment)) % 7)
        record = RunRecord("finished", summary={metric: value}, seconds=0.1, device="cpu", dataset=dataset)
        runs += [(config, record, None)] if identity(config) not in done else []
    store.log_runs(runs, sweep_id)
    store.close_sweep(sweep_id, {"planned": len(configs)}, {})


@pytest.fixture(scope="module")
def tracking(empty_database, tmp_path_factory):
    """Sweeps `long` (20 epochs), `short` (5 epochs, worse), `again` (of 20 epochs too, so trained once), `after`."""
    home = tmp_path_factory.mktemp("two")
    shutil.copyfile(empty_database, home / "mlflow.db")
    tracking = TrackingConfig(f"sqlite:///{home / 'mlflow.db'}", "lab")
    log(tracking, "long")
    log(tracking, "short", epochs=5, score=0.7)
    log(tracking, "again")
    log(tracking, "after", placements=("after",))
    log(tracking, "steps", epochs=7, metric="steps_to_tau")
    log(TrackingConfig(tracking.uri, "other <lab>"), "long", score=0.75)
    return tracking


def test_four_files_say_the_same(tracking, tmp_path):
    said = compare_sweeps(tracking, "long,short", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert said.endswith(f"Comparison: {tmp_path / 'compare.html'}")
    assert "A: sweep long · B: sweep short" in said
    assert "Of 2 shared arms: 2 worse in B (no BN, BN before)" in said.replace(
        "(BN before, no BN)", "(no BN, BN before)"
    )
    assert "What changed: train.epochs 20 → 5." in said
    assert "Paired by seed: both sweeps ran 6 seeds that count here." in said
    with (tmp_path / "compare.csv").open(encoding="utf-8") as file:
        table = {row["arm"]: row for row in csv.DictReader(file)}
    tree = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    assert {row["arm"]: row["verdict"] for row in tree["arms"]} == {arm: row["verdict"] for arm, row in table.items()}
    assert set(table) == {"no BN", "BN before"}
    for row in table.values():
        assert float(row["difference"]) == pytest.approx(-0.1, abs=0.01)
        assert row["verdict"] == "worse in B"
        for name in ("compare.html", "compare.md"):
            text = (tmp_path / name).read_text(encoding="utf-8")
            assert f"−{100 * abs(float(row['difference'])):.2f}" in text
            assert "worse in B" in text
    assert tree["settings"] == [{"name": "train.epochs", "a": "20", "b": "5"}]
    assert (tree["paired"], tree["kendall_tau"], tree["seeds"]["a"]) == (True, 1.0, [str(i) for i in range(SEEDS)])


def test_the_page_needs_nothing_from_elsewhere_and_escapes_names(tracking, tmp_path):
    compare_sweeps(tracking, "other <lab>/long,short", tmp_path)
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert "@import" not in text
    assert "other &lt;lab&gt;/long" in text
    assert "<lab>" not in text
    assert "lab/short" in text
    assert "&lt;lab&gt;/long" in (tmp_path / "compare.md").read_text(encoding="utf-8")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium found; Debian: apt-get install chromium")
def test_the_page_opens_from_disk_sorts_and_fits_any_width(tracking, tmp_path):
    compare_sweeps(tracking, "long,short", tmp_path)
    browser = Browser()
    try:
        browser.open(tmp_path / "compare.html")
        assert browser.requests == [(tmp_path / "compare.html").as_uri()]
        assert browser.complaints == []
        browser.value("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        for width in (320, 400, 1400):
            browser.resize(width)
            assert browser.value("document.documentElement.scrollWidth") <= width
        first = "document.querySelector('table.sort tbody tr td').textContent"
        before = browser.value(first)
        heading = "Array.from(document.querySelectorAll('table.sort th')).find((c) => c.textContent.trim() === {!r})"
        browser.value(heading.format("Rank in A") + ".querySelector('button').click()")
        ahead = browser.value(first)
        browser.value(heading.format("Rank in A") + ".querySelector('button').click()")
        assert {before, ahead, browser.value(first)} == {"no BN", "BN before"}
        assert ahead == "BN before"
    finally:
        browser.close()


def test_a_setting_trained_once_is_said_to_be_the_same_run(tracking, tmp_path):
    said = compare_sweeps(tracking, "long,again", tmp_path)
    assert "Both sweeps show the very same runs in their 2 shared arms: nothing can differ." in said
    assert "What changed: nothing that was recorded." in said
    apart = compare_sweeps(tracking, "long,other <lab>/long", tmp_path)
    assert "2 worse in B" in apart, "in another experiment it was trained anew"


def test_the_same_comparison_twice_is_the_same_to_the_byte(tracking, tmp_path):
    texts = []
    for name in "xy":
        compare_sweeps(tracking, "long,short", tmp_path / name)
        texts.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sweep=long,long", "sweep=long,long: must be two different sweeps, and both are long"),
        ("sweep=steps,latest", "sweep=steps,latest: must be two different sweeps, and both are steps"),
        ("sweep=long,short,again", "sweep=long,short,again: must be one sweep, or two with a comma between them"),
        ("sweep=long,", "sweep=long,: must be one sweep, or two"),
        ("sweep=long,nobody", "sweep=nobody: must be latest or the id of a sweep in lab"),
        ("sweep=long,nowhere/short", "tracking.experiment=nowhere: must be one of those in"),
        ("sweep=long,after", "sweep=A,B: must have an arm in common; bn is none, before in A and after in B"),
        (
            "sweep=long,steps",
            "metric=final_val_accuracy: must be one that both sweeps recorded (steps has steps_to_tau)",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line_and_writes_nothing(tracking, tmp_path, monkeypatch, setting, says):
    where = [f"tracking.uri={tracking.uri}", "tracking.experiment=lab", f"out={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["bnsweep.report", setting, *where])
    with pytest.raises(SystemExit) as caught:
        main()
    assert str(caught.value.code).startswith(f"bnsweep.report: {says}")
    assert "\n" not in str(caught.value.code)
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_first_screen(tracking, tmp_path, monkeypatch, capsys):
    where = [f"tracking.uri={tracking.uri}", "tracking.experiment=lab", f"out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["bnsweep.report", "sweep=long,latest", "metric=steps_to_tau", *where])
    with pytest.raises(SystemExit, match="long has final_val_accuracy"):
        main()
    monkeypatch.setattr(sys, "argv", ["bnsweep.report", "sweep=long,short", *where])
    main()
    assert "2 worse in B" in capsys.readouterr().out


def test_many_arms_are_cut_on_the_page_and_whole_in_the_csv(simulate, tmp_path):
    factors = {"model.dropout": [i / 200 for i in range(150)], "lr.value": [0.1]}
    a, b = (simulate(factors=factors, seeds=5, rng=i) for i in range(2))
    b.runs["run_id"] = "b" + b.runs["run_id"]
    b.info = replace(b.info, sweep="s2")
    _, files = write_comparison(a, b, tmp_path, "final_val_accuracy")
    page, table = (next(path for path in files if path.suffix == end).read_text() for end in (".html", ".csv"))
    assert "80 of 150 arms stand here; compare.csv has all" in page.replace("\n", " ")
    assert "30 of 150 shared arms" in page
    assert len(table.splitlines()) == 151


def test_a_metric_that_cannot_rank_is_refused(tracking, tmp_path):
    with pytest.raises(ConfigError, match="validation ranks"):
        compare_sweeps(tracking, "long,short", tmp_path, "final_test_accuracy")
