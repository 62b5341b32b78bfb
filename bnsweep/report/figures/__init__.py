"""Figures as inline SVG that takes its ink, grid and series colours from the page, in light and in dark."""

from __future__ import annotations

from bnsweep.report.figures.draw import drawings, pictures, scene_of
from bnsweep.report.figures.types import Drawing, Scene

__all__ = ["Drawing", "Scene", "drawings", "pictures", "scene_of"]
