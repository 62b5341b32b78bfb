"""Composing the jobs of a sweep quickly gives what Hydra's own composition gives, errors included."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import Container, DictConfig, Node, OmegaConf, open_dict

from hydra_plugins.bnsweep.compose import Composer
from hydra_plugins.bnsweep.overrides import check_duplicates

APP = Path(__file__).parent / "apps" / "launcher_app"

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
    """The application's types, importable by name, as those of a running application are."""
    spec = spec_from_file_location("launcher_app", APP / "app.py")
    assert spec is not None and spec.loader is not None
    sys.modules["launcher_app"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    setup_globals()
    yield
    del sys.modules["launcher_app"]


class CountingLoader(ConfigLoaderImpl):
    """Hydra's loader; counts the jobs it composed."""

    composed = 0

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.composed += 1
        return super().load_sweep_config(master_config, sweep_overrides)


def load(folder: Path, *hydra_overrides: str) -> tuple[CountingLoader, DictConfig]:
    """A loader on `folder`, and the config of a sweep, with its start time as read once."""
    loader = CountingLoader(create_config_search_path(str(folder)))
    master = loader.load_configuration("config", list(hydra_overrides), RunMode.MULTIRUN)
    assert OmegaConf.select(master, "hydra.sweep.dir")
    return loader, master


@pytest.fixture(scope="module")
def sweep() -> tuple[CountingLoader, DictConfig]:
    return load(APP / "conf", "+hydra.job.env_set.MARK=1")


@pytest.fixture(scope="module")
def composer(sweep: tuple[CountingLoader, DictConfig]) -> Composer:
    """One for many tests, as it is one for many jobs."""
    return Composer(*sweep)


def anatomy(node: Node) -> list[Any]:
    """All that a config is made of: types, flags and raw contents of every node, in order."""
    meta = node._metadata
    facts: list[Any] = [
        node._get_full_key(None),
        type(node),
        meta.ref_type,
        meta.object_type,
        meta.optional,
        meta.flags,
    ]
    if not isinstance(node, Container) or not isinstance(node._content, dict | list):
        return [*facts, node._value()]
    inner = node._content.values() if isinstance(node._content, dict) else node._content
    return [*facts, *(anatomy(child) for child in inner)]


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


@pytest.mark.parametrize("override", [text for pool in (*VALUES, *SPECIAL, *WRONG) for text in pool])
def test_every_kind_of_override_is_composed_as_hydra_does(
    sweep: tuple[CountingLoader, DictConfig], composer: Composer, override: str
) -> None:
    loader, master = sweep
    overrides = ["lr=large", override, "bn.eps=1"]
    expected = outcome(loader.load_sweep_config, master, overrides)
    assert outcome(composer.compose, overrides) == expected


def test_hydra_composes_once_for_each_combination_of_choices(sweep: tuple[CountingLoader, DictConfig]) -> None:
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


def test_jobs_of_equal_choices_share_nothing(composer: Composer) -> None:
    first = composer.compose(["bn=before", "seed=1"])
    again = OmegaConf.to_yaml(first)
    other = composer.compose(["bn=before", "seed=2"])
    with open_dict(other):
        other.model.hidden.append(99)
        other.hydra.job.num = 5
    assert OmegaConf.to_yaml(first) == again == OmegaConf.to_yaml(composer.compose(["bn=before", "seed=1"]))


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
