"""MNIST and Fashion-MNIST: read from their files, which are downloaded where they are missing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Bytes, Samples
from bnsweep.data.download import download
from bnsweep.data.idx import FOLDERS, IMAGES, LABELS, PARTS, Spoiled, array_of

PACKAGED = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where a package of the system puts the files: Debian's dataset-fashion-mnist."""


def read(config: DataConfig) -> Samples:
    """The training file's samples and then the test file's. Raises ConfigError for files that are not as published."""
    folder = folder_of(config)
    wanted = [f"{part}-{kind}" for part in PARTS for kind in (IMAGES, LABELS)]
    missing = [name for name in wanted if not any(map(os.path.lexists, forms(folder, name)))]
    if missing:
        download(config, folder, missing)
    arrays = {name: idx_file(config, folder, name) for name in wanted}
    pixels = np.concatenate([arrays[f"{part}-{IMAGES}"].reshape(-1, config.facts.features) for part in PARTS])
    labels = np.concatenate([arrays[f"{part}-{LABELS}"] for part in PARTS])
    return Samples(pixels, labels, str(folder), white=255.0)


def folder_of(config: DataConfig) -> Path:
    """Where the files lie, or would lie: below the root, in it, or where a package of the system puts them. Raises
    ConfigError for a folder that is there and cannot be read."""
    try:
        root = Path(config.root).expanduser()
        places = [root / FOLDERS[config.name], root, PACKAGED.get(config.name, root)]
        first = f"{PARTS[0]}-{IMAGES}"
        folder = next((place for place in places if any(map(os.path.lexists, forms(place, first)))), places[0])
        there = stat.S_ISDIR(folder.stat().st_mode)
        if there and not os.access(folder, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (FileNotFoundError, NotADirectoryError):
        pass  # the download says what stands in its way
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"data.root={config.root}: must be a folder that can be read ({why})") from None
    return folder


def forms(folder: Path, name: str) -> list[Path]:
    """The two forms of a file, first the one to read where both are there."""
    return [folder / name, folder / f"{name}.gz"]


def idx_file(config: DataConfig, folder: Path, name: str) -> Bytes:
    """One IDX file, verified. Raises ConfigError."""
    path = next(path for path in forms(folder, name) if os.path.lexists(path))
    try:
        return array_of(config, name, path)
    except OSError as error:
        raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from None
    except Spoiled as error:
        raise ConfigError(f"{path}: {error}; delete it to have it downloaded again") from None
