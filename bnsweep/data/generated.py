"""Data that are computed, the same samples every time: for looking at networks as they start."""

from __future__ import annotations

import numpy as np
import torch

from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples
from bnsweep.data.splits import stream


def read(config: DataConfig) -> Samples:
    """gaussian: standard normals. pixels: 0 with probability 0.7, else uniform in [0, 1], of mean square 0.1. Classes
    are drawn at random."""
    facts, numbers = config.facts, stream(config.name)
    shape = facts.pool + facts.test, facts.features
    if config.name == "gaussian":
        x_ND = torch.randn(shape, generator=numbers)
    else:
        x_ND = torch.rand(shape, generator=numbers) * (torch.rand(shape, generator=numbers) < 0.3)
    labels_N = torch.randint(facts.classes, shape[:1], generator=numbers)
    return Samples(x_ND.numpy(), labels_N.numpy().astype(np.uint8), "generated")
