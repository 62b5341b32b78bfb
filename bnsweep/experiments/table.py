"""What experiments gave, as a table for the terminal, Markdown, CSV and JSON; each file appears whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bnsweep.config.checks import ConfigError, check, check_folder
from bnsweep.experiments.expect import ORIGINS
from bnsweep.experiments.verdicts import NO, NOT_RUN, REPORTED, YES, Row

COLUMNS = ("experiment", "quantity", "expected", "from", "ours", "tolerance", "inside?")
MISSING = "–"


@dataclass
class Result:
    """One experiment, over."""

    name: str
    purpose: str
    source: str
    notes: str
    form: str
    """Empty: the set-up of its file; else what was changed."""
    rows: list[Row]
    runs: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """finished, diverged, failed -> runs."""
    failures: list[str] = field(default_factory=list)
    """What the failed runs say."""
    device: str = ""
    seconds: float = math.nan
    """Wall seconds, from the first run to the last figure."""
    figures: dict[str, str] = field(default_factory=dict)
    """Path below the folder of the table -> caption."""
    environment: dict[str, Any] = field(default_factory=dict)
    """`environment.Environment` as plain values."""
    command: str = ""
    started: str = ""
    """ISO 8601, UTC."""

    @property
    def not_run(self) -> str:
        """Why, where nothing of it was run."""
        return self.rows[0].why if self.rows and not self.runs else ""


@dataclass
class Table:
    """Experiments that are over."""

    results: list[Result]

    @property
    def rows(self) -> list[Row]:
        return [row for result in self.results for row in result.rows]

    def conclusion(self) -> str:
        counts = Counter(row.inside for row in self.rows)
        words = [f"{counts[YES]} inside", f"{counts[NO]} outside", f"{counts[NOT_RUN]} not run"]
        words += [f"{counts[REPORTED]} reported without a tolerance"] if counts[REPORTED] else []
        seconds = sum(result.seconds for result in self.results if not math.isnan(result.seconds))
        return f"{', '.join(words)}, {seconds:.0f} s"

    def by_origin(self) -> str:
        """How many of those with a tolerance are inside, told apart by where the expected number or statement is from;
        empty where nothing was judged."""
        judged = Counter(row.origin for row in self.rows if row.inside in (YES, NO))
        inside = Counter(row.origin for row in self.rows if row.inside == YES)
        words = [f"{inside[origin]} of {judged[origin]} {origin}" for origin in ORIGINS if judged[origin]]
        return f"inside: {', '.join(words)}" if words else ""


def number(value: float) -> str:
    """To four digits."""
    return MISSING if math.isnan(value) else f"{value:.4g}"


def ours(row: Row) -> str:
    """Median, interval and n."""
    if row.n == 0:
        return MISSING
    span = "" if math.isnan(row.low) else f" [{number(row.low)}, {number(row.high)}]"
    return f"{number(row.median)}{span}, n = {row.n}"


def all_cells(table: Table) -> list[list[str]]:
    """Of every row. Why an experiment was not run at all is said once, elsewhere."""
    return [cells(row, brief=bool(result.not_run)) for result in table.results for row in result.rows]


def cells(row: Row, brief: bool) -> list[str]:
    """By COLUMNS; a brief one without reasons."""
    name = f"{row.experiment} ({row.form})" if row.form else row.experiment
    inside = f"{row.inside}: {row.why}" if row.why and not brief else row.inside
    quantity = f"{row.quantity} · {row.runs}" if row.runs else row.quantity
    return [name, quantity, number(row.expected), row.origin, ours(row), row.tolerance or MISSING, inside]


def show(table: Table) -> None:
    """Print the table: drawn on a terminal, plain elsewhere."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        print(plain_text(table))
        return
    from rich import box
    from rich.table import Table as Rich
    from rich.text import Text

    drawn = Rich(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        drawn.add_column(column, overflow="fold")  # a quantity cut short would lose its @STEP
    colours = {YES: "green", NO: "red", NOT_RUN: "yellow"}
    for row, (*first, inside) in zip(table.rows, all_cells(table), strict=True):
        drawn.add_row(*map(Text, first), Text(inside, style=colours.get(row.inside, "")))
    console.print(drawn)
    console.print(Text("\n".join(endings(table))))


def plain_text(table: Table) -> str:
    lines = [list(COLUMNS), *all_cells(table)]
    wide = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    texts = ["  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines]
    return "\n".join([*texts, *endings(table)])


def endings(table: Table) -> list[str]:
    """What follows the rows."""
    failures = [f"{result.name}: failed: {reason}" for result in table.results for reason in result.failures]
    missing = [f"{r.name}: not run: {r.not_run}" for r in table.results if r.not_run and not r.failures]
    return [*missing, *failures, *filter(None, [table.by_origin()]), table.conclusion()]


def markdown(table: Table) -> str:
    lines = ["# Experiments", "", f"{table.conclusion()}.", ""]
    origins = "; ".join(f"*{origin}*, {meaning}" for origin, meaning in ORIGINS.items())
    lines += [f"What is expected is from one of three: {origins}. Tolerances are this project's.", ""]
    lines += [f"{table.by_origin().capitalize()}.", ""] if table.by_origin() else []
    lines += ["Ours is the median over n seeds with its 95 % bootstrap interval (from 5 seeds on).", ""]
    lines += [piped(COLUMNS), piped(["---"] * len(COLUMNS)), *map(piped, all_cells(table))]
    for result in table.results:
        lines += ["", f"## {result.name}", "", *section(result)]
    return "\n".join(lines) + "\n"


def section(result: Result) -> list[str]:
    """What experiments.md says of one experiment, below its heading."""
    counts = ", ".join(f"{count} {status}" for status, count in result.statuses.items() if count) or "none"
    wall = "" if math.isnan(result.seconds) else f", {result.seconds:.1f} s"
    form = f" Form: {escaped(result.form)}." if result.form else ""
    source = f"Source: {escaped(result.source.rstrip('.'))}."
    lines = [escaped(result.purpose), "", f"{source} Runs: {counts}{wall}.{form}"]
    lines += ["", f"Not run: {escaped(result.not_run)}."] if result.not_run else []
    lines += ["", escaped(result.notes)] if result.notes else []
    noted = [row for row in result.rows if row.note]
    lines += [""] if noted else []
    lines += [f"- {escaped(f'{row.quantity} · {row.runs}')}: {escaped(row.note.rstrip('.'))}." for row in noted]
    for path, caption in result.figures.items():
        lines += ["", f"![{result.name}]({path})", "", escaped(caption)]
    return [*lines, "", provenance(result)]


def provenance(result: Result) -> str:
    """Command, time, device, commit and versions."""
    about, versions = result.environment, result.environment.get("versions", {})
    commit = f"{about.get('commit') or 'unknown'}{' with changes' if about.get('dirty') else ''}"
    words = [f"`{result.command}`", result.started, result.device, about.get("hardware", ""), f"commit {commit}"]
    words.append(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    return "; ".join(word for word in words if word) + "."


def piped(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, texts))} |"


def escaped(text: str) -> str:
    """As text in a Markdown table."""
    flat = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "[", "]"):
        flat = flat.replace(mark, f"\\{mark}")
    return flat.replace("<", "&lt;").replace(">", "&gt;")


def comma_separated(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        values = {key: "" if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(row).items()}
        writer.writerow(values)
    return buffer.getvalue()


def json_text(table: Table) -> str:
    return json.dumps(without_nan({**asdict(table), "conclusion": table.conclusion()}), indent=1) + "\n"


KINDS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": comma_separated, "json": json_text}
"""Ending of a table's file -> what it holds."""


def without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity: a missing number is null, an infinite one a word."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def with_nan(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The inverse, for the fields of a dataclass."""
    numbers = {f.name for f in fields(kind) if f.type == "float"}
    return {key: float("nan" if v is None else v) if key in numbers else v for key, v in values.items()}


def earlier(out: Path) -> list[Result]:
    """What experiments.json in `out` holds; nothing where there is none. Raises ConfigError for one that is no table of
    this form: it would be written over."""
    file = out / "experiments.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["results"]
        return [
            Result(**{**with_nan(Result, values), "rows": [Row(**with_nan(Row, row)) for row in values["rows"]]})
            for values in found
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = getattr(error, "strerror", None) or f"{type(error).__name__} on reading it"
        says = f"must be a table that this version has written ({why}); move it away, or choose another folder"
        raise ConfigError(f"out={out}: {file} {says}") from None


def check_table(out: Path) -> None:
    """Refuses a folder that a table cannot be written into, or not without a loss, before anything is trained."""
    check_folder("out", out)
    for kind in KINDS:
        file = out / f"experiments.{kind}"
        check(not file.is_dir(), "out", out, f"a folder where {file.name} is a file or missing")
    earlier(out)


def write(results: Sequence[Result], out: Path) -> None:
    """experiments.md, .csv and .json in `out`, beside what it holds of other experiments and of those that could not
    run this time. Raises ConfigError."""
    latest = {result.name: result for result in earlier(out)}
    latest |= {result.name: result for result in results if result.runs or result.name not in latest}
    table = Table([latest[name] for name in sorted(latest)])
    drafts = {kind: out / f".experiments.{kind}.{os.getpid()}.tmp" for kind in KINDS}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind, text_of in KINDS.items():
            drafts[kind].write_text(text_of(table), encoding="utf-8", errors="backslashreplace")
        for kind, draft in drafts.items():
            draft.replace(out / f"experiments.{kind}")
    except OSError as error:
        raise ConfigError(f"out={out}: must be a folder that can be written ({error.strerror})") from error
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink()
