"""The config's tree: its groups and keys, from a tree of plain values to a RunConfig, and what Hydra is told of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

from bnsweep.catalogue.norms import NORM_CHOICES, PLACED, PLACEMENTS
from bnsweep.config.checks import AUTO, ConfigError, check
from bnsweep.config.fields import Checked
from bnsweep.config.run import RunConfig
from bnsweep.config.secrets import check_no_secret
from bnsweep.config.sweep import new_sweep_id

if TYPE_CHECKING:
    from omegaconf import DictConfig, IntegerNode

TYPES = get_type_hints(RunConfig)
GROUPS: dict[str, type] = {f.name: TYPES[f.name] for f in fields(RunConfig) if issubclass(TYPES[f.name], Checked)}
"""Name -> dataclass."""


@cache
def known_keys() -> tuple[str, ...]:
    """Every dotted key of the schema, for error texts."""
    inner = [f"{group}.{f.name}" for group, node in GROUPS.items() for f in fields(node)]
    return (*inner, *(f.name for f in fields(RunConfig) if f.name not in GROUPS))


def kind_of(key: str) -> str | None:
    """What values of a setting are, to follow "must be"; None for a key that is no setting."""
    group, _, name = key.rpartition(".")
    hints = TYPES if not group else get_type_hints(GROUPS[group]) if group in GROUPS else {}
    if key not in known_keys() or name not in hints:
        return None
    hint = hints[name]
    choices = (hint,) if get_origin(hint) in (None, tuple, dict) else get_args(hint)
    return " or ".join("null" if kind is NoneType else said_of(kind, key) for kind in choices)


def said_of(kind: Any, key: str) -> str:
    """What a value of one type is."""
    if get_origin(kind) is not tuple:
        return KINDS.get(kind, "a list")
    return f"a list, such as {EXAMPLES[key]}" if key in EXAMPLES else LISTS.get(get_args(kind)[0], "a list")


KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
EXAMPLES = {
    "data.size": "[28,28]",
    "sweep.exclude": "[{bn: none, init: he}]",
    "sweep.zip": "[[lr.value, train.batch_size]]",
}
"""Of settings whose form is not guessed."""
LISTS = {
    int: "a list of integers, such as [32,32]",
    float: "a list of numbers, such as [0.5,0.75]",
    str: "a list of texts",
}


def from_tree(tree: dict[str, Any]) -> RunConfig:
    """A RunConfig of a composed config as plain dicts; unknown keys are an error that lists what is near."""
    for key, value in tree.items():
        if key in GROUPS and not isinstance(value, dict):
            raise ConfigError(f"{key}={value}: must be settings, as in {key}.{fields(GROUPS[key])[0].name}=…")
        unknown = [f"{key}.{k}" for k in value if f"{key}.{k}" not in known_keys()] if key in GROUPS else []
        if key not in GROUPS and key != "seed":
            unknown = [key]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known_keys(), n=3) or [*GROUPS, "seed"]
            raise ConfigError(f"{unknown[0]}: no such setting (did you mean {', '.join(near)}?)")
    says = "a number; auto is for a sweep (-m) of the stacked sweeper and launcher, which adds seeds as it goes"
    check(tree.get("seed") != AUTO, "seed", AUTO, says)
    parts = {key: GROUPS[key](**value) if key in GROUPS else value for key, value in tree.items()}
    return RunConfig(**parts)


def from_composed(config: DictConfig) -> RunConfig:
    """A composed config as a RunConfig; ConfigError for what Hydra lets pass."""
    from omegaconf import OmegaConf

    check_typed(typed_in(config))
    # Node by node, within the whole config: a copy would lose the one moment that `now` stands for.
    keys = [str(key) for key in config if key != "hydra"]
    nodes = {key: config[key] for key in keys}
    check_tracking(nodes.get("tracking"))
    return from_tree(
        {
            key: OmegaConf.to_container(n, resolve=True, throw_on_missing=True) if OmegaConf.is_config(n) else n
            for key, n in nodes.items()
        }
    )


def typed_in(config: DictConfig) -> list[str]:
    """The overrides of a composed job, where it has its `hydra` node."""
    from omegaconf import OmegaConf

    return [str(text) for text in OmegaConf.select(config, "hydra.overrides.task") or ()]


def check_typed(overrides: Iterable[str]) -> None:
    """Refuses what contradicts itself only where both settings are given: bn=before is the default, and gives way to
    norm=none and norm=weight; typed beside them, it cannot. Raises ConfigError."""
    typed = {}
    for text in overrides:
        key, _, value = text.partition("=")
        typed[key.strip().lstrip("+")] = value.strip().strip("'\"")
    kind, place = typed.get("norm", typed.get("norm.name")), typed.get("bn", typed.get("bn.placement"))
    if kind in NORM_CHOICES and kind not in PLACED and place in PLACEMENTS[1:]:
        raise ConfigError(f"norm={kind}: must be one of {', '.join(PLACED)} with bn={place}, or bn left out")


def check_tracking(node: object) -> None:
    """Raises ConfigError where the URI of a composed config holds a password itself, as a YAML file can; one that an
    interpolation brings from the environment is none of its text."""
    from omegaconf import DictConfig, OmegaConf

    if isinstance(node, DictConfig):
        tree = cast(dict[str, object], OmegaConf.to_container(node))
        check_no_secret([f"tracking.uri={tree.get('uri')}"])


def conf_folder() -> Path:
    """conf/ inside the installed package, else beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


@cache
def seed_type() -> type[IntegerNode]:
    from omegaconf import IntegerNode

    class SeedNode(IntegerNode):
        """An integer, or `auto`, which the sweeper turns into seeds."""

        def _validate_and_convert_impl(self, value: Any) -> Any:
            return value if value == AUTO else super()._validate_and_convert_impl(value)

        def __deepcopy__(self, memo: dict[int, Any]) -> SeedNode:
            twin = SeedNode()
            self._deepcopy_impl(twin, memo)
            return twin

    return SeedNode


def seed_node(schema: DictConfig) -> IntegerNode:
    """For the seed of a schema."""
    return seed_type()(schema.seed, key="seed", parent=schema, is_optional=False)


def register_schema() -> None:
    """Tell Hydra the types of a run, and the id of this command's sweep: as a plain value it is the same one in every
    job, in other processes too. A group of its own keeps the base node out of every list of choices."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    schema = OmegaConf.structured(RunConfig)
    for node in (schema, *(schema[group] for group in GROUPS)):
        OmegaConf.set_readonly(node, None)  # as of frozen dataclasses, which nothing could override
    for kwargs in (schema.data.kwargs, schema.model.kwargs):
        OmegaConf.set_struct(kwargs, False)  # names of the user's own
    schema.sweep.id = new_sweep_id()
    schema.__dict__["_content"]["seed"] = seed_node(schema)
    ConfigStore.instance().store(group="schema", name="run", node=schema, package="_global_")
    # Hydra copies its sources with all of the store whenever it lists a group, more than a hundred times for --help;
    # there is one store in a process, which hands out copies of what it holds.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
