"""Data from a function of the user's: `data=callable data.call=module:function`.

Axes: N samples, D numbers a sample.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError, OwnCodeError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples, function_named
from bnsweep.data.host import free_host_bytes

TEST_SHARE = 0.2
"""Of the samples, where there is no test set."""

SLOW_S = 10.0
"""Seconds after which it is said that the function has not returned."""

MOST_SAID = 300
"""Letters quoted of an error."""

X = npt.NDArray[np.float32]


class Refused(Exception):
    """What is wrong with the samples."""


def read(config: DataConfig) -> Samples:
    """What the function gives, verified. Raises ConfigError."""
    assert config.call is not None
    given, source = call(config.call)
    try:
        parts = parts_of(given)
        classes = count_classes([part.y_N for part in parts])
        x_ND = inputs(parts)
    except Refused as error:
        raise ConfigError(f"data.call={config.call}: {error}") from None
    y_N = np.concatenate([part.y_N.astype(np.int64) for part in parts])
    official = len(parts) == 2
    test = len(parts[1].y_N) if official else round(TEST_SHARE * len(y_N))
    facts = DatasetFacts(len(y_N) - test, test, x_ND.shape[1], classes, official)
    return Samples(x_ND, y_N, source, facts=facts)


def call(dotted: str) -> tuple[Any, str]:
    """What the function gives, and its file. Errors of its own become one line too, since nothing is trained yet."""
    here = Path.cwd()
    waiting = f"data.call={dotted}: has not returned for {SLOW_S:g} s"
    slow = threading.Timer(SLOW_S, lambda: print(waiting, file=sys.stderr, flush=True))
    slow.daemon = True
    slow.start()
    try:
        with process_kept(here):
            function = function_named(dotted)
            source = getattr(sys.modules[dotted.partition(":")[0]], "__file__", None)
            return function(), source or dotted
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: a function that ends the process has given no data
        says = f"data.call={dotted}: must be a function that can be called from {here} ({error_text(error)})"
        raise OwnCodeError(says + raised_at(error, here)) from error
    finally:
        slow.cancel()


@contextmanager
def process_kept(here: Path) -> Iterator[None]:
    """Modules are found in the folder `here`. What the user's code sets for the whole process is put back: paths and
    numbers of the sweep do not depend on it. The global random numbers of torch and numpy serve nothing here."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    sys.path.insert(0, str(here))
    try:
        with np.errstate(), warnings.catch_warnings(), torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        os.chdir(here)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        with suppress(ValueError):
            sys.path.remove(str(here))


def error_text(error: BaseException) -> str:
    """The error in one line."""
    try:
        text = " ".join(str(error).split())[:MOST_SAID]
    except Exception:  # one whose __str__ is broken
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def raised_at(error: BaseException, here: Path) -> str:
    """Where the user's code in the folder `here` raised it; empty where it did not."""
    ours = Path(__file__).parents[1]
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    near = [(file, line) for file, line in frames if here in file.parents and ours not in file.parents]
    own = [(file, line) for file, line in near if "site-packages" not in file.parts]
    return f"; raised in {own[-1][0].relative_to(here)}, line {own[-1][1]}" if own else ""


@dataclass(frozen=True)
class Part:
    """The pool, or the test set."""

    name: str
    """Of the inputs."""
    x: npt.NDArray[Any]
    """[N, …], as it was given."""
    y_N: npt.NDArray[Any]
    """A copy."""


def parts_of(given: Any) -> list[Part]:
    """The pool, and the test set where there is one. Raises Refused."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 4):
        found = f"{len(given)} of them" if isinstance(given, tuple | list) else type(given).__name__
        raise Refused(f"must give (x, y) or (x_train, y_train, x_test, y_test), gives {found}")
    names = ("x", "y") if len(given) == 2 else ("x_train", "y_train", "x_test", "y_test")
    arrays = [array(name, part) for name, part in zip(names, given, strict=True)]
    parts = []
    for i in range(0, len(names), 2):
        (x_name, y_name), (x, y) = names[i : i + 2], arrays[i : i + 2]
        if y.ndim != 1 or x.ndim < 1 or len(x) != len(y) or x.size == 0:
            shapes = f"have the shapes {x.shape} and {y.shape}"
            raise Refused(f"{x_name} and {y_name} must hold a row and a label of each sample, {shapes}")
        parts.append(Part(x_name, x, labels(y_name, y)))
    features = [part.x.size // len(part.x) for part in parts]
    if len(set(features)) > 1:
        raise Refused(f"x_train and x_test must have as many numbers a sample, have {features[0]} and {features[1]}")
    return parts


def array(name: str, given: Any) -> npt.NDArray[Any]:
    """What was given as an array of numbers. Raises Refused."""
    if np.ma.is_masked(given):
        raise Refused(f"{name} must have a number everywhere, has masked ones")
    try:
        found = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    except Exception as error:
        raise Refused(f"{name} must be an array or a tensor of numbers ({error_text(error)})") from None
    if found.dtype.kind not in "buif":
        raise Refused(f"{name} must hold numbers, holds {str(found.dtype)[:MOST_SAID]}")
    return found


def inputs(parts: list[Part]) -> X:
    """All rows, flattened, in the one copy that is made of them. Raises Refused."""
    count, numbers, free = sum(len(part.x) for part in parts), sum(part.x.size for part in parts), free_host_bytes()
    if 4 * numbers > free:
        sizes = f"{numbers} numbers take {4 * numbers / 2**30:.1f} GiB as float32, and {free / 2**30:.1f} GiB are free"
        raise Refused(f"must give samples that fit into memory: {sizes}")
    x_ND, first = np.empty((count, numbers // count), np.float32), 0
    for part in parts:
        rows = x_ND[first : first + len(part.x)]
        with np.errstate(over="ignore"):
            rows.reshape(part.x.shape)[...] = part.x
        if not (np.isfinite(rows.min()) and np.isfinite(rows.max())):  # NaN is both
            raise Refused(f"{part.name} must be finite as float32, holds NaN or infinity")
        first += len(rows)
    return x_ND


def labels(name: str, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Raises Refused."""
    if y.dtype.kind not in "ui":
        raise Refused(f"{name} must hold integers, holds {y.dtype}")
    return y.copy()


def count_classes(parts: list[npt.NDArray[Any]]) -> int:
    """Of labels that are 0 to C - 1, each of them at least once in the pool. Raises Refused."""
    found = np.unique(parts[0])
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        some = ", ".join(map(str, found[:5].tolist())) + (", …" if len(found) > 5 else "")
        raise Refused(f"labels must be 0, 1, … without a gap, at least two of them, are {some}")
    strange = [label for y_N in parts[1:] for label in np.setdiff1d(y_N, found).tolist()]
    if strange:
        raise Refused(f"y_test must hold labels of y_train, which has no {strange[0]}")
    return len(found)
