"""Two sweeps side by side as a picture: how far each shared arm moved."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.lines import Line2D

from bnsweep.report.claims.verdicts import Unit
from bnsweep.report.figures.style import LETTER, MARKERS, SERIES, Sheet, ink, panels, styled
from bnsweep.report.figures.types import Drawing

MOST = 30


def differences(table: pd.DataFrame, kinds: Mapping[str, int], unit: Unit, title: str, aside: str = "") -> Drawing:
    """`table`: that of a comparison. `kinds`: its verdicts, and the number of colour and marker of each. `aside`: ends
    the caption."""
    shown = table.head(MOST)
    left = 0.3 + LETTER * max(len(arm) for arm in shown["arm"])
    with styled():
        there = {kind: k for kind, k in kinds.items() if kind in set(shown["verdict"])}
        key = [Line2D([], [], color=SERIES[k], marker=MARKERS[k], ms=5, label=kind) for kind, k in there.items()]
        sheet = Sheet((5.2, max(0.8, 0.27 * len(shown))), left, right=0.3, top=0.4, legend=key)
        figure, [[ax]] = panels(1, 1, sheet)
        ax.axvline(0, color=ink(), lw=1)
        for y, row in enumerate(shown.to_dict("records")):
            k = kinds[row["verdict"]]
            ends = [row["low"] * unit.scale, row["high"] * unit.scale]
            ax.plot(ends, [y, y], color=SERIES[k], lw=2.2, solid_capstyle="round")
            ax.plot(row["difference"] * unit.scale, y, MARKERS[k], color=SERIES[k], ms=6)
        ax.set_yticks(range(len(shown)), [str(arm) for arm in shown["arm"]])
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"{title}, B minus A, {unit.name}")
    which = f"{MOST} of {len(table)} shared arms" if len(table) > MOST else "All shared arms"
    caption = f"{which}: mean difference and its 95 % interval. An arm moved where its colour says so:"
    caption += " that is decided over all arms at once, so that an interval by itself can leave 0 out by chance."
    counts = table["verdict"].value_counts()
    alt = f"Of {len(table)} shared arms: {', '.join(f'{counts[kind]} {kind}' for kind in kinds if kind in counts)}."
    return Drawing("forest", "How far each arm moved", caption + aside, alt, figure)
