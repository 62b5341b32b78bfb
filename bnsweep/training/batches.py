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
from bnsweep.training.augment import Augment


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
    target_G2: Tensor | None = None
    """On the host: mean and standard deviation of its training targets, as they were given."""
    filled_G1D: Tensor | None = None
    """What stands where an input is missing."""
    mean_G1D: Tensor | None = None
    """Inputs are standardised by it and by `factor_G1D`, where they are."""
    factor_G1D: Tensor | None = None
    augment: Augment | None = None

    def take(self, rows_GB: Tensor, step: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [G, B, D] and targets [K, B]. Images are augmented only where a 0-based `step` is given."""
        g, b = rows_GB.shape
        y_GB = self.targets(rows_GB)
        y_KB = y_GB.expand(len(self.group_of_K), b) if g == 1 else y_GB[self.group_of_K]
        x_GBD = self.x_ND.index_select(0, rows_GB.reshape(-1)).view(g, b, -1)
        if self.augment is not None and step is not None:
            x_GBD = self.augment(x_GBD, step)
        if self.filled_G1D is not None:
            x_GBD = torch.where(x_GBD.isnan(), self.filled_G1D, x_GBD)
        if self.mean_G1D is not None and self.factor_G1D is not None:
            x_GBD.sub_(self.mean_G1D).mul_(self.factor_G1D)
        return x_GBD, y_KB

    def target(self, k: int) -> dict[str, float]:
        """What leads from a regression's predictions by member k to numbers as they were given."""
        if self.target_G2 is None:
            return {}
        mean, std = self.target_G2[int(self.group_of_K[k])].tolist()
        return {"target_mean": mean, "target_std": std}

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
    rows["probe"] = rows["train"][:, : stack.configs[0].probe_samples]
    x_ND = dataset.x_ND.to(stack.device, stack.dtype)
    if stack.configs[0].data.binary:
        x_ND = (x_ND > 0.5).to(stack.dtype)
    batches = Batches(x_ND, dataset.y_N.to(stack.device), rows, stack.group_of_K)
    if stack.configs[0].augmented:
        batches.augment = Augment(stack.configs[0], stack.data_seeds, stack.device)
    if dataset.y_N.is_floating_point():
        y_GN, batches.target_G2 = standardised(dataset.y_N, rows["train"].cpu())
        batches.y_GN = y_GN.to(stack.device, stack.dtype)
    # NaN where one number is: no second tensor of this size is made.
    missing, standardize = bool(x_ND.sum().isnan()), stack.configs[0].data.standardize
    if missing or standardize:
        mean_GD, std_GD = (t.to(stack.device) for t in input_moments(x_ND, rows["train"]))
        batches.filled_G1D = mean_GD[:, None].to(stack.dtype) if missing else None
        batches.mean_G1D = mean_GD[:, None].to(stack.dtype) if standardize else None
        batches.factor_G1D = (1 / std_GD)[:, None].to(stack.dtype) if standardize else None
    return batches


PIECE = 4096
"""Rows that statistics of inputs look at in one go."""


def input_moments(x_ND: Tensor, rows_GB: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [G, D], float64, of the inputs in each of the rows. What is missing counts for
    nothing; of an input that is missing in all of them the mean is 0, and of one that never differs the deviation 1."""
    means, stds = [], []
    for rows_B in rows_GB:
        pieces = rows_B.split(PIECE)
        known_D, sum_D, square_D = (torch.zeros(x_ND.shape[1], device=x_ND.device, dtype=torch.float64) for _ in "ksq")
        for piece in pieces:
            x_BD = x_ND[piece].double()
            known_D += (~x_BD.isnan()).sum(0)
            sum_D += x_BD.nansum(0)
        mean_D = sum_D / known_D.clamp_(min=1)
        for piece in pieces:
            square_D += (x_ND[piece].double() - mean_D).square_().nansum(0)
        std_D = (square_D / known_D).sqrt_()
        means.append(mean_D)
        stds.append(torch.where(std_D > 0, std_D, 1))
    return torch.stack(means), torch.stack(stds)


def standardised(y_N: Tensor, rows_GB: Tensor) -> tuple[Tensor, Tensor]:
    """[G, N] float64 numbers, shifted and scaled so that those in each of the rows have mean 0 and variance 1, and the
    mean and standard deviation that they had [G, 2]. What never varies is only shifted."""
    y_N = y_N.double()
    some_GB = y_N[rows_GB]
    mean_G1, std_G1 = some_GB.mean(1, keepdim=True), some_GB.std(1, correction=0, keepdim=True)
    std_G1 = torch.where(std_G1 > 0, std_G1, 1)
    return (y_N - mean_G1) / std_G1, torch.cat([mean_G1, std_G1], 1)
