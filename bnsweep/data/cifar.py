"""CIFAR-10 from the files of its binary version, in a folder or in the archive that they are published in.

Each image is a byte that names its class, and 3,072 bytes: 32 rows of 32 pixels, all red ones, then green, then blue.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Bytes, Samples
from bnsweep.data.idx import Spoiled, first_bytes, verify
from bnsweep.data.samples import Refused, home_path

FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
"""The training files and then the test file."""
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Of the archive, as its page gives it (cs.toronto.edu/~kriz/cifar.html). Of the files in it none is published."""
ROW = 1 + 3 * 32 * 32


def read(config: DataConfig) -> Samples:
    """The training files' images and then the test file's. Raises ConfigError for files that are not as published."""
    try:
        root = home_path(config.root)
    except Refused as error:
        raise ConfigError(f"data.root={config.root}: {error}") from None
    found, source = contents(config, root)
    parts = len(FILES)
    each = (config.facts.pool + config.facts.test) // parts
    rows = []
    for name, content in found:
        try:
            rows.append(rows_of(content, each, config.facts.classes))
        except Spoiled as error:
            raise ConfigError(f"{source / name}: {error}; put the published file there") from None
    images = np.concatenate(rows)
    return Samples(np.ascontiguousarray(images[:, 1:]), np.ascontiguousarray(images[:, 0]), str(source), white=255.0)


def contents(config: DataConfig, root: Path) -> tuple[Iterator[tuple[str, bytes]], Path]:
    """Name and content of each of FILES, and where they are. Raises ConfigError where they are not."""
    folder, archive = root / FOLDER, root / ARCHIVE
    if archive.is_file() and not folder.is_dir():
        return packed(archive), archive
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        says = f"{archive} or {folder}, with {', '.join(FILES)}: the binary version, of cs.toronto.edu/~kriz/cifar.html"
        raise ConfigError(f"data.root={config.root}: must hold {says}")
    return plain(folder, ROW * (config.facts.pool + config.facts.test) // len(FILES)), folder


def plain(folder: Path, size: int) -> Iterator[tuple[str, bytes]]:
    for name in FILES:
        try:
            yield name, first_bytes(folder / name, size + 1)
        except (OSError, Spoiled) as error:
            raise ConfigError(f"{folder / name}: must be a readable file ({error})") from None


def packed(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Of the archive, once it is verified."""
    try:
        with archive.open("rb") as file:
            verify("md5", hashlib.file_digest(file, "md5").hexdigest(), MD5)
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"{FOLDER}/{name}")
                assert member is not None
                yield name, member.read()
    except (OSError, Spoiled, tarfile.TarError, KeyError) as error:
        raise ConfigError(f"{archive}: {error}; put the published file there") from None


def rows_of(content: bytes, images: int, classes: int) -> Bytes:
    """[N, 1 + 3072] of a file. Raises Spoiled."""
    if len(content) != images * ROW:
        raise Spoiled(
            f"must hold {images * ROW} bytes, holds {'more' if len(content) > images * ROW else len(content)}"
        )
    rows = np.frombuffer(content, np.uint8).reshape(images, ROW)
    if rows[:, 0].max() >= classes:
        raise Spoiled(f"labels must be below {classes}, found {rows[:, 0].max()}")
    return rows
