"""Which claims a grid asks, told before anything is trained."""

from __future__ import annotations

from bnsweep.report.claims.claims import CLAIMS, Claim
from bnsweep.report.claims.contrasts import START, Contrast, Unasked, sides
from bnsweep.report.claims.quantities import FULL, LAYERS, LIGHT, quantities
from bnsweep.report.frame.grid import Grid, levels

RECORDED_BY = {LIGHT: ("light", "full"), LAYERS: ("light", "full"), FULL: ("full",)}
"""What a quantity needs -> the probes that record it."""


def asked(grid: Grid) -> list[Claim]:
    """The claims of which the grid has two sides. What training alone shows, such as whether anything overfits, is
    taken for granted."""
    return [claim for claim in CLAIMS if any(is_asked(grid, contrast) for contrast in claim.contrasts)]


def is_asked(grid: Grid, contrast: Contrast) -> bool:
    if grid.searched or (contrast.at != START and grid.untrained) or not is_recorded(grid, contrast):
        return False
    try:
        sides(grid, contrast)
    except Unasked:
        return False
    return True


def is_recorded(grid: Grid, contrast: Contrast) -> bool:
    """Whether the runs will measure what the contrast is about."""
    needs = quantities(grid.task)[contrast.quantity].needs
    if needs not in RECORDED_BY:
        return True
    deep = needs != LAYERS or grid.hidden_layers > 1
    return deep and any(name in RECORDED_BY[needs] for name in levels(grid.runs, "probes"))
