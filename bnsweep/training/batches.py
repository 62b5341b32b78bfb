"""The samples of a stack, on its device.

K members, G data seeds, N samples, B batch, D inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnsweep.data import splits
from bnsweep.data.dataset import Dataset
from bnsweep.nets.stack import Stack


@dataclass
class Batches:
    """The samples of a stack, on the device: one copy of the data, row indices [G, n] of each data seed."""

    x_ND: Tensor
    y_N: Tensor
    rows: dict[str, Tensor]
    """Split name -> row indices [G, n]."""
    group_of_K: Tensor
    y_GN: Tensor | None = None
    """In a regression the target of all samples, as each data seed has it."""

    def take(self, rows_GB: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [G, B, D] and targets [K, B]."""
        g, b = rows_GB.shape
        y_GB = self.targets(rows_GB)
        y_KB = y_GB.expand(len(self.group_of_K), b) if g == 1 else y_GB[self.group_of_K]
        return self.x_ND.index_select(0, rows_GB.reshape(-1)).view(g, b, -1), y_KB

    def targets(self, rows_GB: Tensor) -> Tensor:
        """[G, B] classes, or numbers as `standardised` has them."""
        if self.y_GN is not None:
            return self.y_GN.gather(1, rows_GB)
        return self.y_N.index_select(0, rows_GB.reshape(-1)).view(rows_GB.shape)


def place_data(stack: Stack, dataset: Dataset) -> Batches:
    """Split the dataset for every data seed of the stack."""
    by_seed = [splits.split(dataset, stack.configs[0].data, seed) for seed in stack.data_seeds]
    rows = {
        name: torch.stack([getattr(s, name) for s in by_seed]).to(stack.device)
        for name in ("train", "validation", "test")
    }
    rows["probe"] = rows["train"][:, : stack.configs[0].probes.samples]
    x_ND = dataset.x_ND.to(stack.device, stack.dtype)
    if stack.configs[0].data.binary:
        x_ND = (x_ND > 0.5).to(stack.dtype)
    y_GN = None
    if dataset.y_N.is_floating_point():
        y_GN = standardised(dataset.y_N, rows["train"].cpu()).to(stack.device, stack.dtype)
    return Batches(x_ND, dataset.y_N.to(stack.device), rows, stack.group_of_K, y_GN)


def standardised(y_N: Tensor, rows_GB: Tensor) -> Tensor:
    """[G, N] float64 numbers, shifted and scaled so that those in each of the rows have mean 0 and variance 1; a single
    number stays one."""
    y_N = y_N.double()
    some_GB = y_N[rows_GB]
    std_G1 = some_GB.std(1, correction=0, keepdim=True)
    return (y_N - some_GB.mean(1, keepdim=True)) / torch.where(std_G1 > 0, std_G1, 1)
