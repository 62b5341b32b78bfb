"""The files: whole, offline, escaped, and saying the same."""

from __future__ import annotations

import contextlib
import csv
import gc
import itertools
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from bnsweep.checks import ConfigError
from bnsweep.report import collector_at_rest, write_report
from bnsweep.report.grid import spread

FIGURES = ["forest", "factors", "interaction", "curves", "heat", "gradients", "histograms"]
EVIL = "<script>alert(1)</script> | *x* $y$"


class Tags(HTMLParser):
    """Tags and attributes of a page, and whether every tag is closed."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(lecture, tmp_path_factory):
    lecture.info |= {"commit": "abc123", "dirty": True, "hardware": "2 cores", "versions": {"torch": "2.9.0"}}
    lecture.info |= {"data": [{"name": "digits", "digest": "fe12"}], "seconds": {"training": 80.0}}
    return write_report(lecture, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def html(written):
    return written.html.read_text(encoding="utf-8")


def test_four_files_and_no_leftovers(written):
    folder = written.html.parent
    assert sorted(p.name for p in folder.iterdir()) == ["ranking.csv", "report.html", "report.md", "summary.json"]


def test_the_page_loads_nothing_from_anywhere(html):
    for tag, attributes in Tags(html).seen:
        assert tag not in ("script", "iframe", "img", "object")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)


def test_every_tag_is_closed_and_every_id_is_the_only_one(html):
    tags = Tags(html)
    assert tags.open == []
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_holds_every_figure_with_a_caption(html):
    assert re.findall(r'<figure id="(\w+)"', html) == FIGURES
    assert len(re.findall(r"<figcaption>\w[^<]{80,}</figcaption>", html)) == len(FIGURES)


def test_figures_take_their_colours_from_the_page(html):
    svg = html[html.index("<svg") : html.rindex("</svg>")]
    assert "var(--ink" in svg
    assert "var(--s1" in svg
    assert "#0102" not in svg


def test_the_answer_stands_first_and_in_every_form(written, html):
    answer, page = "Best arm: relu · ", html.replace("\u00a0", " ")
    assert page.index(answer) < page.index("<table>") < page.index("<svg")
    assert written.answer.startswith(answer)
    assert answer in written.markdown.read_text(encoding="utf-8")
    assert json.loads(written.summary.read_text(encoding="utf-8"))["answer"] == written.answer
    assert answer in written.first_screen()


def test_the_first_screen_is_short_plain_text(written):
    lines = written.first_screen().splitlines()
    assert len(lines) <= 15
    assert "540 of 540 planned runs have a result: 510 finished, 30 diverged." in written.first_screen()
    assert "10 more in ranking.csv" in lines[-1]
    assert all(len(line) <= 110 for line in lines[1:])


def test_what_was_run_is_said(html):
    for text in (
        "python -m bnsweep -m bn=none,before,after",
        "abc123 with uncommitted changes",
        "torch 2.9.0",
        "digits",
    ):
        assert text in html


def test_the_table_is_tidy_and_numbers_are_plain(written):
    with written.ranking.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18 * 4
    assert {row["view"] for row in rows} == {"best lr", "lr 0.01", "lr 0.1", "lr 1"}
    assert float(rows[0]["score"]) > 0.9


def test_json_knows_missing_from_zero(written):
    summary = json.loads(written.summary.read_text(encoding="utf-8"))
    assert summary["ranking"][0]["p"] is None, "the top arm is not compared with itself"
    assert summary["ranking"][0]["diverged"] == 0.0
    assert summary["ledger"] == {"planned": 540, "finished": 510, "diverged": 30, "failed": 0, "missing": 0}


def test_markdown_tables_have_even_rows(written):
    lines = written.markdown.read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) > 70
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|")


def test_what_users_type_is_text_not_markup(simulate, tmp_path):
    frame = simulate(factors={"optimizer": [EVIL, "sgd"]}, seeds=5)
    frame.info |= {"command": EVIL, "experiment": EVIL, "sweep": EVIL}
    report = write_report(frame, tmp_path)
    page = report.html.read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "$y$" in page, "a dollar is a dollar, in figures too"
    assert "<script" not in report.markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("factors", "seeds"),
    [
        ({"bn": ["none", "before"]}, 10),
        ({"lr.value": [0.01, 0.1, 1.0]}, 5),
        ({"lr.value": [0.01, 0.1], "lr.schedule": ["constant", "cosine"], "model.hidden": ["32-32", "64-64-64"]}, 2),
        ({"optimizer": ["sgd", "momentum", "adam"], "train.batch_size": [32, 64], "data": ["digits", "mnist"]}, 3),
        ({"activation": list("abcdefghi"), "init": list("klmnopq"), "bn": ["none", "after"], "lr.value": [1, 2]}, 1),
        ({}, 1),
        ({}, 10),
    ],
)
def test_any_grid_gives_a_report(simulate, tmp_path, factors, seeds):
    report = write_report(simulate(factors=factors, seeds=seeds), tmp_path)
    assert Tags(report.html.read_text(encoding="utf-8")).open == []
    assert report.answer


class Tables(HTMLParser):
    """The texts of a page's tables: table -> row -> cells."""

    def __init__(self, text):
        super().__init__()
        self.found, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.found[-1][-1][-1] += data


def test_the_first_table_is_a_short_one(html):
    head, *rows = Tables(html).found[0]
    assert len(rows) == 8
    assert not {"Rank interval", "Train\u00a0− test", "Seeds"} & set(head)
    assert {"Rank", "Arm", "Tied group", "Test accuracy"} < set(head)


def test_a_page_shows_the_top_and_the_bottom_of_a_long_table_and_says_where_the_rest_is(simulate, tmp_path):
    factors = {"model.dropout": [i / 500 for i in range(150)], "lr.value": [i / 100 for i in range(1, 21)]}
    frame = simulate(lambda run: 0.5 + run["model.dropout"], factors, seeds=3, noise=0.0)
    unranked = (frame.runs["model.dropout"] >= 0.25) & (frame.runs["seed"] < 2)  # 25 arms have one seed only
    frame.runs.loc[unranked, ["status", "final_val_accuracy"]] = ["failed", math.nan]
    report = write_report(frame, tmp_path)
    page = report.html.read_text(encoding="utf-8")
    tables = Tables(page).found
    ranks = [row[0] for row in tables[1][1:]]
    assert ranks == [*map(str, range(1, 81)), "…", *map(str, range(106, 126)), *["–"] * 20, "…"]
    assert [row[1] for row in tables[1] if row[0] == "…"] == ["25 more in ranking.csv", "5 more in ranking.csv"]
    assert len(re.findall("<details", page)) == 12
    assert "12 of 20 learning rates stand here" in page
    assert "The best 40 of 125 levels; summary.json has all." in page
    assert "16 of 20 learning rates are drawn" in page
    markdown = report.markdown.read_text(encoding="utf-8")
    assert "12 of 20 learning rates follow" in markdown
    assert markdown.count("25 more in ranking.csv") == 13
    with report.ranking.open(encoding="utf-8") as file:
        assert sum(1 for _ in csv.DictReader(file)) == 150 * 21
    assert len(json.loads(report.summary.read_text(encoding="utf-8"))["ranking"]) == 150 * 21


@pytest.mark.parametrize("count", [1, 11, 12, 13, 23, 500])
def test_what_is_shown_of_many_is_spread_from_first_to_last(count):
    places = spread(count, 12)
    assert len(set(places)) == len(places) == min(count, 12)
    assert (places[0], places[-1]) == (0, count - 1)
    assert max(np.diff(places), default=0) - min(np.diff(places), default=0) <= 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_garbage_collector_is_as_it_was_afterwards(fails):
    with contextlib.suppress(ConfigError), collector_at_rest():
        assert not gc.isenabled()
        if fails:
            raise ConfigError("refused")
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("diverged", "No arm trained: every run diverged"),
        ("failed", "Nothing can be ranked"),
        ("missing", "Nothing can be"),
    ],
)
def test_a_sweep_in_which_nothing_trained_still_gets_its_report(simulate, tmp_path, status, answer):
    frame = simulate(factors={"bn": ["none", "before"], "lr.value": [0.1, 1.0]}, diverges=lambda run: True)
    frame.runs["status"] = status
    assert write_report(frame, tmp_path).answer.startswith(answer)


def test_a_sweep_that_trained_nothing_is_not_taken_for_a_race(simulate, tmp_path, monkeypatch):
    frame = simulate(factors={"bn": ["none", "before"], "init": ["xavier", "he"]})
    frame.runs["train.epochs"] = 0
    whole = frame.history
    monkeypatch.setattr(frame, "history", lambda *names: whole(*names).query("step == 0"))
    report = write_report(frame, tmp_path)
    page = report.html.read_text(encoding="utf-8")
    assert report.answer.startswith("Nothing was trained")
    assert "What moves the mean most" not in page and "Learning curves" not in page
    assert "dotted at the start. A line" in page


def test_missing_columns_are_dashes(simulate, tmp_path):
    frame = simulate(factors={"bn": ["none", "before"]})
    frame.runs = frame.runs.drop(
        columns=["final_test_accuracy", "steps_to_tau", "tau_reached", "gap_accuracy", "reason"]
    )
    frame.info = {}
    rows = write_report(frame, tmp_path).markdown.read_text(encoding="utf-8").splitlines()
    head, first = (next(line for line in rows if line.startswith(start)).split(" | ") for start in ("| Rank", "| 1 "))
    cells = dict(zip(head, first, strict=True))
    assert [cells[name] for name in ("Test accuracy", "Steps to τ", "Train\u00a0− test")] == ["–"] * 3
    assert cells["Diverged"] == "0 %"


def test_a_metric_the_sweep_lacks_is_refused_and_nothing_written(simulate, tmp_path):
    frame = simulate(factors={"bn": ["none", "before"]})
    with pytest.raises(
        ConfigError, match=r"metric=best_val_accuracy: must be one that this sweep recorded \(final_val"
    ):
        write_report(frame, tmp_path / "out", "best_val_accuracy")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_write_leaves_the_old_report(simulate, tmp_path, monkeypatch):
    frame = simulate(factors={"bn": ["none", "before"]})
    old = write_report(frame, tmp_path).html.read_bytes()

    def full(path, text, encoding):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="disk full"):
        write_report(frame, tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "report.html").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 4


def test_the_report_needs_no_pyplot_no_scipy_stats_and_no_torch():
    heavy = "{'matplotlib.pyplot', 'scipy.stats', 'torch', 'mlflow'}"
    code = f"import sys, bnsweep.report.write; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
