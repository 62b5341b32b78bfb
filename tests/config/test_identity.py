"""Two ways of writing one run are one run; runs share a stack unless they differ in what is not marked as free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, make_dataclass, replace
from typing import Any

import pytest

from bnsweep.catalogue.datasets import DATASETS, DatasetFacts
from bnsweep.config.fields import Role, setting
from bnsweep.config.groups import BnConfig, DataConfig, InitConfig, LrConfig
from bnsweep.config.identity import factor_types, factors, identity, layers_in, numbers, sizes_text, stack_key
from bnsweep.config.network import ModelConfig
from bnsweep.config.norm import NormConfig
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import from_tree, known_keys

Composed = Callable[..., RunConfig]
Tree = dict[str, dict[str, Any]]

GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({}, "8a440f3583017692"),
    ({"bn": {"placement": "before"}, "seed": 3}, "296d64f53c1b3376"),
    (
        {
            "activation": {"name": "tanh"},
            "init": {"name": "normal", "std": 1},
            "lr": {"value": 1, "schedule": "warmup"},
        },
        "119e547de5e9e4d5",
    ),
    (
        {
            "data": {"name": "mnist", "validation": 10000, "subset": 500, "draw": "first", "seed": 7},
            "model": {"hidden": [100], "depth": 50, "dropout": 0.5},
        },
        "94d3ed206ab96f60",
    ),
    (
        {
            "optimizer": {"name": "momentum"},
            "train": {"steps": 30, "evaluate_steps": 10},
            "probes": {"name": "off"},
        },
        "6f1ed5138160998b",
    ),
    (
        {
            "probes": {"name": "full", "every": 2},
            "bn": {"placement": "after", "noise": 0.5},
            "init": {"name": "orthogonal"},
        },
        "96f07d357588f90e",
    ),
]


@pytest.mark.parametrize(("tree", "digest"), GOLDEN)
def test_an_identity_stays_what_it_was_when_stores_were_filled(tree: dict[str, Any], digest: str) -> None:
    """A change here forgets every run that anyone has trained: NUMERICS is raised for that, and for nothing else."""
    assert identity(from_tree(tree)) == digest


def test_settings_without_effect_make_no_other_run() -> None:
    run = RunConfig()
    assert identity(run) == identity(replace(run, bn=BnConfig("none", momentum=0.9)))
    assert identity(run) == identity(replace(run, train=replace(run.train, device="cpu")))
    assert identity(run) == identity(replace(run, data=replace(run.data, root="elsewhere", seed=run.seed)))
    assert identity(run) == identity(replace(run, tracking=replace(run.tracking, experiment="other")))
    one = replace(run, lr=LrConfig(1.0))
    assert identity(one) == identity(replace(run, lr=LrConfig(1)))
    assert identity(run) == identity(replace(run, data=replace(run.data, subset=run.data.train_size)))


def test_projected_shortcuts_are_the_same_run_without_skips_and_have_stacks_of_their_own_with_them() -> None:
    def run(skip: str, shortcut: str) -> RunConfig:
        return from_tree({"model": {"family": "resnet", "shortcut": shortcut}, "skip": {"name": skip}})

    assert (
        identity(run("off", "A")) == identity(run("off", "B")) != identity(run("on", "A")) != identity(run("on", "B"))
    )
    assert stack_key(run("off", "B")) == stack_key(run("on", "A")) != stack_key(run("on", "B"))


def test_fixup_without_its_scalars_is_the_run_that_it_was_before_there_were_any() -> None:
    def run(place: str, **scalars: bool) -> RunConfig:
        tree: dict[str, Any] = {
            "init": {"name": "fixup", **scalars},
            "skip": {"name": "on"},
            "bn": {"placement": place},
        }
        return from_tree(tree)

    assert "init.scalars" not in numbers(run("none")) and numbers(run("none", scalars=True))["init.scalars"]
    assert identity(run("before")) == identity(run("before", scalars=True)), "they are for nets without normalisation"
    assert stack_key(run("none")) == stack_key(run("none", scalars=True))


def test_a_normalisation_and_its_placement_are_one_factor() -> None:
    """Its levels with BN are those of stores filled before there were others."""
    placed = replace(RunConfig(), bn=BnConfig("before", momentum=0.5, eps=1e-3, affine=False))
    levels = {name: numbers(replace(placed, norm=NormConfig(name)))["bn"] for name in ("batch", "layer", "rms", "none")}
    assert levels == {"batch": "before", "layer": "layer before", "rms": "rms before", "none": "none"}
    assert numbers(replace(placed, norm=NormConfig("weight")))["bn"] == "weight", "it has no place"
    assert identity(replace(placed, norm=NormConfig("none"))) == identity(RunConfig()), "the placement gives way"
    grouped = replace(placed, norm=NormConfig("group", 4))
    assert {k: v for k, v in numbers(grouped).items() if k.startswith(("bn", "norm"))} == {
        "bn": "group before",
        "bn.eps": 1e-3,
        "bn.affine": False,
        "norm.groups": 4,
    }, "momentum and running variance are BN's alone"
    assert identity(placed) == identity(replace(placed, norm=NormConfig("batch", 4)))
    assert stack_key(placed) == stack_key(grouped) == stack_key(RunConfig())


OTHER = {
    "activation.name": "tanh",
    "activation.source": "0123456789abcdef",
    "init.name": "he",
    "init.source": "0123456789abcdef",
    "init.distribution": "uniform",
    "init.std": 0.5,
    "init.gain": 0.5,
    "init.scalars": True,
    "lr.value": 0.3,
    "lr.schedule": "cosine",
    "lr.warmup": 0.5,
    "lr.milestones": [0.2],
    "lr.factor": 0.5,
    "lr.hidden": 0.5,
    "lr.per_sample": True,
    "bn.placement": "after",
    "bn.momentum": 0.5,
    "bn.eps": 1e-3,
    "bn.affine": False,
    "bn.initial_variance": 0.0,
    "bn.unbiased": False,
    "bn.noise": 0.5,
    "norm.name": "layer",
    "norm.groups": 2,
    "norm.zero_init_residual": True,
    "data.name": "mnist",
    "data.root": "x",
    "data.subset": 99,
    "data.draw": "first",
    "data.test": 99,
    "data.binary": True,
    "data.validation": 100,
    "data.seed": 9,
    "data.standardize": True,
    "data.crop": 4,
    "data.flip": True,
    "model.hidden": [8],
    "model.depth": 3,
    "model.bias": False,
    "model.dropout": 0.5,
    "model.dropout_scaling": "test",
    "model.dropout_kind": "alpha",
    "model.family": "resnet",
    "model.channels": [8],
    "model.blocks": 2,
    "model.kernel": 5,
    "model.stride": 2,
    "model.pool": "average",
    "model.head": "flat",
    "model.preactivation": True,
    "model.shortcut": "B",
    "model.target": "their:Net",
    "model.kwargs": {"width": 8},
    "model.source": "0123456789abcdef",
    "skip.name": "on",
    "optimizer.name": "adam",
    "optimizer.momentum": 0.5,
    "optimizer.weight_decay": 0.1,
    "optimizer.decayed": "weights",
    "optimizer.clip": 1.0,
    "train.epochs": 3,
    "train.batch_size": 7,
    "train.evaluate_every": 3,
    "train.steps": 5,
    "train.evaluate_steps": 5,
    "train.replacement": True,
    "train.label_smoothing": 0.1,
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
    "sweep.max_seeds": 20,
    "sweep.strategy": "plateau",
    "sweep.factor": 2,
    "sweep.rungs": 1,
    "sweep.patience": 1,
    "sweep.checkpoint_seconds": None,
    "sweep.shard": "1/2",
    "sweep.report": None,
    "sweep.save_models": True,
    "sweep.system_metrics": True,
    "sweep.exclude": [{"bn": "none"}],
    "sweep.zip": [["seed", "data.seed"]],
    "sweep.invalid": "skip",
    "seed": 9,
}
"""Another value for every setting but those that other data take."""
TAKEN = {f"data.{name}" for row in DATASETS.values() for name in row.takes} | {
    factor.key for factor in factors() if factor.role is Role.SOURCE
}
NO_NUMBERS = {key for key in OTHER if key.partition(".")[0] in ("tracking", "sweep", "experiment")} | {
    "data.root",
    "train.device",
}


OWN_NETWORK = {"family": "module", "target": "my:Net", "dropout": 0.0}
NEEDS: dict[str, Tree] = {
    "activation.source": {"activation": {"name": "my:swish"}},
    "init.source": {"init": {"name": "my:small", "std": None}},
    **{f"model.{name}": {"model": OWN_NETWORK} for name in ("target", "kwargs", "source")},
    "lr.milestones": {"lr": {"schedule": "step"}},
    "lr.factor": {"lr": {"schedule": "step"}},
    "optimizer.decayed": {"optimizer": {"weight_decay": 0.1}},
}
"""What gives a setting its effect, where the run below does not."""
CONVOLUTIONAL = {f"model.{name}" for name in ("channels", "blocks", "kernel", "stride", "pool", "head")}


@pytest.mark.parametrize("key", sorted({*known_keys()} - TAKEN))
def test_every_setting_that_changes_numbers_changes_the_identity_and_no_other(key: str) -> None:
    """From a run in which every setting has its effect."""
    tree: Tree = {"lr": {"schedule": "warmup"}, "bn": {"placement": "before"}}
    tree |= {"init": {"name": "normal", "std": 0.1}, "optimizer": {"name": "momentum"}, "train": {"batch_size": 50}}
    tree |= {"model": {"dropout": 0.25}, "data": {"subset": 1000}}
    residual = key in ("model.preactivation", "model.shortcut")
    family = "resnet" if residual else "conv" if key in CONVOLUTIONAL else "mlp"
    tree["model"] = {"dropout": 0.25, "family": family}
    tree |= {group: {**tree.get(group, {}), **given} for group, given in NEEDS.get(key, {}).items()}
    if key == "init.scalars":
        tree |= {"init": {"name": "fixup"}, "skip": {"name": "on"}, "bn": {"placement": "none"}}
    tree |= {"norm": {"name": "group"}} if key == "norm.groups" else {}
    tree |= {"skip": {"name": "on"}} if key in ("norm.zero_init_residual", "model.shortcut") else {}
    base = identity(from_tree(tree))
    group, _, name = key.partition(".")
    part = tree.get(group, {})
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


def test_members_may_differ_in_all_that_keeps_the_shapes(composed: Composed) -> None:
    run = composed()
    assert stack_key(run) == stack_key(composed("activation=tanh", "init=he", "lr=small", "bn=after", "seed=4"))
    assert stack_key(run) == stack_key(composed("model.dropout=0.5", "optimizer.weight_decay=0.1"))
    for other in ("model.hidden=[32]", "train.batch_size=32", "train.epochs=3", "optimizer=adam", "data.subset=99"):
        assert stack_key(run) != stack_key(composed(other))


def test_factors_are_plain_and_name_their_group(composed: Composed) -> None:
    flat = numbers(composed("bn=after"))
    assert flat["bn"] == "after" and flat["bn.momentum"] == 0.1
    assert flat["activation"] == "relu" and flat["model.hidden"] == "32-32" and flat["lr.value"] == 0.1
    assert "init.std" not in flat
    assert all(isinstance(value, str | int | float | bool) for value in flat.values())


def with_field(declared: Any) -> Callable[[int], RunConfig]:
    """Runs of a made-up class whose model has one setting more, `twist`."""
    model = make_dataclass("Twisted", [("twist", int, declared)], bases=(ModelConfig,), frozen=True)
    run = make_dataclass("TwistedRun", [("model", model, setting(model))], bases=(RunConfig,), frozen=True)
    return lambda twist: run(model=model(twist=twist))


@pytest.mark.parametrize("declared", [field(default=0), setting(0), setting(0, role=Role.NUMBERS)])
def test_a_new_setting_splits_stacks_and_makes_another_run_unless_it_is_marked(declared: Any) -> None:
    run = with_field(declared)
    assert numbers(run(1))["model.twist"] == 1
    assert identity(run(1)) != identity(run(2)) and stack_key(run(1)) != stack_key(run(2))


@pytest.mark.parametrize(
    ("role", "other_run", "other_stack"),
    [(Role.FREE, True, False), (Role.PLACE, False, True), (Role.OUTSIDE, False, False)],
)
def test_a_mark_says_what_a_new_setting_changes(role: Role, other_run: bool, other_stack: bool) -> None:
    run = with_field(setting(0, role=role))
    assert (identity(run(1)) != identity(run(2))) == other_run
    assert (stack_key(run(1)) != stack_key(run(2))) == other_stack


def test_a_new_setting_is_left_out_where_it_does_not_matter() -> None:
    run = with_field(setting(0, matters=lambda run: run.bn.placement != "none"))
    assert identity(run(1)) == identity(run(2)) and stack_key(run(1)) == stack_key(run(2))
    placed = [replace(run(twist), bn=BnConfig("before")) for twist in (1, 2)]
    assert identity(placed[0]) != identity(placed[1]) and stack_key(placed[0]) != stack_key(placed[1])


def test_where_to_read_and_compute_splits_stacks_but_is_the_same_run() -> None:
    run = RunConfig()
    for other in (replace(run, data=replace(run.data, root="x")), replace(run, train=replace(run.train, device="cpu"))):
        assert identity(other) == identity(run) and stack_key(other) != stack_key(run)


def test_data_from_outside_is_named_by_its_digest() -> None:
    run = RunConfig(data=DataConfig("callable", call="my:data", validation=20))
    facts = DatasetFacts(pool=90, test=30, features=5, classes=3, digest="0123456789abcdef")
    bound, changed = run.with_facts(facts), run.with_facts(replace(facts, digest="fedcba9876543210"))
    assert numbers(bound)["data.digest"] == "0123456789abcdef" and numbers(bound)["data.call"] == "my:data"
    assert identity(bound) != identity(changed) and stack_key(bound) != stack_key(changed)
    assert "data.digest" not in numbers(RunConfig())


def test_how_data_are_found_is_told_but_is_not_the_identity() -> None:
    facts = DatasetFacts(pool=90, test=30, features=5, classes=3, digest="0123456789abcdef")
    data = DataConfig("callable", call="my:data", validation=20)
    one, other = (
        RunConfig(data=replace(data, kwargs=kwargs)).with_facts(facts) for kwargs in ({}, {"noise": 0.1, "a": [1]})
    )
    assert identity(one) == identity(other)
    assert "data.kwargs" not in numbers(one) and numbers(other)["data.kwargs"] == '{"noise": 0.1, "a": [1]}'
    assert one.data.key != other.data.key


def test_a_fifth_of_the_pool_validates_where_no_number_is_given() -> None:
    facts = DatasetFacts(pool=90, test=30, features=5, classes=3, digest="0123456789abcdef")
    none, given = (
        RunConfig(data=DataConfig("callable", call="my:data", validation=n)).with_facts(facts) for n in (None, 18)
    )
    assert none.data.validation_size == 18 and none.data.train_size == 72
    assert identity(none) == identity(given)


def test_factors_have_the_types_of_their_fields() -> None:
    types = factor_types()
    expected = {"seed": int, "data.seed": int, "init.std": float, "bn.affine": bool, "bn": str, "model.hidden": str}
    assert {key: types[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("sizes", "text"), [([32], "32"), ([32, 32], "32-32"), ([100] * 5, "100x5"), ([8, *[4] * 4, 8], "8-4x4-8")]
)
def test_sizes_in_one_word_say_how_many_layers_there_are(sizes: list[int], text: str) -> None:
    assert sizes_text(sizes) == text and layers_in(text) == len(sizes)
