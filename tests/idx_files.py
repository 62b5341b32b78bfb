"""An MNIST of 4 x 4 pixels, for tests."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from bnsweep.config.groups import DataConfig

POOL, TEST, SIDE = 200, 40, 4
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def tiny(root: Path, name: str = "mnist") -> DataConfig:
    return DataConfig(name=name, root=str(root), validation=50)


def write(folder: Path, files: dict[str, bytes], packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)
