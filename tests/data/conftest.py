"""Fixtures of the tests of files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from idx_files import POOL, SIDE, TEST, idx_bytes

from bnsweep.catalogue import datasets
from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.data import idx, mnist


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The four files of an MNIST of 4 x 4 pixels, which the tables of facts and checksums are made to describe."""
    rng = np.random.default_rng(0)
    made = {}
    for part, n in (("train", POOL), ("t10k", TEST)):
        made[f"{part}-images-idx3-ubyte"] = idx_bytes(rng.integers(0, 256, (n, SIDE, SIDE)))
        made[f"{part}-labels-idx1-ubyte"] = idx_bytes(np.arange(n) % 10)
    facts = DatasetFacts(pool=POOL, test=TEST, features=SIDE * SIDE)
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setitem(datasets.DATASETS, name, replace(datasets.DATASETS[name], facts=facts))
        monkeypatch.setitem(idx.SHA256, name, {file: hashlib.sha256(made[file]).hexdigest() for file in made})
    monkeypatch.setattr(mnist, "PACKAGED", {})
    return made


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    return folder
