"""Images in folders: `data=images data.root=FOLDER`, a folder a class, or FOLDER/train and FOLDER/test with those."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bnsweep.config.checks import ConfigError, printable
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples
from bnsweep.data.samples import Refused, check_room, error_text, home_path, said, samples_of

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
OVERLOOKED = {"thumbs.db", "desktop.ini", "__macosx"}
"""What systems leave in folders of images, beside what begins with a dot."""
PARTS = ("train", "test")
MODES = {"grey": "L", "colour": "RGB"}
ORIENTATION, ON_THEIR_SIDE = 0x0112, (5, 6, 7, 8)
"""EXIF's tag, and those of its values that swap height and width."""
LARGEST = 4096
"""Pixels along a side."""


def read(config: DataConfig) -> Samples:
    """The images, divided by 255: [H, W] of grey ones, [3, H, W] of others. Raises ConfigError."""
    try:
        root = home_path(config.root)
        given, notes = arrays_of(root, config)
        samples = samples_of(given, config.task, str(root.absolute()), pixels=True)
    except OSError as error:
        where = error.filename or config.root
        raise ConfigError(f"data.root={config.root}: {where} must be readable ({error.strerror or error})") from None
    except Refused as error:
        raise ConfigError(f"data.root={config.root}: {error}") from None
    return replace(samples, notes=(f"{config.root}: {'; '.join(samples.notes)}", *notes))


def arrays_of(root: Path, config: DataConfig) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """Pixels and class names of the pool, and of the test set where there is one; and what is to be said. Raises
    Refused, OSError."""
    if not root.is_dir():
        raise Refused("must be a folder with one folder of images a class")
    there = [name for name in PARTS if (root / name).is_dir()]
    if there and [path.name for path in class_folders(root)] == there[:1]:
        says = f"must hold {' and '.join(PARTS)}, holds {there[0]} alone"
        raise Refused(f"{says}; data.root={printable(str(root / there[0]))} has each seed draw its own test set")
    parts = [root / name for name in there] if len(there) == len(PARTS) else [root]
    files = [files_of(part) for part in parts]
    first = [path for part in files for path, _ in part]
    size, mode = form_of(first, config)
    count = len(first)
    check_room(count * size[0] * size[1] * (3 if mode == "RGB" else 1))
    arrays: list[npt.NDArray[Any]] = []
    for part in files:
        pixels = np.stack([pixels_of(path, size, mode) for path, _ in part])
        arrays += [np.moveaxis(pixels, -1, 1) if mode == "RGB" else pixels, np.array([name for _, name in part])]
    other = sum(other_files(part) for part in parts)
    return arrays, [f"{config.root}: {other:,} files that are no images are left out"] if other else []


def files_of(part: Path) -> list[tuple[Path, str]]:
    """Every image with the name of its class, by name. Raises Refused for a class without any."""
    found = []
    for folder in class_folders(part):
        images = sorted(path for path in walk(folder) if path.suffix.lower() in SUFFIXES)
        if not images:
            raise Refused(f"must hold images in each folder, holds none in {printable(str(folder))} (remove it)")
        found += [(path, folder.name) for path in images]
    if not found:
        loose = sum(path.suffix.lower() in SUFFIXES for path in part.iterdir())
        more = f"; {loose:,} images lie in none" if loose else ""
        raise Refused(f"must be a folder with one folder of images a class, {printable(str(part))} has none{more}")
    return found


def class_folders(part: Path) -> list[Path]:
    """One a class; a link to a folder that holds them all is none."""
    folders = sorted(path for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))
    real = part.resolve()
    return [f for f in folders if f.name.lower() not in OVERLOOKED and not real.is_relative_to(f.resolve())]


def walk(folder: Path) -> list[Path]:
    """Every file in the folder and those in it, but for hidden ones; a link to a folder is not followed."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in OVERLOOKED:
            continue
        found += walk(path) if path.is_dir() and not path.is_symlink() else [path] if path.is_file() else []
    return found


def other_files(part: Path) -> int:
    return sum(path.suffix.lower() not in SUFFIXES for folder in class_folders(part) for path in walk(folder))


def form_of(files: Sequence[Path], config: DataConfig) -> tuple[tuple[int, int], str]:
    """Height and width, and Pillow's mode, of all images: as they are set, or as they are. Raises Refused."""
    height_width = tuple(config.size) if config.size else None
    sizes: dict[tuple[int, int], Path] = {}
    grey = True
    for path in files if height_width is None or config.colour is None else ():
        with opened(path) as image, quiet(path):
            turned = image.getexif().get(ORIENTATION, 1) in ON_THEIR_SIDE
            sizes.setdefault((image.width, image.height) if turned else (image.height, image.width), path)
            grey = grey and (image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"))
        if height_width is None and len(sizes) > 1:
            (one, first), (other, second) = list(sizes.items())[:2]
            both = f"{one[0]} x {one[1]} ({said(first.name)}) and {other[0]} x {other[1]} ({said(second.name)})"
            raise Refused(f"must hold images of one size, holds {both}; data.size=[{one[0]},{one[1]}] makes them one")
    found = height_width or next(iter(sizes))
    if len(found) == 1:
        found = (found[0], found[0])
    if max(found) > LARGEST:
        raise Refused(
            f"must hold images of at most {LARGEST} pixels along a side; data.size=[64,64] makes them smaller"
        )
    return (found[0], found[1]), MODES[config.colour or ("grey" if grey else "colour")]


def opened(path: Path) -> Image:
    """Raises Refused for what Pillow cannot open."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("error", UserWarning)
            return Image.open(path)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Refused(f"{printable(str(path))} must be an image of fewer pixels ({error_text(error)})") from None
    except (OSError, SyntaxError, ValueError, UserWarning) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> Refused:
    return Refused(f"{printable(str(path))} must be an image that can be read ({error_text(error)}); remove it")


@contextmanager
def quiet(path: Path) -> Iterator[None]:
    """What Pillow warns of, or finds that is no error of the system, is that a file is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            yield
        except (UserWarning, SyntaxError, ValueError) as error:
            raise error if isinstance(error, Refused) else unreadable(path, error) from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise unreadable(path, error) from None


def pixels_of(path: Path, size: tuple[int, int], mode: str) -> npt.NDArray[np.uint8]:
    """[H, W] or [H, W, 3], upright, on white where it is transparent; of an animation the first picture. Raises
    Refused."""
    from PIL import Image, ImageOps

    with opened(path) as image, quiet(path):
        try:
            upright = of_bytes(ImageOps.exif_transpose(image)).convert(mode)
            if (upright.height, upright.width) != size:
                upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.asarray(upright)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise unreadable(path, error) from None


def of_bytes(image: Image) -> Image:
    """With values up to 255, on white where it is transparent. Grey values of 16 bits are divided by 257. Raises
    ValueError for numbers that are no grey values of 8 or 16 bits."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its values are fractions, of which nothing says what white is")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its values are no grey values of 16 bits")
        return Image.fromarray((values / 257 + 0.5).astype(np.uint8))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("L" if image.mode == "1" else "RGB" if image.mode in ("P", "CMYK") else image.mode)
