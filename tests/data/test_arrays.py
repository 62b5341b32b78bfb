"""A NumPy archive is read right, or refused in one line that names file, rule and remedy."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import arrays, samples
from bnsweep.data.dataset import Dataset, load

X = np.arange(1200.0).reshape(300, 4) / 1200
Y = np.arange(300) % 3


def read(path: Path, **settings: Any) -> Dataset:
    return load(DataConfig("arrays", file=str(path), validation=None, **settings))


def saved(folder: Path, **given: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **given)
    return path


def test_x_and_y_are_read_and_described(tmp_path: Path) -> None:
    found = read(saved(tmp_path, x=X, y=Y))
    assert torch.equal(found.x_ND, torch.from_numpy(X).float()) and found.y_N.tolist() == Y.tolist()
    assert found.facts is not None and (found.facts.pool, found.facts.test, found.facts.official_test) == (
        240,
        60,
        False,
    )
    (note,) = found.notes
    assert note == (
        f"{tmp_path}/mine.npz: 300 samples of 4 numbers from 0 to 0.9992; 3 classes: 0 (100), 1 (100), 2 (100)"
    )


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.arange(300) % 10, "; 10 classes of 30 samples"),
        (
            np.minimum(np.arange(300) // 20, 9),
            "of 20 (0) to 120 samples (9); always guessing 9 gets 40.0 % right",
        ),
    ],
)
def test_many_classes_are_described_by_the_smallest_and_the_largest(y: Any, says: str, tmp_path: Path) -> None:
    assert read(saved(tmp_path, x=X, y=y)).notes[0].endswith(says)


def test_a_test_set_is_respected(tmp_path: Path) -> None:
    found = read(saved(tmp_path, x_train=X[:200], y_train=Y[:200], x_test=X[200:], y_test=Y[200:]))
    assert found.facts is not None and (found.facts.pool, found.facts.test, found.facts.official_test) == (
        200,
        100,
        True,
    )


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2), (4, 1)])
def test_the_shape_of_a_sample_is_kept(shape: tuple[int, ...], tmp_path: Path) -> None:
    found = read(saved(tmp_path, x=X.reshape(300, *shape), y=Y))
    assert found.facts is not None and found.facts.shape == (shape if len(shape) > 1 else ())
    assert found.x_ND.shape == (300, 4)


def test_bytes_of_images_are_pixels(tmp_path: Path) -> None:
    pixels = np.arange(1200).reshape(300, 2, 2).astype(np.uint8)
    found, numbers = read(saved(tmp_path, x=pixels, y=Y)), read(saved(tmp_path, x=pixels.reshape(300, 4), y=Y))
    assert torch.equal(found.x_ND, torch.from_numpy(pixels).view(300, 4) / 255)
    assert numbers.x_ND.max() == 255 and numbers.info.digest != found.info.digest
    assert numbers.notes[1].startswith("inputs are taken as they are; data.standardize=true brings each to mean 0")


SAME: dict[str, Callable[[Path], None]] = {
    "compressed": lambda path: np.savez_compressed(path, x=X, y=Y),
    "other order of names": lambda path: np.savez(path, y=Y, x=X),
    "capital letters": lambda path: np.savez(path, X=X, Y=Y),
    "in columns": lambda path: np.savez(path, x=np.asfortranarray(X), y=Y),
    "in another byte order": lambda path: np.savez(path, x=X.astype(">f4"), y=Y.astype(">i2")),
    "labels in a column": lambda path: np.savez(path, x=X, y=Y[:, None]),
    "floats": lambda path: np.savez(path, x=X, y=Y.astype(float)),
    "texts": lambda path: np.savez(path, x=X, y=np.array(["no", "or", "yes"])[Y]),
    "one more": lambda path: np.savez(path, x=X, y=Y, names=np.array(["a"])),
}


@pytest.mark.parametrize("save", SAME.values(), ids=list(SAME))
def test_however_they_are_saved_they_are_the_same(save: Callable[[Path], None], tmp_path: Path) -> None:
    before = read(saved(tmp_path, x=X, y=Y)).info.digest
    save(tmp_path / "other.npz")
    assert read(tmp_path / "other.npz").info.digest == before


def npy(shape: tuple[int, ...], dtype: str = "<f8", body: bytes = b"") -> bytes:
    """An array's file that says one thing and may hold another."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + body


def packed(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def cut(path: Path) -> None:
    np.savez(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[:-200])


def damaged(path: Path) -> None:
    np.savez(path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[3000] ^= 255
    path.write_bytes(content)


def object_array() -> np.ndarray[Any, Any]:
    return np.array([[1], "x"], dtype=object)


HOLDS = r"must hold the arrays x, y, or x_train, y_train, x_test, y_test; holds "
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda path: path.write_bytes(b""), r"must be a NumPy archive \(np.savez"),
    "a text": (lambda path: path.write_text("x,y\n1,2\n"), r"must be a NumPy archive"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps((X, Y))), r"must be a NumPy archive"),
    "one array": (lambda path: path.write_bytes(npy((300, 4))), r"must be an archive of x and y, is a single array"),
    "a folder": (lambda path: path.mkdir(), r"must be an ordinary file"),
    "a pipe": (os.mkfifo, r"must be an ordinary file"),
    "not there": (lambda path: None, r"must be a readable file \(No such file or directory\)"),
    "cut off": (cut, r"must be a whole NumPy archive \(BadZipFile: File is not a zip file\)"),
    "damaged": (damaged, r"must be a whole NumPy archive \(BadZipFile: Bad CRC-32 for file 'x.npy'\)"),
    "another archive": (packed, HOLDS + "none"),
    "other names": (lambda path: np.savez(path, images=X, labels=Y), HOLDS + "images, labels"),
    "no y": (lambda path: np.savez(path, x=X), HOLDS + "x "),
    "without names": (lambda path: np.savez(path, X, Y), HOLDS + "arr_0, arr_1"),
    "no array in it": (lambda path: packed(path, x=b"hello", y=b""), r"must be a whole NumPy archive \(ValueError: "),
    "too short": (lambda path: packed(path, x=npy((300, 4)), y=npy((300,))), r"must be a whole NumPy archive \(V"),
    "objects": (lambda path: np.savez(path, x=X[:2], y=object_array()), r"y must hold numbers, holds pickled objects"),
    "lengths": (lambda path: np.savez(path, x=X, y=Y[1:]), r"x and y must hold a row and a label of each sample"),
    "one class": (lambda path: np.savez(path, x=X, y=0 * Y), r"y must hold labels of at least two classes, holds 0 al"),
    "a label a row": (lambda path: np.savez(path, x=X, y=np.arange(300)), r"y must hold classes of two samples or mo"),
    "one row": (lambda path: np.savez(path, x=X[:1], y=Y[:1]), r"y must hold labels of at least two classes"),
    "no rows": (lambda path: np.savez(path, x=X[:0], y=Y[:0]), r"x and y must hold a row and a label of each sample"),
    "no columns": (lambda path: np.savez(path, x=X[:, :0], y=Y), r"x and y must hold a row and a label of each"),
    "no axis": (lambda path: np.savez(path, x=1.0, y=1), r"x and y must hold a row and a label of each sample"),
    "infinity": (lambda path: np.savez(path, x=X / 0, y=Y), r"x must be finite as float32, holds NaN or infinity"),
    "complex": (lambda path: np.savez(path, x=X * 1j, y=Y), r"x must hold numbers, holds complex128"),
    "dates": (lambda path: np.savez(path, x=Y.astype("datetime64[D]"), y=Y), r"x must hold numbers, holds datetime64"),
    "fields": (lambda path: np.savez(path, x=np.zeros(300, "f4,i4"), y=Y), r"x must hold numbers, holds \[\("),
    "texts": (lambda path: np.savez(path, x=X.astype(str), y=Y), r"x must hold numbers, holds <U"),
    "numbers for labels": (lambda path: np.savez(path, x=X, y=Y / 2), r"y must hold labels, holds numbers such as 0.5"),
    "one name twice": (lambda path: np.savez(path, x=X, X=X, y=Y), r"must hold arrays whose names differ by more than"),
    "pixels and numbers": (
        lambda path: np.savez(
            path, x_train=np.zeros((300, 2, 2), np.uint8), y_train=Y, x_test=X.reshape(300, 2, 2), y_test=Y
        ),
        r"x_train and x_test must both hold bytes of pixels, which are divided by 255, or neither",
    ),
    "more than memory": (
        lambda path: packed(path, x=npy((10**7, 10**7)), y=npy((10**7,))),
        r"must give samples that fit into memory: 2\d+ numbers take",
    ),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero encountered:RuntimeWarning")
@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_trained_on_is_refused_in_one_line(
    make: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.npz"
    make(path)
    with pytest.raises(ConfigError, match=rf"^data.file={path}: {says}[^\n]*$"):
        read(path)


def test_a_small_file_of_many_zeros_is_refused_before_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros((2**16, 64)), y=np.arange(2**16) % 2)
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(samples, "free_host_bytes", lambda: 2**20)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *given, **more: pytest.fail("it was inflated"))
    with pytest.raises(ConfigError, match=r"must give samples that fit into memory: 8519680 numbers take 0.0 GiB"):
        read(path)


def test_a_file_is_needed_and_taken_by_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"^data.file=None: must be given with data=arrays$"):
        DataConfig("arrays")
    with pytest.raises(ConfigError, match=r"^data.file=x.npz: must be left out with data=digits \(data=.* takes it"):
        DataConfig(file="x.npz")


@pytest.mark.parametrize(
    "data", [DataConfig("arrays", file="~nobody-here/x.npz"), DataConfig("cifar10", root="~nobody-here")]
)
def test_a_home_that_is_not_there_is_named(data: DataConfig) -> None:
    with pytest.raises(ConfigError, match=r"=~nobody-here.*: must be a path that can be found \(Could not determine"):
        load(data)


def test_headers_of_every_version_are_read() -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, X, version=version)
        file.seek(0)
        assert arrays.header(file) == ((300, 4), np.dtype("f8"))
