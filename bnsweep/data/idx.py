"""MNIST and Fashion-MNIST: IDX files, verified, downloaded where they are missing."""

from __future__ import annotations

import gzip
import hashlib
import math
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Bytes, Samples

FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}
"""Where below `data.root` the IDX files lie; torchvision's layout."""

PUBLISHED = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
"""Their names in torchvision, which knows where they are published."""

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
PARTS = ("train", "t10k")

SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
}
"""Of the uncompressed files, so that it does not matter who compressed them."""

MD5_GZ = {
    "fashion_mnist": {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }
}
"""Of the .gz files as published; used where no digest of the uncompressed file is known."""

TIMEOUT_S = 30.0
"""Seconds a download may stand still; torchvision itself sets no limit."""

FETCH = """
import socket, sys
name, root, timeout = sys.argv[1:]
socket.setdefaulttimeout(float(timeout))
from torchvision import datasets
getattr(datasets, name)(root, download=True)
"""
"""In a process of its own: the limit is of a whole process, and torchvision fills the terminal."""


class Spoiled(Exception):
    """How a file differs from what was published."""


def read(config: DataConfig) -> Samples:
    """The training file's samples and then the test file's. Raises ConfigError for files that are not as published."""
    folder = Path(config.root).expanduser() / FOLDERS[config.name]
    wanted = [f"{part}-{kind}" for part in PARTS for kind in (IMAGES, LABELS)]
    missing = [name for name in wanted if not any(path.exists() for path in _forms(folder, config.name, name))]
    if missing:
        _download(config, folder, missing)
    arrays = {name: _idx_file(config, folder, name) for name in wanted}
    pixels = np.concatenate([arrays[f"{part}-{IMAGES}"].reshape(-1, config.facts.features) for part in PARTS])
    labels = np.concatenate([arrays[f"{part}-{LABELS}"] for part in PARTS])
    return Samples(pixels, labels, str(folder), white=255.0)


def _forms(folder: Path, dataset: str, name: str) -> list[Path]:
    """The two forms of a file, first the one to read where both are there: the one whose checksum is known."""
    plain, packed = folder / name, folder / f"{name}.gz"
    return [plain, packed] if dataset in SHA256 else [packed, plain]


def _idx_file(config: DataConfig, folder: Path, name: str) -> Bytes:
    """One IDX file, verified."""
    path = next(path for path in _forms(folder, config.name, name) if path.exists())
    try:
        return _array(config, name, path.read_bytes(), path.suffix == ".gz")
    except OSError as error:
        raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from None
    except Spoiled as error:
        raise ConfigError(f"{path}: {error}; delete it to have it downloaded again") from None


def _array(config: DataConfig, name: str, content: bytes, packed: bool) -> Bytes:
    """What a file holds, verified: by checksum, and by header, size and labels. Raises Spoiled.

    Of a plain Fashion-MNIST file no checksum is known: header, size and labels are all that is verified.
    """
    if packed:
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        _verify("md5", found, MD5_GZ.get(config.name, {}).get(name, found))
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise Spoiled(f"must be a whole gzip file ({error})") from None
    side = math.isqrt(config.facts.features)
    samples = config.facts.pool if name.startswith("train") else config.facts.test
    array = _parse(content, (samples, side, side) if name.endswith(IMAGES) else (samples,))
    found = hashlib.sha256(content).hexdigest()
    _verify("sha256", found, SHA256.get(config.name, {}).get(name, found))
    if name.endswith(LABELS) and array.max() >= config.facts.classes:
        raise Spoiled(f"labels must be below {config.facts.classes}, found {array.max()}")
    return array


def _parse(content: bytes, shape: tuple[int, ...]) -> Bytes:
    """The bytes behind an IDX header: 0, 0, the element type (8: unsigned byte), the number of axes, then their sizes
    as big-endian 32-bit integers."""
    start = 4 + 4 * len(shape)
    if len(content) < start:
        raise Spoiled(f"must hold an IDX header of {start} bytes, holds {len(content)}")
    magic = 0x800 | len(shape)
    if (marked := int.from_bytes(content[:4])) != magic:
        raise Spoiled(f"must start with the IDX magic number {magic}, found {marked}")
    found = tuple(np.frombuffer(content, ">u4", len(shape), 4).tolist())
    if found != shape:
        raise Spoiled(f"must hold an array of shape {shape}, found {found}")
    size = start + math.prod(shape)
    if len(content) != size:
        raise Spoiled(f"must hold {size} bytes, holds {len(content)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _verify(kind: str, found: str, published: str) -> None:
    if found != published:
        raise Spoiled(f"must have the {kind} {published}, has {found}")


def _download(config: DataConfig, folder: Path, missing: list[str]) -> None:
    """Fetch into a temporary folder on the same disk, then move whole files: nothing half-written is ever seen."""
    nearest = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=nearest))
    except OSError as error:
        says = f"{nearest}: must be a writable folder to download {config.name} into ({error.strerror})"
        raise ConfigError(f"{says}; choose another with data.root") from None
    try:
        _fetch(config.name, scratch)
        for name in missing:
            _array(config, name, (scratch / FOLDERS[config.name] / f"{name}.gz").read_bytes(), packed=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in missing:
            (scratch / FOLDERS[config.name] / f"{name}.gz").replace(folder / f"{name}.gz")
    except (OSError, Spoiled) as error:
        needed = ", ".join(f"{name}.gz" for name in missing)
        says = f"data.name={config.name}: could not be downloaded ({error}); put {needed} into {folder}"
        raise ConfigError(f"{says}, or name the folder above {FOLDERS[config.name]} with data.root") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch(dataset: str, root: Path) -> None:
    """Raises OSError with the last line of what went wrong. Beside a CPU-only torch torchvision cannot be imported:
    "operator torchvision::nms does not exist"."""
    command = [sys.executable, "-c", FETCH, PUBLISHED[dataset], str(root), str(TIMEOUT_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
