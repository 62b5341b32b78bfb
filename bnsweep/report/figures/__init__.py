"""Figures as inline SVG that takes its ink, grid and series colours from the page, in light and in dark."""

from __future__ import annotations

from bnsweep.report.figures.draw import drawings
from bnsweep.report.figures.types import Drawing

__all__ = ["Drawing", "drawings"]
