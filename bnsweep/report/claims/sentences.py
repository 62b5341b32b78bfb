"""Comparisons and verdicts as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from bnsweep.report.claims.contrasts import BEST, EQUAL, START, Contrast
from bnsweep.report.claims.quantities import QUANTITIES
from bnsweep.report.claims.verdicts import AGAINST, CONTRADICTED, FOR, SUPPORTED, Evidence
from bnsweep.report.frame.formats import p_text
from bnsweep.report.stats.resample import ALPHA, ENOUGH, least_p

DEVIATION = "standard deviation of"
AT = {BEST: "best lr", EQUAL: "same lr", START: "before training"}


def comparison_name(contrast: Contrast, lr_swept: bool, tau: str) -> str:
    """`tau`: how the accuracy that training is timed to is called."""
    title = QUANTITIES[contrast.quantity].title.replace("τ", tau)
    across = (contrast.across or "").rpartition(".")[2]
    if across:
        title = (
            f"what the largest {across} adds to {title}" if contrast.gain else f"{DEVIATION} {title} across {across}"
        )
    parts = [title]
    if contrast.at == START or (lr_swept and not contrast.factor.startswith("lr.")):
        parts.append(AT[contrast.at])
    if contrast.learned:
        parts.append(f"both reach {tau}")
    return ", ".join(parts)


def finding(item: Evidence) -> str:
    """One comparison in a sentence's words."""
    unit, (mean, other) = item.unit, item.means
    text = f"{item.name}: {unit.level_text(mean)} with {item.sides[0]}"
    low, high = (item.low, item.high) if item.effect >= 0 else (-item.high, -item.low)
    if item.sides[1]:
        way = "in favour of" if item.effect >= 0 else "against"
        text += (
            f", {unit.level_text(other)} with {item.sides[1]}; {unit.difference_text(abs(item.effect))} {way} the claim"
        )
        between = f"{unit.text(low)} to {unit.text(high)}"
    else:
        low, high = (low, high) if mean >= 0 else (-high, -low)
        between = f"{unit.number(low)} to {unit.number(high)}"
    aside = f". {capital(item.aside)}" if item.aside else ""
    return f"{text} (95 % interval {between}){aside}"


def p_equals(p: float) -> str:
    return f"p = {p_text(p)}".replace("= <", "<")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence(verdict: str, evidence: Sequence[Evidence], p_holm: float, family: int) -> str:
    """Why the verdict is what it is, with the numbers of the comparison that shows it best."""
    measured = [e for e in evidence if e.measured]
    if verdict in (SUPPORTED, CONTRADICTED):
        says = FOR if verdict == SUPPORTED else AGAINST
        agree = [e for e in measured if e.says == says]
        deciding = sum(not e.note for e in measured)
        count = f"{len(agree)} of {deciding} comparisons say so" if deciding > 1 else "More than the seeds' luck"
        return f"{capital(finding(agree[0]))}. {count} ({p_equals(p_holm)} after Holm)."
    if not measured:
        return f"{capital(next(e.note for e in evidence if e.note))}."
    return f"{inconclusive(measured, family)} {capital(finding(measured[0]))}."


def inconclusive(measured: Sequence[Evidence], family: int) -> str:
    n = max(e.n for e in measured)
    said = [[e for e in measured if e.says == says] for says in (FOR, AGAINST)]
    if n < ENOUGH:
        return f"{n} seed{'s' * (n > 1)}: a smoke test, no inference."
    if all(said):
        return f"The comparisons disagree: {said[0][0].name} speaks for it, {said[1][0].name} against it."
    notes = [e.note for e in measured if e.note]
    if len(notes) == len(measured):
        return f"{capital(notes[0])}."
    if least_p(n, family) > ALPHA:
        least = p_text(least_p(n, family))
        return f"{n} seeds are too few to say: no p can fall below {least} after Holm over {family} claims."
    if any(said):
        which, count = "for" if said[0] else "against", len(said[0] or said[1])
        if count == len(measured):
            return f"A hint {which} it that does not outlast Holm over {family} claims."
        return f"Only {count} of {len(measured)} comparisons speak{'s' * (count == 1)} {which} it."
    least = f" ({p_equals(min(e.p for e in measured if not e.note))})"
    return f"No difference beyond what the seeds' luck explains{least}."
