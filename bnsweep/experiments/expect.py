"""The `expect:` entries of an experiment's file: what they may say, and what is wrong with one that says otherwise.

    - quantity: flow@start                          # see `quantities`
      runs: {activation: sigmoid, init.std: 0.01}   # factors as `identity.numbers` names them; null: not set
      against: {bn: before}                         # the other arm, otherwise the same; with `by`
      by: difference                                # difference, ratio; deviation of whole curves; in pairs of a seed
      expected: -6.41
      tolerance: 0.15                               # or "2%" of expected; or low and/or high in its place; or none
      from: computed                                # one of ORIGINS; of the number, or of the statement in the note
      full_only: false                              # true: not judged in the quick form
      note: what it says, or why ours is outside, when it is

Tolerances and bounds are this project's, whatever the number is from.

A selector must leave one run a seed, but for the quantities of whole sets (`sets.SETS`).
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnsweep.config.checks import ConfigError, check
from bnsweep.config.identity import numbers
from bnsweep.config.run import RunConfig
from bnsweep.experiments.quantities import Quantity, check_known, parse_quantity
from bnsweep.experiments.selection import check_one_a_seed, check_selector, matches, selector_text

KEYS = ("quantity", "runs", "against", "by", "expected", "tolerance", "low", "high", "from", "full_only", "note")
CONTRASTS = ("difference", "ratio", "deviation")
ORIGINS = {
    "published": "read in the source or in its recorded run",
    "second-hand": "said of the source, not read there",
    "computed": "for this project",
}
"""`from:` -> what it means."""


@dataclass(frozen=True)
class Expectation:
    """One entry of `expect:`."""

    quantity: Quantity
    runs: dict[str, Any]
    """Factor -> value of the runs that are measured."""
    against: dict[str, Any]
    """What sets the runs apart that they are compared with; empty: no contrast."""
    by: str
    """One of CONTRASTS, or empty."""
    expected: float | None
    low: float
    """Inside is low <= median <= high; both infinite: reported, not judged."""
    high: float
    tolerance: str
    """Those bounds as the file gives them."""
    origin: str
    """One of ORIGINS."""
    full_only: bool
    note: str

    @property
    def other(self) -> dict[str, Any]:
        """The selector of the other arm."""
        return {**self.runs, **self.against}

    @property
    def judged(self) -> bool:
        return math.isfinite(self.low) or math.isfinite(self.high)

    def runs_text(self) -> str:
        """Runs and contrast."""
        contrast = f"; {self.by} to {selector_text(self.against)}" if self.by else ""
        return selector_text(self.runs) + contrast


def parse_expectation(entry: Mapping[str, Any]) -> Expectation:
    """One entry, checked by itself. Raises ConfigError."""
    for key in entry:
        near = difflib.get_close_matches(str(key), KEYS, n=1) or [f"one of {', '.join(KEYS)}"]
        check(key in KEYS, str(key), entry[key], f"left out or renamed: no such key (did you mean {near[0]}?)")
    check(isinstance(entry.get("quantity"), str), "quantity", entry.get("quantity"), "the name of what is measured")
    selectors = {key: entry.get(key) or {} for key in ("runs", "against")}
    for key, selector in selectors.items():
        named = isinstance(selector, Mapping) and all(isinstance(name, str) for name in selector)
        check(named, key, selector, "a mapping of factors to values, such as {bn: none}")
    by = entry.get("by") or ""
    check(bool(by) == bool(selectors["against"]), "by", by or None, "given with against, and left out without it")
    check(by in ("", *CONTRASTS), "by", by, f"one of {', '.join(CONTRASTS)}")
    full_only = entry.get("full_only", False)
    check(isinstance(full_only, bool), "full_only", full_only, "true or false")
    check(entry.get("from") in [*ORIGINS], "from", entry.get("from"), f"one of {', '.join(ORIGINS)}")
    expected = number(entry, "expected")
    low, high, tolerance = bounds(entry, expected)
    quantity = parse_quantity(entry["quantity"], whole_curve=by == "deviation")
    arms = dict(selectors["runs"]), dict(selectors["against"])
    note = str(entry.get("note") or "")
    return Expectation(quantity, *arms, by, expected, low, high, tolerance, entry["from"], full_only, note)


def number(entry: Mapping[str, Any], key: str) -> float | None:
    """A number of an entry, None where it is left out. Raises ConfigError."""
    value = entry.get(key)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    ok = value is None or (is_number and abs(value) <= sys.float_info.max)
    check(ok, key, value, "a finite number or null")
    return None if value is None else float(value)


def bounds(entry: Mapping[str, Any], expected: float | None) -> tuple[float, float, str]:
    """What the median must lie between, and that in words: `tolerance` around `expected`, or `low` and `high`."""
    low, high, tolerance = number(entry, "low"), number(entry, "high"), entry.get("tolerance")
    if tolerance is None:
        both = low is not None and high is not None
        check(not both or low <= high, "low", low, f"<= high={high}")  # type: ignore[operator]
        text = f"{low:g} to {high:g}" if both else f">= {low:g}" if low is not None else ""
        text = text or ("" if high is None else f"<= {high:g}")
        return -math.inf if low is None else low, math.inf if high is None else high, text
    check(low is None and high is None, "tolerance", tolerance, "left out where low or high is given")
    check(expected is not None, "tolerance", tolerance, "given with an expected number (low and high need none)")
    assert expected is not None
    says = 'a number >= 0, or a percentage of the expected number such as "2%"'
    text = str(tolerance).strip()
    try:
        width = float(text.removesuffix("%"))
    except ValueError:
        width = math.nan
    check(math.isfinite(width) and width >= 0 and not isinstance(tolerance, bool), "tolerance", tolerance, says)
    half = abs(expected) * width / 100 if text.endswith("%") else width
    return expected - half, expected + half, f"±{width:g} %" if text.endswith("%") else f"±{width:g}"


def read_expectations(
    name: str, entries: Sequence[Any], configs: Sequence[RunConfig], quick: bool
) -> list[Expectation]:
    """All entries of experiment `name`, checked against its runs. Raises ConfigError, naming the entry."""
    factors = [numbers(config) for config in configs]
    found = []
    for place, entry in enumerate(entries, start=1):
        try:
            check(isinstance(entry, Mapping), "entry", entry, "a mapping with a quantity")
            expectation = parse_expectation(entry)
            if not (quick and expectation.full_only):
                check_runs(expectation, configs, factors)
        except ConfigError as error:
            raise ConfigError(f"{name}: expect {place}: {error}") from None
        found.append(expectation)
    return found


def check_runs(expectation: Expectation, configs: Sequence[RunConfig], factors: Sequence[Mapping[str, Any]]) -> None:
    """Refuses an expectation that these runs cannot answer."""
    changed = {name for name, value in expectation.against.items() if expectation.runs.get(name, ...) != value}
    check(not expectation.by or bool(changed), "against", selector_text(expectation.against), "different from runs")
    seeds = []
    for selector in (expectation.runs, expectation.other) if expectation.by else (expectation.runs,):
        check_selector(factors, selector)
        places = [place for place, known in enumerate(factors) if matches(known, selector)]
        for config in (configs[place] for place in places):
            check_known(expectation.quantity, config)
        if not expectation.quantity.of_sets:
            check_one_a_seed(distinct([factors[place] for place in places]))
        seeds.append({configs[place].seed for place in places})
    check(
        len(set.intersection(*seeds)) > 0,
        "against",
        selector_text(expectation.against),
        "of the same seeds as the runs",
    )


def distinct(factors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Jobs that mean the same run are one run."""
    return list(
        {tuple(sorted((name, str(value)) for name, value in known.items())): known for known in factors}.values()
    )
