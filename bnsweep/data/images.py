"""Images in folders: `data=images data.root=FOLDER`, a folder a class, or FOLDER/train and FOLDER/test with those.

Axes: H height, W width.
"""

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
from bnsweep.config.groups import LARGEST_SIDE, DataConfig
from bnsweep.data.dataset import Bytes, Samples
from bnsweep.data.image_folder import parts_of
from bnsweep.data.samples import Refused, check_room, home_path, samples_of
from bnsweep.own.call import error_text

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {"grey": "L", "colour": "RGB"}
"""Pillow's names."""
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF tag, and those of its values that exchange height and width."""

Size = tuple[int, int]
"""Height and width."""


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
    parts, notes = parts_of(root)
    check_classes(parts[0].classes)
    files = [path for part in parts for path in part.files]
    size, mode = form_of(files, config)
    check_room(len(files) * size[0] * size[1] * (3 if mode == "RGB" else 1))
    arrays: list[npt.NDArray[Any]] = []
    for part in parts:
        pixels = np.empty((len(part.files), *size, *([3] if mode == "RGB" else [])), np.uint8)
        for row, path in zip(pixels, part.files, strict=True):
            row[...] = pixels_of(path, size, mode, resize=config.size is not None)
        arrays += [np.moveaxis(pixels, -1, 1) if mode == "RGB" else pixels, np.array(part.classes)]
    return arrays, notes


def check_classes(names: Sequence[str]) -> None:
    """Raises Refused for fewer than two classes, or fewer than two images a class."""
    different = set(names)
    if len(different) < 2:
        raise Refused(f"must hold images of at least two classes, a folder each; holds {printable(names[0])} alone")
    if 2 * len(different) > len(names):
        raise Refused(f"must hold two images a class or more, holds {len(names):,} of {len(different):,} classes")


def form_of(files: Sequence[Path], config: DataConfig) -> tuple[Size, str]:
    """Size and Pillow's mode of all images: as they are set, or as they are. Raises Refused."""
    wanted = (int(config.size[0]), int(config.size[-1])) if config.size else None
    first: tuple[Size, Path] | None = None
    grey = True
    for path in files if wanted is None or config.colour is None else ():
        with opened(path) as image:
            grey = grey and (image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"))
            found = size_of(image) if wanted is None else wanted
        first = first or (found, path)
        if found != first[0]:
            raise Refused(differ(*first, found, path))
    size = wanted or (first[0] if first else (0, 0))
    if max(size) > LARGEST_SIDE:
        says = f"at most {LARGEST_SIDE} pixels along a side, holds {size[0]} x {size[1]}"
        raise Refused(f"must hold images of {says}; data.size=[64,64] makes them smaller")
    return size, MODES[config.colour or ("grey" if grey else "colour")]


def differ(one: Size, first: Path, other: Size, second: Path) -> str:
    """Two images of different sizes."""
    both = " and ".join(f"{h} x {w} ({printable(str(path))})" for (h, w), path in ((one, first), (other, second)))
    smaller = min(one, other)
    return f"must hold images of one size, holds {both}; data.size=[{smaller[0]},{smaller[1]}] makes them one"


def size_of(image: Image) -> Size:
    """Once it stands upright. An orientation behind a PNG's pixels is not seen before they are read."""
    turned = image.format != "PNG" or "exif" in image.info or "xmp" in image.info
    if turned and image.getexif().get(ORIENTATION) in TURNED:
        return image.width, image.height
    return image.height, image.width


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """Raises Refused for what Pillow cannot open or read, whatever Pillow raises then; its warnings of lesser things
    are dropped."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (Refused, FileNotFoundError, PermissionError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Refused(f"{printable(str(path))} must be an image of fewer pixels ({error_text(error)})") from None
    except Exception as error:
        says = f"must be an image that can be read ({error_text(error)})"
        raise Refused(f"{printable(str(path))} {says}; remove it") from None


def pixels_of(path: Path, size: Size, mode: str, resize: bool) -> Bytes:
    """[H, W] or [H, W, 3], upright, on white where it is transparent; of an animation the first picture. Raises
    Refused."""
    from PIL import Image, ImageOps

    with opened(path) as image:
        upright = of_bytes(ImageOps.exif_transpose(image)).convert(mode)
        found = upright.height, upright.width
        if found != size and not resize:
            raise Refused(f"must hold images of one size, {printable(str(path))} is {found[0]} x {found[1]} upright")
        return np.asarray(upright if found == size else upright.resize(size[::-1], Image.Resampling.BILINEAR))


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
