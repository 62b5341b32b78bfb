"""Composing the jobs of a sweep quickly gives what Hydra's own composition gives, errors included."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from composing import APP, CountingLoader, anatomy, application, load
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.bnsweep.compose import Composer
from hydra_plugins.bnsweep.overrides import check_duplicates

CHOICES = [
    ["bn=none", "bn=before", "bn=after"],
    ["lr=small", "lr=large"],
    ["model=wide", "model=lecture"],
    ["data=mnist"],
    ["+experiment=big"],
]
VALUES = [
    ["lr.value=0.5", "lr.value=1e-3", "lr.value=inf", "lr.value=2"],
    ["lr.schedule=cosine", "lr.schedule='two words'", "lr.schedule=${bn.placement}"],
    ["bn.affine=false", "bn.affine=no"],
    ["bn.eps=0"],
    ["seed=0", "seed=1", "seed=2", "seed=3"],
    ["data.seed=11", "data.seed=null", "data.seed=${fail_seed}"],
    ["data.subset=null", "data.subset=100"],
    ["model.hidden=[8,8,8]", "model.hidden=[]", "model.hidden=[${seed},4]"],
    ["model.dropout=0.25"],
    [
        "note=plain",
        'note="a=b, c"',
        "note=\\${seed}",
        "note='${now:%f} ${hydra.job.override_dirname}'",
        "note=",
        "note=7",
    ],
]
SPECIAL = [
    ["+extra=1", "+extra={a:1,b:[1,2]}", "++extra.deep=x", "+extra=[1,2]"],
    ["++seed=5"],
    ["~note", "~note=other", "~data.subset", "~bn", "~data=digits"],
    ["bn={placement:after}", "lr={value:3}", "model={hidden:[1]}"],
    ["+lr@second=small"],
    ["hydra.job.chdir=true", "hydra.job.name=other", "hydra.job.config.override_dirname.kv_sep=_"],
    ["hydra/job_logging=none"],
]
WRONG = [
    ["bn=nope", "bn=3", "bn=null", "bn=[none,before]", "+bn=before", "~bn=after", "++bn=after"],
    ["experiment=big", "+experiment=nope", "bn/deep=none"],
    ["lr.value=abc", "lr.value=[1]", "lr.value=null", "lr.value={a:1}", "lr.value=???"],
    ["seed=x", "seed=1.5", "seed=null", "seed=true", "+seed=1", "seed=1,2", "seed=${"],
    ["nope=1", "lr.nope=1", "lr.value.nope=1", "~nope", "nope@there=1", "note@there=x", "model.hidden.7=1"],
    ["model.hidden=3", "model.hidden=[a]", "model.hidden=[1.5]"],
]


@pytest.fixture(scope="module", autouse=True)
def schema() -> Iterator[None]:
    with application():
        yield


@pytest.fixture(scope="module")
def sweep() -> tuple[CountingLoader, DictConfig]:
    return load(APP / "conf", "+hydra.job.env_set.MARK=1")


@pytest.fixture(scope="module")
def composer(sweep: tuple[CountingLoader, DictConfig]) -> Composer:
    """One for many tests, as it is one for many jobs."""
    return Composer(*sweep, CHOICES)


def outcome(compose: Any, *arguments: Any) -> Any:
    """What came of it, comparable: the config in full, or the error and what it says."""
    try:
        config = compose(*arguments)
    except Exception as error:
        return type(error), str(error), type(error.__cause__), str(error.__cause__)
    return OmegaConf.to_yaml(config), anatomy(config), OmegaConf.get_cache(config)


def draw(random_: random.Random, special: float, wrong: float) -> list[str]:
    """Overrides of one job in any order, at most one a key."""
    picked = [random_.choice(keys) for keys in CHOICES if random_.random() < 0.4]
    picked += [random_.choice(keys) for keys in VALUES if random_.random() < 0.4]
    for pool, chance in ((SPECIAL, special), (WRONG, wrong)):
        picked += [random_.choice(random_.choice(pool))] if random_.random() < chance else []
    random_.shuffle(picked)
    return picked


@pytest.mark.parametrize(("seed", "special", "wrong"), [(0, 0, 0), (1, 0.7, 0), (2, 0, 0.7), (3, 1, 1)])
def test_a_job_composed_quickly_is_the_one_hydra_composes(
    sweep: tuple[CountingLoader, DictConfig], composer: Composer, seed: int, special: float, wrong: float
) -> None:
    loader, master = sweep
    random_ = random.Random(seed)
    for _ in range(8):
        overrides = draw(random_, special, wrong)
        expected = outcome(loader.load_sweep_config, master, overrides)
        assert outcome(composer.compose, overrides) == expected, overrides


OVERRIDES = [text for pool in (*VALUES, *SPECIAL, *WRONG) for text in pool]


@pytest.mark.parametrize(
    "override", [pytest.param(text, marks=[pytest.mark.slow] * (i % 2)) for i, text in enumerate(OVERRIDES)]
)
def test_every_kind_of_override_is_composed_as_hydra_does(
    sweep: tuple[CountingLoader, DictConfig], composer: Composer, override: str, caplog: pytest.LogCaptureFixture
) -> None:
    loader, master = sweep
    overrides = ["lr=large", override, "bn.eps=1"]
    expected = outcome(loader.load_sweep_config, master, overrides)
    assert outcome(composer.compose, overrides) == expected
    assert not caplog.records, "nothing that Hydra composes is a fault of the quick way"


GRID = [list(job) for job in product(CHOICES[0], CHOICES[1], CHOICES[2], ["lr.value=0.3"], VALUES[4])]


def test_choices_that_keep_apart_are_composed_together(sweep: tuple[CountingLoader, DictConfig]) -> None:
    """As often as the largest group has choices, not once a combination; and every combination is Hydra's."""
    loader, master = sweep
    composer = Composer(loader, master, GRID)
    before = loader.composed
    quick = [outcome(composer.compose, job) for job in GRID]
    assert loader.composed - before == 3
    for job, config in list(zip(GRID, quick, strict=True))[:: len(VALUES[4])]:
        assert config == outcome(loader.load_sweep_config, master, job), job


def test_unannounced_choices_are_composed_once_a_combination(sweep: tuple[CountingLoader, DictConfig]) -> None:
    loader, master = sweep
    composer = Composer(loader, master)
    before = loader.composed
    for seed in range(5):
        for bn in ("none", "before", "after"):
            config = composer.compose(
                [f"seed={seed}", f"bn={bn}", "lr.value=0.3", "model.hidden=[4]", "note='a ${seed}'"]
            )
            assert (config.seed, config.data.seed, config.bn.placement, config.note) == (seed, seed, bn, f"a {seed}")
    assert loader.composed - before == 3


def test_a_mapping_given_to_a_group_is_set_without_composing_anew(sweep: tuple[CountingLoader, DictConfig]) -> None:
    loader, master = sweep
    jobs = [[f"bn={{placement:{bn},eps:{eps}}}", "seed=3"] for bn in ("none", "after") for eps in (1, 2)]
    composer = Composer(loader, master, jobs)
    before = loader.composed
    quick = [outcome(composer.compose, job) for job in jobs]
    assert loader.composed - before == 1
    assert quick == [outcome(loader.load_sweep_config, master, job) for job in jobs]


class ChangedLoader(CountingLoader):
    """A loader as a later Hydra may have it: what only the quick way calls is gone."""

    def compute_defaults_list(self, *arguments: Any) -> Any:
        raise AttributeError("no attribute\n'compute_defaults_list'")

    def get_group_options(self, *arguments: Any, **more: Any) -> Any:
        raise AttributeError("no attribute\n'get_group_options'")


def test_a_fault_of_the_quick_way_is_said_once_and_hydra_composes(caplog: pytest.LogCaptureFixture) -> None:
    loader, master = load(APP / "conf", kind=ChangedLoader)
    jobs = [[f"bn={bn}", f"seed={seed}"] for bn in ("none", "before") for seed in (1, 2)]
    composer = Composer(loader, master, jobs)
    composed = [composer.compose(job) for job in jobs]
    assert [(config.bn.placement, config.seed) for config in composed] == [
        *(("none", 1), ("none", 2)),
        *(("before", 1), ("before", 2)),
    ]
    (warning,) = caplog.records
    says = "composing jobs the slow way, as the quick one failed: AttributeError: no attribute 'get_group_options'"
    assert (warning.levelname, warning.getMessage()) == ("WARNING", says)


@pytest.mark.parametrize("override", ["lr.value=abc", "seed=1.5", "nope=1", "bn=nope"])
def test_a_mistyped_override_is_no_fault_of_the_quick_way(
    sweep: tuple[CountingLoader, DictConfig], override: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HydraException):
        Composer(*sweep).compose([override])
    assert not caplog.records


THREE = {"config.yaml": "defaults: [a: one, b: one, c: one, _self_]"}


@pytest.mark.parametrize(
    "files",
    [
        {"config.yaml": "defaults: [a: one, b: one, '${a}_${b}', _self_]", "two_two.yaml": "both: 1"},
        {"config.yaml": "defaults: [a: one, b: one, optional c: '${a}_${b}', _self_]", "c/two_two.yaml": "both: 1"},
        {"a/two.yaml": "# @package _global_\nb: {size: 7}\nhydra: {job: {name: other}}"},
        {
            "a/two.yaml": "defaults: [override /b: two]\nsize: 2",
            "config.yaml": "defaults: [a: one, b: one, c: one, _self_]",
        },
        {"a/two.yaml": "defaults: [part, _self_]\nsize: 2", "a/part.yaml": "more: 1"},
        {"config.yaml": "defaults: [a: one, b@a.inner: one, _self_]"},
        {"config.yaml": "defaults: [a@same: one, b@same: one, _self_]"},
        {"config.yaml": "defaults: [a: one, b: one, _self_]\na: {size: '${b.size}', mine: 1}\nb: {more: '${a.mine}'}"},
        {"config.yaml": "defaults: [_self_, a: one, b: one]\na: {size: 5}\nb: ${a}"},
        {"config.yaml": "defaults: [a: one, b: one]\nc: ${hydra:runtime.choices.a}", "a/two.yaml": "'': null"},
        {"a/two.yaml": ""},
    ],
    ids=range(11),
)
@pytest.mark.filterwarnings("ignore:In 'config'. Defaults list is missing `_self_`")
def test_choices_that_meet_are_composed_as_hydra_does(files: dict[str, str], tmp_path: Path) -> None:
    """One choice may read, add, override or write what belongs to another group."""
    plain = {
        "config.yaml": "defaults: [a: one, b: one, _self_]",
        "one_one.yaml": "",
        "one_two.yaml": "",
        "two_one.yaml": "",
    }
    for group in "abc":
        plain |= {f"{group}/one.yaml": "size: 1", f"{group}/two.yaml": "size: 2", f"{group}/three.yaml": "other: 3"}
    for name, text in {**plain, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    loader, master = load(tmp_path)
    keys = ("a", "b@a.inner") if "inner" in (tmp_path / "config.yaml").read_text() else ("a", "b")
    keys = ("a@same", "b@same") if "same" in (tmp_path / "config.yaml").read_text() else keys
    names = ("one", "two", "three")
    jobs = [[f"{keys[0]}={one}", f"{keys[1]}={two}"] for one, two in product(names, names)]
    composer = Composer(loader, master, jobs)
    for job in jobs[::2]:  # each choice, alike and mixed
        assert outcome(composer.compose, job) == outcome(loader.load_sweep_config, master, job), job


@pytest.mark.parametrize("announced", [[], CHOICES])
def test_jobs_of_equal_choices_share_nothing(
    sweep: tuple[CountingLoader, DictConfig], announced: list[list[str]]
) -> None:
    composer = Composer(*sweep, announced)
    first = composer.compose(["bn=before", "seed=1"])
    again = OmegaConf.to_yaml(first)
    other = composer.compose(["bn=before", "seed=2"])
    with open_dict(other):
        other.model.hidden.append(99)
        other.bn.placement = "after"
        other.hydra.job.num = 5
        other.hydra.runtime.choices.bn = "x"
        other.hydra.overrides.task.append("x")
    OmegaConf.set_readonly(other.bn, True)
    OmegaConf.clear_cache(other)
    assert OmegaConf.to_yaml(first) == again == OmegaConf.to_yaml(composer.compose(["bn=before", "seed=1"]))
    assert not OmegaConf.is_readonly(first.bn)
    assert OmegaConf.get_cache(first)


def test_all_jobs_of_a_sweep_have_its_start_time(sweep: tuple[CountingLoader, DictConfig], composer: Composer) -> None:
    _, master = sweep
    folders = {str(composer.compose(["bn=none", f"seed={seed}"]).hydra.sweep.dir) for seed in range(3)}
    assert folders == {str(master.hydra.sweep.dir)}


@pytest.mark.parametrize(
    "override", ["tag=1", "tag=x", "db/engine=b", "db.engine.size=7", "db/engine=c", "where=found", "flag=1"]
)
def test_groups_are_told_from_values_where_hydra_looks(tmp_path: Path, override: str) -> None:
    """A value may share its name with a group, groups may be nested, and the search path may be the config's own."""
    files = {
        "config.yaml": "defaults: [db/engine: a, where: here, _self_]\ntag: 0\nflag: 0\nhydra: {searchpath: [file://%s/more]}",
        "tag/x.yaml": "deep: 1",
        "db/engine/a.yaml": "size: 1",
        "db/engine/b.yaml": "size: 2",
        "where/here.yaml": "at: here",
        "more/where/found.yaml": "at: found",
        "more/flag/x.yaml": "deep: 1",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("%s", str(tmp_path)))
    loader, master = load(tmp_path)
    expected = outcome(loader.load_sweep_config, master, [override])
    assert outcome(Composer(loader, master).compose, [override]) == expected


@pytest.mark.parametrize(
    ("overrides", "both", "key"),
    [
        (["bn=none", "lr=small", "bn=before"], "bn=none bn=before", "bn"),
        (["seed=1", "seed=1"], "seed=1 seed=1", "seed"),
        (["seed=0,1", "seed=range(2,4)"], "seed=0,1 seed=range(2,4)", "seed"),
        (["+experiment=a", "+experiment=b"], "+experiment=a +experiment=b", "experiment"),
        (["++lr.value=1", "lr.value=2"], "++lr.value=1 lr.value=2", "lr.value"),
    ],
)
def test_a_key_given_twice_is_refused(overrides: Sequence[str], both: str, key: str) -> None:
    with pytest.raises(ConfigCompositionException) as error:
        check_duplicates(overrides)
    rule = f"{key} must be given once (to sweep over several values: --multirun {key}=VALUE,VALUE)"
    assert str(error.value) == f"{both}: {rule}"


@pytest.mark.parametrize(
    "overrides", [[], ["bn=none", "bn.eps=1"], ["~note", "+note=x"], ["lr=small", "+lr@second=small"]]
)
def test_different_keys_are_not_duplicates(overrides: Sequence[str]) -> None:
    check_duplicates(overrides)
