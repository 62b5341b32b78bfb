"""A folder of images is read right, or refused in one line that names folder or file, rule and remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import samples
from bnsweep.data.dataset import Dataset, load

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (2, 20, 6, 4, 3), dtype=np.uint8)
"""Of two classes."""
CLASSES = ("cat", "dog")


def read(root: Path, **settings: Any) -> Dataset:
    return load(DataConfig("images", root=str(root), validation=None, **settings))


def save(root: Path, mode: str = "RGB", suffix: str = ".png", part: slice = slice(None), **more: Any) -> Path:
    for c, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(PIXELS[c][part]):
            Image.fromarray(pixels).convert(mode).save(root / name / f"{i:02}{suffix}", **more)
    return root


def test_colour_is_channels_first_and_in_0_to_1(tmp_path: Path) -> None:
    found = read(save(tmp_path / "pets"))
    assert found.facts is not None and found.facts.shape == (3, 6, 4) and found.facts.classes == 2
    expected = torch.from_numpy(np.moveaxis(PIXELS.reshape(40, 6, 4, 3), -1, 1).reshape(40, -1) / np.float32(255))
    assert torch.equal(found.x_ND, expected) and found.y_N.tolist() == [0] * 20 + [1] * 20
    assert found.notes[0].endswith("pets: 40 samples of 3 x 6 x 4 numbers from 0 to 1; 2 classes: cat (20), dog (20)")


def test_grey_has_no_channels(tmp_path: Path) -> None:
    found = read(save(tmp_path, "L"))
    assert found.facts is not None and found.facts.shape == (6, 4)
    assert read(save(tmp_path / "b"), colour="grey").info.digest == found.info.digest


def test_folders_for_training_and_test_are_respected(tmp_path: Path) -> None:
    save(tmp_path / "train", part=slice(0, 15))
    save(tmp_path / "test", part=slice(15, 20))
    found = read(tmp_path)
    assert found.facts is not None and (found.facts.pool, found.facts.test, found.facts.official_test) == (30, 10, True)


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing")])
def test_folders_for_training_and_test_have_the_usual_names(names: tuple[str, str], tmp_path: Path) -> None:
    for name in (*names, "valid"):
        save(tmp_path / name)
    Image.fromarray(PIXELS[0, 0]).save(tmp_path / "a.png")
    found = read(tmp_path)
    assert found.facts is not None and (found.facts.pool, found.facts.classes) == (40, 2)
    assert found.notes[1].endswith(": left out: valid, a.png")


def test_train_and_test_are_classes_where_they_hold_images(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "test")
    (tmp_path / "dog").rename(tmp_path / "train")
    found = read(tmp_path)
    assert (
        found.facts is not None and not found.facts.official_test and found.notes[0].endswith("test (20), train (20)")
    )


def test_neither_place_nor_age_nor_order_of_writing_matters(tmp_path: Path) -> None:
    first = read(save(tmp_path / "a")).info.digest
    (tmp_path / "b").mkdir()
    save(tmp_path / "b" / "c", part=slice(None))
    for path in (tmp_path / "b").rglob("*.png"):
        os.utime(path, (1, 1))
    assert read(tmp_path / "b" / "c").info.digest == first
    image = Image.open(tmp_path / "a/cat/00.png")
    image.putpixel((0, 0), (1, 2, 3))
    image.save(tmp_path / "a/cat/00.png")
    assert read(tmp_path / "a").info.digest != first


def sixteen_bit(root: Path) -> None:
    for c, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i, pixels in enumerate(PIXELS[c]):
            grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.uint16) * 257
            Image.fromarray(grey).save(root / name / f"{i:02}.png")


SAME_GREY: dict[str, Callable[[Path], Any]] = {
    "upper-case names": lambda root: save(root, "L", ".PNG"),
    "TIFF": lambda root: save(root, "L", ".tif"),
    "with alpha": lambda root: save(root, "LA"),
    "of 16 bits": sixteen_bit,
}


@pytest.mark.parametrize("make", SAME_GREY.values(), ids=list(SAME_GREY))
def test_however_grey_images_are_saved_they_are_the_same(make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path / "a")
    assert torch.equal(read(tmp_path / "a").x_ND, read(save(tmp_path / "b", "L")).x_ND)


def test_photographs_that_lie_on_their_side_are_of_the_size_that_they_have_upright(tmp_path: Path) -> None:
    save(tmp_path)
    for path in (tmp_path / "cat").iterdir():
        turned = Image.fromarray(np.rot90(np.asarray(Image.open(path))).copy())
        exif = turned.getexif()
        exif[0x0112] = 6
        turned.save(path, exif=exif)
    assert read(tmp_path).info.digest == read(save(tmp_path / "other")).info.digest


def test_grey_values_of_16_bits_are_divided_alike(tmp_path: Path) -> None:
    """Also in the other byte order, and in a dark picture."""
    for name, values in (("a", 200), ("b", 60_000)):
        (tmp_path / name).mkdir()
        for i, kind in enumerate(("<u2", ">u2", "<u2")):
            Image.fromarray(np.full((4, 4), values, kind)).save(tmp_path / name / f"{i}.tif")
    found = read(tmp_path)
    assert found.x_ND[:3].unique().tolist() == pytest.approx([1 / 255]) and found.x_ND[
        3:
    ].unique().tolist() == pytest.approx([233 / 255])


def test_fractions_are_no_pixels(tmp_path: Path) -> None:
    save(tmp_path, "L")
    Image.fromarray(np.full((6, 4), 0.5, np.float32)).save(tmp_path / "cat/05.tif")
    with pytest.raises(ConfigError, match=r"05.tif must be an image .* \(ValueError: its values are fractions"):
        read(tmp_path)


def test_a_test_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    save(tmp_path / "train")
    with pytest.raises(
        ConfigError, match=r"must hold train and test, holds train alone; data.root=.*/train has each seed"
    ):
        read(tmp_path)


def left_lying(root: Path) -> None:
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cat/Thumbs.db").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "cat/.hidden.png").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX/._00.png").write_bytes(b"x")
    (root / "readme.txt").write_text("x")


def test_what_systems_leave_is_overlooked(tmp_path: Path) -> None:
    before = read(save(tmp_path)).info.digest
    left_lying(tmp_path)
    assert read(tmp_path).info.digest == before and len(read(tmp_path).notes) == 1
    (tmp_path / "cat/list.csv").write_text("x")
    assert read(tmp_path).notes[1].endswith(": left out: cat/list.csv")


def test_folders_in_a_class_are_of_the_class(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "cat/more").mkdir()
    (tmp_path / "cat/00.png").rename(tmp_path / "cat/more/00.png")
    (tmp_path / "cat/loop").symlink_to(tmp_path)
    (tmp_path / "all").symlink_to(".")
    assert torch.bincount(read(tmp_path).y_N).tolist() == [20, 20]


def test_folders_that_all_classes_hold_are_said_to_be_no_classes(tmp_path: Path) -> None:
    for name in ("indoors", "outdoors"):
        save(tmp_path / name)
    found = read(tmp_path)
    assert found.facts is not None and found.facts.classes == 2
    assert found.notes[1].endswith(": classes are indoors, outdoors; the folders in them are not told apart: cat, dog")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    save(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for name in CLASSES:
        (tmp_path / "b" / name).symlink_to(tmp_path / "a" / name)
    assert read(tmp_path / "b").info.digest == read(tmp_path / "a").info.digest


def test_images_are_brought_to_one_size(tmp_path: Path) -> None:
    save(tmp_path)
    Image.fromarray(PIXELS[0, 0, :3]).save(tmp_path / "dog/00.png")
    with pytest.raises(
        ConfigError, match=r"holds 6 x 4 \(.*cat/00.png\) and 3 x 4 \(.*dog/00.png\); data.size=\[3,4\] makes"
    ):
        read(tmp_path)
    for size, shape in (((6, 4), (3, 6, 4)), ((8,), (3, 8, 8))):
        found = read(tmp_path, size=size)
        assert found.facts is not None and found.facts.shape == shape


def test_a_turned_photograph_stands_upright_and_an_animation_is_its_first_picture(tmp_path: Path) -> None:
    save(tmp_path)
    turned = Image.fromarray(np.rot90(PIXELS[0, 0]).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    turned.save(tmp_path / "cat/00.png", exif=exif)
    frames = [Image.fromarray(PIXELS[0, i]).convert("P") for i in (1, 2)]
    frames[0].save(tmp_path / "cat/01.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "cat/01.png").unlink()
    found = read(tmp_path)
    assert found.facts is not None and found.facts.shape == (3, 6, 4)
    assert torch.equal(found.x_ND[0], torch.from_numpy(np.moveaxis(PIXELS[0, 0], -1, 0).reshape(-1) / np.float32(255)))
    assert len(found.y_N) == 40


def empty(root: Path) -> None:
    save(root)
    (root / "eel").mkdir()


def spoiled(content: bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        save(root)
        (root / "cat/05.png").write_bytes(content)

    return make


def cut(root: Path) -> None:
    save(root)
    content = (root / "cat/05.png").read_bytes()
    (root / "cat/05.png").write_bytes(content[:-30])


def flat(root: Path) -> None:
    root.mkdir()
    Image.fromarray(PIXELS[0, 0]).save(root / "a.png")


def link_to_nothing(root: Path) -> None:
    save(root)
    (root / "cat/05.png").unlink()
    (root / "cat/05.png").symlink_to("nowhere")


def pipe(root: Path) -> None:
    save(root)
    os.mkfifo(root / "cat/x.png")


def divided(*names: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name in names:
            save(root / name)

    return make


def without_classes(root: Path) -> None:
    save(root / "train")
    (root / "test").mkdir()
    Image.fromarray(PIXELS[0, 0]).save(root / "test/a.png")


def strange_class(root: Path) -> None:
    save(root / "train")
    save(root / "test")
    (root / "test/dog").rename(root / "test/eel")


def other_format(root: Path) -> None:
    empty(root)
    (root / "eel/a.heic").write_bytes(b"x")


def numbers_of_32_bits(root: Path) -> None:
    save(root, "L", ".tif")
    Image.fromarray(np.full((6, 4), 70_000, np.int32)).save(root / "cat/05.tif")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "not there": (lambda root: None, r"must be a folder with one folder of images a class"),
    "a file": (lambda root: root.write_text("x"), r"must be a folder with one folder of images a class"),
    "nothing": (lambda root: root.mkdir(), r"must be a folder with one folder of images a class, .* has none"),
    "no folders": (flat, r"must be a folder with one folder of images a class, .* has none; 1 images lie beside them"),
    "an empty class": (empty, r"must hold images in each folder, holds none in .*eel \(remove it\)"),
    "no bytes": (spoiled(b""), r".*05.png must be an image that can be read \(UnidentifiedImageError"),
    "a text": (spoiled(b"hello"), r".*05.png must be an image that can be read \(UnidentifiedImageError"),
    "cut off": (cut, r".*05.png must be an image that can be read \("),
    "a link to nothing": (link_to_nothing, r".*05.png must be an ordinary file, is a link to nothing; remove it"),
    "a pipe": (pipe, r".*x.png must be an ordinary file, is none; remove it"),
    "another format": (
        other_format,
        r"must hold images in each folder, holds only .heic, which is not read, in .*eel \(remove it\)",
    ),
    "of 32 bits": (numbers_of_32_bits, r".*05.tif must be an image .* \(ValueError: its values are no grey values of"),
    "a folder too far up": (divided("pets"), r".* holds pets alone; data.root=.*/pets has cat, dog"),
    "no test": (
        divided("train", "val"),
        r"must hold train and test, holds train with val; data.root=.*/train has",
    ),
    "parts": (
        divided("val", "eval"),
        r"must hold train and test, holds eval with val; data.root=.*/eval has each seed",
    ),
    "a test set without classes": (without_classes, r".*test has none; 1 images lie beside them"),
    "a class in test alone": (strange_class, r"must hold each class in train, which has no eel of test"),
    "an image a class": (lambda root: save(root, part=slice(1)), r"must hold two images a class or more, holds 2 of 2"),
    "one class": (
        lambda root: [save(root), [p.unlink() for p in (root / "dog").iterdir()], (root / "dog").rmdir()],
        r"must hold images of at least two classes, a folder each; holds cat alone",
    ),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_trained_on_is_refused_in_one_line(
    make: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    make(tmp_path / "bad")
    with pytest.raises(ConfigError, match=rf"^data.root={tmp_path}/bad: {says}[^\n]*$"):
        read(tmp_path / "bad")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".tif", ".webp", ".bmp"])
def test_a_damaged_image_is_read_or_refused_whatever_the_damage(suffix: str, tmp_path: Path) -> None:
    save(tmp_path, suffix=suffix, part=slice(2))
    path, rng, refused = tmp_path / f"cat/00{suffix}", np.random.default_rng(0), 0
    good = path.read_bytes()
    for i in range(25):
        content = bytearray(good[: rng.integers(len(good))] if i % 3 == 0 else good)
        for place in rng.integers(len(content), size=3) if content else ():
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            read(tmp_path)
        except ConfigError:
            refused += 1
    assert refused > 5


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    save(tmp_path)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "cat/05.png")
    with pytest.raises(ConfigError, match=r"05.png must be an image of fewer pixels \(Decompression"):
        read(tmp_path)


def test_what_is_larger_than_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path)
    monkeypatch.setattr(samples, "free_host_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match=r"must give samples that fit into memory: 2880 numbers"):
        read(tmp_path)


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^data.root=~nobody-here/x: must be a path that can be found \(Could not determine"
    ):
        read(Path("~nobody-here/x"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"size": (0,)},
            r"^data.size=\(0,\): must be a list of height and width, from 1 to 4096, such",
        ),
        (
            {"size": (1, 2, 3)},
            r"^data.size=\(1, 2, 3\): must be a list of height and width, from 1 to 4096, such",
        ),
        ({"size": (2.5, 2)}, r"^data.size=\(2.5, 2\): must be a list of height and width"),
        ({"colour": "red"}, r"^data.colour=red: must be one of grey, colour or null$"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path, **settings)
