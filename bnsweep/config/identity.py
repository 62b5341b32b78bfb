"""Which runs are the same run, and which can train as one stack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from functools import cache
from itertools import groupby
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from bnsweep.catalogue.datasets import DATASETS
from bnsweep.config.fields import Checked, Role
from bnsweep.config.network import ModelConfig, NetworkFacts
from bnsweep.config.run import RunConfig

NUMERICS = 3
"""Raised when a change of the code changes the numbers of a run, so that old results are not taken for new ones."""


@dataclass(frozen=True)
class Factor:
    """A setting, as one of the things that runs differ in."""

    key: str
    """Its dotted key, or the group's name where it is the group's choice."""
    group: str
    """Empty for `seed`."""
    field: str
    type: type
    """int, float, bool, or str for all else."""
    role: Role
    matters: Callable[[RunConfig], bool] | None

    def of(self, config: RunConfig) -> Any:
        """Its value; a float that was given as an int is the float it stands for. None where it is not set or has no
        effect in the run."""
        node = getattr(config, self.group) if self.group else config
        value = getattr(node, self.field)
        if value is None or (self.matters is not None and not self.matters(config)):
            return None
        return float(value) + 0.0 if self.type is float else value  # -0.0 is 0.0


@cache
def factors(run: type[RunConfig] = RunConfig) -> tuple[Factor, ...]:
    """All settings of a run, in the order of the schema."""
    found = []
    hints = get_type_hints(run)
    for f in fields(run):
        node = hints[f.name]
        if not (isinstance(node, type) and issubclass(node, Checked)):
            found.append(factor("", f, node))
            continue
        inner = get_type_hints(node)
        its = [factor(f.name, setting, inner[setting.name]) for setting in fields(node)]
        outside = f.metadata["role"] is Role.OUTSIDE
        found += [replace(one, role=Role.OUTSIDE) for one in its] if outside else its
    return tuple(found)


def factor(group: str, f: Field[Any], hint: Any) -> Factor:
    """Of one field, as it is marked; a field without a mark belongs to the identity and splits stacks."""
    mark = f.metadata
    key = f"{group}.{f.name}" if group and not mark.get("names") else group or f.name
    return Factor(key, group, f.name, kind_of(hint), mark.get("role", Role.NUMBERS), mark.get("matters"))


def factors_of(config: RunConfig) -> tuple[Factor, ...]:
    """Those of its class."""
    return factors(type(config))  # type: ignore[arg-type]  # a class has a hash whatever its instances have


def kind_of(hint: Any) -> type:
    """The type of a factor, from that of its field."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if isinstance(hint, UnionType) else [hint]
    return kinds[0] if len(kinds) == 1 and kinds[0] in (int, float, bool) else str


NAME_FIELDS = {factor.group: factor.field for factor in factors() if factor.key == factor.group}
"""Groups whose choice has a field of its own; their factor carries the group's name."""


@cache
def factor_types() -> dict[str, type]:
    """Factor -> type."""
    return {factor.key: factor.type for factor in factors()}


def numbers(config: RunConfig) -> dict[str, Any]:
    """What changes a run's numbers, flat and canonical: factor name -> plain value. How its data are found stands there
    too, to be told; the identity has the data's digest in its place.

    Settings without effect are left out (BN settings without BN, the distribution of an orthogonal init, ...), so
    that two ways of writing one run are one run.
    """
    inside, told = roles_of(config)
    flat = {f.key: value for f in inside if (value := f.of(config)) is not None}
    flat.pop("model.hidden")
    flat |= {key: source_text(value) for key, value in flat.items() if isinstance(value, tuple | dict)}
    flat |= {"bn": config.normalisation, "data.seed": config.data_seed} | network(config.model)
    flat["train.tau"] = float(config.tau)
    if config.data.validation is not None:  # else the data decide it, and nobody set it
        flat["data.validation"] = config.data.validation
    if config.data.known_by_reading:
        flat["data.digest"] = config.data.facts.digest
    taken = DATASETS[config.data.name].takes
    sources = {f.key: f.of(config) for f in told if f.field in taken} if taken else {}
    if config.model.is_tried:
        flat = of_own_network(flat, config.model.network) | {"model.layers": config.model.layers}
    return flat | {key: source_text(value) for key, value in sources.items() if value}


PARTS = {"activation": "activation", "init": "init", "bn": "norm", "norm": "norm"}
"""Group -> the part of a network of the user's that it is about."""
DECIDED = ("skip", "model.dropout", "model.bias", "lr.hidden")
"""Settings that a network of the user's has no use for."""


def of_own_network(flat: Mapping[str, Any], facts: NetworkFacts) -> dict[str, Any]:
    """Without the settings that play no part in a network of the user's."""
    gone = {*DECIDED, *(() if "sizes" in facts.takes else ("model.hidden",))}
    parts = {key: PARTS.get(key.partition(".")[0]) for key in flat}
    return {key: value for key, value in flat.items() if key not in gone and parts[key] in (None, *facts.takes)}


def network(model: ModelConfig) -> dict[str, str]:
    """The sizes of a network's layers."""
    if not model.is_convolutional:
        return {"model.hidden": sizes_text(model.units)}
    return {"model.channels": sizes_text(model.channels)}


def roles_of(config: RunConfig) -> tuple[tuple[Factor, ...], tuple[Factor, ...]]:
    """`by_role` of its class."""
    return by_role(type(config))  # type: ignore[arg-type]  # as in factors_of


@cache
def by_role(run: type[RunConfig]) -> tuple[tuple[Factor, ...], tuple[Factor, ...]]:
    """The factors that change a run's numbers, and those that say how its data are found."""
    known = factors(run)  # type: ignore[arg-type]  # as in factors_of
    inside = tuple(f for f in known if f.role in (Role.NUMBERS, Role.FREE))
    return inside, tuple(f for f in known if f.role is Role.SOURCE)


def source_text(value: Any) -> str:
    """How data are found or read, as one text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def sizes_text(sizes: Sequence[int]) -> str:
    """Layer sizes in one word: 32-32; four or more alike as 100x5; none."""
    runs = [(size, len(list(alike))) for size, alike in groupby(sizes)]
    return "-".join(f"{size}x{n}" if n > 3 else "-".join([str(size)] * n) for size, n in runs) or "none"


def layers_in(text: str) -> int:
    """How many sizes `sizes_text` was given."""
    return 0 if text == "none" else sum(int(part.partition("x")[2] or 1) for part in text.split("-"))


def identity(config: RunConfig, flat: Mapping[str, Any] | None = None) -> str:
    """16 hex digits: runs of equal identity must give the same numbers on the same machine. `flat`: its `numbers`,
    where they are known."""
    sources = {factor.key for factor in roles_of(config)[1]}
    own = {key: value for key, value in (flat or numbers(config)).items() if key not in sources}
    own["data.validation"] = config.data.validation_size
    text = json.dumps({"numerics": NUMERICS, **own}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def stack_key(config: RunConfig, flat: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """Runs of equal key can be trained as one stack. What makes another run makes another stack, unless it is marked as
    FREE. `flat`: as of `identity`."""
    known = factors_of(config)
    free = {f.key for f in known if f.role is Role.FREE}
    if config.model.is_own:  # members of a stack are one function of their parameters
        free = {key for key in free if PARTS.get(key.partition(".")[0]) not in ("activation", "norm")}
    shared = {key: value for key, value in (flat or numbers(config)).items() if key not in free}
    return (*shared.items(), *(f.of(config) for f in known if f.role is Role.PLACE))
