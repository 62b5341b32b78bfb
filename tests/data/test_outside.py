"""A function of the user's gives the data: found where the command is started, verified, told apart by its digest."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnsweep.catalogue.datasets import DatasetFacts
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
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
    assert facts(found) == DatasetFacts(240, 60, 4, 3, official_test=False, digest=found.info.digest)
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
    "one thing": ("return x", r"must give \(x, y\) or \(x_train, y_train, x_test, y_test\), gives ndarray"),
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
    "fractions": ("return x, y / 2", r"y must hold integers, holds float64"),
    "from 1": ("return x, y + 1", r"labels must be 0, 1, … without a gap, at least two of them, are 1, 2, 3"),
    "a gap": ("return x, 10 * y", r"labels must be .*, are 0, 10, 20"),
    "one class": ("return x, 0 * y", r"labels must be .*, are 0"),
    "strange test": ("return x, y, x, y + 1", r"y_test must hold labels of y_train, which has no 3"),
    "features": ("return x, y, x[:, 0], y", r"x_train and x_test must have as many numbers a sample, have 4 and 2"),
    "an error": ("raise KeyError('there')", r"must be a function that can be called from .* \(KeyError: 'there'\)"),
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


def test_runs_on_the_same_data_read_it_once(give: Give) -> None:
    data = give("print('read'); return x, y")
    datasets: dict[tuple[str, str], Dataset] = {}
    runs = with_facts([RunConfig(data=data), RunConfig(data=data, seed=1), RunConfig()], datasets)
    assert list(datasets) == [data.key] and [run.data.known for run in runs] == [True] * 3
    assert runs[0].data.facts is runs[1].data.facts is datasets[data.key].facts
