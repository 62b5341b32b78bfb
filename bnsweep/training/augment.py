"""Light augmentation of training batches: images are padded and cut back to their size, and mirrored (He et al. 2016,
arXiv 1512.03385, section 4.2).

G data seeds, B samples, D inputs, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnsweep.config.run import RunConfig
from bnsweep.nets.chance import crop_draws, flip_draws


class Augment:
    """Each sample of a step in its own way, the same for all members of a data seed."""

    def __init__(self, config: RunConfig, data_seeds: Sequence[int], device: torch.device) -> None:
        self._seeds_G = torch.tensor(data_seeds, device=device)
        self._channels, height, width = config.image
        self._down_H, self._right_W = (torch.arange(size, device=device) for size in (height, width))
        self._crop, self._flip = config.data.crop, config.data.flip

    def __call__(self, x_GBD: Tensor, step: Tensor) -> Tensor:
        """At 0-based `step`."""
        g, b, _ = x_GBD.shape
        columns_GBW = self._right_W.expand(g, b, -1)
        if self._flip:
            columns_GBW = torch.where(flip_draws(self._seeds_G, step, b)[..., None], columns_GBW.flip(2), columns_GBW)
        rows_GBH = self._down_H.expand(g, b, -1)
        if self._crop:
            down_GB, right_GB = crop_draws(self._seeds_G, step, b, self._crop)
            columns_GBW = columns_GBW + right_GB[..., None]
            if len(self._down_H) > 1:  # a signal has one row
                rows_GBH = rows_GBH + down_GB[..., None]
        return self._picked(x_GBD, rows_GBH[..., :, None], columns_GBW[..., None, :])

    def _picked(self, x_GBD: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The pixels at these places, in every channel; 0 outside of an image."""
        g, b, _ = x_GBD.shape
        height, width = len(self._down_H), len(self._right_W)
        place = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
        place = place.view(g, b, 1, -1).expand(-1, -1, self._channels, -1)
        picked = x_GBD.view(g, b, self._channels, -1).gather(3, place)
        if self._crop:
            inside = ((rows >= 0) & (rows < height)) & ((columns >= 0) & (columns < width))
            picked.masked_fill_(~inside.view(g, b, 1, -1), 0)
        return picked.view(g, b, -1)
