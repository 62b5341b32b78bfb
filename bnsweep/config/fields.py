"""How a setting is declared: one field that carries its default, its rule and its role; its doc stands beneath it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from bnsweep.config.checks import OneOf, Rule, check

if TYPE_CHECKING:
    from bnsweep.config.run import RunConfig


class Role(Enum):
    """What a setting is to a run."""

    NUMBERS = "It belongs to the identity, and runs that differ in it train in different stacks."
    FREE = "It belongs to the identity, and members of one stack may differ in it."
    SOURCE = "It says how data are found and read. Their digest belongs to the identity in its place; reports name it."
    PLACE = "It says where to read or compute: no part of the identity, but runs of one stack share it."
    OUTSIDE = "It says what is done with runs: no part of the identity, and no stack asks for it."


def setting(
    default: Any,
    rule: Rule | OneOf | None = None,
    *,
    role: Role = Role.NUMBERS,
    names: bool = False,
    matters: Callable[[RunConfig], bool] | None = None,
) -> Any:
    """A dataclass field of a group, or a group of RunConfig (`default` is then its class).

    A setting without a mark splits stacks: to forget the mark costs speed, never a number. `names` marks the field
    whose value is the group's choice; its factor has the group's name. `matters` says of a run whether the setting has
    an effect there; where it has none, it is left out of the identity.
    """
    given: dict[str, Any] = {"default_factory": default} if isinstance(default, type) else {"default": default}
    metadata = {"rule": rule, "role": role, "names": names, "matters": matters}
    return field(metadata=metadata, **given)


def said_elsewhere(run: RunConfig) -> bool:
    """Of a setting whose meaning is in the identity under another name or value; see `identity.numbers`."""
    return False


LARGEST = 2**53
"""Of a number that counts something: beyond it a float, which metrics are, holds no longer every whole number."""


@dataclass(frozen=True)
class Checked:
    """Checks its values when it is made, and makes a list a tuple. Raises ConfigError."""

    part: ClassVar[str] = ""
    """Name of this group in RunConfig, for error texts; empty for RunConfig itself."""

    def __init_subclass__(cls, group: str | None = None) -> None:
        if group is not None:
            cls.part = group

    def __post_init__(self) -> None:
        for f in fields(self):
            value, rule = getattr(self, f.name), f.metadata.get("rule")
            key = f"{self.part}.{f.name}" if self.part else f.name
            if rule is not None:
                check(holds(rule, value), key, value, rule.says)
            if isinstance(value, int):
                check(value <= LARGEST, key, value, f"at most {LARGEST}")
            if isinstance(value, list):
                object.__setattr__(self, f.name, tuple(value))
        self.check_together()

    def check_together(self) -> None:
        """Rules on several settings at once."""


def holds(rule: Rule | OneOf, value: object) -> bool:
    """Whether the rule holds; it does not for a value of another kind, such as a list in the place of a number."""
    try:
        return rule.holds(value)
    except (TypeError, AttributeError):
        return False
