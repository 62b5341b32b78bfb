"""Folders of images: which files there are, in which class, and which of them to test on.

A folder a class, or folders `train` and `test` that hold those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnsweep.config.checks import printable
from bnsweep.data.samples import Refused, listed

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .bmp .gif .tif .tiff .webp .avif .jp2 .ppm .pgm .pbm .pnm .tga".split()
)
OVERLOOKED = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
"""What systems leave in folders of images, beside what begins with a dot."""
TRAIN, TEST = ("train", "training"), ("test", "testing")
PARTS = (*TRAIN, *TEST, "val", "valid", "validation", "dev", "eval")

FolderId = tuple[int, int]
"""Device and inode: equal for a folder and a link to it."""


@dataclass(frozen=True)
class Part:
    """The pool, or the test set."""

    folder: Path
    files: list[Path]
    """Images, sorted by class and name."""
    classes: list[str]
    """Of each image, the name of its folder."""
    others: list[Path]
    """Files that are no images, and images beside the folders."""


def parts_of(root: Path) -> tuple[list[Part], list[str]]:
    """The pool, and the test set where there is one; and what is to be said. Raises Refused, OSError."""
    folders = folders_in(root)
    train, test = (next((path for path in folders if path.name.lower() in names), None) for names in (TRAIN, TEST))
    divided = {path: folders_in(path) for path in folders if not images_in(path) and len(folders_in(path)) > 1}
    if train is None or test is None or not divided.keys() & {train, test}:
        check_one_level(folders, divided)
        found = part_of(root)
        return [found], [*left_out(root, found.others), *not_told_apart(root, folders, divided)]
    parts = [part_of(train), part_of(test)]
    if strange := sorted(set(parts[1].classes) - set(parts[0].classes)):
        raise Refused(f"must hold each class in {train.name}, which has no {listed(strange)} of {test.name}")
    beside = [path for path in folders if path not in (train, test)]
    return parts, left_out(root, [*beside, *images_in(root), *(path for part in parts for path in part.others)])


def check_one_level(folders: list[Path], divided: dict[Path, list[Path]]) -> None:
    """Refuses what would be trained on as a class and holds classes: a single folder, or one of train, val and test
    without the others. `divided`: those folders that hold folders, and these."""
    for folder, inner in divided.items():
        beside = [path.name for path in folders if path != folder]
        name, there = printable(folder.name), f"data.root={printable(str(folder))}"
        if folder.name.lower() in PARTS:
            says = f"must hold train and test, holds {name} {f'with {listed(beside)}' if beside else 'alone'}"
            raise Refused(f"{says}; {there} has each seed draw its own test set")
        if not beside:
            names = listed([path.name for path in inner])
            raise Refused(
                f"must be a folder with one folder of images a class, holds {name} alone; {there} has {names}"
            )


def not_told_apart(root: Path, folders: list[Path], divided: dict[Path, list[Path]]) -> list[str]:
    """Says of folders that all hold the same ones that these are no classes."""
    if len(divided) < len(folders):
        return []
    shared = set[str].intersection(*({path.name for path in inner} for inner in divided.values()))
    names, same = listed([folder.name for folder in folders]), listed(sorted(shared))
    says = f"{printable(str(root))}: classes are {names}; the folders in them are not told apart: {same}"
    return [says] if len(shared) > 1 else []


def left_out(root: Path, others: list[Path]) -> list[str]:
    names = [str(path.relative_to(root)) for path in others]
    return [f"{printable(str(root))}: left out: {listed(names)}"] if names else []


def part_of(folder: Path) -> Part:
    """Raises Refused for a class without images."""
    real = folder.resolve()
    above = frozenset(identity(path) for path in (real, *real.parents))
    part = Part(folder, [], [], [])
    for inner in folders_in(folder):
        if identity(inner) in above:
            continue
        files = list(files_in(inner, above | {identity(inner)}))
        images = [path for path in files if is_image(path)]
        if not images:
            suffixes = listed(sorted({path.suffix or "no suffix" for path in files}))
            held = f"only {suffixes}, which is not read," if files else "none"
            raise Refused(f"must hold images in each folder, holds {held} in {printable(str(inner))} (remove it)")
        part.files.extend(images)
        part.classes.extend([inner.name] * len(images))
        part.others.extend(path for path in files if not is_image(path))
    loose = images_in(folder)
    if not part.files:
        more = f"; {len(loose):,} images lie beside them" if loose else ""
        raise Refused(f"must be a folder with one folder of images a class, {printable(str(folder))} has none{more}")
    part.others.extend(loose)
    return part


def files_in(folder: Path, above: frozenset[FolderId]) -> Iterator[Path]:
    """Every file of the folder and of those in it, but for what systems leave. A link that leads back to a folder above
    is not followed. Raises Refused for what has an image's name and is no file."""
    for path in sorted(folder.iterdir()):
        if overlooked(path):
            continue
        if path.is_dir():
            if identity(path) not in above:
                yield from files_in(path, above | {identity(path)})
        elif path.is_file() or not is_image(path):
            yield path
        else:
            found = "a link to nothing" if path.is_symlink() else "none"
            raise Refused(f"{printable(str(path))} must be an ordinary file, is {found}; remove it")


def folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not overlooked(path))


def images_in(folder: Path) -> list[Path]:
    """Those that lie in it, and not in a folder of it."""
    return sorted(path for path in folder.iterdir() if is_image(path) and not overlooked(path) and not path.is_dir())


def overlooked(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in OVERLOOKED


def is_image(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES


def identity(folder: Path) -> FolderId:
    found = folder.stat()
    return found.st_dev, found.st_ino
