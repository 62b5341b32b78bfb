"""What a report says in sentences: the answer, and a line for each claim."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bnsweep.catalogue.metrics import Metric
from bnsweep.inference import ENOUGH, least_seeds
from bnsweep.records import STOPPED
from bnsweep.report.claims.sentences import side_text
from bnsweep.report.claims.verdicts import (
    AGAINST,
    CONTRADICTED,
    FOR,
    INCONCLUSIVE,
    MIXED,
    SUPPORTED,
    TOO_FEW,
    UNASKED,
    VERDICTS,
    Evidence,
    Verdict,
)
from bnsweep.report.frame.formats import at_least, few, fixed, integer, interval, letters
from bnsweep.report.frame.grid import UNNAMED
from bnsweep.report.stats.stability import Stability

UNTRAINED = (
    "Nothing was trained (train.epochs=0): every number is that of a network as it starts, and the order below"
    " says nothing of learning."
)


def out_of_order(table: pd.DataFrame) -> str:
    """Why the letters of a ranking do not follow its order; empty where they do."""
    ranked = table[table["group"] > 0]
    group = ranked["group"].to_numpy(int)
    lowest_below = np.minimum.accumulate(group[::-1])[::-1]
    early = ranked[group > lowest_below]
    if early.empty:
        return ""
    told = [f"{integer(rank)} ({letters(int(g))})" for rank, g in zip(early["rank"], early["group"], strict=True)]
    who, whom = ("rank", "it") if len(told) == 1 else ("ranks", "each of them")
    return (
        f"Before arms of an earlier letter: {who} {few(told)}. A better arm beats {whom} beyond the seeds' luck; on the"
        " arms below, which are further behind, the seeds agree less."
    )


def answer(table: pd.DataFrame, metric: Metric, all_diverged: bool, stopped: pd.DataFrame) -> str:
    """What the best-lr ranking says, in a few sentences, and no more than its seeds carry. `stopped`: what was stopped
    early, with scores of `metric` or none."""
    if len(stopped) and table.empty:
        return "Nothing is ranked: every arm was stopped early. They are listed by their last scores."
    text = among_ranked(table, metric, all_diverged)
    if not len(stopped):
        return text
    n = len(stopped)
    text += " 1 combination was stopped early and is" if n == 1 else f" {n} combinations were stopped early and are"
    text += " not ranked"
    higher = stopped[metric.sign * stopped["score"] >= (metric.sign * table["score"]).max()]
    if higher.empty:
        return f"{text}."
    first = higher.iloc[0]
    at = "" if first["lr"] == UNNAMED else f" at {first['lr']}"
    who = f"{first['arm']}{at} ({metric.text(first['score'])})"
    return f"{text}, though {few_more(who, len(higher) - 1)} stood no lower when stopped."


def few_more(name: str, more: int) -> str:
    return f"{name} and {more} other{'s' * (more > 1)}" if more else name


def among_ranked(table: pd.DataFrame, metric: Metric, all_diverged: bool) -> str:
    """Of the arms of the table."""
    ranked = table[table["rank"].notna()]
    if ranked.empty:
        return "Nothing can be ranked: no combination has a result at every learning rate in any seed."
    if all_diverged:
        return "No combination trained: every run diverged, so all stand at chance."
    top = ranked.iloc[0]
    n = int(top["n_seeds"])
    named = top["lr"] == UNNAMED or ("lr" in str(top["arm"]).split(" ") and not math.isfinite(top["lr_share"]))
    at = "" if named else f" at {top['lr']}"
    result = f"{top['arm']}{at}, {metric.title} {at_least(metric, top['score'], top['tau_share'])}"
    seeds = f"{n} seed{'s' * (n > 1)}"
    if math.isfinite(top["low"]):
        result += f" (95 % interval {interval(metric, top['low'], top['high'])}, {seeds})"
    elif len(ranked) == 1:
        result += f" ({seeds})"
    if len(ranked) == 1:
        return f"{result}."
    if n < ENOUGH:
        return f"Ahead, without inference from {seeds}: {result}."
    mates = list(ranked["arm"][ranked["group"] == 1])
    mates.remove(top["arm"])
    if not mates:
        return f"Best combination: {result}; better than every other one beyond what the seeds' luck explains."
    if len(mates) == len(ranked) - 1:
        told = f"these seeds rule out none of the {len(ranked)} as the best"
        return f"No combination stands out: {told}. Ahead: {result}."
    named = " or ".join(mates) if len(mates) <= 2 else f"{len(mates)} of the other {len(ranked) - 1} combinations"
    return f"Ahead: {result}. These seeds cannot rule out {named} as the best."


def runs_text(ledger: Mapping[str, int], seeds: int) -> str:
    """How many of the planned runs have a result, over how many seeds."""
    done = ledger["finished"] + ledger["diverged"]
    runs = f"{done:,} runs" if done == ledger["planned"] else f"{done:,} of {ledger['planned']:,} runs"
    runs += f" ({ledger[STOPPED]:,} stopped early)" if ledger.get(STOPPED) else ""
    return f"{runs}, {seeds} seed{'s' if seeds != 1 else ''}"


def clearest(verdict: Verdict) -> Evidence | None:
    """The comparison that shows best why the verdict is what it is: one that says so, or of a claim that stays open one
    that says anything; None where nothing was measured."""
    measured = sorted((e for e in verdict.evidence if e.measured), key=lambda e: e.cut)
    wanted = {SUPPORTED: (FOR,), CONTRADICTED: (AGAINST,), MIXED: (FOR,)}.get(verdict.verdict, (FOR, AGAINST))
    return next((e for e in measured if e.says in wanted), measured[0] if measured else None)


def in_a_line(verdict: Verdict) -> str:
    """The clearest comparison."""
    one = clearest(verdict)
    if one is None:
        return verdict.sentence
    line = f"{one.title}: {both_sides(one)}"
    if verdict.verdict == MIXED:
        other = next(e for e in verdict.evidence if e.says == AGAINST)
        line += f"; but {apart(other, one)}"
    return f"{line}; {one.aside}" if one.aside else line


def both_sides(one: Evidence) -> str:
    """The means of a comparison: `49 with BN before against ≥ 259 steps with no BN (88 % got there)`."""
    if not one.sides[1]:
        return side_text(one, 0)
    return f"{side_text(one, 0, unit=False)} against {side_text(one, 1)}"


def apart(other: Evidence, one: Evidence) -> str:
    """Another comparison of the same claim, without what its name shares with that of the first."""
    shared = set(one.title.split(", "))
    name = ", ".join(part for part in other.title.split(", ") if part not in shared) or other.title
    means = both_sides(other)
    if other.sides == one.sides:
        means = f"{other.mean_text(0, unit=False)} against {other.mean_text(1)}"
    return f"{name}: {means}"


def seeds_for(verdict: Verdict) -> str:
    """In how many seeds the clearest comparison is as claimed, or, of a claim that stays open though some comparisons
    decide, how many do; of too few seeds how many it takes; empty where none was measured."""
    one = clearest(verdict)
    if one is None:
        return ""
    measured = [e.says for e in verdict.evidence if e.measured]
    if verdict.verdict == MIXED:
        ahead, behind = measured.count(FOR), measured.count(AGAINST)
        return f"{ahead} comparison{'s' * (ahead > 1)} for it, {behind} against"
    if one.cut:
        return "decides nothing, as runs were stopped"
    seeds = f"{one.ahead} of {one.n} seeds for it" + (f", {one.equal} equal" if one.equal else "")
    if verdict.verdict == TOO_FEW:
        return f"{seeds}; it takes {least_seeds()}"
    for says in (FOR, AGAINST):
        if verdict.verdict == INCONCLUSIVE and len(measured) > 1 and says in measured:
            return f"{measured.count(says)} of {len(measured)} comparisons {says} it"
    return seeds


def verdict_counts(verdicts: Sequence[Verdict]) -> str:
    """5 supported, 1 contradicted, 3 inconclusive."""
    count = Counter(v.verdict for v in verdicts)
    return ", ".join(f"{count[word]} {word}" for word in VERDICTS if count[word] and word != UNASKED)


def meanings(verdict: Verdict) -> list[str]:
    """What the measured quantities are, each once."""
    return list(dict.fromkeys(e.meaning for e in verdict.evidence if e.measured and e.meaning))


def steady(stability: Stability) -> str:
    """How far two halves of the seeds agree on the order of the arms; empty where there are too few."""
    if not math.isfinite(stability.tau):
        return ""
    text = (
        f"Two halves of the seeds agree on the order of the arms with a rank correlation of {fixed(stability.tau, 2)}"
    )
    return f"{text} (Kendall's; median of {stability.splits:,} halvings; 1: the same order, 0: none in common)."
