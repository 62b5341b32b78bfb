"""What is refused, in which words; and what follows from the settings of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig, TrainConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import from_tree

Tree = dict[str, Any]

PLACED = {"bn": {"placement": "before"}}

REFUSED: list[tuple[Tree, str]] = [
    ({"activation": {"name": "foo"}}, r"activation.name=foo: must be one of sigmoid, tanh, relu, "),
    ({"init": {"name": "normal"}}, r"init.std=None: must be a finite number >= 0 with init=normal"),
    ({"init": {"std": 0.1}}, r"init.std=0.1: must be left out with init=xavier, which derives it "),
    ({"init": {"name": "orthogonal", "distribution": "uniform"}}, r"init.distribution=uniform: must be normal with "),
    ({"init": {"gain": 0}}, r"init.gain=0: must be a finite number > 0"),
    ({"init": {"name": "lsuv", "gain": 2.0}}, r"init.gain=2.0: must be 1 with init=lsuv, which scales the weights"),
    ({"lr": {"value": float("nan")}}, r"lr.value=nan: must be a finite number > 0"),
    ({"lr": {"schedule": "linear"}}, r"lr.schedule=linear: must be one of constant, cosine, warmup, step"),
    (
        {"lr": {"milestones": []}},
        r"lr.milestones=\[\]: must be a list of growing shares between 0 and 1, such as \[0.5,",
    ),
    ({"lr": {"milestones": [0.7, 0.3]}}, r"lr.milestones=\[0.7, 0.3\]: must be a list of growing shares"),
    ({"lr": {"factor": 0}}, r"lr.factor=0: must be a finite number > 0"),
    ({"lr": {"warmup": 0}}, r"lr.warmup=0: must be in \(0, 1\]"),
    ({"bn": {"placement": "between"}}, r"bn.placement=between: must be one of none, before, after"),
    ({"bn": {"eps": -1.0}}, r"bn.eps=-1.0: must be a finite number >= 0"),
    ({"data": {"name": "cifar"}}, r"data.name=cifar: must be one of digits, mnist, "),
    ({"data": {"validation": 9}}, r"data.validation=9: must be at least 10 and less than the 1437 samples of the dig"),
    (
        {"data": {"subset": 1151}},
        r"data.subset=1151: must be between 10 and the 1150 samples that data.validation=28",
    ),
    ({"data": {"test": 361}}, r"data.test=361: must be between 10 and the 360 samples there are"),
    ({"data": {"draw": "first"}}, r"data.draw=first: must be given with a data.subset"),
    (
        {"data": {"name": "gaussian", "crop": 4}},
        r"data.crop=4: must be 0 with data=gaussian: rows of 100 numbers are no images or signals",
    ),
    ({"data": {"name": "gaussian", "flip": True}}, r"data.flip=True: must be false with data=gaussian: rows of"),
    ({"data": {"crop": 8}}, r"data.crop=8: must be less than the 8 pixels of a side"),
    ({"data": {"name": "mnist1d", "crop": 40}}, r"data.crop=40: must be less than the 40 pixels of a side"),
    ({"data": {"crop": -1}}, r"data.crop=-1: must be >= 0"),
    ({"data": {"seed": -1}}, r"data.seed=-1: must be between 0 and 2147483647"),
    ({"data": {"call": "a:b"}}, r"data.call=a:b: must be left out with data=digits \(data=callable takes it\)"),
    ({"data": {"name": "callable"}}, r"data.call=None: must be a function that gives the data, as module:function"),
    ({"data": {"name": "callable", "call": "my_data"}}, r"data.call=my_data: must be a function that gives the data"),
    ({"model": {"channels": []}}, r"model.channels=\[\]: must be a non-empty list of sizes >= 1, such as \[32,32\]"),
    (
        {"model": {"hidden": [3, 0]}},
        r"model.hidden=\[3, 0\]: must be a list of sizes >= 1, such as \[32,32\]; \[\] for none",
    ),
    (
        {"model": {"hidden": []}, "bn": {"placement": "after"}},
        r"bn.placement=after: must be none with model.hidden=\[\], a linear map without hidden layers",
    ),
    ({"model": {"hidden": [], "dropout": 0.1}}, r"model.dropout=0.1: must be 0 with model.hidden=\[\], a linear map"),
    (
        {"model": {"hidden": []}, "skip": {"name": "on"}},
        r"skip=on: must be off with model.hidden=\[\]: a block is of two ",
    ),
    ({"model": {"depth": 0}}, r"model.depth=0: must be >= 1 or null"),
    (
        {"model": {"dropout": 0.1, "dropout_kind": "alpha", "dropout_scaling": "test"}},
        r"model.dropout_scaling=test: must be train with model.dropout_kind=alpha",
    ),
    ({"model": {"dropout": 1.0}}, r"model.dropout=1.0: must be in \[0, 1\)"),
    ({"init": {"name": "fixup"}}, r"skip=off: must be on with init=fixup, which starts residual branches at 0"),
    (
        {"init": {"name": "he", "scalars": True}},
        r"init.scalars=True: must be false with init=he \(they belong to init=fixup\)",
    ),
    (
        {"norm": {"zero_init_residual": True}, "bn": {"affine": False}},
        r"norm.zero_init_residual=True: must be false with bn.affine=false, where the scale of 0 would stay",
    ),
    (
        {"model": {"shortcut": "B"}, "skip": {"name": "on"}},
        r"model.shortcut=B: must be A with model.family=mlp: only the residual blocks of resnet change the shape",
    ),
    (
        {"model": {"family": "resnet", "channels": [16], "shortcut": "B"}},
        r"model.shortcut=B: must be A with model.channels=\[16\]: blocks of one width do not change the shape",
    ),
    ({"model": {"family": "unet"}}, r"model.family=unet: must be one of mlp, conv, resnet"),
    ({"model": {"channels": []}}, r"model.channels=\[\]: must be a non-empty list of sizes >= 1"),
    ({"model": {"kernel": 4}}, r"model.kernel=4: must be odd"),
    (
        {"model": {"family": "resnet", "blocks": 10**15}},
        r"model.blocks=1000000000000000: must be such that model.channels 1000000000000000 times is at most 1000 l",
    ),
    (
        {"model": {"family": "conv"}, "data": {"name": "gaussian"}},
        r"model.family=conv: must be mlp: data=gaussian has rows of 100 numbers, and no images or signals",
    ),
    ({"model": {"family": "conv"}, "skip": {"name": "on"}}, r"skip=on: must be off with model.family=conv, which has "),
    (
        {"model": {"hidden": [8]}, "skip": {"name": "on"}},
        r"skip=on: must be off with model.hidden=\[8\]: a block is of two hidden",
    ),
    (
        {"model": {"hidden": [8, 4]}, "skip": {"name": "on"}},
        r"skip=on: must be off where hidden layers differ in size: model.hidden=\[8, 4\]",
    ),
    ({"optimizer": {"name": "lion"}}, r"optimizer.name=lion: must be one of sgd, momentum, adam"),
    ({"optimizer": {"clip": 0}}, r"optimizer.clip=0: must be a finite number > 0 or null"),
    ({"optimizer": {"decayed": "norms"}}, r"optimizer.decayed=norms: must be one of all, weights"),
    ({"train": {"label_smoothing": 1}}, r"train.label_smoothing=1: must be in \[0, 1\)"),
    (
        {"train": {"label_smoothing": 0.1}, "data": {"name": "arrays", "file": "x.npz", "task": "regression"}},
        r"train.label_smoothing=0.1: must be 0 with data.task=regression: no classes",
    ),
    ({"train": {"epochs": -1}}, r"train.epochs=-1: must be >= 0"),
    ({"train": {"steps": 0}}, r"train.steps=0: must be >= 1 or null"),
    ({"train": {"device": "tpu"}}, r"train.device=tpu: must be one of auto, cpu, cuda"),
    ({"probes": {"samples": 1}}, r"probes.samples=1: must be >= 2"),
    ({"tracking": {"experiment": " "}}, r"tracking.experiment=' ': must be a name"),
    ({"sweep": {"max_stack": 0}}, r"sweep.max_stack=0: must be >= 1 or null"),
    (
        {"train": {"epochs": 10**12, "evaluate_every": 10**12}},
        r"train.epochs=1000000000000: must be less: it comes to 18000000000000 steps, and 100000000 are the most",
    ),
    ({"train": {"steps": 10**12}}, r"train.steps=1000000000000: must be less: it comes to 1000000000000 steps, and "),
    (
        {"train": {"steps": 10**7, "evaluate_steps": 1}},
        r"train.evaluate_steps=1: must be larger: 10000000 steps would be evaluated 10000001 times, and 100000 are ",
    ),
    (
        {"train": {"epochs": 10**6}},
        r"train.evaluate_every=1: must be larger: 18000000 steps would be evaluated 1000001",
    ),
    ({"train": {"epochs": 10**400}}, r"train.epochs=10{400}: must be at most 9007199254740992"),
    ({"train": {"batch_size": 2**63}}, r"train.batch_size=9223372036854775808: must be at most 9007199254740992"),
    ({"train": {"evaluate_every": 10**30}}, r"train.evaluate_every=10{30}: must be at most 9007199254740992"),
    ({"probes": {"samples": 10**30}}, r"probes.samples=10{30}: must be at most 9007199254740992"),
    ({"sweep": {"max_stack": 10**30}}, r"sweep.max_stack=10{30}: must be at most 9007199254740992"),
    (
        {"model": {"depth": 10**15}},
        r"model.depth=1000000000000000: must be such that model.hidden 1000000000000000 times is at most",
    ),
    (
        {"model": {"hidden": [1] * 500, "depth": 3}},
        r"model.depth=3: must be such that model.hidden 3 times is at most 1",
    ),
    (
        {"model": {"hidden": [10**9]}},
        r"model.hidden=\[1000000000\]: must be smaller: the network would have 74000000000",
    ),
    (
        {"model": {"hidden": [10**9, 10**9]}},
        r"model.hidden=\[1000000000, 1000000000\]: must be smaller: the network wo",
    ),
    (
        {"data": {"name": "callable", "call": "a:b"}, "model": {"hidden": [10**6], "depth": 2}},
        r"model.hidden=\[1000000\]: must be smaller: the network would have 1000000000000 weights",
    ),
    ({"seed": -1}, r"seed=-1: must be between 0 and 2147483647"),
    (
        {"norm": {"name": "switch"}},
        r"norm.name=switch: must be one of none, batch, layer, group, instance, rms, weight",
    ),
    ({"norm": {"name": "rms"}}, r"norm=rms: must be none, batch or weight with bn=none \(bn=before and bn=after say"),
    (
        {"norm": {"name": "weight"}, "init": {"name": "fixup"}, "skip": {"name": "on"}},
        r"norm=weight: must be none or another kind with init=fixup, where weights that start at 0 have no direction",
    ),
    (
        {"norm": {"name": "weight"}, "init": {"name": "normal", "std": 0}},
        r"norm=weight: must be none or another kind with init=normal init.std=0, where weights",
    ),
    ({"norm": {"name": "weight"}, "model": {"hidden": []}}, r"norm=weight: must be none with model.hidden=\[\], a lin"),
    (PLACED | {"norm": {"name": "group", "groups": 5}}, r"norm.groups=5: must be a number that divides the units of "),
    (
        PLACED | {"norm": {"name": "group", "groups": 32}},
        r"norm.groups=32: must be less than 32, the units .* always 0",
    ),
    (
        PLACED | {"norm": {"name": "group", "groups": 16}, "model": {"family": "conv"}},
        r"norm.groups=16: must be less than 16, the units of a hidden layer: a group of one unit is norm=instance",
    ),
    (PLACED | {"norm": {"name": "layer"}, "model": {"hidden": [4, 1]}}, r"norm=layer: must be batch or rms where a"),
    (PLACED | {"norm": {"name": "layer"}, "bn": {"placement": "after", "noise": 0.5}}, r"bn.noise=0.5: must be 0 with"),
    (
        PLACED | {"norm": {"name": "instance"}},
        r"norm=instance: must be one of none, batch, layer, group, rms, weight where a",
    ),
    (
        {"bn": {"placement": "after"}, "norm": {"name": "instance"}, "model": {"family": "conv"}},
        r"norm=instance: must be another kind with model.head=average \(or model.head=flat, or bn=before with an act",
    ),
    (
        PLACED | {"norm": {"name": "instance"}, "model": {"family": "resnet", "channels": [4, 4, 4, 4]}},
        r"norm=instance: must be one of none, batch, layer, group, rms, weight where a unit has one number a sample",
    ),
    ({"bn": {"placement": "before"}, "train": {"batch_size": 1}}, r"train.batch_size=1: must be such that no batch "),
    ({"bn": {"placement": "before"}, "data": {"subset": 65}}, r"train.batch_size=64: .* leave a last batch of 1\)"),
]


@pytest.mark.parametrize(("tree", "says"), REFUSED, ids=[says.partition(":")[0] for _, says in REFUSED])
def test_a_setting_that_breaks_a_rule_is_named_with_it(tree: Tree, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        from_tree(tree)


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "latest", "a/b", "", "-x", "a b", "é", "a\nb", "a\x1b[31m", "x" * 101]
)
def test_a_sweep_id_is_a_plain_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)^sweep.id=.*: must be letters, digits"):
        from_tree({"sweep": {"id": name}})


def test_a_list_of_sizes_is_kept_as_a_tuple() -> None:
    assert ModelConfig([8, 8]).hidden == (8, 8)  # type: ignore[arg-type]
    assert ModelConfig((8, 4), depth=2).units == [8, 4, 8, 4]
    for family in ("mlp", "conv", "resnet"):
        model = ModelConfig((8, 4), depth=2, family=family, channels=(4, 6, 8), blocks=3)
        assert model.layers == len(model.units)


FACTS = DatasetFacts(pool=90, test=30, features=5, classes=3, digest="0123456789abcdef")
OUTSIDE = RunConfig(data=DataConfig("callable", call="my:data", validation=20))


def test_data_from_outside_is_known_once_it_is_read() -> None:
    assert not OUTSIDE.data.known
    run = OUTSIDE.with_facts(FACTS)
    assert run.sizes == [5, 32, 32, 3]
    assert (run.data.train_size, run.data.test_size, run.total_steps) == (70, 30, 20 * 2)
    assert replace(run, seed=3).sizes == run.sizes
    assert not replace(run.data, call="other:data").known


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"validation": 90},
            "data.validation=90: must be at least 10 and less than the 90 samples of the my:data",
        ),
        ({"subset": 71}, "data.subset=71: must be between 10 and the 70 samples that data.validation=20 leaves"),
        ({"test": 31}, "data.test=31: must be between 10 and the 30 samples there are"),
    ],
)
def test_settings_must_fit_the_data_that_was_read(settings: Tree, says: str) -> None:
    run = replace(OUTSIDE, data=replace(OUTSIDE.data, **settings))
    with pytest.raises(ConfigError, match=f"^{says}"):
        run.with_facts(FACTS)


def test_no_batch_of_one_sample_under_bn_is_found_once_the_data_is_read() -> None:
    run = from_tree({"bn": {"placement": "before"}, "data": vars(OUTSIDE.data), "train": {"batch_size": 23}})
    with pytest.raises(ConfigError, match=r"^train.batch_size=23: .* \(70 training samples leave a last batch of 1\)$"):
        run.with_facts(FACTS)


@pytest.mark.parametrize(
    "train",
    [
        TrainConfig(epochs=0),
        TrainConfig(epochs=7, evaluate_every=3),
        TrainConfig(epochs=6, evaluate_every=3),
        TrainConfig(steps=10),
        TrainConfig(steps=100, evaluate_every=2),
        TrainConfig(steps=10, evaluate_steps=3),
        TrainConfig(steps=9, evaluate_steps=3),
        TrainConfig(steps=2, evaluate_steps=3),
        TrainConfig(epochs=0, evaluate_steps=3),
    ],
)
def test_evaluations_are_counted_without_a_list_of_them(train: TrainConfig) -> None:
    config = RunConfig(train=train)
    assert config.evaluation_count == len(config.evaluations)


def test_a_probe_batch_of_large_images_is_smaller() -> None:
    run = RunConfig(data=DataConfig("mnist"))
    assert run.probe_samples == 1000
    assert replace(run, model=ModelConfig(family="conv")).probe_samples == 127
    assert RunConfig(model=ModelConfig(family="conv")).probe_samples == 1000
    assert replace(run, data=DataConfig("cifar10"), model=ModelConfig(family="resnet")).probe_samples == 97
