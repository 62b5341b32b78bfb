"""MNIST and Fashion-MNIST: IDX files, verified, downloaded where they are missing."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import shutil
import socket
import tempfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bnsweep.config.checks import ConfigError
from bnsweep.config.run import DataConfig

Bytes = npt.NDArray[np.uint8]

FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}
"""Where below `data.root` the IDX files lie; torchvision's layout."""

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


def read_idx(config: DataConfig) -> tuple[Bytes, Bytes, str]:
    """Pixels [N, D] and labels [N], the training file's and then the test file's, and where they come from."""
    folder = Path(config.root).expanduser() / FOLDERS[config.name]
    wanted = [f"{part}-{kind}" for part in PARTS for kind in (IMAGES, LABELS)]
    missing = [name for name in wanted if not any(path.exists() for path in _forms(folder, config.name, name))]
    if missing:
        _download(config, folder, missing)
    arrays = {name: _idx_file(config, folder, name) for name in wanted}
    pixels = np.concatenate([arrays[f"{part}-{IMAGES}"].reshape(-1, config.facts.features) for part in PARTS])
    labels = np.concatenate([arrays[f"{part}-{LABELS}"] for part in PARTS])
    return pixels, labels, str(folder)


def _forms(folder: Path, dataset: str, name: str) -> list[Path]:
    """The two forms of a file, first the one to read where both are there: the one whose checksum is known."""
    plain, packed = folder / name, folder / f"{name}.gz"
    return [plain, packed] if dataset in SHA256 else [packed, plain]


def _idx_file(config: DataConfig, folder: Path, name: str) -> Bytes:
    """One IDX file, verified: by checksum, and by header, size and labels.

    Of a plain Fashion-MNIST file no checksum is known: header, size and labels are all that is verified.
    """
    path = next(path for path in _forms(folder, config.name, name) if path.exists())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from None
    if path.suffix == ".gz":
        _verify(path, "md5", hashlib.md5(content, usedforsecurity=False).hexdigest(), MD5_GZ, config.name, name)
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ConfigError(f"{path}: must be a whole gzip file ({error}); {_REMEDY}") from None
    side = math.isqrt(config.facts.features)
    samples = config.facts.pool if name.startswith("train") else config.facts.test
    array = _parse(path, content, (samples, side, side) if name.endswith(IMAGES) else (samples,))
    _verify(path, "sha256", hashlib.sha256(content).hexdigest(), SHA256, config.name, name)
    if name.endswith(LABELS) and array.max() >= config.facts.classes:
        raise ConfigError(f"{path}: labels must be below {config.facts.classes}, found {array.max()}; {_REMEDY}")
    return array


_REMEDY = "delete it to have it downloaded again"


def _parse(path: Path, content: bytes, shape: tuple[int, ...]) -> Bytes:
    """The bytes behind an IDX header: 0, 0, the element type (8: unsigned byte), the number of axes, then their sizes
    as big-endian 32-bit integers."""
    start = 4 + 4 * len(shape)
    if len(content) < start:
        raise ConfigError(f"{path}: must hold an IDX header of {start} bytes, holds {len(content)}; {_REMEDY}")
    magic = 0x800 | len(shape)
    if (marked := int.from_bytes(content[:4])) != magic:
        raise ConfigError(f"{path}: must start with the IDX magic number {magic}, found {marked}; {_REMEDY}")
    found = tuple(np.frombuffer(content, ">u4", len(shape), 4).tolist())
    if found != shape:
        raise ConfigError(f"{path}: must hold an array of shape {shape}, found {found}; {_REMEDY}")
    size = start + math.prod(shape)
    if len(content) != size:
        raise ConfigError(f"{path}: must hold {size} bytes, holds {len(content)}; {_REMEDY}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _verify(path: Path, kind: str, found: str, table: dict[str, dict[str, str]], dataset: str, name: str) -> None:
    published = table.get(dataset, {}).get(name, found)
    if found != published:
        raise ConfigError(f"{path}: must have the {kind} {published}, has {found}; {_REMEDY}")


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
        folder.mkdir(parents=True, exist_ok=True)
        for name in missing:
            (scratch / FOLDERS[config.name] / f"{name}.gz").replace(folder / f"{name}.gz")
    except (ImportError, OSError, RuntimeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        needed = ", ".join(f"{name}.gz" for name in missing)
        says = f"data.name={config.name}: could not be downloaded ({why}); put {needed} into {folder}"
        raise ConfigError(f"{says}, or name the folder above {FOLDERS[config.name]} with data.root") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch(dataset: str, root: Path) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            # Beside a CPU-only torch this import fails: "operator torchvision::nms does not exist".
            from torchvision import datasets

            {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[dataset](str(root), download=True)
    finally:
        socket.setdefaulttimeout(before)
