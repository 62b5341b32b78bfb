"""What is read is what was published, and what is split is split exactly."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsweep.config import datasets
from bnsweep.config.checks import ConfigError
from bnsweep.config.datasets import DatasetFacts
from bnsweep.config.run import DataConfig
from bnsweep.data import dataset as data
from bnsweep.data import idx

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
        monkeypatch.setitem(datasets.DATASETS, name, facts)
    monkeypatch.setitem(idx.SHA256, "mnist", {name: hashlib.sha256(made[name]).hexdigest() for name in made})
    return made


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def tiny(root: Path, name: str = "mnist") -> DataConfig:
    return DataConfig(name=name, root=str(root), validation=50)


def write(folder: Path, files: dict[str, bytes], packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(content)


def test_digits_are_1797_images_of_64_pixels_in_0_to_1(digits: data.Dataset) -> None:
    assert digits.x_ND.shape == (1797, 64) and digits.x_ND.dtype == torch.float32
    assert digits.x_ND.min() == 0 and digits.x_ND.max() == 1
    assert digits.y_N.dtype == torch.int64 and digits.y_N.unique().tolist() == list(range(10))
    assert digits.info.source.startswith("scikit-learn ") and re.fullmatch("[0-9a-f]{16}", digits.info.digest)


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


def fake_torchvision(monkeypatch: pytest.MonkeyPatch, fetch: Callable[[Path], None]) -> None:
    def dataset(root: str, download: bool) -> None:
        assert download
        print("progress", file=sys.stderr)
        fetch(Path(root))

    datasets = types.SimpleNamespace(MNIST=dataset, FashionMNIST=dataset)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=datasets))


def test_only_missing_files_are_downloaded_with_a_timeout_and_without_noise(
    raw: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    timeouts = []

    def fetch(root: Path) -> None:
        timeouts.append(socket.getdefaulttimeout())
        write(root / "MNIST/raw", files)

    fake_torchvision(monkeypatch, fetch)
    write(raw, {name: files[name] for name in files if name != TRAIN_IMAGES}, packed=False)
    before = socket.getdefaulttimeout()
    data.load(tiny(raw.parents[1]))
    assert timeouts == [idx.TIMEOUT_S] and socket.getdefaulttimeout() == before
    assert sorted(p.name for p in raw.iterdir()) == sorted({*files, f"{TRAIN_IMAGES}.gz"} - {TRAIN_IMAGES})
    assert capfd.readouterr() == ("", "")


FAILURES = [
    OSError("network is unreachable\nTried: one, two"),
    TimeoutError("timed out"),
    RuntimeError("operator torchvision::nms does not exist"),
    ImportError("no torchvision"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=[type(failure).__name__ for failure in FAILURES])
def test_a_failed_download_says_which_files_to_put_where_and_leaves_nothing(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fetch(root: Path) -> None:
        (root / "half-written").write_bytes(b"...")
        raise failure

    fake_torchvision(monkeypatch, fetch)
    why = str(failure).splitlines()[0]
    says = rf"^data.name=mnist: could not .* \({why}\); put {TRAIN_IMAGES}.gz, .* into .*raw, or .* data.root$"
    with pytest.raises(ConfigError, match=says):
        data.load(tiny(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: must be a writable folder to download .* \(Not a directory\)"):
        data.load(tiny(tmp_path / "file"))


@pytest.mark.parametrize(("validation", "subset"), [(287, None), (10, None), (500, 10), (101, 333)])
@pytest.mark.parametrize("seed", range(5))
def test_splits_are_disjoint_stratified_and_of_exact_size(
    digits: data.Dataset, seed: int, validation: int, subset: int | None
) -> None:
    wanted = DataConfig(validation=validation, subset=subset)
    parts = data.split(digits, wanted, seed)
    sizes = (len(parts.train), len(parts.validation), len(parts.test))
    assert sizes == (wanted.train_size, validation, 360)
    assert len(torch.cat([parts.train, parts.validation, parts.test]).unique()) == sum(sizes)
    share = torch.bincount(digits.y_N) / len(digits.y_N)
    for rows in (parts.train, parts.validation, parts.test):
        # One sample from rounding here, and one or two more inherited from the draws before.
        assert (torch.bincount(digits.y_N[rows], minlength=10) - share * len(rows)).abs().max() < 2


def test_an_unbalanced_pool_is_shared_out_by_largest_remainder() -> None:
    y_N = torch.tensor([0] * 7 + [1] * 2 + [2] * 1)
    taken, left = data._draw(torch.arange(10), y_N, 4, torch.Generator())
    assert torch.bincount(y_N[taken]).tolist() == [3, 1]  # 2.8, 0.8 and 0.4 samples
    assert sorted(taken.tolist() + left.tolist()) == list(range(10))


def test_the_official_test_set_is_the_test_split_of_every_seed(raw: Path, files: dict[str, bytes]) -> None:
    write(raw, files)
    wanted = tiny(raw.parents[1])
    loaded = data.load(wanted)
    for seed in range(3):
        assert data.split(loaded, wanted, seed).test.tolist() == list(range(POOL, POOL + TEST))


def test_one_setting_of_the_split_moves_only_what_it_names(digits: data.Dataset) -> None:
    whole, part = (data.split(digits, DataConfig(subset=subset), 3) for subset in (None, 100))
    assert torch.equal(whole.test, part.test) and torch.equal(whole.validation, part.validation)
    assert torch.isin(part.train, whole.train).all()
    assert torch.equal(whole.test, data.split(digits, DataConfig(validation=50), 3).test)


def test_seeds_and_epochs_and_nothing_else_decide(digits: data.Dataset) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, order = data.split(digits, DataConfig(), 0), data.batch_order(0, 0, 1150)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = data.split(digits, DataConfig(), 0)
    assert torch.equal(first.train, again.train) and torch.equal(first.test, again.test)
    assert torch.equal(order, data.batch_order(0, 0, 1150))
    assert not torch.equal(first.test, data.split(digits, DataConfig(), 1).test)


def test_batch_orders_are_permutations_unlike_each_other() -> None:
    orders = [data.batch_order(seed, epoch, 1000) for seed in range(4) for epoch in range(4)]
    assert all(order.sort().values.tolist() == list(range(1000)) for order in orders)
    agreement = [(a == b).sum().item() for i, a in enumerate(orders) for b in orders[:i]]
    assert max(agreement) < 10  # about one position in a thousand agrees by chance


def test_every_purpose_has_a_stream_of_its_own() -> None:
    seeds = {data._generator(purpose, 3).initial_seed() for purpose in ("test", "validation", "subset", "order")}
    assert len(seeds) == 4


def test_the_first_samples_of_the_files_are_the_same_for_every_seed(digits: data.Dataset) -> None:
    wanted = DataConfig("gaussian", subset=300, draw="first", validation=100, test=50)
    made = data.load(wanted)
    for seed in range(3):
        parts = data.split(made, wanted, seed)
        assert parts.train.tolist() == list(range(300))
        assert parts.validation.min() >= 300 and parts.validation.max() < 2000 and len(parts.validation) == 100
        assert parts.test.min() >= 2000 and len(parts.test) == 50
    assert not torch.equal(data.split(made, wanted, 0).test, data.split(made, wanted, 1).test)


def test_generated_data_are_what_they_say_and_the_same_every_time() -> None:
    normal, pixels = (data.load(DataConfig(name, validation=500)) for name in ("gaussian", "pixels"))
    assert normal.x_ND.shape == (2500, 100) and pixels.x_ND.shape == (2500, 784)
    assert normal.x_ND.mean().item() == pytest.approx(0, abs=0.01) and normal.x_ND.std().item() == pytest.approx(
        1, abs=0.01
    )
    assert pixels.x_ND.min() == 0 and pixels.x_ND.max() <= 1
    assert pixels.x_ND.square().mean().item() == pytest.approx(0.1, abs=0.001)
    assert normal.y_N.unique().tolist() == list(range(10))
    assert torch.equal(normal.x_ND, data.load(DataConfig("gaussian", validation=500)).x_ND)


def test_draws_with_replacement_repeat_samples_and_cover_all() -> None:
    draws = data.batch_draws(0, 0, 1000, 10_000)
    assert len(draws) == 10_000 and draws.unique().numel() > 990
    assert len(draws[:1000].unique()) == pytest.approx(1000 * (1 - 1 / 2.718281828), abs=40)
    assert not torch.equal(draws, data.batch_draws(0, 1, 1000, 10_000))
    assert torch.equal(draws, data.batch_draws(0, 0, 1000, 10_000))
