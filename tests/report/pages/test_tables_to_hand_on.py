"""The tables that leave a report: for a paper in LaTeX and Markdown, for a program with their columns explained."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import pandas as pd
import pytest

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.report.figures import figure_files
from bnsweep.report.frame.figure_files import FigureFiles
from bnsweep.report.frame.metrics import default_metric, task_of
from bnsweep.report.pages.machine import csv_files
from bnsweep.report.pages.paper_table import MOST, latex, latex_text, markdown
from bnsweep.report.pages.write import build, write_all

EVIL = r"a_b & 50 % {c} #1 $x$ \input{y} [z] *w* ~^ <|> “q” · × ≥ é"
PAPER = r"""
\documentclass{article}
\usepackage{booktabs,graphicx}
\begin{document}
\begin{table}\centering\caption{Arms}\input{table.tex}\end{table}
\begin{figure}\includegraphics[width=\linewidth]{figures/forest.pdf}\end{figure}
\end{document}
"""


def body(text):
    """The rows of a table.tex, a list of cells each."""
    inner = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    return [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in inner.splitlines()[1:]]


def content_of(frame):
    return build(frame, default_metric(task_of(frame.runs)))[0]


def read(content, name):
    return pd.read_csv(io.StringIO(csv_files(content)[name]), keep_default_na=name != "columns.csv")


@pytest.fixture(scope="module")
def content(lecture_report):
    return lecture_report.content


@pytest.fixture(scope="module")
def tex(content):
    return latex(content)


def test_a_paper_s_table_has_the_page_s_numbers(content, tex):
    best, metric = content.best, content.metric
    rows = body(tex)
    assert len(rows) == len(best) == 18
    for cells, (_, row) in zip(rows, best.iterrows(), strict=True):
        mean, low, high = (metric.text(row[k]).removesuffix(" %") for k in ("score", "low", "high"))
        assert cells[0].strip() == latex_text(row["arm"])
        bold = rf"\textbf{{{mean}}}" if row["group"] == 1 else mean
        assert cells[1].strip() == f"{bold} {{[}}{low}, {high}{{]}}", "bold: the leading group"
        assert cells[2].strip() == row["lr"].removeprefix("lr ")
    assert {"A", "B"} <= {cells[-1].strip() for cells in rows}
    assert r"accuracy~(\%)" in tex and "Steps to" in tex and "Mean over 10 seeds" in tex


def test_a_table_is_well_formed_latex(tex):
    lines = [line for line in tex.splitlines() if not line.startswith("%")]
    text = re.sub(r"\\[\\{}%&#$_]", "", "\n".join(lines))
    assert text.count("{") == text.count("}")
    assert re.findall(r"\\begin\{(\w+)", text) == re.findall(r"\\end\{(\w+)", text) == ["tabular"]
    columns = re.search(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", tex)[1]
    assert {line.count("&") for line in lines if "&" in line} == {len(columns) - 1}
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def test_the_same_stands_in_markdown(content, tex):
    lines = markdown(content).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + 18
    assert table[0].startswith("| Arm | Final validation accuracy (%) | Learning rate |")
    assert sum("**" in line for line in table) == tex.count(r"\textbf") > 0
    assert lines[-1].startswith("Mean over 10 seeds")


def test_what_never_gets_there_is_at_the_least(simulate):
    half = simulate(lambda run: 0.85 + 0.1 * (run["bn"] != "none"), {"bn": ["none", "before"]}, noise=0.02)
    content = content_of(half)
    text = latex(content)
    (censored,) = [cells for cells in body(text) if "no BN" in cells[0]]
    assert re.search(r"\$\\geq\$ [\d,]+ \(\d+~\\%\)", " ".join(censored))
    assert "count with all of their steps" in text
    assert "≥" in markdown(content)


def test_a_long_ranking_is_cut_and_says_so(simulate):
    many = simulate(factors={"optimizer": [f"o{k}" for k in range(MOST + 7)], "bn": ["none", "before"]}, seeds=2)
    text = latex(content_of(many))
    assert len(body(text)) == MOST
    assert f"The first {MOST} of {2 * (MOST + 7)} arms; ranking.csv has all." in text
    assert r"\textbf" not in text and "carry no inference" in text


def test_what_users_type_is_text_in_latex_too(simulate, tmp_path):
    frame = simulate(factors={"optimizer": [EVIL, "*sgd", "[adam]"]}, seeds=5)
    content, scene = build(frame, default_metric(CLASSIFICATION))
    text = latex(content)
    told = r"a\_b \& 50~\% \{c\} \#1 \$x\$ \textbackslash{}input\{y\} {[}z{]} {*}w{*} \textasciitilde{}"
    assert told in text
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex to compile it")
    drawn = figure_files(scene, content.verdicts, FigureFiles(("pdf",), ("forest",)), "")
    write_all(tmp_path, {"table.tex": text.encode(), "paper.tex": PAPER.encode(), **drawn})
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "paper.pdf").is_file()


def test_the_ranking_is_in_numbers_and_the_page_s_letters(content):
    table = read(content, "ranking.csv")
    assert table["lr"].dtype == float and set(table["lr"].dropna()) <= {0.01, 0.1, 1.0}
    best = table[table["view"] == "best lr"]
    assert best["group"].iloc[0] == "A" and set(best["group"].dropna()) >= {"A", "B"}
    assert table["rank"].dropna().eq(table["rank"].dropna().astype(int)).all()
    for name, column in table.drop(columns=["view", "arm", "activation", "init", "bn", "group", "note"]).items():
        assert column.dtype.kind in "fib", name
    assert (table[table["view"] == "lr 0.1"]["lr"].dropna() == 0.1).all()


@pytest.mark.parametrize(
    ("factors", "rates", "more"),
    [
        ({"lr.value": [0.1, 1.0]}, {0.1, 1.0}, []),
        ({"bn": ["none", "before"], "lr.value": [0.1, 1.0], "lr.schedule": ["constant", "cosine"]}, {0.1, 1.0}, [1]),
        ({"bn": ["none", "before"]}, {0.5}, []),
    ],
)
def test_a_learning_rate_is_a_number_however_it_came_about(simulate, factors, rates, more):
    frame = simulate(factors=factors, seeds=2)
    if "lr.value" not in factors:
        frame.runs["lr.value"] = 0.5
    table = read(content_of(frame), "ranking.csv")
    assert set(table["lr"]) <= rates and table["lr"].dtype == float and len(table["lr"].dropna()) == len(table)
    assert ("lr.schedule" in table) == bool(more)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_column_of_every_table_is_explained(simulate, regression, task):
    factors = {"bn": ["none", "before"], "lr.value": [0.1, 1.0], "lr.schedule": ["constant", "cosine"], "data": ["d"]}
    frame = simulate(factors=factors | {"model.hidden": ["32", "32-32"]}, seeds=5)
    frame.runs = frame.runs.assign(flow=0.1, growth=1.1, mates=0.1, drift_1=0.1, bn_gap=0.0, seconds=1.0, best_step=3.0)
    content = content_of(regression(frame) if task == "regression" else frame)
    columns = read(content, "columns.csv")
    assert list(columns) == ["file", "column", "meaning", "unit"]
    for name in ("ranking.csv", "claims.csv", "factors.csv", "runs.csv"):
        told = columns[columns["file"] == name]
        assert told["column"].tolist() == list(read(content, name)), name
        assert (told["meaning"] != "").all() and (told["unit"] != "").all(), told
    assert not columns["meaning"].str.contains("[A-Z]{4}").any(), "no name of the code's"
    unit = columns.set_index(["file", "column"])["unit"]
    assert unit["ranking.csv", "score"] == unit["ranking.csv", "low"] == "share"
    assert unit["ranking.csv", "lr"] == "number" and unit["ranking.csv", "steps_to_tau"] == "steps"
    assert unit["runs.csv", "bn_gap"] == ("nats" if task == "classification" else "variances")
