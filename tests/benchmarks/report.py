"""Results as a table for the terminal and Markdown, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bnsweep.config.run import RunConfig
from bnsweep.runs.plan import step_flops
from tests.benchmarks import gate
from tests.benchmarks.arms import ARMS
from tests.benchmarks.bench import Result
from tests.benchmarks.roofline import Floor, Peaks, floor
from tests.benchmarks.work import BATCH, EPOCH_STEPS, RUN_EPOCHS, SAMPLES, Work

HEADER = (
    *("K", "arm", "ms per model-epoch (min-max)", "runs/s", "% GEMM", "% floor, binds", "MiB", "cold s"),
    *("× (a)", "× (c)", "× (d)", "× (f)"),
)
AGAINST = "acdf"


class Table:
    """The results of one kind of work."""

    def __init__(self, results: Sequence[Result], peaks: Peaks) -> None:
        self.results, self.peaks = results, peaks

    def floor(self, result: Result) -> Floor:
        configs: list[RunConfig] = Work(result.spec).configs
        orders = len({c.data_seed for c in configs})
        return floor(self.peaks, configs[0], result.spec.members, orders)

    def against(self, result: Result, key: str) -> float:
        """How many times faster than an arm on the same members with the same optimizer; NaN where there is none."""
        twins = [
            r
            for r in self.results
            if r.key.partition("-")[0] == key
            and r.seconds
            and r.spec.optimizer == result.spec.optimizer
            and (ARMS[r.key].once or r.spec.members == result.spec.members)
            and ARMS[r.key].fewest <= result.spec.members
        ]
        return twins[0].median / result.median if twins and result.seconds else math.nan

    def numbers(self, result: Result) -> dict[str, Any]:
        """What a row says, in plain values; missing ones are None."""
        ms, floor_ = 1e3 * result.median, self.floor(result)
        rate = step_flops(Work(result.spec).configs[0]) * SAMPLES / result.median
        values = {
            "ms_per_model_epoch": ms,
            "ms_min": 1e3 * result.model_epoch(min(result.seconds, default=math.nan)) if result.trained else math.nan,
            "ms_max": 1e3 * result.model_epoch(max(result.seconds, default=math.nan)) if result.trained else math.nan,
            "runs_per_s": 1 / (RUN_EPOCHS * result.median),
            "member_steps_per_s": EPOCH_STEPS / result.median,
            "flops": rate,
            "share_of_gemm_peak": rate / self.peaks.gemm,
            "share_of_layer1_gemm": math.nan if result.spec.convolutional else rate / self.peaks.layer1,
            "share_of_floor": floor_.seconds / (result.median * result.spec.members),
            "floor_ms_per_model_epoch": 1e3 * floor_.seconds / result.spec.members,
            **{f"times_{key}": self.against(result, key) for key in AGAINST},
        }
        return {
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
            "binds": floor_.binds,
            "memory_bytes": result.memory,
            "extrapolated": result.extrapolated,
        }

    def row(self, result: Result) -> list[str]:
        head = ["any" if ARMS[result.key].once else str(result.spec.members), result.label]
        if result.refused:
            return [*head, result.refused.partition(":")[0], *["—"] * (len(HEADER) - 3)]
        n = self.numbers(result)
        return [
            *head,
            f"{short(n['ms_per_model_epoch'])} ({short(n['ms_min'])}-{short(n['ms_max'])})",
            short(n["runs_per_s"]),
            percent(n["share_of_gemm_peak"]),
            f"{percent(n['share_of_floor'])} {n['binds']}",
            "—" if result.memory is None else f"{result.memory / 2**20:.0f}",
            f"{result.cold:.1f}",
            *(short(n[f"times_{key}"]) for key in AGAINST),
        ]

    def rows(self) -> list[list[str]]:
        return [list(HEADER), *(self.row(result) for result in self.results)]


def short(value: float | None) -> str:
    """Three figures."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too, without those in which nothing stands."""
    used = [i for i in range(len(rows[0])) if any(row[i] != "—" for row in rows[1:])]
    rows = [[row[i] for i in used] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


PEERS = {
    "a": "the usual loop (a)",
    "c": "the best single loop (c)",
    "d": "one process a core of it (d)",
    "ec": "compiled torch.func (ec)",
    "f": "JAX (f)",
}


def sentences(table: Table) -> str:
    """What (ours) says against its peers, a line for each K."""
    lines = []
    for result in table.results:
        if not result.key.startswith("ours") or not result.seconds:
            continue
        n, name = table.numbers(result), f"- K = {result.spec.members}: {result.label}"
        took = f"{short(n['ms_per_model_epoch'])} ms a model-epoch, {percent(n['share_of_gemm_peak'])} of the GEMM peak"
        against = [(says, ratio) for key, says in PEERS.items() if math.isfinite(ratio := table.against(result, key))]
        wins = [f"{short(ratio)} times as fast as {says}" for says, ratio in against if ratio >= 1]
        loses = [f"{short(1 / ratio)} times as long as {says}" for says, ratio in against if ratio < 1]
        lines.append(f"{name} takes {', '.join([took, *wins])}{'; but ' if loses else ''}{' and '.join(loses)}.")
    return "\n".join(lines)


def document(tables: dict[str, Table], facts: dict[str, Any]) -> str:
    """What a section of RESULTS.md holds."""
    peaks: Peaks = next(iter(tables.values())).peaks
    parts = [
        f"## {facts.get('hardware', 'bnsweep benchmark')}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "Measured peaks: "
        + ", ".join(
            [
                f"GEMM {peaks.gemm / 1e9:.0f} GFLOP/s ({peaks.gemm_shape})",
                f"layer 1 of 96 members {peaks.layer1 / 1e9:.0f} GFLOP/s",
                f"copy {peaks.copy / 1e9:.1f} GB/s",
                f"an operator {peaks.launch * 1e6:.2f} µs.",
            ]
        ),
    ]
    for title, table in tables.items():
        parts += [f"### {title}", sentences(table), markdown(table.rows()), notes(table)]
    return "\n\n".join(part for part in parts if part) + "\n\n" + LEGEND


def notes(table: Table) -> str:
    """What each arm chose for itself and how close its losses are, or why it has no figures: a line for each."""
    lines: dict[str, list[str]] = {}
    for r in table.results:
        says = r.refused
        if r.verdict is not None and not r.refused:
            v, steps = r.verdict, r.verdict.after * r.spec.steps
            gate_ = f"{v.members} compared after {steps} steps, {v.by_status} diverged, {v.sensitive} sensitive"
            gate_ += f", largest difference of the others {v.worst:.1e}"
            says = "; ".join(filter(None, (r.note, ran(r), gate_)))
        lines.setdefault(r.label, []).append(f"K = {r.spec.members}: {says}")
    return "\n".join(f"- {label}. {'. '.join(texts)}." for label, texts in lines.items())


def ran(result: Result) -> str:
    """What was timed."""
    says = f"{len(result.seconds)} x {result.passes * result.spec.steps} steps"
    return says + (f" of {result.trained} members, extrapolated" if result.extrapolated else "")


def line(result: Result) -> str:
    """For who waits."""
    took = f"{short(1e3 * result.median)} ms per model-epoch"
    return f"K = {result.spec.members} {result.label}: {result.refused or took}"


LEGEND = f"""\
A model-epoch is one member over {SAMPLES:,} samples (B = {BATCH}); runs/s counts runs of {RUN_EPOCHS} epochs.
Training only: no arm evaluates. Medians of interleaved repeats. "% GEMM": arithmetic of the network over the measured
peak; "% floor": least time by the roofline over the measured time, and the term that binds. MiB: growth of the arm's
processes, data apart; on a GPU all that it holds there. Cold: import, compile and capture before the first warm pass.
"× (c)": times as fast as that arm. Members of an arm at "any" K cost the same at each: it is timed at the largest.
Every arm shown reached the losses of the plain loop within {gate.TOLERANCE:g}, relative to max(1, loss), on up to
{gate.MEMBERS} members. Members that diverge must do so in both. A sensitive one may be off by three times the
largest difference of {gate.NUDGES} trainings of the plain loop whose first weights differ by {gate.NUDGE:g}.
"""


def as_json(tables: dict[str, Table], facts: dict[str, Any]) -> str:
    """Everything, every repeat's seconds included; what is missing is null."""
    peaks = next(iter(tables.values())).peaks
    content = {
        "facts": facts,
        "peaks": asdict(peaks),
        "tables": {
            title: [{**asdict(result), **table.numbers(result)} for result in table.results]
            for title, table in tables.items()
        },
    }
    return json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n"


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(folder: Path, tables: dict[str, Table], facts: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(as_json(tables, facts), encoding="utf-8")
    (folder / "bench.md").write_text(document(tables, facts), encoding="utf-8")
