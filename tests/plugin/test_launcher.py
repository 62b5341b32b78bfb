"""The stacked launcher and sweeper: Hydra's own test suites, and what the batched form adds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.test_utils.test_utils import SweepTaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.bnsweep.sweeper import sweep_jobs

ROOT = Path(__file__).parents[2]
APP = Path(__file__).parent / "apps" / "launcher_app" / "app.py"


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts find the plugin wherever they run."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class WithBatchedForm:
    """Hydra's suite, its tasks given a batched form, which must be what runs."""

    @pytest.fixture
    def hydra_sweep_runner(self, hydra_sweep_runner: Callable[..., SweepTaskFunction]) -> Callable[..., Any]:
        def runner(**arguments: Any) -> SweepTaskFunction:
            sweep = hydra_sweep_runner(**arguments)
            task = sweep.task_function or (lambda _: 100)
            sweep.task_function = fail
            sweep.batched = lambda configs: [task(without_hydra(config)) for config in configs]  # type: ignore[attr-defined]
            return sweep

        return runner


def fail(_: DictConfig) -> None:
    raise AssertionError("a task with a batched form was run by itself")


def without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


CHDIR = "hydra.job.chdir=true"  # the suite was written when this was the default
SWEEPERS = [("stacked", [CHDIR, "hydra/sweeper=basic"]), ("stacked", [CHDIR, "hydra/sweeper=stacked"])]
LOGGED = "hydra.launcher.job_logging=true"  # the suite looks for each job's log file


@pytest.mark.parametrize(("launcher_name", "overrides"), SWEEPERS)
class TestHydrasSuite(LauncherTestSuite):
    """A task without a batched form."""


@pytest.mark.parametrize(("launcher_name", "overrides"), [(name, [*more, LOGGED]) for name, more in SWEEPERS])
class TestHydrasSuiteBatched(WithBatchedForm, LauncherTestSuite):
    """The same tasks with one."""


BATCHES = [CHDIR, "hydra/sweeper=stacked", "hydra.sweeper.max_batch_size=2"]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("stacked", BATCHES)])
class TestHydrasBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(("launcher_name", "overrides"), [("stacked", [*BATCHES, LOGGED])])
class TestHydrasBatchesBatched(WithBatchedForm, BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=stacked", "hydra/sweeper=stacked"])]
)
class TestHydrasIntegration(IntegrationTestSuite):
    """Processes of their own, tasks without a batched form: each asks for its own job's directory and HydraConfig."""


def run_app(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    optuna_2 = "-Wignore:The ``declarative_base"  # under sqlalchemy 2
    command = [sys.executable, "-Werror", optuna_2, str(APP), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[list[str]]:
    """Words of each call of the task: `one` or `all N`, and the process."""
    path = folder / "calls.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


OUT = "hydra.sweep.dir=out"
LOG_RETURNS = "+hydra.callbacks={log:{_target_:hydra.experimental.callbacks.LogJobReturnCallback}}"


def test_a_sweep_is_one_call_and_every_job_has_its_own_directory(tmp_path: Path) -> None:
    run = run_app(tmp_path, "-m", OUT, "bn=none,before", "lr.value=0.2,0.3", "seed=range(0,2)")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert [call[:2] for call in calls(tmp_path)] == [["all", "8"]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*"01234567", "multirun.yaml"]
    for num in range(8):
        job = tmp_path / "out" / str(num)
        assert sorted(path.name for path in job.rglob("*")) == [".hydra", "config.yaml", "hydra.yaml", "overrides.yaml"]
        config = OmegaConf.load(job / ".hydra" / "config.yaml")
        own = OmegaConf.load(job / ".hydra" / "hydra.yaml").hydra
        overrides = [f"bn={config.bn.placement}", f"lr.value={config.lr.value}", f"seed={config.seed}"]
        assert OmegaConf.load(job / ".hydra" / "overrides.yaml") == overrides == own.overrides.task
        assert (own.job.num, own.runtime.output_dir) == (num, str(job))
        assert config.data.seed == config.seed == num // 4, "all arms of a seed come before the next seed"


def test_outcomes_go_to_their_jobs_and_one_failure_fails_the_command(tmp_path: Path) -> None:
    run = run_app(tmp_path, "-m", OUT, "seed=range(0,3)", "fail_seed=1", LOG_RETURNS)
    assert run.returncode == 1
    assert "ValueError: seed 1 fails" in run.stderr
    assert "Error executing job with overrides: ['seed=1', 'fail_seed=1']" in run.stderr
    told = [line.split("[HYDRA] ")[1] for line in run.stdout.splitlines() if "[HYDRA]" in line]
    assert told == ["Succeeded with return value: 0.1", "", "Succeeded with return value: 2.1"]


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["refuse=true"], "refused: nothing was trained"),
        (["bn=none,nope"], "Could not find 'bn/nope'"),
        (["seed=0,x"], "Value 'x' of type 'str' could not be converted to Integer"),
        (["nope=1,2"], "Could not override 'nope'."),
        (["bn=none", "bn=before"], "bn=none bn=before: bn must be given once"),
        (["seed=range(0,0)"], "no jobs: an override sweeps over an empty range or list"),
    ],
)
def test_a_refused_sweep_runs_nothing_and_leaves_nothing(tmp_path: Path, overrides: list[str], text: str) -> None:
    run = run_app(tmp_path, "-m", "hydra.sweep.dir=out/${now:%Y}/sweep", *overrides)
    assert run.returncode == 1
    assert text in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refused_sweep_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out" / "other").mkdir(parents=True)
    assert run_app(tmp_path, "-m", "hydra.sweep.dir=out/new", "refuse=true").returncode == 1
    assert run_app(tmp_path, "-m", "hydra.sweep.dir=out/other", "refuse=true").returncode == 1
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["other"]
    (tmp_path / "out/other/multirun.yaml").write_text("an earlier sweep's")
    assert run_app(tmp_path, "-m", "hydra.sweep.dir=out/other", "refuse=true").returncode == 1
    assert (tmp_path / "out/other/multirun.yaml").read_text() == "an earlier sweep's"


@pytest.mark.parametrize("other", ["hydra/sweeper=basic", "hydra/launcher=basic"])
def test_launcher_and_sweeper_refuse_duplicates_without_each_other(tmp_path: Path, other: str) -> None:
    run = run_app(tmp_path, "-m", OUT, other, "bn=none", "bn=before")
    assert run.returncode == 1
    assert run.stderr.startswith("bn=none bn=before: bn must be given once")
    assert calls(tmp_path) == []


@pytest.mark.parametrize(("launcher", "processes"), [("basic", 1), pytest.param("joblib", 2, marks=pytest.mark.slow)])
def test_other_launchers_run_the_same_task_job_by_job(tmp_path: Path, launcher: str, processes: int) -> None:
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    run = run_app(tmp_path, "-m", OUT, f"hydra/launcher={launcher}", *more, "seed=0,1", "lr=small,large")
    assert (run.returncode, run.stderr) == (0, "")
    assert [call[0] for call in calls(tmp_path)] == ["one"] * 4
    assert len({process for _, process in calls(tmp_path)}) == processes
    assert OmegaConf.load(tmp_path / "out" / "3" / ".hydra" / "config.yaml").seed == 1


def test_discovery_finds_the_plugins_in_silence_and_imports_nothing_heavy() -> None:
    program = """
import sys
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
found = [plugin for kind in (Launcher, Sweeper) for plugin in Plugins.instance().discover(kind)]
print(*[plugin.__name__ for plugin in found if "bnsweep" in plugin.__module__])
print(*[name for name in ("torch", "mlflow", "pandas", "bnsweep") if name in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-Werror", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["RayLauncher StackedLauncher SubmititLauncher StackedSweeper", ""]
    assert run.stderr == ""


@pytest.mark.parametrize("typed", ["seed=7,8", "++seed=7,8"])
def test_what_is_typed_wins_over_the_sweep_of_the_config(typed: str, tmp_path: Path) -> None:
    (tmp_path / "extra/grid").mkdir(parents=True)
    params = "{seed: 'range(0,3)', bn: 'none,before', note: of the config}"
    (tmp_path / "extra/grid/own.yaml").write_text(f"# @package _global_\nhydra: {{sweeper: {{params: {params}}}}}\n")
    run = run_app(tmp_path, "--config-dir", str(tmp_path / "extra"), "-m", OUT, "+grid=own", typed, "lr=small")
    assert run.returncode == 0, run.stderr
    configs = [OmegaConf.load(path) for path in sorted((tmp_path / "out").glob("*/.hydra/config.yaml"))]
    assert sorted((c.seed, c.bn.placement) for c in configs) == [(7, "before"), (7, "none"), (8, "before"), (8, "none")]
    assert {c.note for c in configs} == {"of the config"}


def test_changes_to_the_sweep_of_the_config_yield_to_what_is_typed() -> None:
    master = OmegaConf.create({"hydra": {"sweeper": {"params": {"seed": "range(0,3)", "bn": "none,after"}}}})
    jobs = sweep_jobs(master, ["lr.value=2"], ["seed=5", "lr.value=1", "bn.eps=0.5"])
    assert jobs == [["seed=5", f"bn={bn}", "bn.eps=0.5", "lr.value=2"] for bn in ("none", "after")]
