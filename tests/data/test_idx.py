"""IDX files are read as they were published; what is missing is downloaded, or the error says where to put it."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsweep.catalogue import datasets
from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import dataset as data
from bnsweep.data import download as fetching
from bnsweep.data import idx
from bnsweep.data.splits import split

MNIST = Path(__file__).parents[3] / "shared/data"
POOL, TEST, SIDE = 200, 40, 4
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


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
    monkeypatch.setitem(idx.SHA256, "mnist", {name: hashlib.sha256(made[name]).hexdigest() for name in made})
    return made


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    return folder


def tiny(root: Path, name: str = "mnist") -> DataConfig:
    return DataConfig(name=name, root=str(root), validation=50)


def write(folder: Path, files: dict[str, bytes], packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)


@pytest.mark.skipif(not MNIST.exists(), reason="no MNIST files in ../shared/data")
def test_the_real_mnist_is_read_and_verified() -> None:
    mnist = data.load(DataConfig(name="mnist", root=str(MNIST)))
    assert mnist.x_ND.shape == (70_000, 784)
    assert mnist.x_ND[:60_000].mean().item() == pytest.approx(0.1307, abs=1e-4)  # the mean that everyone normalises by
    assert mnist.y_N[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.y_N[60_000:60_005].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
def test_idx_rows_are_the_training_files_then_the_test_files(raw: Path, files: dict[str, bytes], packed: bool) -> None:
    write(raw, files, packed)
    loaded = data.load(tiny(raw.parents[1]))
    assert loaded.x_ND.shape == (POOL + TEST, SIDE * SIDE)
    pixels = np.frombuffer(files["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(TEST, -1)
    assert torch.equal(loaded.x_ND[POOL:], torch.from_numpy(pixels / np.float32(255)))
    assert loaded.y_N.tolist() == [*(i % 10 for i in range(POOL)), *(i % 10 for i in range(TEST))]
    assert loaded.info.source == str(raw) and loaded.info.samples == POOL + TEST


def test_who_compressed_the_files_does_not_change_the_digest(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path / "a/MNIST/raw", files, packed=True)
    write(tmp_path / "b/MNIST/raw", files, packed=False)
    assert data.load(tiny(tmp_path / "a")).info.digest == data.load(tiny(tmp_path / "b")).info.digest


def cut(content: bytes) -> bytes:
    return content[:-100]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def transpose_header(content: bytes) -> bytes:
    return content[:4] + content[8:12] + content[4:8] + content[12:]


SPOILED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("truncated", cut, r"must hold 3216 bytes, holds 3116"),
    ("empty", lambda _: b"", r"must hold an IDX header of 16 bytes, holds 0"),
    ("labels in place of images", lambda content: content[:3] + b"\1" + content[4:], r"magic number 2051, found 2049"),
    ("other shape", transpose_header, r"must hold an array of shape \(200, 4, 4\), found \(4, 200, 4\)"),
    ("one bit flipped", flip, r"must have the sha256 \w{64}, has \w{64}"),
]


@pytest.mark.parametrize(("spoil", "says"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
def test_a_spoiled_file_is_named_with_its_rule(
    raw: Path, files: dict[str, bytes], packed: bool, spoil: Callable[[bytes], bytes], says: str
) -> None:
    write(raw, files | {TRAIN_IMAGES: spoil(files[TRAIN_IMAGES])}, packed)
    path = re.escape(str(raw / TRAIN_IMAGES)) + (r"\.gz" if packed else "")
    with pytest.raises(ConfigError, match=f"^{path}: .*{says}.*; delete it to have it downloaded again$"):
        data.load(tiny(raw.parents[1]))


@pytest.mark.parametrize("spoil", [cut, flip, lambda _: b"no gzip"], ids=["truncated", "flipped", "not gzip"])
def test_a_spoiled_gzip_is_no_whole_gzip_file(
    raw: Path, files: dict[str, bytes], spoil: Callable[[bytes], bytes]
) -> None:
    write(raw, files)
    path = raw / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: must be a whole gzip file \(.+\); delete it"):
        data.load(tiny(raw.parents[1]))


def test_a_file_that_cannot_be_read_is_named(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files, packed=False)
    (raw / TRAIN_LABELS).unlink()
    (raw / TRAIN_LABELS).mkdir()
    with pytest.raises(ConfigError, match=rf"{TRAIN_LABELS}: must be a readable file \(Is a directory\)$"):
        data.load(tiny(raw.parents[1]))


def test_a_published_gz_of_fashion_mnist_must_have_its_md5(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path / "FashionMNIST/raw", files)
    with pytest.raises(ConfigError, match=rf"{TRAIN_IMAGES}\.gz: must have the md5 8d4fb7e6c68d591d4c3dfef9ec88bf0d"):
        data.load(tiny(tmp_path, "fashion_mnist"))


def test_plain_fashion_mnist_is_held_to_its_header_and_labels(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = tmp_path / "FashionMNIST/raw"
    write(folder, files, packed=False)
    assert len(data.load(tiny(tmp_path, "fashion_mnist")).y_N) == POOL + TEST
    (folder / TRAIN_LABELS).write_bytes(files[TRAIN_LABELS][:-1] + b"\x0a")
    with pytest.raises(ConfigError, match=rf"{TRAIN_LABELS}: labels must be below 10, found 10; delete it"):
        data.load(tiny(tmp_path, "fashion_mnist"))


TORCHVISION = """
import os, pathlib, socket, sys

def MNIST(root, download):
    print("progress", file=sys.stderr)
    exec(pathlib.Path(os.environ["DOWNLOAD"]).read_text())
"""


@pytest.fixture
def download(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives what stands in for torchvision, which does not import beside a CPU-only torch, its code."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "torchvision").mkdir()
    (folder / "torchvision/__init__.py").touch()
    (folder / "torchvision/datasets.py").write_text(TORCHVISION)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("DOWNLOAD", str(folder / "code.py"))
    return lambda code: (folder / "code.py").write_text(code) and None


def copied(folder: Path) -> str:
    return f"import shutil; shutil.copytree({str(folder)!r}, pathlib.Path(root, 'MNIST/raw'))"


def test_only_missing_files_are_downloaded_with_a_limit_and_without_noise(
    raw: Path,
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    download: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    published = tmp_path_factory.mktemp("published")
    write(published, files)
    download(f"assert socket.getdefaulttimeout() == {fetching.TIMEOUT_S}\n{copied(published)}")
    write(raw, {name: files[name] for name in files if name != TRAIN_IMAGES}, packed=False)
    before = socket.getdefaulttimeout()
    assert len(data.load(tiny(raw.parents[1])).y_N) == POOL + TEST
    assert socket.getdefaulttimeout() == before
    assert sorted(p.name for p in raw.iterdir()) == sorted({*files, f"{TRAIN_IMAGES}.gz"} - {TRAIN_IMAGES})
    assert sorted(p.name for p in raw.parents[1].iterdir()) == ["MNIST"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(cut, r"must hold 3216 bytes, holds 3116"), (flip, r"must have the sha256 \w{64}, has \w{64}")],
    ids=["spoiled", "another"],
)
def test_a_download_that_is_not_what_was_published_is_refused(
    tmp_path: Path,
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    download: Callable[[str], None],
    spoil: Callable[[bytes], bytes],
    why: str,
) -> None:
    published = tmp_path_factory.mktemp("published")
    write(published, files | {TRAIN_IMAGES: spoil(files[TRAIN_IMAGES])})
    download(copied(published))
    with pytest.raises(ConfigError, match=rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, "):
        data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


FAILURES = {
    'raise OSError("network is unreachable")': "OSError: network is unreachable",
    "with socket.create_connection(('127.0.0.1', PORT)) as s: s.recv(1)": "TimeoutError: timed out",
    'raise ImportError("no torchvision")': "ImportError: no torchvision",
    "os._exit(3)": "progress",
}


@pytest.mark.parametrize(("code", "why"), FAILURES.items(), ids=["network", "still", "import", "killed"])
def test_a_failed_download_says_which_files_to_put_where_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: Callable[[str], None], code: str, why: str
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never answers
        half = "pathlib.Path(root, 'half-written').write_bytes(b'...')"
        download(f"{half}\n{code}".replace("PORT", str(silent.getsockname()[1])))
        says = rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, .* into .*raw, or .* data.root$"
        with pytest.raises(ConfigError, match=says):
            data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: must be a writable folder to download .* \(Not a directory\)"):
        data.load(tiny(tmp_path / "file"))


def test_the_official_test_set_is_the_test_split_of_every_seed(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files)
    wanted = tiny(raw.parents[1])
    loaded = data.load(wanted)
    for seed in range(3):
        assert split(loaded, wanted, seed).test.tolist() == list(range(POOL, POOL + TEST))
