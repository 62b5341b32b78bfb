"""Figures as inline SVG that takes its ink, grid and series colours from the page, in light and in dark."""

from __future__ import annotations

from bnsweep.report.figures.draw import drawn, named, pictures, scene_of
from bnsweep.report.figures.files import FOLDER, figure_files, outdated
from bnsweep.report.figures.types import Drawing, Drawn, Scene

__all__ = ["FOLDER", "Drawing", "Drawn", "Scene", "drawn", "figure_files", "named", "outdated", "pictures", "scene_of"]
