"""Comparisons and verdicts as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from bnsweep.catalogue.tasks import Task
from bnsweep.inference import least_seeds
from bnsweep.report.claims.contrasts import (
    BEST,
    EQUAL,
    GAIN,
    LARGEST,
    LEARNING,
    OVERFITTING,
    START,
    Contrast,
    name_of,
)
from bnsweep.report.claims.quantities import quantities
from bnsweep.report.claims.verdicts import AGAINST, CONTRADICTED, FOR, MIXED, OPEN, SUPPORTED, TOO_FEW, Evidence
from bnsweep.report.frame.formats import capital, p_text

DEVIATION = "standard deviation of"
AT = {BEST: "best lr", EQUAL: "same lr", START: "before training"}


def comparison_name(contrast: Contrast, task: Task, lr_swept: bool, tau: str) -> str:
    """`tau`: how the score that training is timed to is called."""
    title = quantities(task)[contrast.quantity].title.replace("τ", tau)
    parts = [of_more(contrast, title)]
    at_rates = lr_swept and not (contrast.across or contrast.factor).startswith("lr.")
    if contrast.at == START or at_rates:
        parts.append(AT[contrast.at])
    if contrast.among == LEARNING:
        parts.append(f"both end at {tau} or above")
    if contrast.among == OVERFITTING:
        parts.append("networks that overfit")
    return ", ".join(parts)


def of_more(contrast: Contrast, title: str) -> str:
    """A quantity's title, or of what is made of the quantity."""
    names = [name_of(contrast.factor, side) for side in contrast.sides if side is not None]
    if contrast.moderators:
        told = [" less ".join(name_of(factor, level) for level in two) for factor, two in contrast.moderators[1:]]
        return ", ".join([f"what {names[0]} adds to {title}", *told])
    if contrast.across is None or contrast.by == LARGEST:
        return title
    across = contrast.across.rpartition(".")[2]
    if contrast.by == GAIN:
        return f"what {across} adds to {title}, where it helps {names[1]}"
    return f"{DEVIATION} {title} across {across}"


def finding(item: Evidence) -> str:
    """One comparison in a sentence's words."""
    unit, mean = item.unit, item.means[0]
    text = f"{item.title}: {side_text(item, 0)}"
    low, high = (item.low, item.high) if item.effect >= 0 or item.within else (-item.high, -item.low)
    if item.within:
        text += f", {side_text(item, 1)}; a difference of {unit.difference_text(item.effect, signed=True)}"
        between = f"{unit.text(low, signed=True)} to {unit.text(high, signed=True)}"
    elif item.sides[1]:
        way = "in favour of" if item.effect >= 0 else "against"
        text += f", {side_text(item, 1)}; {unit.difference_text(abs(item.effect))} {way} the claim"
        between = f"{unit.text(low)} to {unit.text(high)}"
    else:
        low, high = (low, high) if mean >= 0 else (-high, -low)
        between = f"{unit.text(low)} to {unit.text(high)}"
    asides = "".join(f". {capital(told)}" for told in (item.aside, item.remark) if told)
    return f"{text} (95 % interval {between}){asides}"


def side_text(item: Evidence, which: int, unit: bool = True) -> str:
    """A side with its mean: `97.2 % with BN before`."""
    return f"{item.mean_text(which, unit)} with {item.sides[which]}"


def p_equals(p: float) -> str:
    return f"p = {p_text(p)}".replace("= <", "<")


def sentence(verdict: str, evidence: Sequence[Evidence], p: float, family: int, level: float) -> str:
    """Why the verdict is what it is, with the numbers of the comparison that shows it best. `p`: of the claim, adjusted
    over `family` claims."""
    measured = [e for e in evidence if e.measured]
    if not measured:
        return f"{capital(next(e.note for e in evidence if e.note))}."
    speaking = [e for e in measured if e.says in (FOR, AGAINST)]
    shown = capital(finding(speaking[0] if speaking else measured[0]))
    if verdict in (SUPPORTED, CONTRADICTED):
        agree = [e for e in measured if e.says == (FOR if verdict == SUPPORTED else AGAINST)]
        deciding = sum(e.cut or (e.measured and not e.note) for e in evidence)
        count = f"{len(agree)} of {deciding} comparisons say so" if deciding > 1 else "More than the seeds' luck"
        among = f", {family} claims judged together" if family > 1 else ""
        return f"{capital(finding(agree[0]))}. {count} ({p_equals(p)}{among}).{by_side(measured)}"
    if verdict == MIXED:
        one, other = (next(e for e in measured if e.says == says) for says in (FOR, AGAINST))
        said = f"The comparisons disagree. For it: {finding(one)}. Against it: {finding(other)}."
        return f"{said}{by_side(measured)}"
    if verdict == TOO_FEW:
        return f"{too_few(measured, level)} {shown}."
    cut = [e.note for e in evidence if e.cut]
    why = f"{capital(cut[0])}." if cut else inconclusive(measured, family)
    return f"{why} {shown}.{by_side(measured)}"


def by_side(measured: Sequence[Evidence]) -> str:
    """What each comparison says, where three or more each have a first side of their own, as other normalisations
    have, and do not all say the same: ` For it: LayerNorm before. Undecided: RMSNorm before.`"""
    sides = {e.sides[0]: e.says for e in measured}
    if len(sides) < max(3, len(measured)) or len(set(sides.values())) == 1:
        return ""
    told = {"For it": FOR, "Against it": AGAINST, "Undecided": OPEN}
    found = {word: [side for side, says in sides.items() if says == which] for word, which in told.items()}
    return "".join(f" {word}: {', '.join(names)}." for word, names in found.items() if names)


def too_few(measured: Sequence[Evidence], level: float) -> str:
    """How many seeds there are, and how many it takes."""
    n = max(e.n for e in measured)
    needed = least_seeds(level)
    few = f"{n} seed{'s are' if n > 1 else ' is'} too few to decide it"
    return f"{few}: it takes {needed} at the least." if n < needed else "Too few of the seeds have both sides."


def inconclusive(measured: Sequence[Evidence], family: int) -> str:
    said = [[e for e in measured if e.says == says] for says in (FOR, AGAINST)]
    notes = [e.note for e in measured if e.note]
    if len(notes) == len(measured):
        return f"{capital(notes[0])}."
    if any(said):
        which, count = "for" if said[0] else "against", len(said[0] or said[1])
        if count > len(measured) // 2:
            return f"A hint {which} it, which is not enough where {family} claims are judged together."
        return f"Only {count} of {len(measured)} comparisons speak{'s' * (count == 1)} {which} it."
    least = f" ({p_equals(min(e.p for e in measured if not e.note))})"
    if all(e.within for e in measured):
        return f"Whether they differ by more than counts as none is beyond these seeds{least}."
    return f"No difference beyond what the seeds' luck explains{least}."
