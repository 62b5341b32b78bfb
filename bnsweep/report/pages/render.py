"""One report as HTML and Markdown. Text typed by users reaches HTML through autoescape only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from bnsweep.config.checks import printable
from bnsweep.inference import ENOUGH
from bnsweep.report.claims import verdicts
from bnsweep.report.figures import Drawn
from bnsweep.report.figures.claims import figure_name
from bnsweep.report.frame.formats import GROUPS, capital, few, p_text, tau_value, together
from bnsweep.report.frame.grid import evenly_spaced
from bnsweep.report.pages import sentences, tables
from bnsweep.report.pages.basics import basics, saturates
from bnsweep.report.pages.content import ReportContent
from bnsweep.report.pages.downloads import downloads
from bnsweep.report.pages.links import MOST_RUNS, Links
from bnsweep.report.pages.provenance import about, commands, provenance
from bnsweep.report.pages.tables import Cell, Line
from bnsweep.report.stats.factorial import spoken
from bnsweep.report.stats.resample import RESAMPLES
from bnsweep.report.stats.stopped import standing_metric

MOST_VIEWS = 12
"""Tables at a fixed learning rate on a page."""
FIRST = 5
"""Arms on the first screen."""
MOST_NOTICES = 3
"""Warnings and notes on the first screen; the others lie under a fold."""
MOST_WIDTHS = 60
"""Arms whose tolerance a page shows."""
MOST_CHOICES = 60
"""Levels that a select of the ranking's filter offers."""
ICONS = {verdicts.SUPPORTED: "✓", verdicts.CONTRADICTED: "✗", verdicts.MIXED: "±", verdicts.INCONCLUSIVE: "?"}
ICONS |= {verdicts.TOO_FEW: "…", verdicts.UNASKED: "–"}
FACTOR_FIGURES = ("factors", "interaction")


@cache
def environment() -> Environment:
    """jinja2 with the package's templates; what HTML templates insert is escaped."""
    env = Environment(
        loader=PackageLoader("bnsweep.report.pages"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["md"] = markdown_text
    env.filters["together"] = together
    env.filters["number"] = sort_key
    return env


def markdown_text(text: object) -> str:
    """User text inside a Markdown table or line: nothing in it is markup."""
    flat = printable(" ".join(str(text).split()), "\u00a0")
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "#", "~", "$"):
        flat = flat.replace(mark, f"\\{mark}")
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def sort_key(cell: Cell) -> str:
    """What a script sorts a cell by: a number, or nothing where there is none, which comes last either way."""
    return f"{cell.number:.10g}" if cell.number is not None and math.isfinite(cell.number) else ""


def page(content: ReportContent, template: str, tables: Mapping[str, str] | None = None) -> str:
    """The report in the form of one of the templates. `tables`: CSV files that the page is to carry, by name."""
    env = environment()
    css, script = (Markup(env.get_template(name).render()) for name in ("style.css", "report.js"))  # noqa: S704 - the package's own files
    return env.get_template(template).render(
        title=content.title,
        answer=content.answer,
        mattered=content.mattered,
        notices=content.notices,
        ledger=content.ledger,
        metric=content.metric,
        tau=tau_value(content.grid),
        task=content.grid.task,
        bundles=len(content.grid.bundles),
        lr_swept=len(content.grid.lrs) > 1,
        about=about(content.info, content.grid),
        provenance=provenance(content.info, content.grid),
        commands=commands(content.info, content.metric, content.links),
        enough=ENOUGH,
        resamples=RESAMPLES,
        icons=ICONS,
        groups=GROUPS,
        css=css,
        script=script,
        downloads=downloads(tables or {}),
        basics=basics(content.grid),
        saturates=saturates(content.grid),
        **first_screen(content),
        **claims(content),
        **rankings(content),
        **stopped(content),
        **factors(content),
        **figures(content),
    )


def first_screen(content: ReportContent) -> dict[str, Any]:
    calm = [n for n in content.notices if n.kind == "ok"]
    loud = sorted((n for n in content.notices if n.kind != "ok"), key=lambda n: n.kind != "warning")
    return {"calm": calm, "loud": loud[:MOST_NOTICES], "folded": loud[MOST_NOTICES:], "top": top_lines(content)}


def top_lines(content: ReportContent) -> list[Line]:
    """The first arms, with the columns that matter at a glance."""
    best, test = content.best, tables.test_title(content.metric)
    lines = tables.ranking_lines(best[best["rank"].notna()].head(FIRST), content.metric, [])
    names = ("Rank", "Arm", capital(content.metric.title), "95 % interval", "Group")
    found = [{name: line.cells[name] for name in (*names, test, "Learning rate")} for line in lines]
    for cells in found:
        rate = cells["Learning rate"]  # that it is at the edge is said by a notice, for all
        cells["Learning rate"] = rate._replace(text=together(rate.text.removesuffix(tables.EDGE)))
    return [Line(cells, line.kind) for cells, line in zip(found, lines, strict=True)]


def claims(content: ReportContent) -> dict[str, Any]:
    """Each claim with its evidence, its own figure, and the others that show it."""
    found = []
    for verdict in content.asked:
        own = content.drawing(figure_name(verdict))
        found.append(
            {
                "verdict": verdict,
                "line": sentences.in_a_line(verdict),
                "seeds": sentences.seeds_for(verdict),
                "meanings": sentences.meanings(verdict),
                "evidence": [tables.evidence_line(e) for e in verdict.evidence],
                "p": p_text(verdict.p_adjusted),
                "drawing": inline(own) if own else None,
                "see": [d for name in verdict.figures if (d := content.drawing(name))],
            }
        )
    return {
        "claims": found,
        "unasked": content.unasked,
        "counts": sentences.verdict_counts(content.verdicts),
    }


def rankings(content: ReportContent) -> dict[str, Any]:
    metric, factors, tau = content.metric, content.grid.arm_factors, tau_value(content.grid)
    by_view = list(content.ranking.groupby("view", sort=False)) or [("", content.ranking)]
    shown = [by_view[0], *(by_view[1 + i] for i in evenly_spaced(len(by_view) - 1, MOST_VIEWS))]
    views = [
        (str(view), tables.ranking_lines(table, metric, factors * (not i), tau), sentences.out_of_order(table))
        for i, (view, table) in enumerate(shown)
    ]
    links = Links(content.info, content.grid, content.best if content.links else content.best[:0])
    arms = [line.cells["Arm"].text for line in views[0][1] if line.kind != "more"]
    for line in views[0][1]:
        arm = line.cells["Arm"]
        line.cells["Arm"] = arm._replace(link=links.comparison(arm.text))
    return {
        "arms": len(content.best),
        "arm_factors": few([spoken(factor, content.grid.bn_title) for factor in factors], 4),
        "views": views,
        "views_left_out": len(by_view) - len(shown),
        "filters": filters(views[0][1], factors, content.grid.bn_title),
        "steady": sentences.steady(content.stability),
        "runs": listed(links, arms),
        "local": links.local,
        "arms_linked": any(line.cells["Arm"].link for line in views[0][1]),
        "most_compared": links.most_compared,
    }


def stopped(content: ReportContent) -> dict[str, Any]:
    """What was stopped early; no rows where nothing was."""
    by, lr_swept = standing_metric(content.grid, content.metric), len(content.grid.lrs) > 1
    return {"stopped": tables.stopped_lines(content.stopped, by, lr_swept)}


def filters(lines: list[Line], factors: list[str], bn_title: str) -> list[tuple[int, str, list[str]]]:
    """Place, factor and the levels that stand in the table, for each factor that can be chosen by."""
    found = []
    for i, factor in enumerate(factors):
        there = list(dict.fromkeys(line.levels[i] for line in lines if line.levels))
        if 1 < len(there) <= MOST_CHOICES:
            found.append((i, spoken(factor, bn_title), there))
    return found


def listed(links: Links, arms: list[str]) -> list[tuple[str, list[Any]]]:
    found, count = [], 0
    for arm in arms:
        runs = links.runs(arm)
        count += len(runs)
        if runs and count <= MOST_RUNS:
            found.append((arm, runs))
    return found


def factors(content: ReportContent) -> dict[str, Any]:
    metric, analysis, bn_title = content.metric, content.analysis, content.grid.bn_title
    effects = [(str(f), tables.top_levels(t), t) for f, t in content.effects.groupby("factor", sort=False)]
    return {
        "analysis": analysis,
        "shares": [tables.factor_line(row, bn_title) for row in tables.row_dicts(analysis.table)],
        "factor_drawings": [inline(d) for name in FACTOR_FIGURES if (d := content.drawing(name))],
        "sensitivity": [
            tables.sensitivity_line(row, metric, bn_title) for row in tables.row_dicts(content.sensitivity)
        ],
        "widths": [tables.width_line(row) for row in tables.row_dicts(content.widths.head(MOST_WIDTHS))],
        "widths_left_out": max(0, len(content.widths) - MOST_WIDTHS),
        "effects": [
            {
                "factor": spoken(factor, bn_title),
                "rows": [tables.effect_line(row, metric) for row in tables.row_dicts(top)],
                "left_out": len(whole) - len(top),
                "cells": int(whole["cells"].iloc[0]),
                "seeds": int(whole["n_seeds"].iloc[0]),
            }
            for factor, top, whole in effects
        ],
    }


def figures(content: ReportContent) -> dict[str, Any]:
    """The picture of the first screen, and what neither it nor claims nor factors show."""
    first = content.glance
    elsewhere = ({first.name} if first else set()) | set(FACTOR_FIGURES)
    rest = [d for d in content.drawings if d.name not in elsewhere and not d.name.startswith("claim-")]
    return {"glance": inline(first) if first else None, "drawings": [inline(d) for d in rest]}


def inline(drawing: Drawn) -> tuple[Drawn, Markup]:
    return drawing, Markup(drawing.svg)  # noqa: S704 - matplotlib escapes texts in its SVG
