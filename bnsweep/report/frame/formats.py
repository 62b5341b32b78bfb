"""Single numbers and names as short texts; a dash stands for what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from bnsweep.catalogue.metrics import ACCURACY, LOSS, STEPS, Metric
from bnsweep.report.frame.grid import Grid, level_text, value_text

GROUPS = "By these seeds the arms of group A can be the best, those of B the best of the rest, and so on."
"""What the letters beside arms mean."""


def letters(group: int) -> str:
    """1 -> A, 26 -> Z, 27 -> AA; empty where there is no group."""
    text = ""
    while group > 0:
        group, rest = divmod(group - 1, 26)
        text = chr(65 + rest) + text
    return text


def percent(value: float, digits: int = 1) -> str:
    """A share: 97.2 %."""
    return f"{100 * value:.{digits}f} %".replace("-", "−") if math.isfinite(value) else "–"


def share_text(value: float) -> str:
    """A share without decimals: 88 %. Only all is 100 %, and only nothing 0 %."""
    whole = round(100 * value)
    return f"{min(max(whole, 1), 99) if 0 < value < 1 else whole} %"


CENSORED = " A run that never gets to τ counts with its whole budget."
"""What is to be said where means of steps to τ are drawn."""


def at_least(metric: Metric, value: float, reached: float) -> str:
    """A mean of a metric; of steps to τ with "≥" and the share that got there, where some runs did not and count with
    their whole budget. `reached`: that share."""
    text = metric.text(value)
    return f"≥ {text} ({share_text(reached)})" if metric.kind == STEPS and reached < 1 else text


def censored(metric: Metric) -> str:
    """CENSORED, of steps to τ."""
    return CENSORED if metric.kind == STEPS else ""


def capped(metric: Metric) -> str:
    """What is to be said where means are drawn of what has no bound of its own."""
    unbounded = metric.task.capped and (metric.is_score or metric.kind == LOSS)
    return " What is worse than guessing counts as guessing." if unbounded else ""


def fixed(value: float, digits: int) -> str:
    """With so many decimals, and a comma between thousands."""
    return f"{value:,.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def integer(value: float) -> str:
    """Rounded, with a comma between thousands."""
    return fixed(value, 0)


def shortest(value: float) -> str:
    """0.01 or 1e-05, whichever is shorter."""
    return value_text(float(value)) if math.isfinite(value) else "–"


def p_text(value: float) -> str:
    """A p-value by its first three decimals: .032, or < .001."""
    if not math.isfinite(value):
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def span(low: str, high: str) -> str:
    """Two ends as one text; a dash where either is missing."""
    return "–" if "–" in (low, high) else f"{low} to {high}"


def interval(metric: Metric, low: float, high: float) -> str:
    """Two values of a metric; the percent sign stands once."""
    return span(metric.text(low).removesuffix(" %"), metric.text(high))


def rounded_apart(names: Sequence[str]) -> list[str]:
    """Names whose numbers have three digits, where that leaves them apart; else as they are: lr 5.623413 is lr 5.62."""
    short = [re.sub(r"\d+\.\d{3,}(?:e[+-]?\d+)?", lambda m: f"{float(m[0]):.3g}", name) for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def shortened(name: str, most: int) -> str:
    """A long name without its middle."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - most + most // 2 + 1 :]}"


def shortened_apart(names: Sequence[str], most: int) -> list[str]:
    """Long names without what all of them share, then without their middle; names that are then alike are numbered."""
    if max(map(len, names), default=0) > most:
        shared = set.intersection(*(set(name.split(" · ")) for name in names)) if len(names) > 1 else set()
        names = [" · ".join(part for part in name.split(" · ") if part not in shared) or name for name in names]
    found = [shortened(name, most) for name in names]
    return [f"{text} ({found[:i].count(text) + 1})" if found.count(text) > 1 else text for i, text in enumerate(found)]


def together(text: str) -> str:
    """No line ends before a percent sign or a dot, after a times sign or "≥", or within p = .05."""
    return (
        text.replace("p = ", "p\u00a0=\u00a0")
        .replace(" %", "\u00a0%")
        .replace(" · ", "\u00a0· ")
        .replace("× ", "×\u00a0")
        .replace("≥ ", "≥\u00a0")
    )


def level_name(factor: str, level: Any) -> str:
    """A level as it is written in an arm's name; a dash where the factor does not apply."""
    return level_text(factor, level) or "–"


def tau_value(grid: Grid) -> str:
    """The score that training is timed to: 90 %, 0.5, or its name where the sweep varies it."""
    level = grid.fixed.get("train.tau")
    if not isinstance(level, (int, float)):
        return "τ"
    return f"{100 * level:g} %" if grid.task.score == ACCURACY else f"{level:g}"


def tau(grid: Grid) -> str:
    """The same where nothing beside it says what score it is: 90 %, R² 0.5."""
    value = tau_value(grid)
    return value if value == "τ" or grid.task.score == ACCURACY else f"{grid.task.title} {value}"


def capital(text: str) -> str:
    """With a capital first letter, and all others as they are."""
    return text[:1].upper() + text[1:]


def few(names: list[str], most: int = 12) -> str:
    """Names in a row, of many the first ones and the last."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} … {names[-1]}"


def in_channels(text: str, grid: Grid) -> str:
    """A text about the units of layers in the terms of a sweep: where all its networks are convolutional, they are
    channels."""
    families = set(grid.runs["model.family"]) if "model.family" in grid.runs else {"mlp"}
    return text if {"mlp", "module"} & families else re.sub(r"\bunit(s?)\b", r"channel\1", text)
