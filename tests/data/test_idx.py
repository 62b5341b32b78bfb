"""IDX files are read as they were published; what is missing is downloaded, or the error says where to put it."""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from bnsweep.catalogue import datasets
from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import dataset as data
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


class Quiet(SimpleHTTPRequestHandler):
    default_timeouts: ClassVar[list[float | None]] = []
    """Of this process, whenever a file was asked for."""

    def do_GET(self) -> None:
        self.default_timeouts.append(socket.getdefaulttimeout())
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a server on this machine publishes in place of the two addresses."""
    folder = tmp_path_factory.mktemp("published")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in idx.URLS:
            monkeypatch.setitem(idx.URLS, name, f"http://127.0.0.1:{server.server_port}/")
        yield folder
        server.shutdown()


def test_only_missing_files_are_downloaded_and_without_noise(
    raw: Path, files: dict[str, bytes], published: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(published, {TRAIN_IMAGES: files[TRAIN_IMAGES]})
    write(raw, {name: files[name] for name in files if name != TRAIN_IMAGES}, packed=False)
    loaded = data.load(tiny(raw.parents[1]))
    assert len(loaded.y_N) == POOL + TEST
    assert sorted(p.name for p in raw.iterdir()) == sorted({*files, f"{TRAIN_IMAGES}.gz"} - {TRAIN_IMAGES})
    assert sorted(p.name for p in raw.parents[1].iterdir()) == ["MNIST"]
    assert capfd.readouterr() == ("", "")


def test_a_download_asks_nothing_of_the_rest_of_the_process(
    tmp_path: Path, files: dict[str, bytes], published: Path
) -> None:
    write(published, files)
    Quiet.default_timeouts.clear()
    data.load(tiny(tmp_path))
    assert Quiet.default_timeouts == [socket.getdefaulttimeout()] * 4


REFUSED = {
    "missing": (None, r"HTTP Error 404: File not found"),
    "spoiled": (cut, r"must hold 3216 bytes, holds 3116"),
    "another": (flip, r"must have the sha256 \w{64}, has \w{64}"),
}


@pytest.mark.parametrize(("spoil", "why"), REFUSED.values(), ids=list(REFUSED))
def test_a_failed_download_says_which_files_to_put_where_and_leaves_nothing(
    tmp_path: Path,
    files: dict[str, bytes],
    published: Path,
    spoil: Callable[[bytes], bytes] | None,
    why: str,
) -> None:
    write(published, files)
    if spoil is None:
        (published / f"{TRAIN_LABELS}.gz").unlink()
    else:
        write(published, {TRAIN_IMAGES: spoil(files[TRAIN_IMAGES])})
    says = rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, .* into .*raw, or .* data.root$"
    with pytest.raises(ConfigError, match=says):
        data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_stands_still_is_given_up(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never answers
        monkeypatch.setitem(idx.URLS, "mnist", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(idx, "TIMEOUT_S", 0.2)
        with pytest.raises(ConfigError, match=r"could not be downloaded \(timed out\); put "):
            data.load(tiny(tmp_path))


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
