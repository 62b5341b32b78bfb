"""Samples of a group are in one part of a split, whose sizes are those of every seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Dataset, load
from bnsweep.data.groups import draw_groups
from bnsweep.data.splits import Split, split, stream

SIZES = {
    "alike": [20] * 30,
    "a few large ones": [100, 90, 80, 70, 60, 50, 10, 10, 5, 5],
    "many small ones": [1 + i % 7 for i in range(150)],
    "each its own": [1] * 200,
    "multiples": [10, 20, 30] * 12,
}


def table(path: Path, sizes: list[int], **settings: object) -> tuple[Dataset, DataConfig]:
    """Rows of all groups mixed."""
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = {"a": np.arange(len(groups)) % 11, "y": np.arange(len(groups)) % 2, "who": [f"p{g}" for g in groups]}
    pd.DataFrame(rows).to_csv(path / "x.csv", index=False)
    config = DataConfig("table", file=str(path / "x.csv"), target="y", group="who", validation=None, **settings)  # type: ignore[arg-type]
    dataset = load(config)
    assert dataset.facts is not None
    return dataset, config.with_facts(dataset.facts)


def parts(found: Split) -> list[torch.Tensor]:
    return [found.train, found.validation, found.test]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_no_group_is_divided_and_every_seed_has_the_same_sizes(sizes: list[int], tmp_path: Path) -> None:
    dataset, config = table(tmp_path, sizes)
    assert dataset.group_N is not None and dataset.facts is not None
    found = [parts(split(dataset, config, seed)) for seed in range(12)]
    assert {tuple(map(len, of)) for of in found} == {(config.train_size, config.validation_size, config.test_size)}
    for train, validation, test in found:
        groups = [set(dataset.group_N[rows].tolist()) for rows in (train, validation, test)]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
        assert len({*train.tolist(), *validation.tolist(), *test.tolist()}) == sum(map(len, (train, validation, test)))
    assert len({tuple(of[2].tolist()) for of in found}) > 6, "seeds draw other groups"
    again = parts(split(dataset, config, 3))
    assert all(torch.equal(a, b) for a, b in zip(again, found[3], strict=True))


def test_nothing_is_left_out_where_groups_are_alike(tmp_path: Path) -> None:
    dataset, config = table(tmp_path, SIZES["alike"])
    assert config.train_size + config.validation_size + config.test_size == 600
    assert dataset.notes[-1].endswith("x.csv: 30 groups of 20 to 20 samples stay together")
    with pytest.raises(ConfigError, match=r"^data.validation=50: must be a multiple of the 20 samples of a group"):
        table(tmp_path, SIZES["alike"])[1].__class__("table", file="x", target="y", validation=50).with_facts(
            config.facts
        )


def test_what_a_seed_leaves_out_is_said(tmp_path: Path) -> None:
    dataset, config = table(tmp_path, SIZES["many small ones"])
    total = sum(SIZES["many small ones"])
    assert config.train_size + config.validation_size + config.test_size == total - 12
    assert dataset.notes[-1].endswith(
        "150 groups of 1 to 7 samples stay together; a seed leaves 12 samples unused, so that none is divided"
    )


def test_groups_are_part_of_the_data(tmp_path: Path) -> None:
    one, _ = table(tmp_path, [20] * 30)
    other, _ = table(tmp_path, [30] * 20)
    assert one.info.digest != other.info.digest


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"draw": "first", "subset": 50}, "data.draw=first: must be stratified where groups stay together")],
)
def test_what_would_divide_a_group_is_refused(settings: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{says}$"):
        table(tmp_path, [20] * 30, **settings)


def test_two_groups_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must have at least 3 groups for data.group=who, has 2$"):
        table(tmp_path, [50, 50])


def test_a_part_of_the_last_group_is_taken_and_none_of_it_is_left() -> None:
    group_N = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    for seed in range(6):
        taken, rest = draw_groups(torch.arange(9), group_N, 4, stream("any", seed))
        assert len(taken) == 4 and len(rest) == 3
        assert not set(group_N[taken].tolist()) & set(group_N[rest].tolist())
