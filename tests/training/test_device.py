"""Training computes as it must, and leaves torch as the caller has set it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch
from members import CPU, make

from bnsweep.config.checks import ConfigError
from bnsweep.data import dataset as data
from bnsweep.training.device import ieee_products, one_thread, resolve_device
from bnsweep.training.trainer import train

CUDA, ONEDNN = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul


def precisions() -> tuple[str, str, str]:
    """What torch says in its older way and, for two backends, in its newer way."""
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = "refused"
    return older, CUDA.fp32_precision, ONEDNN.fp32_precision


@pytest.fixture(autouse=True)
def as_new() -> Iterator[None]:
    """torch as it starts, before and after."""
    yield
    torch.set_float32_matmul_precision("highest")
    CUDA.fp32_precision = ONEDNN.fp32_precision = "none"
    assert precisions() == ("highest", "none", "none")


def older_way() -> None:
    torch.set_float32_matmul_precision("medium")


def newer_way() -> None:
    CUDA.fp32_precision = "tf32"


def flag() -> None:
    CUDA.allow_tf32 = True


@pytest.mark.parametrize("choose", [older_way, newer_way, flag, lambda: None], ids=["older", "newer", "flag", "none"])
def test_training_multiplies_in_ieee_arithmetic_and_puts_back_what_was_set(choose: Callable[[], None]) -> None:
    choose()
    before = precisions()
    with suppress(KeyError), ieee_products():
        assert precisions() == ("highest", "ieee", "ieee")
        raise KeyError
    assert precisions() == before


def test_training_sees_ieee_arithmetic_whatever_the_caller_has_set() -> None:
    older_way()
    seen = set()
    config = make(("relu", "he", "constant", "before"))
    train([config], data.load(config.data), CPU, tick=lambda: seen.add(precisions()))
    assert seen == {("highest", "ieee", "ieee")}
    assert torch.get_float32_matmul_precision() == "medium"


def test_finding_the_device_sets_nothing() -> None:
    older_way()
    resolve_device("auto")
    assert torch.get_float32_matmul_precision() == "medium"


def test_one_thread_is_of_a_cpu_and_ends_with_the_block() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread(CPU):
        assert torch.get_num_threads() == 1
    with one_thread(torch.device("cuda")):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match=r"^train.device=cuda: no CUDA device was found \(choices: auto, cpu\)$"):
        resolve_device("cuda")
