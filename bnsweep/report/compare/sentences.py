"""The comparison of two sweeps as sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bnsweep.inference import ENOUGH
from bnsweep.report.claims.verdicts import TOO_FEW, Verdict
from bnsweep.report.compare import moves
from bnsweep.report.compare.changes import Change
from bnsweep.report.compare.match import Match
from bnsweep.report.frame.formats import few
from bnsweep.report.stats.completeness import Notice
from bnsweep.store.sweep_data import SweepInfo


def answer(found: moves.Comparison, claims: Sequence[tuple[Verdict, Verdict]]) -> str:
    """What moved, in one or two sentences, and no more than the seeds carry."""
    table = found.table
    arms, count = len(table), table["verdict"].value_counts()
    shared = f"{arms:,} shared arm{'s' * (arms != 1)}"
    order = f" Kendall's τ of the two orders is {found.tau:.2f}.".replace("-", "−") if math.isfinite(found.tau) else ""
    if count.get(moves.SAME, 0) == arms:
        return f"Both sweeps show the very same runs in their {shared}: nothing can differ."
    if found.n < ENOUGH:
        return f"{found.n} seed{'s' * (found.n != 1)}: too few to say which of {shared} moved.{order}"
    parts = []
    for verdict in (moves.BETTER, moves.WORSE):
        names = list(table["arm"][table["verdict"] == verdict])
        if names:
            more = f" and {len(names) - 2} more" * (len(names) > 2)
            parts.append(f"{len(names):,} {verdict} ({', '.join(names[:2])}{more})")
    rest = int(count.get(moves.NOISE, 0))
    parts += [f"{rest:,} not beyond noise"] if rest else []
    parts += [f"{count[moves.SAME]:,} the same runs"] if moves.SAME in count else []
    text = f"Of {shared}: {', '.join(parts)}."
    swapped = int((table["swaps"] > 0).sum())
    text += f" {swapped or 'No'} arm{'s' * (swapped > 1)} changed places beyond noise." if arms > 1 else ""
    moved = sum(changed_verdict(one, two) for one, two in claims)
    return text + order + (f" {moved} claim{'s' * (moved != 1)} changed verdict." if moved else "")


def changed_verdict(one: Verdict, two: Verdict) -> bool:
    """Whether both sweeps measured what the claim is about and answer it otherwise."""
    return one.verdict != two.verdict and answers(one) and answers(two)


def answers(verdict: Verdict) -> bool:
    return verdict.verdict != TOO_FEW and any(e.measured and not e.cut for e in verdict.evidence)


def changed_text(changes: Sequence[Change], most: int = 4) -> str:
    """What is not the same in both sweeps, the first `most` of it."""
    if not changes:
        return "What changed: nothing that was recorded."
    more = f"; and {len(changes) - most} more" if len(changes) > most else ""
    return f"What changed: {'; '.join(change.text for change in changes[:most])}{more}."


def pairing(found: moves.Comparison) -> str:
    """Whether seeds are compared one by one."""
    a, b = (len(half.bundles) for half in (found.match.a, found.match.b))
    if found.match.paired:
        return f"Paired by seed: both sweeps ran {a} seed{'s' * (a != 1)} that count here."
    return f"Not paired, as the sweeps share less than half of their seeds: {a} seeds of A against {b} of B."


def notices(found: moves.Comparison, a: SweepInfo, b: SweepInfo, changed: Sequence[Change]) -> list[Notice]:
    """What has to be known before the numbers are read."""
    match = found.match
    said = [Notice("ok" if found.n >= ENOUGH else "warning", pairing(found))]
    said += [Notice("note", text) for text in listing(match)]
    said += [Notice("warning", f"{len(match.dropped)} shared arms lack results: {few(match.dropped, 4)}.")] * bool(
        match.dropped
    )
    if any(match.stopped):
        a_stopped, b_stopped = match.stopped
        text = f"Stopped runs are not compared: {a_stopped:,} of A and {b_stopped:,} of B were stopped early. Arms are"
        text += " compared at the learning rates at which they ran to the end in both."
        said.append(Notice("warning", text))
    same = int((found.table["same_runs"] > 0).sum())
    if same:
        text = f"{same} of {len(found.table)} arms have runs that are the very same in both: in one experiment a"
        said.append(Notice("note", f"{text} setting is trained once. They say nothing of a change of code."))
    rates = [change for change in changed if change.name.startswith("lr.")]
    if rates:
        text = "; ".join(change.text for change in rates)
        said.append(Notice("warning", f"Other learning rates, so a difference can be theirs: {text}."))
    if any(change.name == "data" or change.name.startswith("data.") for change in changed):
        said.append(Notice("warning", "The data differ: scores of the two sweeps are not of the same task."))
    for name, info in (("A", a), ("B", b)):
        if info.dirty:
            text = f"{name} ran with uncommitted changes: its commit does not say what code ran."
            said.append(Notice("warning", text))
        if not info.closed:
            said.append(Notice("warning", f"{name} has not ended: more of its runs may come."))
    if match.crossed:
        text = "seed and data.seed vary apart: seeds that share one of them are not independent, so intervals are"
        said.append(Notice("warning", f"{text} too narrow."))
    return said


def listing(match: Match) -> list[str]:
    """What only one of the sweeps has."""
    texts = []
    if match.one_sided:
        text = "Varied in one sweep and fixed in the other: " + ", ".join(match.one_sided)
        texts.append(f"{text}. Arms match where the levels agree.")
    for name, arms in zip("AB", match.only, strict=True):
        if arms:
            texts.append(f"Only in {name}: {len(arms):,} arm{'s' * (len(arms) != 1)} ({few(arms, 4)}).")
    return texts
