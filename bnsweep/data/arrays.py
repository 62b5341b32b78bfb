"""Arrays in a NumPy archive: `data=arrays data.file=x.npz`.

What a file holds is known from its headers before any of it is inflated, and no pickled object is read.
"""

from __future__ import annotations

import math
import stat
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples
from bnsweep.data.samples import WIDE, Refused, array, check_room, home_path, samples_of
from bnsweep.own.call import error_text

ONE, TWO = ("x", "y"), ("x_train", "y_train", "x_test", "y_test")
SAVE = "np.savez('FILE.npz', x=x, y=y) writes one"
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError, KeyError)
"""What reading a damaged or protected archive raises."""


def read(config: DataConfig) -> Samples:
    """x and y, or x_train, y_train, x_test and y_test, of the file. Raises ConfigError."""
    assert config.file is not None
    try:
        path = home_path(config.file)
        given, left_out = arrays_of(path)
        samples = samples_of(given, config.task, str(path.absolute()), pixels=True)
    except OSError as error:
        raise ConfigError(f"data.file={config.file}: must be a readable file ({error.strerror or error})") from None
    except Refused as error:
        raise ConfigError(f"data.file={config.file}: {error}") from None
    return noted(samples, config, left_out)


def noted(samples: Samples, config: DataConfig, left_out: list[str]) -> Samples:
    """With what is to be said of a file."""
    notes = [f"{config.file}: {'; '.join(samples.notes)}"]
    largest = max(abs(float(samples.x_ND.min())), abs(float(samples.x_ND.max())))
    if largest > WIDE and not config.standardize:
        notes.append("inputs are taken as they are; data.standardize=true brings each to mean 0 and deviation 1")
    if left_out:
        notes.append(f"left out of {config.file}: {', '.join(left_out)}")
    return replace(samples, notes=tuple(notes))


def arrays_of(path: Path) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """The arrays of an archive that are wanted, in order, and the names of the others. Raises Refused, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refused("must be an ordinary file")
    with path.open("rb") as file:
        start = file.read(6)
        if start == b"\x93NUMPY":
            raise Refused(f"must be an archive of x and y, is a single array ({SAVE})")
        if not start.startswith(b"PK"):
            raise Refused(f"must be a NumPy archive ({SAVE})")
        try:
            with zipfile.ZipFile(file) as archive:
                return wanted(archive)
        except UNREADABLE as error:
            raise Refused(f"must be a whole NumPy archive ({error_text(error)}); {SAVE}") from None


def wanted(archive: zipfile.ZipFile) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """Raises Refused, and UNREADABLE."""
    found = [name for name in archive.namelist() if name.endswith(".npy")]
    members = {name.removesuffix(".npy").lower(): name for name in found}
    if len(members) < len(found):
        raise Refused("must hold arrays whose names differ by more than capital letters")
    names = next((names for names in (TWO, ONE) if set(names) <= members.keys()), None)
    if names is None:
        there = ", ".join(members) or "none"
        raise Refused(f"must hold the arrays {', '.join(ONE)}, or {', '.join(TWO)}; holds {there} ({SAVE})")
    headers = {name: header_of(archive, members[name]) for name in names}
    for name, (_, dtype) in headers.items():
        if dtype.hasobject:
            raise Refused(f"{name} must hold numbers, holds pickled objects, which are not read ({dtype})")
        array(name, np.empty((0,), dtype))
    check_room(sum(math.prod(shape) * max(1, math.ceil(dtype.itemsize / 4)) for shape, dtype in headers.values()))
    arrays = []
    for name in names:
        with archive.open(members[name]) as file:
            arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    return arrays, sorted(members[name].removesuffix(".npy") for name in members.keys() - {*names})


def header_of(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array. Raises UNREADABLE."""
    with archive.open(name) as file:
        return header(file)


def header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    return shape, dtype
