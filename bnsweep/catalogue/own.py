"""Names in a catalogue that stand for code of the user's: a dotted path, `module:function`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar


class Row(Protocol):
    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Row)


def is_own(name: str) -> bool:
    """Whether it names a function of the user's."""
    module, _, function = name.partition(":")
    return bool(module and function)


def title_of(dotted: str) -> str:
    """As text writes it: the function's own name."""
    return dotted.partition(":")[2]


class Table(dict[str, R]):
    """Rows by name. A function of the user's has a row too, which promises nothing; it is none of the choices."""

    def __init__(self, rows: Iterable[R], own: Callable[[str], R]) -> None:
        super().__init__({row.name: row for row in rows})
        self._own = own

    def __missing__(self, name: str) -> R:
        if not is_own(name):
            raise KeyError(name)
        return self._own(name)
