"""Sweeps over evenly spaced values: lr.value=logspace(-3,1,9), linspace(0,1,5)."""

# No `from __future__ import annotations`: Hydra reads the types of these functions.
import math
from typing import Union

from hydra._internal.grammar.functions import Functions
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.types import ChoiceSweep

Number = Union[int, float]  # noqa: UP007 (Hydra compares with types in it)
MOST_VALUES = 10_000


def linspace(start: Number, stop: Number, num: int) -> ChoiceSweep:
    """So many numbers from start to stop, both among them, at equal distances."""
    check_spaced(start, stop, num)
    return ChoiceSweep(list=[start + (stop - start) * i / (num - 1) if num > 1 else start for i in range(num)])


def logspace(start: Number, stop: Number, num: int) -> ChoiceSweep:
    """So many powers of ten, from 10^start to 10^stop, at equal ratios."""
    check_spaced(start, stop, num)
    if max(abs(start), abs(stop)) > 300:
        raise ValueError("exponents must be between -300 and 300, as in logspace(-3,1,9)")
    exponents = [start + (stop - start) * i / (num - 1) if num > 1 else start for i in range(num)]
    return ChoiceSweep(list=[float(f"1e{round(e)}") if e == round(e) else 10.0**e for e in exponents])


def check_spaced(start: Number, stop: Number, num: int) -> None:
    if not 1 <= num <= MOST_VALUES or isinstance(num, bool):
        raise ValueError(f"the number of values must be from 1 to {MOST_VALUES:,}, is {num}")
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise ValueError("both ends must be finite")


def register_functions() -> None:
    """Let Hydra read lr.value=logspace(-3,1,9) and linspace(0,1,5) in this process."""
    before = getattr(overrides_parser, "create_functions")  # noqa: B009 (mypy: it is not exported)
    if not hasattr(before, "extended"):

        def create_functions() -> Functions:
            functions: Functions = before()
            functions.register(name="linspace", func=linspace)
            functions.register(name="logspace", func=logspace)
            return functions

        create_functions.extended = True  # type: ignore[attr-defined]
        overrides_parser.create_functions = create_functions
