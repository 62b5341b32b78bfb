"""Data as a call gives them: a name, a file, arrays, a data frame or a torch Dataset."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsweep.catalogue.datasets import DATASETS, TABLE_SUFFIXES
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig

if TYPE_CHECKING:
    from bnsweep.data.dataset import Dataset

IN_MEMORY = "in memory"
"""Stands for the file of data that are in none."""
FORMS = (
    "the name of a dataset, a file (.npz, .csv, .parquet), a folder of images in a folder a class, arrays (x, y) or"
    " (x_train, y_train, x_test, y_test), a pandas DataFrame with target=, or a torch Dataset"
)


@dataclass(frozen=True)
class Given:
    settings: dict[str, Any]
    """What a command would be told of them."""
    content: Any = None
    """Those in memory: arrays, or a data frame."""
    saved: str = ""
    """The line that saves them for a command."""

    @property
    def in_memory(self) -> bool:
        return self.content is not None

    def command(self, texts: Sequence[str]) -> str:
        """The command that trains the same runs, after a line that saves data in memory for it."""
        file = "data.npz" if self.settings.get("data") == "arrays" else "data.parquet"
        saved = [f"data.file={file}" if text.startswith("data.file=") else text for text in texts]
        command = f"python -m bnsweep -m {shlex.join(saved if self.in_memory else texts)}"
        return f"{self.saved}  # and then\n{command}" if self.in_memory else command

    def dataset(self, config: DataConfig) -> Dataset:
        """Those in memory as the dataset of these settings. Raises ConfigError."""
        from bnsweep.data.dataset import dataset_of
        from bnsweep.data.samples import Refused, samples_of
        from bnsweep.data.table import samples_of_frame

        try:
            if config.name == "table":
                samples = samples_of_frame(self.content, config, IN_MEMORY)
            else:
                samples = samples_of(self.content, config.task, IN_MEMORY, pixels=True)
        except Refused as error:
            raise ConfigError(f"data: {error}") from None
        return dataset_of(replace(samples, notes=("; ".join(samples.notes),)), config)


def given_data(data: Any) -> Given:
    """Raises ConfigError for what is nothing of the kind."""
    if data is None:
        return Given({})
    if isinstance(data, Mapping):
        return Given({"data" if key == "name" else f"data.{key}": value for key, value in data.items()})
    if isinstance(data, str) and data in DATASETS:
        return Given({"data": data})
    if isinstance(data, list | tuple) and data and all(isinstance(one, str) and one in DATASETS for one in data):
        return Given({"data": list(data)})
    if isinstance(data, str | os.PathLike):
        return of_path(Path(data))
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        saved = "df.to_parquet('data.parquet')"
        return Given({"data": "table", "data.file": IN_MEMORY}, data, saved)
    return of_arrays(data)


def of_path(path: Path) -> Given:
    """Of a file by its suffix, of a folder as images."""
    if path.is_dir():
        return Given({"data": "images", "data.root": str(path)})
    if path.suffix == ".npz":
        return Given({"data": "arrays", "data.file": str(path)})
    if path.suffix.lower() in TABLE_SUFFIXES:
        return Given({"data": "table", "data.file": str(path)})
    raise ConfigError(f"data={path}: must be {FORMS}; names: {', '.join(DATASETS)}")


def of_arrays(data: Any) -> Given:
    from bnsweep.data.outside import arrays_of
    from bnsweep.data.samples import Refused

    try:
        arrays: Sequence[Any] = arrays_of(data)
    except Refused as error:
        raise ConfigError(f"data: must be {FORMS} ({error})") from None
    names = ("x", "y") if len(arrays) == 2 else ("x_train", "y_train", "x_test", "y_test")
    saved = f"numpy.savez('data.npz', {', '.join(f'{name}={name}' for name in names)})"
    return Given({"data": "arrays", "data.file": IN_MEMORY}, arrays, saved)
