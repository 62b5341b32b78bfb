"""What a run is: every file of conf/ composes, and two ways of writing one run are one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.inits import INITS
from bnsweep.cli.sweep import parse
from bnsweep.config.checks import ConfigError
from bnsweep.config.datasets import DATASETS
from bnsweep.config.identity import NAME_FIELDS, identity, numbers, stack_key
from bnsweep.config.run import PLACEMENTS, BnConfig, InitConfig, LrConfig, RunConfig
from bnsweep.config.tree import from_tree, known_keys, register_schema

CONF = Path(__file__).parents[2] / "conf"
CHOICES = sorted(p.relative_to(CONF) for p in CONF.glob("*/*.yaml"))


def composed(*overrides: str) -> RunConfig:
    register_schema()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return parse(compose(config_name="config", overrides=["sweep.id=x", *overrides]))


@pytest.mark.parametrize("path", CHOICES, ids=str)
def test_every_file_of_conf_composes(path: Path) -> None:
    plus = "+" if path.parent.name == "experiment" else ""
    assert isinstance(composed(f"{plus}{path.parent.name}={path.stem}"), RunConfig)


def files(group: str) -> list[Path]:
    return list((CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(
    ("group", "names"),
    [("activation", ACTIVATIONS), ("init", INITS), ("bn", PLACEMENTS), ("data", DATASETS)],
)
def test_a_group_offers_what_the_code_knows(group: str, names: tuple[str, ...]) -> None:
    assert {composed(f"{group}={p.stem}").__dict__[group].__dict__[NAME_FIELDS[group]] for p in files(group)} == set(
        names
    )
    assert {p.stem for p in files(group)} >= set(names)


def test_the_lecture_experiment_is_the_notes_network() -> None:
    run = composed("+experiment=lecture")
    assert run.sizes == [784, 32, 32, 10]
    assert (run.activation.name, run.init.name, run.bn.placement) == ("relu", "xavier", "before")


def test_the_default_is_small_and_needs_no_download() -> None:
    assert composed().data.name == "digits"


def test_settings_without_effect_make_no_other_run() -> None:
    run = RunConfig()
    assert identity(run) == identity(replace(run, bn=BnConfig("none", momentum=0.9)))
    assert identity(run) == identity(replace(run, train=replace(run.train, device="cpu")))
    assert identity(run) == identity(replace(run, data=replace(run.data, root="elsewhere", seed=run.seed)))
    assert identity(run) == identity(replace(run, tracking=replace(run.tracking, experiment="other")))
    one = replace(run, lr=LrConfig(1.0))
    assert identity(one) == identity(replace(run, lr=LrConfig(1)))
    assert identity(run) == identity(replace(run, data=replace(run.data, subset=run.data.train_size)))


OTHER = {
    "activation.name": "tanh",
    "init.name": "he",
    "init.distribution": "uniform",
    "init.std": 0.5,
    "init.gain": 0.5,
    "lr.value": 0.3,
    "lr.schedule": "cosine",
    "lr.warmup": 0.5,
    "lr.hidden": 0.5,
    "lr.per_sample": True,
    "bn.placement": "after",
    "bn.momentum": 0.5,
    "bn.eps": 1e-3,
    "bn.affine": False,
    "bn.initial_variance": 0.0,
    "bn.unbiased": False,
    "bn.noise": 0.5,
    "data.name": "mnist",
    "data.root": "x",
    "data.subset": 99,
    "data.draw": "first",
    "data.test": 99,
    "data.binary": True,
    "data.validation": 100,
    "data.seed": 9,
    "model.hidden": [8],
    "model.depth": 3,
    "model.bias": False,
    "model.dropout": 0.5,
    "model.dropout_scaling": "test",
    "optimizer.name": "adam",
    "optimizer.momentum": 0.5,
    "optimizer.weight_decay": 0.1,
    "train.epochs": 3,
    "train.batch_size": 7,
    "train.evaluate_every": 3,
    "train.steps": 5,
    "train.evaluate_steps": 5,
    "train.replacement": True,
    "probes.name": "full",
    "probes.samples": 99,
    "probes.every": 2,
    "experiment.name": "x",
    "experiment.purpose": "x",
    "experiment.source": "x",
    "experiment.heavy": True,
    "experiment.quick": ["seed=0"],
    "experiment.notes": "x",
    "experiment.expect": [{}],
    "train.tau": 0.5,
    "train.device": "cpu",
    "train.dtype": "float64",
    "tracking.uri": "x",
    "tracking.experiment": "x",
    "sweep.id": "x",
    "sweep.rerun": True,
    "sweep.dry_run": True,
    "sweep.max_stack": 3,
    "sweep.report": None,
    "sweep.save_models": True,
    "seed": 9,
}
NO_NUMBERS = {key for key in OTHER if key.partition(".")[0] in ("tracking", "sweep", "experiment")} | {
    "data.root",
    "train.device",
}


@pytest.mark.parametrize("key", known_keys())
def test_every_setting_that_changes_numbers_changes_the_identity_and_no_other(key: str) -> None:
    """From a run in which every setting has its effect."""
    tree: dict[str, object] = {"lr": {"schedule": "warmup"}, "bn": {"placement": "before"}}
    tree |= {"init": {"name": "normal", "std": 0.1}, "optimizer": {"name": "momentum"}, "train": {"batch_size": 50}}
    tree |= {"model": {"dropout": 0.25}, "data": {"subset": 1000}}
    base = identity(from_tree(tree))
    group, _, name = key.partition(".")
    part = tree.get(group, {})
    assert isinstance(part, dict)
    if key == "init.name":
        part = {}
    tree[group] = {**part, name: OTHER[key]} if name else OTHER[key]
    assert (identity(from_tree(tree)) == base) == (key in NO_NUMBERS)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"lr": LrConfig(0.2)},
        {"init": InitConfig("xavier", "uniform")},
        {"bn": BnConfig("before")},
        {"data": replace(RunConfig().data, seed=3)},
        {"train": replace(RunConfig().train, dtype="float64")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_numbers_makes_another_run(change: dict[str, object]) -> None:
    assert identity(RunConfig()) != identity(replace(RunConfig(), **change))  # type: ignore[arg-type]


def test_members_may_differ_in_all_that_keeps_the_shapes() -> None:
    run = composed()
    assert stack_key(run) == stack_key(composed("activation=tanh", "init=he", "lr=small", "bn=after", "seed=4"))
    assert stack_key(run) == stack_key(composed("model.dropout=0.5", "optimizer.weight_decay=0.1"))
    for other in ("model.hidden=[32]", "train.batch_size=32", "train.epochs=3", "optimizer=adam", "data.subset=99"):
        assert stack_key(run) != stack_key(composed(other))


def test_factors_are_plain_and_name_their_group() -> None:
    flat = numbers(composed("bn=after"))
    assert flat["bn"] == "after" and flat["bn.momentum"] == 0.1
    assert flat["activation"] == "relu" and flat["model.hidden"] == "32-32" and flat["lr.value"] == 0.1
    assert "init.std" not in flat
    assert all(isinstance(value, str | int | float | bool) for value in flat.values())


@pytest.mark.parametrize("name", ["..", ".hidden", "latest", "a/b", ""])
def test_a_sweep_id_is_a_plain_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^sweep.id=.*: must be letters, digits"):
        from_tree({"sweep": {"id": name}})


def test_every_key_of_the_schema_is_known_and_no_other() -> None:
    assert {"lr.value", "bn.affine", "model.hidden", "seed", "sweep.rerun", "tracking.uri"} <= set(known_keys())
    with pytest.raises(ConfigError, match=r"^lr.valeu: no such setting \(did you mean lr.value"):
        from_tree({"lr": {"valeu": 1}})


def test_other_relied_on_keys_exist() -> None:
    keys = "lr.value lr.schedule init.std init.distribution bn.momentum bn.eps bn.affine model.hidden model.dropout"
    keys += " optimizer.weight_decay train.epochs train.batch_size train.device train.dtype data.root data.subset"
    keys += " data.seed seed tracking.uri tracking.experiment sweep.rerun sweep.dry_run"
    assert set(keys.split()) <= set(known_keys())
