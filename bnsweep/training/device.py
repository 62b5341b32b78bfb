"""The device that a stack trains on, and how torch computes there; what the caller has set for torch is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bnsweep.config.checks import ConfigError
from bnsweep.kernels.trial import run_on


def resolve_device(name: str) -> torch.device:
    """The device that `train.device` means; ConfigError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device=cuda: no CUDA device was found (choices: auto, cpu)")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return "cpu (one thread a stack)"


KERNELS = False
"""Whether steps on a GPU take the kernels of `bnsweep.kernels`. They are held to torch in Triton's interpreter and
compiled for sm_90, but no GPU has run them yet: `make kernels` does, and once it passes there this becomes True."""


def takes_kernels(device: torch.device) -> bool:
    return KERNELS and device.type == "cuda" and run_on(device)


@contextmanager
def ieee_products() -> Iterator[None]:
    """Matrix products of float32 in IEEE arithmetic, whatever this process was told: TF32 keeps 10 bits of the
    mantissa's 23, bfloat16 keeps 7."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        older: str | None = torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller has used the newer way to set it, and torch refuses to say it in the older way
        older = None
    # The older way sets both: torch refuses products while the two disagree.
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One thread an operator on a CPU: on operators this small, two spend their time waiting for one another."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
