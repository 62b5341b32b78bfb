"""Every file of conf/ composes, keys are known, and the schema can be overridden though a run is frozen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.catalogue.datasets import DATASETS
from bnsweep.catalogue.inits import INITS
from bnsweep.catalogue.norms import NORM_CHOICES, PLACEMENTS
from bnsweep.catalogue.optimizers import OPTIMIZERS
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import PROBES
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import GROUPS, conf_folder, from_tree, known_keys

Composed = Callable[..., RunConfig]

CONF = conf_folder()
CHOICES = sorted(path.relative_to(CONF) for path in CONF.glob("*/*.yaml"))
NEEDED = {
    "data/arrays.yaml": ("data.file=x.npz",),
    "data/callable.yaml": ("data.call=module:function",),
    "data/table.yaml": ("data.file=x.csv", "data.target=y"),
    "model/module.yaml": ("model.target=module:name",),
    "norm/instance.yaml": ("model=conv",),
    "init/fixup.yaml": ("skip=on",),
}


@pytest.mark.parametrize("path", CHOICES, ids=str)
def test_every_file_of_conf_composes(path: object, composed: Composed) -> None:
    group, _, file = str(path).partition("/")
    plus = "+" if group == "experiment" else ""
    given = NEEDED.get(str(path), ())
    assert isinstance(composed(f"{plus}{group}={file.removesuffix('.yaml')}", *given), RunConfig)


@pytest.mark.parametrize(
    ("group", "field", "names"),
    [
        ("activation", "name", ACTIVATIONS),
        ("init", "name", INITS),
        ("bn", "placement", PLACEMENTS),
        ("norm", "name", NORM_CHOICES),
        ("data", "name", DATASETS),
        ("optimizer", "name", OPTIMIZERS),
        ("probes", "name", PROBES),
    ],
)
def test_a_group_offers_what_the_code_knows(group: str, field: str, names: Collection[str], composed: Composed) -> None:
    files = [path.stem for path in (CONF / group).glob("*.yaml")]
    runs = [composed(f"{group}={name}", *NEEDED.get(f"{group}/{name}.yaml", ())) for name in files]
    assert {getattr(getattr(run, group), field) for run in runs} == set(names) <= set(files)


RULES = [
    ("train.batch_size=0", "train.batch_size=0: must be >= 1"),
    ("train.batch_size=1 bn=before", "train.batch_size=1: must be such that no batch holds a single sample"),
    ("train.batch_size=1149 bn=after", "(1150 training samples leave a last batch of 1)"),
    ("lr.value=0", "lr.value=0.0: must be a finite number > 0"),
    ("lr.value=-1", "lr.value=-1.0: must be a finite number > 0"),
    ("lr.value=nan", "lr.value=nan: must be a finite number > 0"),
    ("lr.value=inf", "lr.value=inf: must be a finite number > 0"),
    ("lr.schedule=linear", "lr.schedule=linear: must be one of constant, cosine, warmup, step"),
    ("model.hidden=[]", "bn.placement=before: must be none with model.hidden=[]"),
    ("model.hidden=[32,-1]", "model.hidden=[32, -1]: must be a list of sizes >= 1"),
    ("model.dropout=1", "model.dropout=1.0: must be in [0, 1)"),
    ("init=normal init.std=-1", "init.std=-1.0: must be a finite number >= 0"),
    ("init=he init.std=1", "init.std=1.0: must be left out with init=he"),
    ("data.subset=2000", "data.subset=2000: must be between 10 and the 1150 samples"),
]
"""As typed on the command line, and what each is refused with."""


@pytest.mark.parametrize(("typed", "says"), RULES)
def test_what_is_typed_is_held_to_its_rule(typed: str, says: str, composed: Composed) -> None:
    with pytest.raises(ConfigError) as refused:
        composed(*typed.split())
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_the_lecture_experiment_is_the_notes_network(composed: Composed) -> None:
    run = composed("+experiment=lecture")
    assert run.sizes == [784, 32, 32, 10]
    assert (run.activation.name, run.init.name, run.bn.placement) == ("relu", "xavier", "before")


def test_the_default_is_small_and_needs_no_download(composed: Composed) -> None:
    assert composed().data.name == "digits"


def test_any_setting_can_be_overridden_in_hydra(composed: Composed) -> None:
    run = composed("model.hidden=[8,9]", "bn.eps=1e-3", "tracking.uri=x", "seed=4", "data.seed=1")
    assert (run.model.hidden, run.bn.eps, run.tracking.uri) == ((8, 9), 1e-3, "x")
    assert (run.seed, run.data_seed) == (4, 1)


def test_a_run_is_frozen_once_it_was_checked() -> None:
    run = RunConfig()
    with pytest.raises(FrozenInstanceError):
        run.lr.value = -1.0  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"^lr.value=-1.0: must be a finite number > 0$"):
        replace(run.lr, value=-1.0)


def test_every_key_of_the_schema_is_known_and_no_other() -> None:
    assert {"lr.value", "bn.affine", "model.hidden", "seed", "sweep.rerun", "tracking.uri"} <= set(known_keys())
    with pytest.raises(ConfigError, match=r"^lr.valeu: no such setting \(did you mean lr.value"):
        from_tree({"lr": {"valeu": 1}})
    with pytest.raises(ConfigError, match=r"^seeds: no such setting \(did you mean seed"):
        from_tree({"seeds": 1})


def test_groups_are_the_fields_of_a_run_and_know_their_names() -> None:
    assert {name: node.part for name, node in GROUPS.items()} == {name: name for name in GROUPS}
    assert [*GROUPS, "seed"] == [f.name for f in fields(RunConfig)]


def test_data_from_outside_needs_its_function(composed: Composed) -> None:
    with pytest.raises(ConfigError, match=r"^data.call=None: must be a function that gives the data, as module:"):
        composed("data=callable")


def test_other_relied_on_keys_exist() -> None:
    keys = "lr.value lr.schedule init.std init.distribution bn.momentum bn.eps bn.affine model.hidden model.dropout"
    keys += " optimizer.weight_decay train.epochs train.batch_size train.device train.dtype data.root data.subset"
    keys += " data.seed seed tracking.uri tracking.experiment sweep.rerun sweep.dry_run"
    assert set(keys.split()) <= set(known_keys())
