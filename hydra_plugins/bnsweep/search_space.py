"""What a search looks for: settings with the values that each is drawn from, and the seeds that every trial has."""

# No `from __future__ import annotations`: Hydra's scanner executes modules before they are in sys.modules, where
# dataclasses look text annotations up.
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException

from hydra_plugins.bnsweep.overrides import count_values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

REPLICATES = ("seed", "data.seed")
"""Settings that are not searched: a trial is trained once for each of their values."""
MOST_CORNERS = 256
"""Combinations that are tried before a search begins."""


@dataclass(frozen=True)
class Numbers:
    """Numbers from low to high, both among them."""

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> list[Any]:
        return [int(end) if self.whole else end for end in dict.fromkeys((self.low, self.high))]

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), self.log, int(self.step or 1))
        return FloatDistribution(self.low, self.high, self.log, self.step)

    def text(self, value: Any) -> str:
        """A value as it is typed."""
        return repr(int(value) if self.whole else float(value))


@dataclass(frozen=True)
class Choices:
    """Values without an order."""

    values: tuple[bool | int | float | str | None, ...]
    texts: tuple[str, ...]
    """Each as it is typed."""

    @property
    def ends(self) -> list[Any]:
        return list(self.values)

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def text(self, value: Any) -> str:
        return next(text for own, text in zip(self.values, self.texts, strict=True) if same(own, value))


def same(one: object, other: object) -> bool:
    """1, 1.0 and true are three values."""
    return one == other and type(one) is type(other)


@dataclass(frozen=True)
class Space:
    fixed: tuple[str, ...]
    """Overrides that all trials have."""
    searched: dict[str, Numbers | Choices]
    """By the setting as it is typed, `+key` for one that is added."""
    replicates: tuple[tuple[str, ...], ...]
    """Overrides of seeds: a trial has a job for each; one that is empty where no seed was swept."""

    @property
    def names(self) -> list[str]:
        """Of the searched settings."""
        return [key.lstrip("+") for key in self.searched]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Of a trial, but for its seed."""
        return [f"{key}={part.text(params[key.lstrip('+')])}" for key, part in self.searched.items()]

    def jobs(self, params: Mapping[str, Any]) -> list[list[str]]:
        """The overrides of a trial's jobs, one a seed."""
        return [[*self.fixed, *self.overrides(params), *seeds] for seeds in self.replicates]

    def corners(self) -> list[list[str]]:
        """Jobs that have every choice, and both ends of every row of numbers: all their combinations or, of very many,
        each with the first of all others and some in even distances. Rules that refuse a trial refuse one of them, most
        likely."""
        ends = [part.ends for part in self.searched.values()]
        every, first = math.prod(map(len, ends)), [values[0] for values in ends]
        found = [[*first[:i], value, *first[i + 1 :]] for i, values in enumerate(ends) for value in values]
        if every <= MOST_CORNERS:
            found = [list(row) for row in itertools.product(*ends)]
        else:
            places = range(0, every, max(1, every // MOST_CORNERS) | 1)
            found += [combination(ends, place) for place in places[:MOST_CORNERS]]
        return [self.jobs(dict(zip(self.names, row, strict=True)))[0] for row in found]

    def description(self, unlike: Sequence[str] = ()) -> str:
        """What has to be the same where a study goes on, without fixed overrides that begin with one of `unlike`."""
        parts = {name: asdict(part) for name, part in zip(self.names, self.searched.values(), strict=True)}
        fixed = sorted(text for text in self.fixed if not text.lstrip("+").startswith(tuple(unlike)))
        return json.dumps({"searched": parts, "fixed": fixed, "seeds": self.replicates}, sort_keys=True)


def combination(values: Sequence[Sequence[Any]], place: int) -> list[Any]:
    """The one at this place of all combinations."""
    found = []
    for own in values:
        place, which = divmod(place, len(own))
        found.append(own[which])
    return found


def read_space(overrides: Sequence[Override]) -> Space:
    """Of what is swept, settings of REPLICATES are seeds and all else is searched. Raises ConfigError where nothing is,
    and HydraException for what cannot be."""
    from bnsweep.config.checks import ConfigError

    fixed, searched, seeds = [], {}, []
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
        elif key.lstrip("+") in REPLICATES:
            if isinstance(override.value(), IntervalSweep):
                says = "a list of values, such as range(0,3): each trial is trained for all of them"
                raise ConfigError(f"{override.input_line}: must be {says}")
            seeds.append([f"{key}={text}" for _, text in values_of(override)])
        else:
            searched[key] = part_of(override)
    if not searched:
        says = "a setting to search, as in 'lr.value=tag(log,interval(0.01,1))' or activation=relu,tanh"
        raise ConfigError(f"hydra/sweeper=optuna: must have {says}; seeds alone are for hydra/sweeper=stacked")
    return Space(tuple(fixed), searched, tuple(itertools.product(*seeds)))


def part_of(override: Override) -> Numbers | Choices:
    value, text = override.value(), override.input_line
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return checked(Numbers(value.start, value.end, None, "log" in value.tags, whole), text)
    if isinstance(value, RangeSweep) and not value.shuffle:
        count = count_values(override)
        start, step = value.start or 0, value.step
        if count:
            whole = isinstance(start, int) and isinstance(step, int)
            low, high = sorted((start, start + (count - 1) * step))
            return checked(Numbers(low, high, abs(step), "log" in value.tags, whole), text)
    found = values_of(override)
    plain = [one for one, _ in found]
    if any(one != other and same(plain[one], plain[other]) for one in range(len(plain)) for other in range(one)):
        raise HydraException(f"{text}: must name each value once")
    mixed = any(plain[one] == plain[other] for one in range(len(plain)) for other in range(one))
    texts = tuple(written for _, written in found)
    return Choices(texts if mixed else tuple(plain), texts)


def checked(numbers: Numbers, text: str | None) -> Numbers:
    """Raises HydraException for numbers that nothing can be drawn from."""
    if not (math.isfinite(numbers.low) and math.isfinite(numbers.high) and numbers.low < numbers.high):
        raise HydraException(f"{text}: must be two finite numbers, the lower one first")
    if numbers.log and numbers.low <= 0:
        raise HydraException(f"{text}: must begin above 0 on a logarithmic scale")
    if numbers.log and numbers.step is not None:
        if not numbers.whole or numbers.step != 1:
            raise HydraException(f"{text}: must be an interval on a logarithmic scale, or a range of step 1")
        return replace(numbers, step=None)
    return numbers


def values_of(override: Override) -> list[tuple[Any, str]]:
    """Each value that is listed, as a value and as it is typed. What is no plain value, such as a list, stands as
    text."""
    count_values(override)  # refuses what is no list of values
    value = override.value()
    if isinstance(value, ChoiceSweep | RangeSweep) and value.shuffle:  # the order is the sampler's
        override = replace(override, _value=replace(value, shuffle=False))
    texts = list(override.sweep_string_iterator())
    if not texts:
        raise HydraException(f"{override.input_line}: must have values, has none")
    plain = [plain_value(one) for one in override.sweep_iterator(Transformer.identity)]
    return [(text if one is LISTED else one, text) for one, text in zip(plain, texts, strict=True)]


LISTED = object()


def plain_value(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    return value if value is None or isinstance(value, bool | int | float | str) else LISTED
