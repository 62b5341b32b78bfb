"""The files: whole, offline, escaped, and saying the same."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import itertools
import json
import math
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from markupsafe import escape
from rich.console import Console

from bnsweep.cli.report import read_request
from bnsweep.config.checks import ConfigError
from bnsweep.report import collector_at_rest, write_report
from bnsweep.report.frame.formats import at_least
from bnsweep.report.frame.grid import evenly_spaced
from bnsweep.report.pages import terminal
from bnsweep.report.pages.render import markdown_text
from bnsweep.report.pages.tables import difference
from bnsweep.store.sweep_data import SweepInfo

TABLES = {"claims.csv", "factors.csv", "ranking.csv", "runs.csv"}
FILES = TABLES | {"report.html", "report.md", "report.png", "summary.json", "columns.csv", "table.md", "table.tex"}
BLUE = (0, 114, 178)
"""Of Okabe & Ito's palette."""
EVIL = "<script>alert(1)</script> | *x* $y$"
QUOTE = """a" onclick="b' [red]"""


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
    lecture.info = replace(
        lecture.info,
        commit="abc123",
        dirty=True,
        hardware="2 cores",
        versions={"torch": "2.9.0"},
        data=[{"name": "digits", "digest": "fe12"}],
        seconds={"training": 80.0},
        experiment="bnsweep",
        experiment_id="7",
    )
    return write_report(lecture, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def html(written):
    return written.html.read_text(encoding="utf-8")


def rows_of(report, name):
    with report.file(name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_files_and_no_leftovers(written):
    assert {p.name for p in written.html.parent.iterdir()} == {p.name for p in written.files} == FILES


def test_the_page_loads_nothing_from_anywhere(html):
    for tag, attributes in Tags(html).seen:
        assert tag not in ("iframe", "img", "object", "base", "form")
        assert "src" not in attributes, (tag, attributes)
        for name in ("href", "xlink:href"):  # a link leads away only when it is clicked
            away = tag == "a" and attributes.get(name, "").startswith("http://127.0.0.1:5000/#/")
            assert away or attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)


def test_every_tag_is_closed_and_every_id_is_the_only_one(html):
    tags = Tags(html)
    assert tags.open == []
    ids = [attributes["id"] for _, attributes in tags.seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_holds_every_figure_with_a_caption(written, html):
    drawn = re.findall(r'<figure id="figure-([\w-]+)"', html)
    assert {"forest", "factors", "interaction", "curves", "heat", "gradients", "histograms"} <= set(drawn)
    assert drawn[0] == "forest"
    assert len(drawn) == len(set(drawn))
    strips = [name for name in drawn if name.startswith("claim-")]
    captions = re.findall(r"<figcaption>\w[^<]{80,}</figcaption>", html)
    assert len(captions) == len(set(captions)) == len(drawn) - len(strips) + 1, "the strips share one"
    assert len(strips) == len(written.content.asked)


def test_figures_take_their_colours_from_the_page(html):
    svg = html[html.index("<svg") : html.rindex("</svg>")]
    assert "var(--ink" in svg
    assert "var(--s1" in svg
    assert "#0102" not in svg


def test_the_answer_stands_first_and_in_every_form(written, html):
    answer, page = "Ahead: relu · ", html.replace("\u00a0", " ")
    assert page.index(answer) < page.index('class="verdicts"') < page.index("<table") < page.index("<figure")
    assert written.answer.startswith(answer)
    assert answer in written.file("report.md").read_text(encoding="utf-8")
    assert json.loads(written.file("summary.json").read_text(encoding="utf-8"))["answer"] == written.answer
    assert answer in written.first_screen()


def test_the_first_screen_is_short_plain_text(written):
    text = written.first_screen()
    assert "540 of 540 planned runs have a result: 510 finished, 30 diverged." in text
    assert text.endswith("10 more in ranking.csv")
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 50
    assert all(len(line) <= 100 for line in text.splitlines())


def test_what_was_run_is_said(html):
    for text in (
        "python -m bnsweep -m bn=none,before,after",
        "abc123 with uncommitted changes",
        "torch 2.9.0",
        "digits",
    ):
        assert text in html


def test_the_table_is_tidy_and_numbers_are_plain(written):
    rows = rows_of(written, "ranking.csv")
    assert len(rows) == 18 * 4
    assert {row["view"] for row in rows} == {"best lr", "lr 0.01", "lr 0.1", "lr 1"}
    assert float(rows[0]["score"]) > 0.9


def test_every_comparison_and_every_run_has_a_row(written):
    verdicts = json.loads(written.file("summary.json").read_text(encoding="utf-8"))["verdicts"]
    claims, runs = rows_of(written, "claims.csv"), rows_of(written, "runs.csv")
    assert {(v["key"], v["verdict"]) for v in verdicts} == {(row["key"], row["verdict"]) for row in claims}
    faster = next(v for v in verdicts if v["key"] == "bn-faster")
    told = [row for row in claims if row["key"] == "bn-faster"]
    assert [float(row["effect"]) for row in told] == pytest.approx([e["effect"] for e in faster["evidence"]])
    for e in faster["evidence"]:
        assert np.mean(e["difference_by_seed"]) == pytest.approx(e["effect"])
        assert len(e["difference_by_seed"]) == e["n_seeds"] == 10
    assert len(runs) == 540
    assert {"run_id", "status", "activation", "init", "bn", "lr.value", "seed", "final_val_accuracy"} <= set(runs[0])
    assert not {"optimizer", "identity"} & set(runs[0]), "what is the same in all runs stands in summary.json"
    assert sum(row["status"] == "diverged" for row in runs) == 30
    assert all(row["final_val_accuracy"] == "" for row in runs if row["status"] == "diverged")


def test_shares_of_the_factors_add_up(written):
    shares = rows_of(written, "factors.csv")
    assert {"bn", "activation", "init", "bn × init"} <= {row["effect"] for row in shares}
    assert sum(float(row["omega2"]) for row in shares) == pytest.approx(1)


def test_page_and_markdown_say_the_same_verdicts(written, html):
    markdown = written.file("report.md").read_text(encoding="utf-8")
    page = html.replace("\u00a0", " ")
    for v in written.content.verdicts:
        assert page.count(f"</span> {v.verdict}</span>") >= 1, "the word, not the colour alone"
        assert f"{markdown_text(v.claim)} | " in markdown
        assert markdown_text(v.sentence) in markdown
        assert str(escape(v.sentence)) in page
        for e in (e for e in v.evidence if v in written.content.asked):
            assert difference(e) in page
            assert difference(e) in markdown


def test_the_picture_is_small_and_wide(written):
    from PIL import Image

    path = written.file("report.png")
    assert path.stat().st_size < 200_000
    with Image.open(path) as image:
        assert image.size == (1400, 760)
        colours = {colour for _, colour in image.convert("RGB").getcolors(256)}
    assert (255, 255, 255) in colours
    assert not any(colour[:2] == (1, 2) for colour in colours), "no placeholder of the page's colours"
    assert min(sum(abs(a - b) for a, b in zip(c, BLUE, strict=True)) for c in colours) < 12, "Okabe & Ito's blue"


def test_an_arm_leads_to_its_runs_and_every_run_to_itself(written, html):
    runs = written.content.grid.runs
    best = written.content.best.iloc[0]
    links = [attributes["href"] for tag, attributes in Tags(html).seen if tag == "a"]
    (compare, *_), ids = [link for link in links if "compare-runs" in link], []
    ids = json.loads(parse_qs(urlsplit(compare).fragment.partition("?")[2])["runs"][0])
    arm = runs[runs["run_id"].isin(ids)]
    assert len(ids) == 10
    assert {(*row,) for row in arm[["activation", "init", "bn"]].to_numpy()} == {
        (best["activation"], best["init"], best["bn"])
    }
    assert [f"lr {v:g}" for v in arm["lr.value"].unique()] == [best["lr"]]
    assert len([link for link in links if "/#/experiments/7/runs/" in link]) == 18 * 10


def test_commands_can_be_copied_and_run_again(simulate, tmp_path):
    frame = simulate(factors={"bn": ["none", "before"]})
    uri = "http://host:5000"
    frame.info = replace(frame.info, commit="abc", experiment="my lecture", uri=uri, sweep="s 1")
    page = write_report(frame, tmp_path, "auc").html.read_text(encoding="utf-8")
    code = [unescape(text) for text in re.findall(r'<pre class="copy"><code>(.*?)</code>', page, re.DOTALL)]
    assert code[:2] == ["git checkout abc", frame.info.command]
    assert shlex.split(code[2])[3:] == [
        *("sweep=s 1", "metric=auc", "tracking.uri=http://host:5000", "tracking.experiment=my lecture"),
    ]
    request = read_request(shlex.split(code[2])[3:])
    assert (request.sweep, request.metric, request.tracking_experiment) == ("s 1", "auc", "my lecture")


@pytest.mark.parametrize(("width", "wants"), [(80, {}), (200, {}), (80, {"NO_COLOR": "1"}), (40, {})])
def test_a_terminal_gets_colour_and_no_line_beyond_its_width(written, width, wants):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, _environ={"TERM": "xterm-256color", **wants})
    terminal.show(written.content, console)
    text = file.getvalue()
    assert ("\x1b[36m" in text) == (not wants), "cyan: supported"
    bare = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert all(len(line) <= width for line in bare.splitlines())
    assert "supported" in bare
    assert "97." in bare or width < 80


def test_what_is_printed_into_a_pipe_is_plain(written, capsys):
    written.show()
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.endswith(f"\nReport: {written.html.resolve()}\n")


def test_json_knows_missing_from_zero(written):
    summary = json.loads(written.file("summary.json").read_text(encoding="utf-8"))
    assert summary["ranking"][0]["behind"] is None, "the top arm is not compared with itself"
    assert summary["ranking"][0]["diverged"] == 0.0
    assert summary["ledger"] == {"planned": 540, "finished": 510, "diverged": 30, "failed": 0, "missing": 0}


def test_markdown_tables_have_even_rows(written):
    lines = written.file("report.md").read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) > 70
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|")


def test_what_users_type_is_text_not_markup(simulate, tmp_path):
    frame = simulate(factors={"optimizer": [EVIL, QUOTE, "sgd"], "data": ["digits", QUOTE]}, seeds=5)
    command = f"{EVIL}\n# {QUOTE}"
    frame.info = replace(frame.info, command=command, experiment=EVIL, experiment_id=QUOTE, sweep=EVIL)
    report = write_report(frame, tmp_path)
    page = report.html.read_text(encoding="utf-8")
    assert page.count("<script") == 1, "the report's own"
    assert page.count("&lt;script&gt;") >= 5
    assert "$y$" in page, "a dollar is a dollar, in figures too"
    for _, attributes in Tags(page).seen:
        assert not any(name.startswith("on") for name in attributes), "a quote does not end an attribute"
    markdown = report.file("report.md").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("    ") for line in markdown if "<script" in line), "but for the command, which is code"
    assert "[red]" in report.first_screen(), "nor is it the terminal's markup"
    assert "</script> | *x* $y$" in report.first_screen().replace("\n", " ")


CONTROL = "a\x1b[31m\u202eb\nc\x00\x9b\u2028"


def test_what_a_terminal_or_page_would_obey_is_shown(simulate, tmp_path):
    frame = simulate(factors={"optimizer": [CONTROL, "sgd"], "data.call": ["a:b", CONTROL]}, seeds=5)
    frame.runs.loc[3, ["status", "reason"]] = ["failed", CONTROL]
    typed = CONTROL + "\udc80"  # an argument that is no text in the terminal's encoding
    about = dict.fromkeys(("sweep", "command", "created", "commit", "hardware", "experiment", "uri"), typed)
    frame.info = replace(frame.info, devices=[typed], data=[{"name": typed, "source": typed}], **about)
    report = write_report(frame, tmp_path)
    for path in report.files:
        if path.suffix != ".png":
            text = path.read_text(encoding="utf-8")
            assert not {c for c in text if not (c.isprintable() or c in "\n\u00a0")}, path.name
    shown = r"a\x1b[31m\u202eb\nc\x00\x9b\u2028"
    assert shown in report.html.read_text(encoding="utf-8")
    assert markdown_text(shown) in report.file("report.md").read_text(encoding="utf-8")
    assert {row["optimizer"] for row in rows_of(report, "runs.csv")} == {shown, "sgd"}
    assert json.loads(report.file("summary.json").read_text(encoding="utf-8"))["info"]["sweep"] == typed
    screen = report.first_screen()
    assert not {c for c in screen if not (c.isprintable() or c == "\n")}
    assert shown in screen.splitlines()[0]


def test_a_spreadsheet_takes_no_name_for_a_formula(simulate, tmp_path):
    formulas = ["=1+1", "+1", "-1+1", "@SUM(A1)"]
    frame = simulate(factors={"optimizer": formulas}, seeds=2)
    frame.runs.loc[0, ["status", "reason"]] = ["failed", "=HYPERLINK(1)"]
    report = write_report(frame, tmp_path)
    for name in TABLES:
        for row in rows_of(report, name):
            texts = [v for v in row.values() if not re.fullmatch(r"-?[\d.e-]*", v)]
            assert not any(v.startswith(("=", "+", "-", "@")) for v in texts), name
    assert {row["optimizer"] for row in rows_of(report, "runs.csv")} == {f"'{f}" for f in formulas}


def test_steps_that_not_all_runs_ended_are_at_the_least_in_every_form(simulate, tmp_path):
    factors = {"bn": ["none", "before"], "init": ["xavier", "he"], "lr.value": [0.1, 1.0]}
    half = simulate(lambda run: 0.85 + 0.1 * (run["bn"] != "none") * (run["init"] == "he"), factors, noise=0.02)
    report = write_report(half, tmp_path, "steps_to_tau")
    page, markdown = (report.file(n).read_text(encoding="utf-8") for n in ("report.html", "report.md"))
    part = report.content.best.query("0 < tau_share < 1")
    assert len(part)
    for row in part.to_dict("records"):
        told = at_least(report.content.metric, row["score"], row["tau_share"])
        assert told.startswith("≥ ")
        assert told in page
        assert told in markdown
    effects = report.content.effects.query("reached < 1")
    assert len(effects)
    for row in effects.to_dict("records"):
        assert f"≥ {row['score']:,.0f} (" in page
    assert "≥ " in report.content.mattered, "the levels of the strongest factor"
    heat = page[page.index('id="figure-heat"') :]
    assert ">≥ " in heat[: heat.index("</svg>")]
    assert "A run that never gets to τ counts with its whole budget." in heat[: heat.index("</figure>")]
    assert {"beside", "claim_p_adjusted"} <= set(rows_of(report, "claims.csv")[0])


@pytest.mark.parametrize(
    ("factors", "seeds"),
    [
        ({"bn": ["none", "before"]}, 10),
        ({"lr.value": [0.01, 0.1, 1.0]}, 5),
        ({"lr.value": [0.01, 0.1], "lr.schedule": ["constant", "cosine"], "model.hidden": ["32-32", "64-64-64"]}, 2),
        ({"optimizer": ["sgd", "momentum", "adam"], "train.batch_size": [32, 64], "data": ["digits", "mnist"]}, 3),
        ({"activation": list("abcdefghi"), "init": list("klmnopq"), "bn": ["none", "after"]}, 1),
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
    assert len(rows) == 5
    assert head == [
        *("Rank", "Arm", "Final validation accuracy", "95 % interval", "Group", "Test accuracy", "Learning rate")
    ]


def ranking_table(html):
    return next(table for table in Tables(html).found if "Rank interval" in table[0])


def test_a_page_shows_the_top_and_the_bottom_of_a_long_table_and_says_where_the_rest_is(simulate, tmp_path):
    factors = {"model.dropout": [i / 500 for i in range(150)], "lr.value": [i / 100 for i in range(1, 21)]}
    frame = simulate(lambda run: 0.5 + run["model.dropout"], factors, seeds=3, noise=0.0)
    unranked = (frame.runs["model.dropout"] >= 0.25) & (frame.runs["seed"] < 2)  # 25 arms have one seed only
    frame.runs.loc[unranked, ["status", "final_val_accuracy"]] = ["failed", math.nan]
    report = write_report(frame, tmp_path)
    page = report.html.read_text(encoding="utf-8")
    table = ranking_table(page)
    ranks = [row[0] for row in table[1:]]
    assert ranks == [*map(str, range(1, 81)), "…", *map(str, range(106, 126)), *["–"] * 20, "…"]
    assert [row[1] for row in table if row[0] == "…"] == ["25 more in ranking.csv", "5 more in ranking.csv"]
    assert len(re.findall("<details><summary>lr |<details open><summary>lr ", page)) == 12
    assert "12 of 20 learning rates stand here" in page
    assert "The best 40 of 125 levels; summary.json has all." in page
    assert "16 of 20 learning rates are drawn" in page
    markdown = report.file("report.md").read_text(encoding="utf-8")
    assert "12 of 20 learning rates follow" in markdown
    assert markdown.count("25 more in ranking.csv") == 13
    with report.file("ranking.csv").open(encoding="utf-8") as file:
        assert sum(1 for _ in csv.DictReader(file)) == 150 * 21
    assert len(json.loads(report.file("summary.json").read_text(encoding="utf-8"))["ranking"]) == 150 * 21


@pytest.mark.parametrize("count", [1, 11, 12, 13, 23, 500])
def test_what_is_shown_of_many_is_spread_from_first_to_last(count):
    places = evenly_spaced(count, 12)
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
        ("diverged", "No combination trained: every run diverged"),
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
    frame.runs["total_steps"] = 0.0
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
    frame.info = SweepInfo("")
    rows = write_report(frame, tmp_path).file("report.md").read_text(encoding="utf-8").splitlines()
    head, first = (next(line for line in rows if line.startswith(start)).split(" | ") for start in ("| Rank", "| 1 "))
    cells = dict(zip(head, first, strict=True))
    assert [cells[name] for name in ("Test accuracy", "Steps to τ", "Train\u00a0− test, points")] == ["–"] * 3
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

    def full(path, content):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        write_report(frame, tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "report.html").read_bytes() == old
    assert {p.name for p in tmp_path.iterdir()} == FILES


def test_the_report_needs_no_pyplot_no_scipy_stats_and_no_torch():
    heavy = "{'matplotlib.pyplot', 'scipy.stats', 'torch', 'mlflow'}"
    code = f"import sys, bnsweep.report.pages.write; print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_words_are_explained(html):
    words = html[html.index('id="words"') : html.index('id="methods"')]
    for word in ("arm", "seed", "decade", "Holm", "ω² (omega squared)", "τ (tau), steps to τ", "95 % interval"):
        assert f"<dt>{word}</dt><dd>" in words
