"""The comparison of two sweeps as a page, Markdown, CSV, JSON, and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bnsweep.catalogue.metrics import ACCURACY, LOSS, R2, STEPS, Metric
from bnsweep.config.checks import ConfigError, check_folder, printable
from bnsweep.config.run import TrackingConfig
from bnsweep.inference import ENOUGH
from bnsweep.report.claims.looks import answer_at_looks
from bnsweep.report.claims.verdicts import TOO_FEW, UNASKED, Unit, Verdict
from bnsweep.report.compare import moves
from bnsweep.report.compare.changes import Change, changed_factors, circumstances, told
from bnsweep.report.compare.sentences import answer, changed_text, changed_verdict, notices, pairing
from bnsweep.report.figures.compare import differences
from bnsweep.report.figures.types import Drawing
from bnsweep.report.frame.formats import at_least, censored, integer, p_text, span
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.frame.metrics import metric_named, rankable, scored, task_of
from bnsweep.report.frame.source import Source
from bnsweep.report.pages.machine import csv_text, json_text, shown
from bnsweep.report.pages.render import environment
from bnsweep.report.pages.tables import TOP, Cell, Line, TableRow, integer_cell, rank_span, row_dicts
from bnsweep.report.pages.write import write_all
from bnsweep.report.stats.completeness import Notice
from bnsweep.report.stats.resample import RESAMPLES
from bnsweep.store.store import Store

KINDS = {moves.WORSE: 0, moves.BETTER: 1, moves.SAME: 4, moves.NOISE: 6, moves.FEW: 6}
"""The figure's colour and marker of each verdict."""
UNITS = {ACCURACY: Unit("points", 100, 2), R2: Unit("R²", 1, 4), STEPS: Unit("steps", 1, 0)}

ASIDE = ("p (Holm)", "Rank in A", "Rank in B", "Changed places with")
"""Columns for which a terminal is too narrow."""


@dataclass(frozen=True)
class ComparisonContent:
    names: tuple[str, str]
    metric: Metric
    found: moves.Comparison
    factors: list[Change]
    same: list[str]
    circumstances: list[Change]
    claims: list[tuple[Verdict, Verdict]]
    """Each claim's verdict in A and in B, where either asked it."""
    said: list[Notice]
    drawing: Drawing

    @property
    def title(self) -> str:
        return printable(f"A: sweep {self.names[0]} · B: sweep {self.names[1]}")

    @cached_property
    def answer(self) -> str:
        return answer(self.found, self.claims)

    @property
    def changed(self) -> str:
        return changed_text(self.changes)

    @property
    def changes(self) -> list[Change]:
        """Everything that differs and can move a number."""
        return [*self.factors, *told(self.circumstances)]

    def first_screen(self, most: int = 8) -> str:
        """Plain text for a terminal."""
        lines = [self.title, self.answer, printable(self.changed), ""]
        lines += [f"{'!' if n.kind == 'warning' else '·'} {printable(n.text)}" for n in self.said]
        cells = [arm_line(row, self.metric).cells for row in row_dicts(self.found.table[:most])]
        shown = [{name: cell.text for name, cell in line.items() if name not in ASIDE} for line in cells]
        shown = [{name: name for name in shown[0]}, *shown]
        wide = {name: max(len(line[name]) for line in shown) for name in shown[0]}
        lines += ["", *("  ".join(line[n].ljust(wide[n]) for n in wide).rstrip() for line in shown)]
        more = len(self.found.table) - most
        return "\n".join(lines + ([f"… and {more:,} more in compare.csv"] if more > 0 else []))


def write_comparison(a: Source, b: Source, out: Path, metric: str | None) -> tuple[ComparisonContent, tuple[Path, ...]]:
    """Write compare.html, compare.md, compare.csv and compare.json into `out`; each appears whole or not at all.

    Raises ConfigError for a metric that either sweep did not record, sweeps of two tasks or without a shared arm, or a
    bad folder.
    """
    check_folder("out", out)
    one, two = task_of(a.runs), task_of(b.runs)
    if one is not two:
        names = ",".join(named(a, b))
        raise ConfigError(f"sweep={names}: must be two of the same task, and they are a {one.name} and a {two.name}")
    content = build(a, b, metric_named(metric, one))
    texts = {
        "compare.csv": csv_text(content.found.table),
        "compare.md": shown(page(content, "compare.md.j2")),
        "compare.json": compare_json(content),
        "compare.html": shown(page(content, "compare.html.j2")),
    }
    return content, write_all(out, {name: text.encode() for name, text in texts.items()})


def build(a: Source, b: Source, metric: Metric) -> ComparisonContent:
    names = named(a, b)
    for name, frame in zip(names, (a, b), strict=True):
        if scored(frame.runs, metric).isna().all():
            there = [n for n, other in rankable(metric.task).items() if scored(frame.runs, other).notna().any()]
            says = f"one that both sweeps recorded ({name} has {', '.join(there) or 'no result at all'})"
            raise ConfigError(f"metric={metric.name}: must be {says}")
    found = moves.compare(a.runs, b.runs, metric)
    changed, same = changed_factors(a.runs, b.runs)
    around = circumstances(a.info, b.info)
    unit = unit_of(metric)
    drawing = differences(found.table, KINDS, unit, metric.title, censored(metric))
    claims, said = both_claims(a, b, metric), notices(found, a.info, b.info, changed)
    return ComparisonContent(names, metric, found, changed, same, around, claims, said, drawing)


def load_two(tracking: TrackingConfig, sweeps: str) -> tuple[Source, Source]:
    """The sweeps of `A,B`. Raises ConfigError where they are not two, or not there."""
    names = sweeps.split(",")
    if len(names) != 2 or not all(names):
        raise ConfigError(f"sweep={sweeps}: must be one sweep, or two with a comma between them")
    frames = []
    for name in names:
        experiment, _, sweep = name.rpartition("/")
        store = Store.open(replace(tracking, experiment=experiment or tracking.experiment), create=False)
        frames.append(store.load(sweep))
    one, two = frames
    if (one.info.experiment_id, one.info.sweep) == (two.info.experiment_id, two.info.sweep):
        raise ConfigError(f"sweep={sweeps}: must be two different sweeps, and both are {one.info.sweep}")
    return one, two


def named(a: Source, b: Source) -> tuple[str, str]:
    """The sweeps' ids, with their experiments where these differ."""
    apart = a.info.experiment != b.info.experiment
    one, two = (f"{frame.info.experiment}/" * apart + frame.info.sweep for frame in (a, b))
    return one, two


def both_claims(a: Source, b: Source, metric: Metric) -> list[tuple[Verdict, Verdict]]:
    one, two = (
        {v.key: v for v in answer_at_looks(frame, read_grid(frame.runs, frame.info.searched), metric)}
        for frame in (a, b)
    )
    both = [(one[key], two[key]) for key in one if key in two]
    return [pair for pair in both if {v.verdict for v in pair} != {UNASKED}]


def unit_of(metric: Metric) -> Unit:
    """Of differences of a metric."""
    return Unit(metric.task.loss_unit, 1, 4) if metric.kind == LOSS else UNITS[metric.kind]


def arm_line(row: TableRow, metric: Metric) -> Line:
    unit = unit_of(metric)
    ends = unit.text(row["low"], signed=True), unit.text(row["high"], signed=True)
    ranks = [{f"rank{end}": row[f"rank_{side}{end}"] for end in ("", "_low", "_high")} for side in "ab"]
    cells = {
        "Arm": Cell(str(row["arm"])),
        "Verdict": Cell(verdict_text(row)),
        "A": Cell(at_least(metric, row["score_a"], row["reached_a"]), row["score_a"]),
        "B": Cell(at_least(metric, row["score_b"], row["reached_b"]), row["score_b"]),
        f"B − A, {unit.name}": Cell(unit.text(row["difference"], signed=True), row["difference"]),
        "95 % interval": Cell(span(*ends), row["low"]),
        "p (Holm)": Cell(p_text(row["p_holm"]), row["p_holm"]),
        "Rank in A": Cell(rank_text(ranks[0]), row["rank_a"]),
        "Rank in B": Cell(rank_text(ranks[1]), row["rank_b"]),
        "Changed places with": integer_cell(row["swaps"]),
    }
    return Line(cells, "lead" if row["verdict"] in (moves.BETTER, moves.WORSE) or row["swaps"] > 0 else "")


def verdict_text(row: TableRow) -> str:
    part = 0 < row["same_runs"] and row["verdict"] != moves.SAME
    return str(row["verdict"]) + (f" ({row['same_runs']} seeds are the same runs)" if part else "")


def rank_text(row: TableRow) -> str:
    interval = rank_span(row)
    return integer(row["rank"]) + (f" ({interval})" if interval != "–" else "")


def claim_line(one: Verdict, two: Verdict) -> Line:
    few = TOO_FEW in (one.verdict, two.verdict)
    other = "too few seeds to say" if few else "measured in one only"
    word = "yes" if changed_verdict(one, two) else "no" if one.verdict == two.verdict else other
    texts = {"Claim": one.claim, "In A": one.verdict, "In B": two.verdict, "Changed": word}
    return Line({name: Cell(text) for name, text in texts.items()})


def change_lines(changes: Iterable[Change]) -> list[Line]:
    return [Line({"": Cell(x.name), "A": Cell(x.a), "B": Cell(x.b)}) for x in changes]


def page(content: ComparisonContent, template: str) -> str:
    env, table, claims = environment(), content.found.table, content.claims
    css, script = (Markup(env.get_template(n).render()) for n in ("style.css", "report.js"))  # noqa: S704 - our own files
    claims = sorted(claims, key=lambda pair: not changed_verdict(*pair))
    return env.get_template(template).render(
        title=content.title,
        answer=content.answer,
        changed_text=content.changed,
        notices=content.said,
        metric=content.metric,
        changes=change_lines(content.changes),
        same=content.same,
        circumstances=change_lines(content.circumstances),
        drawing=(content.drawing, Markup(content.drawing.svg)),  # noqa: S704 - matplotlib escapes texts in its SVG
        lines=[arm_line(row, content.metric) for row in row_dicts(table.head(TOP))],
        left_out=max(0, len(table) - TOP),
        claims=[claim_line(*pair) for pair in claims],
        pairing=pairing(content.found),
        enough=ENOUGH,
        resamples=RESAMPLES,
        css=css,
        script=script,
    )


def compare_json(content: ComparisonContent) -> str:
    found = content.found
    claims = [{"key": a.key, "claim": a.claim, "a": a.verdict, "b": b.verdict} for a, b in content.claims]
    tree: dict[str, Any] = {
        "answer": content.answer,
        "metric": content.metric.name,
        "a": content.names[0],
        "b": content.names[1],
        "settings": [x._asdict() for x in content.factors],
        "circumstances": [x._asdict() for x in content.circumstances],
        "notices": [{"kind": n.kind, "text": n.text} for n in content.said],
        "paired": found.match.paired,
        "seeds": {"a": found.match.a.bundles, "b": found.match.b.bundles},
        "kendall_tau": found.tau,
        "arms": row_dicts(found.table),
        "only_in_a": found.match.only[0],
        "only_in_b": found.match.only[1],
        **({"stopped": dict(zip("ab", found.match.stopped, strict=True))} if any(found.match.stopped) else {}),
        "claims": claims,
    }
    return json_text(tree)
