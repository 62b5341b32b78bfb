"""What is put together of a few composed jobs is what each job composes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf

from bnsweep.cli import quick_runs
from bnsweep.cli.quick_runs import QuickRuns
from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import conf_folder, from_composed, register_schema
from hydra_plugins.bnsweep.compose import Composer
from hydra_plugins.bnsweep.launcher import Jobs
from hydra_plugins.bnsweep.sweeper import jobs_of


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    before = Singleton.get_state()
    register_schema()
    setup_globals()
    yield
    Singleton.set_state(before)


def jobs(*texts: str, folder: Path | None = None) -> Jobs:
    path = create_config_search_path(str(conf_folder()))
    if folder is not None:
        path.prepend("user", f"file://{folder}")
    loader = ConfigLoaderImpl(path)
    overrides = OverridesParser.create().parse_overrides([*texts])
    fixed = [text for text, o in zip(texts, overrides, strict=True) if not o.is_sweep_override()]
    master = loader.load_configuration("config", fixed, RunMode.MULTIRUN)
    OmegaConf.select(master, "hydra.sweep.dir")
    found = jobs_of(overrides)
    return Jobs(Composer(loader, master, found), found, 0)


def outcome(run: object, place: int) -> RunConfig | str:
    try:
        return run(place)  # type: ignore[operator,no-any-return]
    except ConfigError as error:
        return str(error)


GRIDS = {
    "choices and values": ("bn=none,before,after", "init=he,xavier", "lr=small,large", "seed=range(0,3)"),
    "values of one group": ("lr.value=0.1,1", "lr.schedule=constant,cosine", "lr.hidden=1,2", "seed=1,2"),
    "a choice and a value of its group": ("lr=small,large", "lr.hidden=1,2"),
    "a value that the choice sets": ("lr=small,large", "lr.value=0.1,0.2", "bn=none,before"),
    "lists": ("model.hidden=[32,32],[8]", "model.depth=1,2", "seed=0,1"),
    "fixed": ("train=smoke", "bn=after", "train.batch_size=7", "seed=3", "activation=relu,tanh"),
    "seeds of data": ("seed=0,1", "data.seed=4,5", "bn=none,before"),
    "no seed": ("bn=none,before", "data=digits,gaussian"),
    "refused by a group": ("init=he,normal", "init.std=0.1,0.2", "bn=none,before"),
    "refused together": ("data.subset=129,1000", "train.batch_size=64,50", "bn=none,before", "seed=0,1"),
    "refused seeds": ("seed=-1,0,99999999999", "bn=none,before"),
    "refused at every seed": ("init=he,normal", "init.std=null,0.1", "seed=range(0,5)"),
    "an experiment": ("+experiment=lecture", "bn=none,before", "lr.value=0.1,1"),
    "experiments": ("+experiment=lecture,dropout-bn", "bn=none,before"),
    "a reference": ("lr.value=0.1,1", "lr.hidden=${lr.value},2"),
    "what is fixed refers": ("lr.value=0.1,1", "lr.hidden=${lr.value}", "bn=none,before"),
}


@pytest.mark.parametrize("texts", GRIDS.values(), ids=list(GRIDS))
def test_a_run_is_the_one_that_its_job_composes_to(texts: tuple[str, ...]) -> None:
    found = jobs(*texts)
    quick = QuickRuns(found)
    for place in range(len(found)):
        expected = outcome(lambda place: from_composed(found[place]), place)
        assert outcome(quick.run, place) == expected, found.overrides[place]


def test_few_jobs_are_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = jobs("bn=none,before,after", "init=he,xavier", "lr.value=0.1,1", "seed=range(0,50)")
    composed: list[int] = []
    monkeypatch.setattr(quick_runs, "from_composed", lambda config: composed.append(1) or from_composed(config))
    quick = QuickRuns(found)
    assert len({quick.run(place) is None for place in range(600)}) == 1 and len(composed) < 10


def test_few_refused_jobs_are_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = jobs("init=he,normal", "init.std=null,0.1", "bn=none,before", "seed=range(0,50)")
    composed: list[int] = []
    monkeypatch.setattr(quick_runs, "from_composed", lambda config: composed.append(1) or from_composed(config))
    quick = QuickRuns(found)
    told = [outcome(quick.run, place) for place in range(400)]
    assert sum(isinstance(text, str) for text in told) == 200 and len(composed) < 15


def test_a_choice_of_a_users_own_that_writes_elsewhere_is_composed(tmp_path: Path) -> None:
    (tmp_path / "bn").mkdir()
    (tmp_path / "bn/mine.yaml").write_text("# @package _global_\nbn: {placement: before}\nlr: {value: 3.0}\n")
    found = jobs("bn=none,mine", "lr.hidden=1,2", "seed=0,1", folder=tmp_path)
    quick = QuickRuns(found)
    rates = {(found.overrides[place][0], quick.run(place).lr.value) for place in range(len(found))}
    assert rates == {("bn=none", 0.1), ("bn=mine", 3.0)}
