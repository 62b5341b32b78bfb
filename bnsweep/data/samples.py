"""Arrays of a user's, wherever they come from: checked, and brought to the form that training takes.

Axes: N samples, D numbers a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.config.checks import printable
from bnsweep.data.dataset import Samples
from bnsweep.data.host import free_host_bytes
from bnsweep.own.call import MOST_SAID, error_text

TEST_SHARE = 0.2
"""Of the samples, where there is no test set."""

LISTED = 5
"""Columns or files that an error or a note names."""

NAMED = 6
"""Classes that are named one by one."""

LEANING = 1.5
"""Times its even share that the largest class has before it is said what guessing gets."""

WIDE = 10.0
"""Inputs beyond this are too far from 0 for weights that start small."""

TAKES_NUMBERS = "data.task=regression takes numbers"

X = npt.NDArray[np.float32]


class Refused(Exception):
    """What is wrong with the samples."""


@dataclass(frozen=True)
class Part:
    """The pool, or the test set."""

    x_name: str
    y_name: str
    x: npt.NDArray[Any]
    """[N, …], as it was given."""
    y_N: npt.NDArray[Any]
    """A copy."""


@dataclass(frozen=True)
class Targets:
    y_N: npt.NDArray[np.int64 | np.float64]
    """Classes 0 to C - 1, or numbers."""
    classes: int
    """C; 0 for numbers."""
    note: str
    """What is to be said of them."""


def samples_of(given: Sequence[Any], task: str, source: str, pixels: bool = False, missing: bool = False) -> Samples:
    """Samples of (x, y), of which every seed draws its own test set, or of (x_train, y_train, x_test, y_test).

    Inputs [N, …] are taken as they are, as float32; with `pixels`, bytes of two axes or more a sample are divided by
    255. Targets [N] or [N, 1] are the numbers of a regression, or labels of any kind: integers, whole numbers, texts or
    truth values, which become classes in sorted order. `missing`: inputs may be NaN, which training fills. The notes
    are one of the inputs and one of the targets. Raises Refused.
    """
    parts = parts_of(given)
    of_pixels = [part.x.dtype == np.uint8 and part.x.ndim > 2 for part in parts]
    if pixels and len(set(of_pixels)) > 1:
        raise Refused("x_train and x_test must both hold bytes of pixels, which are divided by 255, or neither")
    white = 255.0 if pixels and all(of_pixels) else 1.0
    of = classes_of if task == CLASSIFICATION.name else numbers_of
    check_room(sum(part.x.size for part in parts))
    targets = of(parts)
    x_ND = inputs(parts, white, missing)
    count, official = len(x_ND), len(parts) == 2
    test = len(parts[1].y_N) if official else round(TEST_SHARE * count)
    shapes = {part.x.shape[1:] for part in parts}
    shape = shapes.pop() if len(shapes) == 1 else ()
    shape = shape if len(shape) > 1 else ()
    facts = DatasetFacts(count - test, test, x_ND.shape[1], targets.classes, official, shape=shape)
    return Samples(x_ND, targets.y_N, source, facts=facts, notes=(description(x_ND, shape), targets.note))


def home_path(text: str) -> Path:
    """A path that may begin with ~. Raises Refused where nobody of that name has a home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise Refused(f"must be a path that can be found ({error})") from None


def description(x_ND: X, shape: tuple[int, ...]) -> str:
    """How many inputs there are, and of what size."""
    size = f"{' x '.join(map(str, shape))} numbers" if shape else f"{x_ND.shape[1]:,} numbers"
    size = size.removesuffix("s") if x_ND.shape[1] == 1 else size
    low, high = float(np.nanmin(x_ND)), float(np.nanmax(x_ND))
    return f"{len(x_ND):,} samples of {size} from {low:.4g} to {high:.4g}"


def parts_of(given: Sequence[Any]) -> list[Part]:
    """The pool, and the test set where there is one. Raises Refused."""
    names = ("x", "y") if len(given) == 2 else ("x_train", "y_train", "x_test", "y_test")
    arrays = [array(name, part) for name, part in zip(names, given, strict=True)]
    parts = []
    for i in range(0, len(names), 2):
        (x_name, y_name), (x, y) = names[i : i + 2], arrays[i : i + 2]
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1 or x.ndim < 1 or len(x) != len(y) or x.size == 0:
            shapes = f"have the shapes {x.shape} and {y.shape}"
            raise Refused(f"{x_name} and {y_name} must hold a row and a label of each sample, {shapes}")
        if x.dtype.kind not in "buif":
            raise Refused(f"{x_name} must hold numbers, holds {str(x.dtype)[:MOST_SAID]}")
        parts.append(Part(x_name, y_name, x, y.copy()))
    features = [part.x.size // len(part.x) for part in parts]
    if len(set(features)) > 1:
        raise Refused(f"x_train and x_test must have as many numbers a sample, have {features[0]} and {features[1]}")
    return parts


def array(name: str, given: Any) -> npt.NDArray[Any]:
    """What was given as an array. Raises Refused."""
    if np.ma.is_masked(given):
        raise Refused(f"{name} must have a number everywhere, has masked ones")
    try:
        found = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    except Exception as error:
        raise Refused(f"{name} must be an array or a tensor of numbers ({error_text(error)})") from None
    if found.dtype.kind == "O" and found.size and all(isinstance(value, str) for value in found.flat):
        found = found.astype(str)
    if found.dtype.kind not in "buifUS":
        raise Refused(f"{name} must hold numbers, holds {str(found.dtype)[:MOST_SAID]}")
    return found


def inputs(parts: Sequence[Part], white: float, missing: bool) -> X:
    """All rows, flattened and divided by `white`, in the one copy that is made of them. Raises Refused."""
    count, numbers = sum(len(part.x) for part in parts), sum(part.x.size for part in parts)
    x_ND, first = np.empty((count, numbers // count), np.float32), 0
    for part in parts:
        rows = x_ND[first : first + len(part.x)]
        with np.errstate(over="ignore"):
            rows.reshape(part.x.shape)[...] = part.x
        least, most = (np.nanmin, np.nanmax) if missing else (np.min, np.max)  # of these, NaN is both
        if not (np.isfinite(least(rows)) and np.isfinite(most(rows))):
            raise Refused(f"{part.x_name} must be finite as float32, holds NaN or infinity")
        first += len(rows)
    if white != 1:
        x_ND /= white
    return x_ND


def check_room(numbers: int) -> None:
    """Refuses samples of so many numbers where they do not fit into memory."""
    free = free_host_bytes()
    if 4 * numbers > free:
        sizes = f"{numbers} numbers take {4 * numbers / 2**30:.1f} GiB as float32, and {free / 2**30:.1f} GiB are free"
        raise Refused(f"must give samples that fit into memory: {sizes}")


def classes_of(parts: Sequence[Part]) -> Targets:
    """Labels as classes, in sorted order; each is at least once in the pool. Raises Refused."""
    labels = [labels_of(part) for part in parts]
    if len({own.dtype.kind for own in labels} & {"u", "i"}) > 1 and all(
        abs(own.astype(float)).max() < 2**62 for own in labels
    ):
        labels = [own.astype(np.int64) for own in labels]
    kinds = {found.dtype.kind == "U" for found in labels}
    if len(kinds) > 1:
        raise Refused("y_train and y_test must hold labels of one kind, hold numbers and texts")
    found = np.unique(labels[0])
    if len(found) < 2:
        raise Refused(f"{parts[0].y_name} must hold labels of at least two classes, holds {said(found[0])} alone")
    if 2 * len(found) > len(labels[0]):
        says = f"must hold classes of two samples or more, holds {len(found):,} labels in {len(labels[0]):,} samples"
        raise Refused(f"{parts[0].y_name} {says} ({TAKES_NUMBERS})")
    for part, own in zip(parts[1:], labels[1:], strict=True):
        if strange := np.setdiff1d(own, found).tolist():
            raise Refused(f"{part.y_name} must hold labels of {parts[0].y_name}, which has no {said(strange[0])}")
    y_N = np.concatenate([np.searchsorted(found, own.astype(found.dtype)) for own in labels]).astype(np.int64)
    return Targets(y_N, len(found), class_note([said(label) for label in found.tolist()], np.bincount(y_N)))


def labels_of(part: Part) -> npt.NDArray[Any]:
    """Labels of one kind: int64 or uint64, or texts. Raises Refused."""
    y_N = part.y_N
    if y_N.dtype.kind == "S":
        return np.char.decode(y_N, "utf-8", "replace")
    if y_N.dtype.kind == "f":
        if not np.isfinite(y_N).all():
            raise Refused(f"{part.y_name} must hold a label of each sample, holds NaN or infinity")
        strange = y_N[(y_N != np.floor(y_N)) | (abs(y_N) > 2**53)]
        if len(strange):
            raise Refused(f"{part.y_name} must hold labels, holds numbers such as {said(strange[0])} ({TAKES_NUMBERS})")
        return y_N.astype(np.int64)
    return y_N.astype(np.int64) if y_N.dtype.kind == "b" else y_N


def said(value: Any) -> str:
    """A label as it is written."""
    text = printable(str(value))
    return text if len(text) <= 40 else f"{text[:40]}…"


def listed(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(map(said, names[:LISTED])) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def class_note(names: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """How many samples each class has; where one is large, what always guessing it gets."""
    some, total = list(zip(names, counts.tolist(), strict=True)), int(counts.sum())
    if len(some) <= NAMED:
        text = f"{len(some)} classes: " + ", ".join(f"{name} ({count:,})" for name, count in some)
    else:
        least, most = min(some, key=lambda c: c[1]), max(some, key=lambda c: c[1])
        lowest = f"{least[1]:,} ({least[0]}) to " if least[1] < most[1] else ""
        text = f"{len(some)} classes of {lowest}{most[1]:,} samples" + (f" ({most[0]})" if lowest else "")
    name, largest = max(some, key=lambda c: c[1])
    if largest * len(some) > LEANING * total:
        text += f"; always guessing {name} gets {100 * largest / total:.1f} % right"
    return text


def numbers_of(parts: Sequence[Part]) -> Targets:
    """Targets of a regression, in float64: what differs among large ones is not lost. Raises Refused."""
    for part in parts:
        if part.y_N.dtype.kind not in "buif":
            raise Refused(
                f"{part.y_name} must hold numbers for data.task=regression, holds texts such as {said(part.y_N[0])}"
            )
        if not np.isfinite(part.y_N).all():
            raise Refused(f"{part.y_name} must be finite, holds NaN or infinity")
    numbers = [part.y_N.astype(np.float64) for part in parts]
    low, high = numbers[0].min(), numbers[0].max()
    if low == high:
        raise Refused(f"{parts[0].y_name} must hold numbers that differ, holds {low:.4g} alone")
    largest = max(float(abs(part).max()) for part in numbers)
    if largest > float(np.finfo(np.float32).max):
        raise Refused(f"{parts[0].y_name} must be finite as float32, holds up to {largest:.4g}")
    return Targets(np.concatenate(numbers), 0, f"targets from {low:.4g} to {high:.4g}")
