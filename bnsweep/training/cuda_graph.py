"""A training step on a GPU as a CUDA graph: captured once, then replayed with no Python and one launch in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UP = 3
"""Steps taken in the ordinary way before one is captured: libraries set themselves up in their first calls."""


@dataclass
class Captured:
    rows_GB: Tensor
    """Where the graph reads which samples its batch has."""
    graph: torch.cuda.CUDAGraph


class Replay:
    """Takes steps on a CUDA device: same kernels, same numbers.

    `step` must do all its work on the device, in tensors that keep their place, and be the same at every call. Every
    step is taken exactly once: those before the capture run as usual, since a capture records and does not run.
    """

    def __init__(self) -> None:
        self._taken: dict[torch.Size, int] = {}
        self._captured: dict[torch.Size, Captured] = {}
        self._side = torch.cuda.Stream()

    def __call__(self, step: Callable[[Tensor], None], rows_GB: Tensor) -> None:
        shape = rows_GB.shape
        captured = self._captured.get(shape)
        if captured is None and self._taken.get(shape, 0) < WARM_UP:
            self._taken[shape] = self._taken.get(shape, 0) + 1
            self._warm_up(step, rows_GB)
            return
        if captured is None:
            captured = self._captured[shape] = self._capture(step, rows_GB)
        captured.rows_GB.copy_(rows_GB)
        captured.graph.replay()

    def _warm_up(self, step: Callable[[Tensor], None], rows_GB: Tensor) -> None:
        # Not on the default stream, as torch asks for before a capture.
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            step(rows_GB)
        torch.cuda.current_stream().wait_stream(self._side)

    def _capture(self, step: Callable[[Tensor], None], rows_GB: Tensor) -> Captured:
        assert all(rows_GB.numel() <= shape.numel() for shape in self._captured), "a larger batch would move memory"
        captured = Captured(rows_GB.clone(), torch.cuda.CUDAGraph())
        # Other threads may use the device meanwhile: the one that logs copies networks from it.
        with torch.cuda.graph(captured.graph, capture_error_mode="thread_local"):
            step(captured.rows_GB)
        return captured
