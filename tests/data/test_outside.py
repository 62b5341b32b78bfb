"""A function of the user's gives the data: found where the command is started, verified, told apart by its digest."""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import outside
from bnsweep.data.dataset import Dataset, load, with_facts
from bnsweep.data.splits import split

NUMBER = itertools.count()

Give = Callable[[str], DataConfig]


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """The config of data that a function of this body gives; its module lies in the working directory."""
    monkeypatch.chdir(tmp_path)

    def config(body: str) -> DataConfig:
        name = f"my_data_{next(NUMBER)}"
        start = "import numpy as np, torch\n\ndef load():\n    x = np.arange(1200.0).reshape(300, 2, 2) / 1200\n"
        start += "    y = np.arange(300) % 3\n"
        Path(f"{name}.py").write_text(f"{start}    {body}\n", encoding="utf-8")
        return DataConfig("callable", call=f"{name}:load", validation=50)

    return config


def facts(dataset: Dataset) -> DatasetFacts:
    assert dataset.facts is not None
    return dataset.facts


def test_samples_are_flattened_and_taken_as_they_are(give: Give, tmp_path: Path) -> None:
    config = give("return x, y")
    found = load(config)
    assert found.x_ND.dtype == torch.float32 and found.y_N.dtype == torch.int64
    assert torch.equal(found.x_ND, (torch.arange(1200.0, dtype=torch.float64).view(300, 4) / 1200).float())
    assert found.y_N.tolist() == [i % 3 for i in range(300)]
    assert facts(found) == DatasetFacts(240, 60, 4, 3, official_test=False, digest=found.info.digest, shape=(2, 2))
    assert (found.info.name, Path(found.info.source).parent) == (config.call, tmp_path)


def test_without_a_test_set_every_seed_draws_its_own(give: Give) -> None:
    config = give("return x, y")
    found = load(config)
    known = config.with_facts(facts(found))
    parts = [split(found, known, seed) for seed in (0, 1)]
    for part in parts:
        assert (len(part.train), len(part.validation), len(part.test)) == (190, 50, 60)
        assert torch.bincount(found.y_N[part.test]).tolist() == [20, 20, 20]
    assert not torch.equal(parts[0].test, parts[1].test)


def test_a_test_set_that_is_given_is_the_test_set(give: Give) -> None:
    config = give("return x[:200], y[:200], x[200:], y[200:]")
    found = load(config)
    assert (facts(found).pool, facts(found).test, facts(found).official_test) == (200, 100, True)
    part = split(found, config.with_facts(facts(found)), seed=1)
    assert part.test.tolist() == list(range(200, 300))


@pytest.mark.parametrize(
    "same",
    [
        "return [x, y]",
        "return torch.tensor(x), torch.tensor(y, dtype=torch.uint8)",
        "return x.astype(np.float32).reshape(300, 4), y.astype(np.int16)",
    ],
)
def test_how_the_same_samples_are_held_makes_no_difference(same: str, give: Give) -> None:
    assert load(give(same)).info.digest == load(give("return x, y")).info.digest


@pytest.mark.parametrize(
    "other",
    ["x[0, 0, 0] = 9; return x, y", "y[:2] = y[1::-1]; return x, y", "return x[:240], y[:240], x[240:], y[240:]"],
)
def test_a_changed_sample_a_changed_label_or_another_division_are_other_data(other: str, give: Give) -> None:
    assert load(give(other)).info.digest != load(give("return x, y")).info.digest


def test_the_users_arrays_are_not_changed(give: Give) -> None:
    config = give("x = x.astype(np.float32); x.flags.writeable = False; return x, y")
    assert load(config).x_ND.max() < 1


REFUSED = {
    "one thing": (
        "return x",
        r"must give \(x, y\) or \(x_train, y_train, x_test, y_test\), or a Dataset .*, gives ndarray",
    ),
    "three things": ("return x, y, x", r"must give \(x, y\) or .*, gives 3 of them"),
    "words": ("return x.astype(str), y", r"x must hold numbers, holds <U32"),
    "rows": (
        "return x[1:], y",
        r"x and y must hold a row and a label of each sample, have the shapes \(299, 2, 2\)",
    ),
    "one-hot": ("return x, np.eye(3)[y]", r"x and y must hold .*, have the shapes \(300, 2, 2\) and \(300, 3\)"),
    "nothing": ("return x[:0], y[:0]", r"x and y must hold .*, have the shapes \(0, 2, 2\) and \(0,\)"),
    "NaN": ("x[3] = np.nan; return x, y", r"x must be finite as float32, holds NaN or infinity"),
    "large": ("return x * 1e300, y", r"x must be finite as float32"),
    "fractions": (
        "return x, y / 2",
        r"y must hold labels, holds numbers such as 0.5 \(data.task=regression takes numbers\)",
    ),
    "one class": ("return x, 0 * y", r"y must hold labels of at least two classes, holds 0 alone"),
    "a label a sample": (
        "return x, np.arange(300)",
        r"y must hold classes of two samples or more, holds 300 labels in 300 samples \(data.task=regression takes num",
    ),
    "a label that is not there": (
        "y = y.astype(float); y[3] = np.nan; return x, y",
        r"y must hold a label of each sam",
    ),
    "numbers and texts": ("return x, y, x, y.astype(str)", r"y_train and y_test must hold labels of one kind"),
    "a stream": (
        "return type('S', (torch.utils.data.IterableDataset,), {'__iter__': lambda s: iter(())})()",
        r"must give a Dataset with a length and items, gives S \(give its samples as arrays\)",
    ),
    "a loader": (
        "return torch.utils.data.DataLoader([1])",
        r"must give a Dataset with a length and items, gives DataLoader \(give its dataset\)",
    ),
    "a Dataset without targets": (
        "return torch.utils.data.TensorDataset(torch.tensor(x))",
        r"must give a Dataset of \(x, y\), of which TensorDataset gives none \(ValueError: not enough values",
    ),
    "a Dataset of several shapes": (
        "D, x = torch.utils.data, torch.tensor(x); return D.ConcatDataset([D.TensorDataset(z, z) for z in [x, x[0]]])",
        r"must give a Dataset of samples of one shape, item 300 is \(2,\), item 0 \(2, 2\)",
    ),
    "strange test": ("return x, y, x, y + 1", r"y_test must hold labels of y_train, which has no 3"),
    "features": ("return x, y, x[:, 0], y", r"x_train and x_test must have as many numbers a sample, have 4 and 2"),
    "an error": (
        "raise KeyError('there')",
        r"must be a function that can be called from .* \(KeyError: 'there'\); raised in my_data_\d+.py, line 6",
    ),
    "a dictionary": ("return {'x': x, 'y': y}", r"must give \(x, y\) or .*, gives dict"),
    "a generator": ("return (i for i in (x, y))", r"must give \(x, y\) or .*, gives generator"),
    "generators": ("return (i for i in x), y", r"x must hold numbers, holds object"),
    "objects": ("return x.astype(object), y", r"x must hold numbers, holds object"),
    "long words": ("return np.array(['x' * 10**4] * 300), y", r"x must hold numbers, holds <U10000"),
    "complex numbers": ("return x * 1j, y", r"x must hold numbers, holds complex128"),
    "rows of several lengths": (
        "return [[1.0], [2.0, 3.0]], [0, 1]",
        r"x must be an array or a tensor of numbers \(Va",
    ),
    "a sparse tensor": ("return torch.eye(3).to_sparse(), [0, 1, 2]", r"x must be an array or a tensor of numbers \("),
    "no tensor's data": ("return torch.ones(3, 2, device='meta'), [0, 1, 2]", r"x must be an array or a tensor of num"),
    "one number": (
        "return 1.0, 1",
        r"x and y must hold a row and a label of each sample, have the shapes \(\) and \(\)",
    ),
    "no numbers a sample": ("return x[:, :0], y", r"x and y must hold .*, have the shapes \(300, 0, 2\) and"),
    "masked": ("return np.ma.masked_less(x, 0.1), y", r"x must have a number everywhere, has masked ones"),
    "what no memory holds": (
        "return np.lib.stride_tricks.as_strided(np.ones(1), (10**6, 10**8), (0, 0)), np.arange(10**6)",
        r"must give samples that fit into memory: 10{14} numbers take 372529.0 GiB as float32, and [\d.]+ GiB are free",
    ),
    "the end of the process": (
        "raise SystemExit(0)",
        r"must be a function that can be called .* \(SystemExit: 0\); raised",
    ),
    "an exit": ("import sys; sys.exit()", r"must be a function that can be called .* \(SystemExit\); raised in"),
    "any exception": ("raise BaseException('of its own')", r"must be .* \(BaseException: of its own\); raised in"),
    "an end without values": ("raise StopIteration", r"must be .* \(StopIteration\); raised in"),
    "no end": ("return globals()['load']()", r"must be .* \(RecursionError: maximum recursion depth exceeded"),
    "a novel": ("raise ValueError('line\\n' * 10**6)", r"must be .* \(ValueError: (line ){60}\); raised in"),
    "an error without words": (
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})",
        r"must be .* \(Mute\); raised in",
    ),
    "a folder that is gone": ("import os, shutil; shutil.rmtree(os.getcwd()); return x, y", r"must be .* \(FileNotFou"),
}


@pytest.mark.parametrize(("body", "says"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_trained_on_is_refused_in_one_line(body: str, says: str, give: Give) -> None:
    with pytest.raises(ConfigError, match=rf"^data.call=my_data_\d+:load: {says}[^\n]*$"):
        load(give(body))


@pytest.mark.parametrize(
    ("call", "why"),
    [("not_there:load", "ModuleNotFoundError: No module named 'not_there'"), ("math:lode", "AttributeError: .*'lode'")],
)
def test_a_function_that_is_not_there_is_named(call: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data.call={call}: must be a function that can be called .* \({why}\)$"):
        load(DataConfig("callable", call=call))


WORKS = {
    "not in a row": "return x[:, ::-1, ::-1][:, ::-1, ::-1], y",
    "in columns": "return np.asfortranarray(x), y",
    "in another byte order": "return x.astype('>f4'), y.astype('>i8')",
    "in a file": "m = np.memmap('m', np.float64, 'w+', shape=x.shape); m[:] = x; return m, y",
    "lists": "return x.tolist(), y.tolist()",
    "with gradients": "return torch.tensor(x, requires_grad=True), torch.tensor(y)",
    "changed afterwards": "import threading; threading.Timer(0.05, lambda: x.fill(9)).start(); return x, y",
    "with words": "print('here'); return x, y",
}


@pytest.mark.parametrize("body", WORKS.values(), ids=list(WORKS))
def test_however_the_samples_are_held_they_are_the_same(body: str, give: Give) -> None:
    found = load(give(body))
    time.sleep(0.1 if "Timer" in body else 0)
    assert torch.equal(found.x_ND, (torch.arange(1200.0, dtype=torch.float64).view(300, 4) / 1200).float())
    assert found.y_N.tolist() == [i % 3 for i in range(300)]


LABELS = {
    "from 1": "y + 1",
    "with a gap": "10 * y",
    "floats": "y.astype(float)",
    "below 0": "y - 1",
    "to 10^9": "y * 500_000_000",
    "beyond 2^63": "y.astype('u8') * 2**62",
    "texts": "np.array(['a', 'b', 'ä'])[y]",
    "texts in a list": "[['a', 'b', 'c'][i] for i in y]",
    "bytes": "np.array([b'a', b'b', b'c'])[y]",
    "objects": "np.array(['a', 'b', 'c'], dtype=object)[y]",
    "in a column": "y[:, None]",
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=list(LABELS))
def test_labels_of_any_kind_are_classes_in_sorted_order(labels: str, give: Give) -> None:
    found = load(give(f"return x, {labels}"))
    assert found.y_N.tolist() == [i % 3 for i in range(300)]
    assert found.info.digest == load(give("return x, y")).info.digest


def test_yes_and_no_are_two_classes(give: Give) -> None:
    assert load(give("return x, y == 0")).y_N.tolist() == [int(i % 3 == 0) for i in range(300)]


def test_what_is_unevenly_shared_is_said(give: Give) -> None:
    even, uneven = (
        load(give("return x, y")),
        load(give("return x, np.array(['no', 'yes'])[((y == 0) & (x[:, 0, 0] < .3)) * 1]")),
    )
    assert even.notes[0].endswith(
        ":load: 300 samples of 2 x 2 numbers from 0 to 0.9992; 3 classes: 0 (100), 1 (100), 2 (100)"
    )
    assert uneven.notes[0].endswith("2 classes: no (270), yes (30); always guessing no gets 90.0 % right")


DATASETS = {
    "of tensors": "return torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))",
    "a part": "d = torch.utils.data; return d.Subset(d.TensorDataset(torch.tensor(x), torch.tensor(y)), range(300))",
    "of numbers": "return type('D', (torch.utils.data.Dataset,), {'__len__': lambda s: 300, "
    "'__getitem__': lambda s, i: (x[i].tolist(), int(y[i]))})()",
}


@pytest.mark.parametrize("body", DATASETS.values(), ids=list(DATASETS))
def test_a_torch_dataset_is_the_samples_that_it_gives(body: str, give: Give) -> None:
    assert load(give(body)).info.digest == load(give("return x, y")).info.digest


def test_two_torch_datasets_are_a_pool_and_a_test_set(give: Give) -> None:
    of = "torch.utils.data.TensorDataset(torch.tensor(x[{0}]), torch.tensor(y[{0}]))"
    found = load(give(f"return {of.format(':200')}, {of.format('200:')}"))
    assert found.info.digest == load(give("return x[:200], y[:200], x[200:], y[200:]")).info.digest


def test_images_of_a_torch_dataset_are_channels_first_and_in_0_to_1(give: Give) -> None:
    body = "from PIL import Image; p = (x.reshape(300, 4) * 255).astype(np.uint8); return type('D', "
    body += "(torch.utils.data.Dataset,), {'__len__': lambda s: 300, '__getitem__': lambda s, i: "
    body += "(Image.fromarray(np.stack([p[i].reshape(2, 2)] * 3, -1)), int(y[i]))})()"
    found = load(give(body))
    assert facts(found).shape == (3, 2, 2)
    pixels = (torch.arange(1200.0, dtype=torch.float64).view(300, 1, 4) / 1200 * 255).byte() / 255
    assert torch.equal(found.x_ND, pixels.expand(300, 3, 4).reshape(300, 12))


def test_the_first_item_of_a_dataset_does_not_decide_what_numbers_are(give: Give) -> None:
    body = "z = [x[i].tolist() for i in range(300)]; z[0] = [[0, 0], [0, 0]]; return type('D', "
    body += "(torch.utils.data.Dataset,), {'__len__': lambda s: 300, '__getitem__': lambda s, i: (z[i], int(y[i]))})()"
    found = load(give(body))
    assert found.x_ND[1:].unique().numel() == 1196


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA"])
def test_images_of_every_mode_are_in_0_to_1(mode: str, give: Give) -> None:
    body = f"from PIL import Image; white = Image.new('RGB', (2, 2), 'white').convert('{mode}'); return type('D', "
    body += "(torch.utils.data.Dataset,), {'__len__': lambda s: 300, '__getitem__': lambda s, i: (white, int(y[i]))})()"
    assert load(give(body)).x_ND.unique().tolist() == [1.0]


def test_labels_of_two_kinds_of_integers_are_the_same_labels(give: Give) -> None:
    found = load(give("y = y + 2**60; return x, y.astype('u8'), x, y"))
    assert found.y_N.tolist() == [i % 3 for i in range(300)] * 2


def test_a_function_takes_arguments(give: Give) -> None:
    config = give("return x, y")
    module = Path(f"{config.call.partition(':')[0]}.py")  # type: ignore[union-attr]
    module.write_text(
        module.read_text().replace("load()", "load(size=300)").replace("return x, y", "return x[:size], y[:size]")
    )
    assert len(load(DataConfig("callable", call=config.call, kwargs={"size": 120})).y_N) == 120
    with pytest.raises(ConfigError, match=r"\(TypeError: load\(\) got an unexpected keyword argument 'length'\)$"):
        load(DataConfig("callable", call=config.call, kwargs={"length": 120}))


def test_a_regression_takes_numbers(give: Give) -> None:
    config = replace(give("return x, 1e9 + x.sum((1, 2))"), task="regression")
    found = load(config)
    assert facts(found).classes == 0 and facts(found).outputs == 1 and found.y_N.dtype == torch.float64
    sums = (torch.arange(1200.0, dtype=torch.float64).view(300, 4) / 1200).sum(1)
    torch.testing.assert_close(found.y_N - 1e9, sums, atol=1e-6, rtol=1e-6)
    assert "targets from 1e+09 to 1e+09" in found.notes[0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return x, 0 * y", "y must hold numbers that differ, holds 0 alone"),
        (
            "return x, np.array(['a', 'b', 'c'])[y]",
            "y must hold numbers for data.task=regression, holds texts such as a",
        ),
        ("y = y / 1.0; y[3] = np.nan; return x, y", "y must be finite, holds NaN or infinity"),
        ("return x, y * 1e300", "y must be finite as float32, holds up to 2e\\+300"),
    ],
)
def test_what_is_no_number_is_refused_in_a_regression(body: str, says: str, give: Give) -> None:
    with pytest.raises(ConfigError, match=rf"^data.call=my_data_\d+:load: {says}$"):
        load(replace(give(body), task="regression"))


SETS = {
    "folder": "import os; os.mkdir('elsewhere'); os.chdir('elsewhere')",
    "path": "import sys; sys.path.clear()",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "gradients": "torch.set_grad_enabled(False)",
    "errors": "np.seterr(all='raise')",
    "warnings": "import warnings; warnings.simplefilter('ignore')",
}


@pytest.mark.parametrize("body", SETS.values(), ids=list(SETS))
def test_what_the_function_sets_for_the_whole_process_is_put_back(
    body: str, give: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])

    def state() -> tuple[object, ...]:
        of_torch = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        return Path.cwd(), *of_torch, np.geterr(), [*warnings.filters]

    config, before = give(f"{body}; return x, y"), state()
    assert load(config).x_ND.device.type == "cpu"
    assert state() == before
    assert str(tmp_path) not in sys.path


def test_global_random_numbers_serve_nothing(give: Give) -> None:
    """Neither are they drawn from, nor does setting them change a split."""
    config = give("torch.manual_seed(3); np.random.seed(3); return x, y")
    first = load(config)
    drawn = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    assert (torch.rand(1).item(), np.random.rand()) == drawn
    known = config.with_facts(facts(first))
    torch.manual_seed(4)
    part = split(first, known, 0)
    torch.manual_seed(5)
    assert torch.equal(split(first, known, 0).train, part.train)


def test_a_function_that_takes_long_is_waited_for_aloud(
    give: Give, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outside, "SLOW_S", 0.05)
    config = give("import time; time.sleep(0.5); return x, y")
    load(config)
    assert capfd.readouterr().err == f"data.call={config.call}: has not returned for 0.05 s\n"


def test_as_many_classes_as_half_of_the_samples_are_split(give: Give) -> None:
    config = give("return np.zeros((40_000, 1)), np.arange(40_000) // 2")
    found = load(config)
    assert facts(found).classes == 20_000
    assert len(split(found, config.with_facts(facts(found)), 0).train) == 31_950


def test_runs_on_the_same_data_read_it_once(give: Give) -> None:
    data = give("print('read'); return x, y")
    datasets: dict[tuple[str, str], Dataset] = {}
    runs = with_facts([RunConfig(data=data), RunConfig(data=data, seed=1), RunConfig()], datasets)
    assert list(datasets) == [data.key] and [run.data.known for run in runs] == [True] * 3
    assert runs[0].data.facts is runs[1].data.facts is datasets[data.key].facts
