"""CIFAR-10's binary files are read as they are published, from their folder or their archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsweep.catalogue import datasets
from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import cifar
from bnsweep.data.dataset import Dataset, load

EACH = 20


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Of 20 images each."""
    facts = DatasetFacts(5 * EACH, EACH, 3072, shape=(3, 32, 32))
    monkeypatch.setitem(datasets.DATASETS, "cifar10", replace(datasets.DATASETS["cifar10"], facts=facts))
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (6, EACH, 1 + cifar.NUMBERS), dtype=np.uint8)
    rows[:, :, 0] = np.arange(EACH) % 10
    found = {name: rows[i].tobytes() for i, name in enumerate(cifar.SHA1)}
    monkeypatch.setattr(cifar, "SHA1", {name: hashlib.sha1(content).hexdigest() for name, content in found.items()})
    return found


def read(root: Path) -> Dataset:
    return load(DataConfig("cifar10", root=str(root), validation=20))


def write(root: Path, files: dict[str, bytes]) -> Path:
    folder = root / cifar.FOLDER
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def archive(root: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(root / cifar.ARCHIVE, "w:gz") as tar:
        for name, content in sorted(files.items(), reverse=True):
            info = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return root / cifar.ARCHIVE


def test_rows_are_the_training_files_then_the_test_file(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files)
    found = read(tmp_path)
    assert found.x_ND.shape == (6 * EACH, 3072) and found.y_N.tolist() == [i % 10 for i in range(EACH)] * 6
    last = np.frombuffer(files["test_batch.bin"], np.uint8).reshape(EACH, -1)[-1, 1:]
    assert torch.equal(found.x_ND[-1], torch.from_numpy(last / np.float32(255)))
    assert found.facts is not None and found.facts.shape == (3, 32, 32) and found.facts.official_test


def test_the_archive_is_read_in_place(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path, files)
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    digest = read(tmp_path).info.digest
    (tmp_path / "plain").mkdir()
    write(tmp_path / "plain", files)
    assert read(tmp_path / "plain").info.digest == digest


def test_the_folder_itself_is_a_root_and_a_folder_that_lacks_files_gives_way_to_the_archive(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, files)
    digest = read(folder).info.digest
    path = archive(tmp_path, files)
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    (folder / "test_batch.bin").unlink()
    found = read(tmp_path)
    assert found.info.digest == digest and found.info.source == str(path)


def test_what_is_not_there_is_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    says = r"^data.root=.*: must hold cifar-10-binary.tar.gz \(https://.*\), or cifar-10-batches-bin with "
    with pytest.raises(ConfigError, match=says + "data_batch_1.bin, data_batch_2.bin"):
        read(tmp_path)
    (write(tmp_path, files) / "test_batch.bin").unlink()
    with pytest.raises(ConfigError, match=says + "test_batch.bin; the Python version's batches are pickles"):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"^data.root=~nobody-here: must be a path that can be found"):
        read(Path("~nobody-here"))


def test_another_archive_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = archive(tmp_path, files)
    with pytest.raises(
        ConfigError, match=rf"^{path}: must have the md5 c32a1d4ab5d03f1284b67883e8d87530, has .*; put "
    ):
        read(tmp_path)


def test_spoiled_files_are_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder, first = write(tmp_path, files), "data_batch_1.bin"
    for content, says in (
        (files[first][:-1], rf"must hold {EACH * 3073} bytes, holds {EACH * 3073 - 1}"),
        (files[first] + b"0", rf"must hold {EACH * 3073} bytes, holds more"),
        (b"\x0a" + files[first][1:], rf"must have the sha1 {cifar.SHA1[first]}, has \w+"),
    ):
        (folder / first).write_bytes(content)
        with pytest.raises(ConfigError, match=rf"^{folder / first}: {says}; put the published file there \("):
            read(tmp_path)
    (folder / first).unlink()
    (folder / first).mkdir()
    with pytest.raises(ConfigError, match=rf"^{folder / first}: must be a readable file \(Is a directory\)$"):
        read(tmp_path)
