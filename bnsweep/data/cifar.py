"""CIFAR-10 from the files of its binary version, in a folder or in the archive that they are published in.

Each image is a byte that names its class, and 3,072 bytes: 32 rows of 32 pixels, all red ones, then green, then blue.
"""

from __future__ import annotations

import hashlib
import os
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
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Of the archive, as its page gives it (cs.toronto.edu/~kriz/cifar.html)."""
SHA1 = {
    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
}
"""Of the files in it, those to train on and then the one to test on; by MXNet's `gluon.data.vision.CIFAR10`."""
NUMBERS = 3 * 32 * 32


def read(config: DataConfig) -> Samples:
    """The training files' images and then the test file's. Raises ConfigError for files that are not as published."""
    count = config.facts.pool + config.facts.test
    each = count // len(SHA1)
    x_ND, y_N = np.empty((count, NUMBERS), np.uint8), np.empty(count, np.uint8)
    try:
        root = home_path(config.root)
    except Refused as error:
        raise ConfigError(f"data.root={config.root}: {error}") from None
    source = place_of(config, root)
    path = source
    try:
        for path, content in unpacked(source) if source.name == ARCHIVE else plain(source, each):
            rows = rows_of(content, each, SHA1[path.name])
            first = each * list(SHA1).index(path.name)
            y_N[first : first + each], x_ND[first : first + each] = rows[:, 0], rows[:, 1:]
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: must be a readable file ({error.strerror or error})") from None
    except Spoiled as error:
        raise ConfigError(f"{path}: {error}; put the published file there ({URL})") from None
    return Samples(x_ND, y_N, str(source), white=255.0)


def place_of(config: DataConfig, root: Path) -> Path:
    """The folder of the files, or the archive. Raises ConfigError where there is neither."""
    folder, archive = root / FOLDER, root / ARCHIVE
    for place in (folder, root):
        if all(os.path.lexists(place / name) for name in SHA1):
            return place
    if os.path.lexists(archive):
        return archive
    missing = [name for name in SHA1 if not os.path.lexists(folder / name)]
    says = f"must hold {ARCHIVE} ({URL}), or {FOLDER} with {', '.join(missing)}"
    raise ConfigError(f"data.root={config.root}: {says}; the Python version's batches are pickles, which are not read")


def plain(folder: Path, images: int) -> Iterator[tuple[Path, bytes]]:
    """Each file and its content. Raises OSError, Spoiled."""
    for name in SHA1:
        yield folder / name, first_bytes(folder / name, images * (1 + NUMBERS) + 1)


def unpacked(archive: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file of the archive and its content, in the archive's order, once the archive is verified. Raises OSError,
    Spoiled."""
    first_bytes(archive, 0)
    with archive.open("rb") as file:
        verify("md5", hashlib.file_digest(file, "md5").hexdigest(), MD5)
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            path = Path(member.name)
            content = tar.extractfile(member) if path.name in SHA1 else None
            if content is not None:
                yield archive / path.name, content.read()


def rows_of(content: bytes, images: int, sha1: str) -> Bytes:
    """[N, 1 + 3072] of a file. Raises Spoiled."""
    size = images * (1 + NUMBERS)
    if len(content) != size:
        raise Spoiled(f"must hold {size} bytes, holds {len(content) if len(content) < size else 'more'}")
    verify("sha1", hashlib.sha1(content, usedforsecurity=False).hexdigest(), sha1)
    return np.frombuffer(content, np.uint8).reshape(images, 1 + NUMBERS)
