"""A report is the same whatever the user's environment says of matplotlib."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import pytest

from bnsweep.report import write_report

LOADS = """
import logging, os
logging.basicConfig(level=logging.INFO)  # as a sweep has it
before = dict(os.environ)
from bnsweep.report.frame.libraries import load_libraries
load_libraries()
assert dict(os.environ) == before
import bnsweep.report.pages.write, matplotlib
assert matplotlib.rcParams["font.size"] == 10, matplotlib.rcParams["font.size"]
"""


def load(tmp_path, **variables):
    environment = {"PATH": "/usr/bin:/bin", "MPLCONFIGDIR": str(tmp_path / "cache"), **variables}
    return subprocess.run(
        [sys.executable, "-c", LOADS], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_missing_backend_and_odd_variables_cost_no_report(tmp_path):
    (tmp_path / "other").write_text("font.size: 40\nbackend: foo\n", encoding="utf-8")
    variables = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "SOURCE_DATE_EPOCH": "yesterday"}
    done = load(tmp_path, MATPLOTLIBRC=str(tmp_path / "other"), **variables)
    assert (done.returncode, done.stderr) == (0, ""), "not even that fonts were looked for"
    assert list((tmp_path / "cache").glob("fontlist*")), "which they were"


def test_a_matplotlibrc_that_is_no_text_is_named(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    done = load(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"{tmp_path / 'matplotlibrc'}: must be text in UTF-8, or be moved away"
    )


@pytest.mark.slow
def test_figures_look_the_same_whatever_the_user_likes(simulate, tmp_path):
    frame = simulate(factors={"bn": ["none", "before"], "lr.value": [0.1, 1.0]}, seeds=5)
    plain = write_report(frame, tmp_path / "plain")
    likes = {"text.usetex": True, "font.size": 40, "figure.figsize": (1, 1), "axes.grid": False, "xtick.bottom": False}
    with matplotlib.rc_context(likes):
        liked = write_report(frame, tmp_path / "liked")
        assert matplotlib.rcParams["font.size"] == 40, "and theirs is as it was"
    for one, other in zip(plain.files, liked.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize("name", ["日本", "😀", "a\x1b[31m"])
def test_letters_that_no_font_has_warn_of_nothing(simulate, tmp_path, name):
    """Warnings are errors in tests."""
    assert write_report(simulate(factors={"optimizer": [name, "sgd"]}, seeds=5), tmp_path).answer
