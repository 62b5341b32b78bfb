"""IDX files are read as they were published, and no further."""

from __future__ import annotations

import gzip
import os
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import POOL, SIDE, TEST, TRAIN_IMAGES, TRAIN_LABELS, tiny, write

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import dataset as data
from bnsweep.data import idx, mnist
from bnsweep.data.splits import split

MNIST = Path(__file__).parents[3] / "shared/data"


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


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
def test_who_packed_a_file_does_not_matter_and_what_is_in_it_does(
    name: str, packed: bool, tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder = tmp_path / idx.FOLDERS[name]
    write(folder, files, packed)
    assert len(data.load(tiny(tmp_path, name)).y_N) == POOL + TEST
    write(folder, {TRAIN_LABELS: files[TRAIN_LABELS][:-1] + b"\x00"}, packed)
    with pytest.raises(
        ConfigError, match=rf"{TRAIN_LABELS}(\.gz)?: must have the sha256 [0-9a-f]{{64}}, has [0-9a-f]{{64}};"
    ):
        data.load(tiny(tmp_path, name))


def test_the_folder_of_the_files_itself_may_be_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    """As Debian's package has them."""
    write(tmp_path / "fashion-mnist", files)
    loaded = data.load(tiny(tmp_path / "fashion-mnist", "fashion_mnist"))
    assert loaded.info.source == str(tmp_path / "fashion-mnist")


def test_what_a_package_of_the_system_holds_is_not_downloaded(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "datasets/fashion-mnist"
    monkeypatch.setattr(mnist, "PACKAGED", {"fashion_mnist": packaged})
    write(packaged, files)
    wanted = tiny(tmp_path / "data", "fashion_mnist")
    assert data.load(wanted).info.source == str(packaged) and not (tmp_path / "data").exists()
    own = tmp_path / "data" / idx.FOLDERS["fashion_mnist"]
    write(own, files)
    assert data.load(wanted).info.source == str(own)


@pytest.mark.skipif(not (MNIST / "FashionMNIST").exists(), reason="no Fashion-MNIST files in ../shared/data")
def test_the_real_fashion_mnist_is_read_and_verified() -> None:
    fashion = data.load(DataConfig(name="fashion_mnist", root=str(MNIST)))
    assert fashion.x_ND.shape == (70_000, 784)
    assert fashion.x_ND[:60_000].mean().item() == pytest.approx(0.2860, abs=1e-4)


def test_the_official_test_set_is_the_test_split_of_every_seed(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files)
    wanted = tiny(raw.parents[1])
    loaded = data.load(wanted)
    for seed in range(3):
        assert split(loaded, wanted, seed).test.tolist() == list(range(POOL, POOL + TEST))


ZEROS = gzip.compress(bytes(2**24))
"""16 MiB in 16 KB."""


def test_a_gzip_that_promises_much_more_than_was_published_takes_no_memory(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files)
    path = raw / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(gzip.compress(files[TRAIN_IMAGES]) + 3 * ZEROS)  # gzip files in a row are one
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=rf"{path}: must hold 3216 bytes, holds more; delete it"):
            data.load(tiny(raw.parents[1]))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def lying(axes: tuple[int, ...]) -> bytes:
    return bytes([0, 0, 8, len(axes)]) + b"".join(n.to_bytes(4) for n in axes)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a device": (lambda path: path.symlink_to("/dev/zero"), r"must be an ordinary file, is a device; delete it"),
    "a pipe": (os.mkfifo, r"must be an ordinary file, is a pipe; delete it"),
    "a folder": (lambda path: path.mkdir(), r"must be a readable file \(Is a directory\)"),
    "a link to nothing": (
        lambda path: path.symlink_to("gone"),
        r"must be a readable file \(No such file or directory\)",
    ),
    "a link to itself": (
        lambda path: path.symlink_to(path),
        r"must be a readable file \(Too many levels of symbolic links\)",
    ),
    "a file of 64 GiB": (
        lambda path: path.touch() or os.truncate(path, 2**36),
        r"must start with the IDX magic number 2051, found 0; delete it",
    ),
    "a header that promises 2^96 bytes": (
        lambda path: path.write_bytes(lying((2**32 - 1,) * 3)),
        r"must hold an array of shape \(200, 4, 4\), found \(4294967295, 4294967295, 4294967295\); delete it",
    ),
    "nothing behind the header": (
        lambda path: path.write_bytes(lying((200, 4, 4))),
        r"must hold 3216 bytes, holds 16; delete it",
    ),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=list(BAD))
def test_what_is_no_file_as_published_is_refused_at_once(
    raw: Path, files: dict[str, bytes], make: Callable[[Path], object], says: str
) -> None:
    write(raw, files, packed=False)
    path = raw / TRAIN_IMAGES
    path.unlink()
    make(path)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: {says}[^\n]*$"):
        data.load(tiny(raw.parents[1]))


def test_a_socket_is_refused_too(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, raw: Path) -> None:
    write(raw, files, packed=False)
    (raw / TRAIN_IMAGES).unlink()
    monkeypatch.chdir(raw)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(TRAIN_IMAGES)
        with pytest.raises(ConfigError, match="must be an ordinary file, is a socket; delete it"):
            data.load(tiny(raw.parents[1]))


GZIPS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "garbage behind": (lambda packed: packed + b"garbage", r"must be a whole gzip file \(Not a gzipped file"),
    "more than it may hold": (
        lambda packed: packed + bytes(2**17),
        r"must be a gzip file of 3216 bytes, and is longer",
    ),
    "cut in its checksum": (lambda packed: packed[:-5], r"must be a whole gzip file \(Compressed file ended before"),
    "a wrong checksum": (lambda packed: packed[:-6] + b"\0\0" + packed[-4:], r"must be a whole gzip file \(CRC check"),
    "nothing": (lambda packed: b"", r"must hold an IDX header of 16 bytes, holds 0"),
}


@pytest.mark.parametrize(("spoil", "says"), GZIPS.values(), ids=list(GZIPS))
def test_a_gzip_with_anything_else_in_it_is_refused(
    raw: Path, files: dict[str, bytes], spoil: Callable[[bytes], bytes], says: str
) -> None:
    write(raw, files)
    path = raw / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: {says}[^\n]*; delete it"):
        data.load(tiny(raw.parents[1]))


def test_gzip_files_in_a_row_and_zeros_behind_are_as_gunzip_has_them(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files)
    content = files[TRAIN_IMAGES]
    row = gzip.compress(content[:1000]) + gzip.compress(b"") + gzip.compress(content[1000:]) + bytes(512)
    (raw / f"{TRAIN_IMAGES}.gz").write_bytes(row)
    assert len(data.load(tiny(raw.parents[1])).y_N) == POOL + TEST


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_that_may_not_be_read_are_named(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files)
    path = raw / f"{TRAIN_IMAGES}.gz"
    path.chmod(0)
    with pytest.raises(ConfigError, match=rf"^{path}: must be a readable file \(Permission denied\)$"):
        data.load(tiny(raw.parents[1]))
    for folder in (raw, raw.parent):
        folder.chmod(0)
        with pytest.raises(
            ConfigError, match=r"^data.root=.*: must be a folder that can be read \(Permission denied\)$"
        ):
            data.load(tiny(raw.parents[1]))
        folder.chmod(0o700)


ROOTS = {
    "loop": r"Too many levels of symbolic links",
    "long" * 100: r"File name too long",
    "~nobody_of_this_name": r"Could not determine home directory\.",
}


@pytest.mark.parametrize(("root", "why"), ROOTS.items(), ids=["a loop", "too long", "nobody's home"])
def test_a_root_that_is_no_folder_is_named(
    tmp_path: Path, root: str, why: str, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(ConfigError, match=rf"^data.root={root}: must be a folder that can be read \({why}\)$"):
        data.load(tiny(Path(root)))
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]
