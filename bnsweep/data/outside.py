"""Data from a function of the user's: `data=callable data.call=module:function`. It gives arrays, or torch Datasets."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples
from bnsweep.data.samples import Refused, check_room, samples_of
from bnsweep.own.call import called, error_text, function_named

SLOW_S = 10.0
"""Seconds after which it is said that the function has not returned."""

FORMS = "(x, y) or (x_train, y_train, x_test, y_test), or a Dataset of (x, y), or two of them"


def read(config: DataConfig) -> Samples:
    """What the function gives, verified. Raises ConfigError."""
    assert config.call is not None
    given, source = call(config.call, config.kwargs)
    try:
        samples = samples_of(arrays_of(given), config.task, source)
    except Refused as error:
        raise ConfigError(f"data.call={config.call}: {error}") from None
    return replace(samples, notes=(f"{config.call}: {'; '.join(samples.notes)}",))


def arrays_of(given: Any) -> Sequence[Any]:
    """Of pool, or of pool and test set: inputs and targets in turn. Raises Refused."""
    given = (given,) if is_dataset(given) else given
    if isinstance(given, tuple | list) and given and all(map(is_dataset, given)) and len(given) <= 2:
        return [part for dataset in given for part in gathered(dataset)]
    if not isinstance(given, tuple | list) or len(given) not in (2, 4):
        found = f"{len(given)} of them" if isinstance(given, tuple | list) else type(given).__name__
        raise Refused(f"must give {FORMS}, gives {found}")
    return given


def is_dataset(given: Any) -> bool:
    """Whether it is a Dataset of torch. Raises Refused for one that has no length or no items."""
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    if isinstance(given, IterableDataset | DataLoader):
        remedy = "its dataset" if isinstance(given, DataLoader) else "its samples as arrays"
        raise Refused(f"must give a Dataset with a length and items, gives {type(given).__name__} (give {remedy})")
    return isinstance(given, Dataset)


def gathered(dataset: Any) -> tuple[npt.NDArray[Any], list[Any]]:
    """Inputs [N, …] and targets [N] of a Dataset, item by item. Raises Refused."""
    try:
        count = len(dataset)
        first, _ = dataset[0]
        shape = np.shape(image_or_array(first))
        check_room(count * max(1, math.prod(shape)))
        x, y = np.empty((count, *shape), image_or_array(first).dtype), []
        for i in range(count):
            item, target = dataset[i]
            found = image_or_array(item)
            if found.shape != shape:
                raise Refused(f"must give a Dataset of samples of one shape, item {i} is {found.shape}, item 0 {shape}")
            if found.dtype.kind == "f" and x.dtype.kind != "f":
                x = x.astype(found.dtype)
            x[i] = found
            y.append(np.asarray(target.detach().cpu() if isinstance(target, Tensor) else target)[()])
    except Refused:
        raise
    except Exception as error:
        says = f"must give a Dataset of (x, y), of which {type(dataset).__name__} gives none ({error_text(error)})"
        raise Refused(says) from None
    return x, y


def image_or_array(item: Any) -> npt.NDArray[Any]:
    """An image of Pillow's, channels first, in [0, 1]; anything else as it is."""
    if not hasattr(item, "getbands"):
        return np.asarray(item.detach().cpu() if isinstance(item, Tensor) else item)
    from bnsweep.data.images import of_bytes

    pixels = np.asarray(of_bytes(item), np.float32) / 255
    return np.moveaxis(pixels[..., :3], -1, 0) if pixels.ndim == 3 else pixels


def call(dotted: str, kwargs: Mapping[str, Any]) -> tuple[Any, str]:
    """What the function gives for these arguments, and its file. Errors of its own become one line too, since nothing
    is trained yet."""
    waiting = f"data.call={dotted}: has not returned for {SLOW_S:g} s"
    slow = threading.Timer(SLOW_S, lambda: print(waiting, file=sys.stderr, flush=True))
    slow.daemon = True
    slow.start()
    try:
        with called("data.call", dotted, "a function that can be called"):
            function = function_named(dotted)
            source = getattr(sys.modules[dotted.partition(":")[0]], "__file__", None)
            return function(**kwargs), source or dotted
    finally:
        slow.cancel()
