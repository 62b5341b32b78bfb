"""Job directories and JobReturns made without Hydra's `run_job` are the ones that it makes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from composing import APP, CountingLoader, anatomy, application, load
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.bnsweep import directory
from hydra_plugins.bnsweep import launcher as module
from hydra_plugins.bnsweep.launcher import StackedLauncher

JOBS = [
    ["bn=none", "seed=0"],
    ["bn=before", "seed=1", "lr.value=1e-3", "note='two words: ${bn.placement}'"],
    ["bn=after", "seed=2", "model.hidden=[]", "data.subset=null", f"note='{'long words ' * 9}'"],
    ["bn=none", "seed=3", "lr.value=nan", "bn.affine=no", 'note="1 true # [x]"'],
    ["bn=after", "seed=3", "data.seed=${fail_seed}", "lr.schedule=${hydra:job.num}", "note='é\N{SNOWMAN}\t'"],
    ["+extra={a:1,b:[1,{c:2}],1:x,long:{}}", "bn=none", "note='null'"],
    ["+experiment=big", "lr.value=2", "record=???"],
    [],
]
OUTCOMES = [0.5, ValueError("it failed"), None, {"a": 1}, 1, 2, 3, "x"]


@pytest.fixture(autouse=True)
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hydra_restore_singletons: Any) -> Iterator[None]:
    """Those of a running application."""
    monkeypatch.chdir(tmp_path)
    with application():
        version.setbase("1.3")
        JobRuntime.instance().set("name", "app")
        yield


def sweep(*overrides: str) -> tuple[CountingLoader, DictConfig]:
    return load(APP / "conf", "hydra.sweep.dir=out", *overrides)


def conclude(loader: CountingLoader, master: DictConfig, jobs: Sequence[Sequence[str]] = JOBS) -> list[JobReturn]:
    launcher = StackedLauncher()
    launcher.config, launcher.hydra_context = master, HydraContext(config_loader=loader, callbacks=Callbacks(master))

    def task(_: object) -> None:
        raise AssertionError("not to be called")

    task.batched = lambda configs: OUTCOMES[: len(configs)]  # type: ignore[attr-defined]
    launcher.task_function = task  # type: ignore[assignment]
    return list(launcher.launch(jobs, 3))


def files(folder: str) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in Path(folder).rglob("*")}


@pytest.mark.parametrize(
    "overrides",
    [[], ["hydra.sweep.subdir=${hydra.job.override_dirname}/${hydra:job.num}/../x${seed}", "hydra.output_subdir=a/b"]],
    ids=["numbered", "named"],
)
def test_a_job_is_concluded_as_hydra_does(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loader, master = sweep(*overrides)
    quick = conclude(loader, master)
    assert HydraConfig.instance().cfg is None
    Path("out").rename("quick")
    monkeypatch.setattr(module, "is_quiet", lambda *_: False)
    plain = conclude(loader, master)
    assert {type(job).__name__ for job in plain} == {"JobReturn"} and not {type(job) for job in quick} & {JobReturn}
    assert files("quick") == files("out")
    assert sum(name.endswith(".yaml") for name in files("out")) >= 3 * (len(JOBS) - 1), "two may share a name"
    for one, other in zip(quick, plain, strict=True):
        assert one.cfg is one.cfg, "the same each time it is asked for"
        for ours, hydras in ((one.cfg, other.cfg), (one.hydra_cfg, other.hydra_cfg)):
            assert ours is not None and hydras is not None
            assert anatomy(ours) == anatomy(hydras)
            assert OmegaConf.get_cache(ours) == OmegaConf.get_cache(hydras)
        for name in ("overrides", "working_dir", "task_name", "status", "_return_value"):
            assert getattr(one, name) == getattr(other, name)


VALUES = {"bn": ("none", "before"), "lr": ("small", "large"), "model.hidden": ("[]", "[3,4]"), "seed": (7, 8)}
SAME = ["data=mnist", "data.seed=1", "note='two words: # 1'"]
APART = [
    [f"{key}={value}" for key, value in zip(VALUES, values, strict=True)] + SAME
    for values in itertools.product(*VALUES.values())
]


@pytest.mark.parametrize(
    ("jobs", "overrides", "few"),
    [
        (APART, ["hydra.sweep.dir=a/../${now:%Y}"], True),
        ([[*job, f"lr.value={i % 2}"] for i, job in enumerate(APART)], ["hydra.sweep.dir=${data.seed}"], True),
        ([job[::-1] if i % 2 else job for i, job in enumerate(APART[:6])], [], False),
        ([job[1:] if i % 2 else job for i, job in enumerate(APART[:6])], [], False),
        ([job[:-1] for job in APART[:6]], [], False),
        ([[*job, f"+more={i % 3}"] for i, job in enumerate(APART[:6])], [], False),
        (APART[:6], ["hydra.sweep.dir=out-${seed}"], False),
        (APART[:6], ["hydra.sweep.subdir=${hydra.job.num}-${seed}"], False),
        (APART[:6], ["hydra.sweep.dir=out-${hydra.job.override_dirname}"], False),
    ],
    ids=["apart", "two of a part", "order", "a choice left out", "reference", "added", *["named"] * 3],
)
def test_the_files_of_jobs_whose_parts_are_apart_are_put_together(
    jobs: list[list[str]], overrides: list[str], few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, master = sweep(*overrides)
    monkeypatch.setattr(f"{__name__}.OUTCOMES", [*range(len(jobs))])
    composed, counts = Counter[int](), list[int]()
    compose = module.Jobs.compose
    monkeypatch.setattr(module.Jobs, "compose", lambda self, i: (composed.update([i]), compose(self, i))[1])
    here = Path.cwd()

    def written(name: str) -> tuple[list[JobReturn], list[list[Any]], dict[str, bytes | None]]:
        Path(name).mkdir()
        monkeypatch.chdir(Path("work").mkdir() or "work")
        returns = conclude(loader, master, jobs)
        counts.append(len(composed))
        configs = [[anatomy(config) for config in (one.cfg, one.hydra_cfg) if config is not None] for one in returns]
        monkeypatch.chdir(here)
        Path("work").rename(f"{name}/work")
        return returns, configs, files(name)

    quick, configs, ours = written("quick")
    assert (counts[0] < len(jobs)) is few
    monkeypatch.setattr(module, "is_quiet", lambda *_: False)
    plain, wanted, hydras = written("plain")
    assert configs == wanted and ours == hydras and sum(name.endswith("hydra.yaml") for name in ours) == len(jobs)
    for one, other in zip(quick, plain, strict=True):
        assert one.overrides == other.overrides and one.return_value == other.return_value


TEXTS = ["a=b", "/tmp/x", "x=" * 90, "a=", "=", "=a", "<<", "~", "/", "7", "0123", "1e5", "1/2", "true", "null", "No"]
TEXTS += ["y", "a= b", "a=é", "a=#", "a:=b", "_/", "0x1", "1_0", "[a=b]", "a={b}", "a=b,c=d", "a='b'", "", "2020-01-01"]


@pytest.mark.parametrize("key", ["key", "7", "a=b", "no", "two words"])
def test_values_that_are_put_in_one_anothers_places_are_written_as_omegaconf_does(key: str) -> None:
    yaml = directory.Yaml()
    for value in (*TEXTS, 0, 7, -7, 10**12, True, 7.0, None):
        config = OmegaConf.create({"x": {key: value}, key: [*TEXTS, value], "y": [[value], {key: value}]})
        assert yaml.dump(config) == OmegaConf.to_yaml(config), value


def test_an_outcome_that_is_an_exception_is_raised_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    failed = conclude(*sweep(), JOBS[:2])[1]
    with pytest.raises(ValueError, match="it failed"):
        _ = failed.return_value
    assert f"Error executing job with overrides: {JOBS[1]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "override",
    [
        "hydra.job.chdir=true",
        "hydra.output_subdir=null",
        "+hydra.job.env_set.MARK=1",
        "+hydra.callbacks.log._target_=hydra.experimental.callbacks.LogJobReturnCallback",
    ],
)
def test_what_hooks_into_a_job_is_left_to_hydra(override: str) -> None:
    assert [type(job) for job in conclude(*sweep(override), JOBS[:1])] == [JobReturn]
