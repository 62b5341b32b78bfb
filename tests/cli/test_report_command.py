"""`python -m bnsweep.report`: quick help, and errors in one line that say what would be right."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bnsweep.cli.report import main, read_request
from bnsweep.config.checks import ConfigError
from bnsweep.report.frame.figure_files import FigureFiles


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("swep=latest", "swep=latest: no such setting of the report, with KEY one of sweep, metric, out, tracking.uri"),
        ("latest", "latest: must be KEY=VALUE, with KEY one of sweep"),
        ("out=", "out=: must have a value"),
        ("figures=jpg", "figures=jpg: must be one or several of svg, pdf, png"),
        ("only=flow", "only=flow: must come with figures="),
        (
            "metric=final_test_accuracy",
            "metric=final_test_accuracy: must be one of final_val_accuracy, best_val_accuracy",
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(argument, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused(monkeypatch, argument)
    assert error.startswith(f"bnsweep.report: {message}")
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_reading(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "must be a folder that can be written" in refused(monkeypatch, f"out={tmp_path / 'file' / 'report'}")


def refused(monkeypatch, *arguments):
    """What the command says when it refuses; a text as SystemExit's code is printed and gives exit status 1."""
    monkeypatch.setattr(sys, "argv", ["bnsweep.report", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, str)
    return exit_.value.code


def test_settings_are_read_like_the_sweeps():
    request = read_request(
        ["sweep=2026-11-23", "metric=auc", "tracking.uri=sqlite:////x/a=b.db", "tracking.experiment=my lab"]
    )
    assert (request.sweep, request.metric, request.out) == ("2026-11-23", "auc", "report")
    assert (request.tracking_uri, request.tracking_experiment) == ("sqlite:////x/a=b.db", "my lab")
    assert read_request(["tracking.uri=null"]).tracking_uri is None


def test_figures_and_their_names_are_lists():
    request = read_request(["figures=svg,pdf", "only=flow, heat"])
    assert request.figure_files == FigureFiles(("svg", "pdf"), ("flow", "heat"))
    with pytest.raises(ConfigError, match=r"^figures=pdf: must be of one sweep, and sweep=a,b names several$"):
        read_request(["figures=pdf", "sweep=a,b"])


def test_a_switch_is_true_or_false():
    assert read_request(["links=false"]).links == "false"
    with pytest.raises(ConfigError, match=r"^links=no: must be one of true, false$"):
        read_request(["links=no"])


def test_the_last_of_two_values_counts():
    assert read_request(["metric=auc", "metric=final_val_loss"]).metric == "final_val_loss"


def test_a_blank_metric_is_no_metric():
    with pytest.raises(ConfigError, match="must have a value"):
        read_request(["metric="])


def test_a_reader_who_leaves_early_is_told_nothing(tmp_path):
    """What `| head -1` does to a screen that is still being printed."""
    script = tmp_path / "show.py"
    script.write_text(
        "import sys, bnsweep.cli.report as command\n"
        "command.compare_sweeps = lambda *_: 'x' * 10**7\n"
        "sys.argv = ['bnsweep.report', 'sweep=a,b']\n"
        "command.main()\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.read(1)
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 1


def test_help_lists_every_setting_without_heavy_imports():
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bnsweep.report", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - start < 5
    for key in (
        "sweep=latest",
        "metric=final_val_accuracy",
        "out=report",
        "figures=",
        "only=",
        "tracking.uri=",
        "tracking.experiment=",
    ):
        assert key in run.stdout
    assert not [name for name in ("pandas", "matplotlib", "mlflow", "torch", "scipy") if f"| {name}\n" in run.stderr]
