"""Where kernels run in tests: on a GPU where there is one, else in Triton's interpreter on a CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # as in conftest.py, which a GPU machine may run without

pytest.importorskip("triton", reason="Triton is not installed: `make kernels` brings it and runs these tests")


@contextmanager
def silent() -> Iterator[None]:
    """The interpreter is numpy, which warns of what a diverging member's numbers do."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def quiet() -> Iterator[None]:
    with silent():
        yield
