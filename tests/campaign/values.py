"""Odd values as a user could type them, and whether a setting may have them.

Whether it may is decided by the setting's type, by the rule that its dataclass declares and by what the value would
ask of a machine, never by what the commands do with it.
"""

from __future__ import annotations

import math
import re
import sys
import types
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import RunConfig
from bnsweep.config.tree import GROUPS, conf_folder, from_tree, register_schema


class Expected(Enum):
    BAD = "must be refused"
    LEGAL = "must be done"
    OPEN = "may be done or refused, in good form"


@dataclass(frozen=True)
class Sorted:
    """A value put where it belongs, with the reason."""

    expected: Expected
    reason: str


BAD_TEXTS: dict[str, str | bytes] = {
    "a word": "x",
    "null": "null",
    "400 digits": "1" + "0" * 400,
    "ten billions": "10000000000000",
    "2^63": str(2**63),
    "negative": "-1",
    "negative and huge": "-" + "9" * 30,
    "negative zero": "-0.0",
    "zero": "0",
    "nan": "nan",
    "inf": "inf",
    "minus inf": "-inf",
    "1e400": "1e400",
    "1e-400": "1e-400",
    "1.5": "1.5",
    "a boolean": "true",
    "hexadecimal": "0x10",
    "a digit separator": "1_000",
    "unicode": "josé",
    "unicode, quoted": '"日本 é"',
    "an emoji, quoted": "'🔥'",
    "bytes that are no UTF-8": b"\xff\xfe",
    "bytes that are no UTF-8, quoted": b'"\xff"',
    "colour codes": '"\x1b[31mred\x1b[0m"',
    "a bell": "a\x07",
    "two lines": '"a\nb"',
    "a carriage return": '"a\rb"',
    "right to left": '"a\u202eb"',
    "an empty list": "[]",
    "a list": "[1]",
    "a list of words": "[a,b]",
    "a nested list": "[[3]]",
    "a deep list": "[" * 200 + "]" * 200,
    "a list with null": "[1,null]",
    "a dict": "{a:1}",
    "an empty dict": "{}",
    "nothing": "",
    "an empty text": '""',
    "a blank": '" "',
    "an interpolation to nothing": "${nope.x}",
    "an interpolation to itself": "${KEY}",
    "an unset variable": "${oc.env:BNSWEEP_IS_NOT_SET}",
    "no such resolver": "${nope:1}",
    "a missing value": "???",
    "an interpolation left open": "${seed",
    "an empty interpolation": "${}",
    "an interpolation in a quoted text": '"${nope.x}"',
    "a quote left open": '"a',
    "a single quote left open": "'a",
    "a quote inside": 'a"b',
    "an equals sign": "a=b",
    "a blank inside": "a b",
    "a home folder": "~/data",
    "a trailing comma": "0,1,",
    "two values": "0,1",
    "a comma": ",",
    "a list left open": "[1",
    "a dict left open": "{a",
    "a parenthesis": "(",
    "a closing parenthesis": ")",
    "a sweep": "range(0,3)",
    "a step of nothing": "range(0,1,0)",
    "an empty choice": "choice()",
    "an interval": "interval(0,1)",
    "a glob": "glob(*)",
    "a sorted sweep": "sort(3,1)",
    "a cast": "int(x)",
    "no such function": "nope(1)",
    "an at sign": "@",
    "a colon": "a:b",
    "a hash": "#",
    "a backslash": "\\",
    "a percent code": "%20",
    "a path up": "../x",
    "5000 letters": "a" * 5000,
    "300 letters": "b" * 300,
    "a dollar": "$x",
    "a YAML tag": '"!!python/object:os.system"',
    "a YAML anchor": "*a",
}
"""What it is -> how it is typed, without a shell; KEY stands for the setting."""

NO_LIMIT = ("sweep.max_stack", "train.evaluate_every", "train.evaluate_steps", "train.batch_size", "probes.samples")
NO_LIMIT += ("probes.every",)
"""Counts of which more than there is means all there is."""
PATHS = ("sweep.report", "data.root")
HUGE = 10**12
LARGEST_FLOAT = int(sys.float_info.max)
LONGEST_NAME = 255
"""Bytes that a folder's name can have."""


class NoValue(Exception):
    """Hydra's grammar has no meaning for a text."""


@cache
def meaning(text: str | bytes) -> Any:
    """What Hydra's grammar takes a text for; raises NoValue for what it does not take, and for sweeps of values."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    try:
        override = OverridesParser.create().parse_overrides([f"KEY={text}"])[0]
        if override.is_sweep_override():
            raise NoValue("a sweep of values, and one is wanted")
        return override.value()
    except NoValue:
        raise
    except (HydraException, ValueError, RecursionError) as error:
        raise NoValue("Hydra's grammar does not take it") from error


@cache
def default_tree() -> dict[str, Any]:
    """The settings of a run, as composed from conf/."""
    register_schema()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", overrides=["train=smoke", "sweep.id=of-the-campaign"])
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def hint_of(key: str) -> Any:
    """The declared type of a setting."""
    group, _, name = key.rpartition(".")
    return get_type_hints(GROUPS[group] if group else RunConfig)[name]


def is_of_type(hint: Any, value: Any) -> bool | None:
    """None where Hydra may convert the value to the type, or may not."""
    if get_origin(hint) in (Union, types.UnionType):
        answers = [is_of_type(part, value) for part in get_args(hint)]
        return True if True in answers else None if None in answers else False
    if hint is type(None):
        return value is None
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        answers = [is_of_type(inner, part) for part in value] if isinstance(value, list) else [False]
        return False if False in answers else None if None in answers else True
    if hint is Any:
        return None
    if value is None or isinstance(value, list | dict):
        return False
    return is_scalar_of_type(hint, value)


def is_scalar_of_type(hint: Any, value: Any) -> bool | None:
    if hint is bool:
        named = str(value).lower() in ("true", "false", "yes", "no", "on", "off", "y", "n")
        return True if type(value) is bool else None if named or type(value) is int else False
    if hint is str:
        return True if isinstance(value, str) else None
    if type(value) is bool:
        return False
    if isinstance(value, str):
        return None if re.fullmatch(r"\s*[-+]?[\d._]+(e[-+]?\d+)?\s*", value, re.IGNORECASE) else False
    if hint is float and type(value) is int and abs(value) > LARGEST_FLOAT:
        return False
    if hint is int:
        return True if type(value) is int else None if math.isfinite(value) and value == int(value) else False
    return True


def sort_value(key: str, text: str | bytes) -> Sorted:
    """Whether a setting of a single run may have the value that a text stands for."""
    try:
        value = meaning(text)
    except NoValue as error:
        return Sorted(Expected.BAD, str(error))
    if value == "???" or (isinstance(value, str) and "${" in value):
        return Sorted(Expected.BAD, "there is no value")
    fits = is_of_type(hint_of(key), value)
    if fits is False:
        return Sorted(Expected.BAD, f"the type is {hint_of(key)}")
    if isinstance(value, float) and not math.isfinite(value) and hint_of(key) is not str:
        return Sorted(Expected.BAD, "no finite number")
    if fits is None and hint_of(key) is str and broken_rule(key, str(value)):
        return Sorted(Expected.BAD, broken_rule(key, str(value)))
    return sort_by_rule(key, value, open_type=fits is None)


def broken_rule(key: str, value: Any) -> str:
    """What the settings' own checks have against a value of the right type; empty if nothing."""
    tree = deepcopy(default_tree())
    group, _, name = key.rpartition(".")
    # Hydra makes a whole number a float where a float belongs.
    (tree[group] if group else tree)[name] = float(value) if hint_of(key) is float and type(value) is int else value
    try:
        from_tree(tree)
    except ConfigError as error:
        return str(error).partition(": ")[2][:100]
    except (TypeError, AttributeError, ValueError):  # of another type, which Hydra may convert
        return ""
    return ""


def sort_by_rule(key: str, value: Any, open_type: bool) -> Sorted:
    if key == "tracking.uri" and value is not None:
        return Sorted(Expected.BAD, "no store has such a URI")
    if key in PATHS and value == "":
        return Sorted(Expected.BAD if key == "sweep.report" else Expected.OPEN, "no folder has this name")
    is_huge = type(value) is int and abs(value) >= HUGE and hint_of(key) is not float
    if is_huge and key not in NO_LIMIT and not open_type:
        return Sorted(Expected.BAD if abs(value) >= 2**62 else Expected.OPEN, "more than a machine can do")
    if isinstance(value, str) and len(value) > LONGEST_NAME and not key.startswith("experiment."):
        wanted = Expected.BAD if key in ("sweep.id", "tracking.experiment") and len(value) > 500 else Expected.OPEN
        return Sorted(wanted, "longer than names can be")
    if (broken := broken_rule(key, value)) and not open_type:
        return Sorted(Expected.BAD, broken)
    is_strange = isinstance(value, str) and not value.isprintable()
    is_open = open_type or is_strange or is_huge
    return Sorted(Expected.OPEN if is_open else Expected.LEGAL, "of its type, and no rule is against it")
