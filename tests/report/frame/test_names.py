"""What stands for different things has different names, and names are shown as they are."""

from __future__ import annotations

import math

import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.config.checks import printable
from bnsweep.report.frame.formats import at_least, share_text, shortened_apart
from bnsweep.report.frame.grid import read_grid, value_text


@pytest.mark.parametrize("values", [(0.1234567, 0.12345678), (1e-7, 1.0000001e-7), (0.1, 0.1 + 2**-50), (1.0, 100.0)])
def test_different_numbers_have_different_texts(values):
    texts = [value_text(value) for value in values]
    assert len(set(texts)) == len(values)
    assert tuple(map(float, texts)) == values


def test_numbers_are_no_longer_than_they_need_to_be():
    assert [value_text(v) for v in (0.1, 1.0, 1e-05, 1437.0, math.nan)] == ["0.1", "1", "1e-05", "1437", "none"]


def test_seeds_of_many_digits_are_seeds_of_their_own(simulate):
    runs = simulate(factors={"bn": ["none", "before"]}, seeds=3).runs
    runs["seed"] = runs["data.seed"] = 2_000_000_000 + runs["seed"]
    assert read_grid(runs).bundles == ["2000000000", "2000000001", "2000000002"]


def test_two_momenta_are_told_apart(simulate):
    factors = {"bn": ["before"], "bn.momentum": [0.1, 0.9], "optimizer.momentum": [0.1, 0.9]}
    arms = list(read_grid(simulate(factors=factors, seeds=2).runs).arms["arm"])
    assert "BN momentum 0.1 · momentum 0.9" in arms
    assert len(set(arms)) == 4


def test_rates_that_differ_in_the_eighth_digit_are_two_views(simulate):
    grid = read_grid(simulate(factors={"bn": ["none", "before"], "lr.value": [0.1, 0.10000001]}, seeds=2).runs)
    assert list(grid.lrs["lr"]) == ["lr 0.1", "lr 0.10000001"]


def test_long_names_stay_apart_when_they_are_shortened():
    shared = " · ".join(["relu", "he", "a long name of something that all of them share"])
    assert shortened_apart([f"{shared} · dropout 0.{i}" for i in (1, 2)], 30) == ["dropout 0.1", "dropout 0.2"]
    alike = shortened_apart(["a" * 40 + middle + "b" * 40 for middle in "xyz"], 20)
    assert len(set(alike)) == 3
    assert shortened_apart(["relu · he", "relu · xavier"], 20) == ["relu · he", "relu · xavier"]


def test_only_all_is_100_percent_and_only_nothing_is_0():
    assert [share_text(v) for v in (0.0, 0.001, 0.5, 0.996, 1.0)] == ["0 %", "1 %", "50 %", "99 %", "100 %"]


def test_a_mean_of_steps_that_not_all_ended_is_at_the_least():
    steps, accuracy = METRICS["steps_to_tau"], METRICS["final_val_accuracy"]
    assert [at_least(steps, 49.0, share) for share in (1.0, 0.7, 0.0, math.nan)] == [
        "49",
        "≥ 49 (70 %)",
        "≥ 49 (0 %)",
        "49",
    ]
    assert at_least(accuracy, 0.9, 0.5) == "90.0 %"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("one\ntwo\r\x00\x7f\x9b", "one\\ntwo\\r\\x00\\x7f\\x9b"),
        ("\u202egnp.exe\u2066\u2028\u200b\ufeff", "\\u202egnp.exe\\u2066\\u2028\\u200b\\ufeff"),
        ("\udc80\U000e0001", "\\udc80\\U000e0001"),
        ("日本 · é 😀 ≥ 1", "日本 · é 😀 ≥ 1"),
    ],
)
def test_what_would_be_obeyed_is_shown(text, seen):
    assert printable(text) == seen
    assert printable(text, keep=text) == text
