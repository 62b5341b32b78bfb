"""The IDX files of MNIST and Fashion-MNIST, verified.

What a file must hold is known before it is opened, so that no more than that is ever read of it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import stat
import zlib
from pathlib import Path

import numpy as np

from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Bytes

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
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
"""Of the uncompressed files, so that it does not matter who compressed them: Debian's package has its own .gz."""

PACKED_MORE = 2**16
"""Bytes that a .gz may be longer than what it holds: its header and its block marks."""

KINDS = {stat.S_IFCHR: "device", stat.S_IFBLK: "device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


class Spoiled(Exception):
    """How a file differs from what was published."""


def array_of(config: DataConfig, name: str, path: Path) -> Bytes:
    """What the file of this name holds, verified: by checksum, and by header, size and labels. Raises Spoiled,
    OSError."""
    side = math.isqrt(config.facts.features)
    samples = config.facts.pool if name.startswith("train") else config.facts.test
    shape = (samples, side, side) if name.endswith(IMAGES) else (samples,)
    size = header_bytes(shape) + math.prod(shape)
    content = inflated(path, size) if path.suffix == ".gz" else first_bytes(path, size + 1)
    array = parse(content, shape)
    verify("sha256", hashlib.sha256(content).hexdigest(), SHA256[config.name][name])
    if name.endswith(LABELS) and array.max() >= config.facts.classes:
        raise Spoiled(f"labels must be below {config.facts.classes}, found {array.max()}")
    return array


def first_bytes(path: Path, most: int) -> bytes:
    """What an ordinary file begins with. Raises Spoiled for a device, which may never end, and for a pipe, which may
    never begin; OSError."""
    kind = KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind is not None:
        raise Spoiled(f"must be an ordinary file, is a {kind}")
    with path.open("rb") as file:
        return file.read(most)


def inflated(path: Path, size: int) -> bytes:
    """What a gzip file holds, of which no more than size + 1 bytes are made. Raises Spoiled, OSError."""
    most = size + size // 1000 + PACKED_MORE
    packed = first_bytes(path, most + 1)
    if len(packed) > most:
        raise Spoiled(f"must be a gzip file of {size} bytes, and is longer itself")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            return file.read(size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise Spoiled(f"must be a whole gzip file ({error})") from None


def header_bytes(shape: tuple[int, ...]) -> int:
    """Length of the header of an array of this shape."""
    return 4 + 4 * len(shape)


def parse(content: bytes, shape: tuple[int, ...]) -> Bytes:
    """The bytes behind an IDX header: 0, 0, the element type (8: unsigned byte), the number of axes, then their sizes
    as big-endian 32-bit integers. Raises Spoiled for any other shape."""
    start = header_bytes(shape)
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
        raise Spoiled(f"must hold {size} bytes, holds {len(content) if len(content) < size else 'more'}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def verify(kind: str, found: str, published: str) -> None:
    """Raises Spoiled."""
    if found != published:
        raise Spoiled(f"must have the {kind} {published}, has {found}")
