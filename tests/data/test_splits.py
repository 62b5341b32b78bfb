"""What is split is split exactly, and nothing but the seed decides how."""

from __future__ import annotations

import pytest
import torch

from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Dataset, load
from bnsweep.data.splits import batch_draws, batch_order, draw, split, stream


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig())


@pytest.mark.parametrize(("validation", "subset"), [(287, None), (10, None), (500, 10), (101, 333)])
@pytest.mark.parametrize("seed", range(5))
def test_splits_are_disjoint_stratified_and_of_exact_size(
    digits: Dataset, seed: int, validation: int, subset: int | None
) -> None:
    wanted = DataConfig(validation=validation, subset=subset)
    parts = split(digits, wanted, seed)
    sizes = (len(parts.train), len(parts.validation), len(parts.test))
    assert sizes == (wanted.train_size, validation, 360)
    assert len(torch.cat([parts.train, parts.validation, parts.test]).unique()) == sum(sizes)
    share = torch.bincount(digits.y_N) / len(digits.y_N)
    for rows in (parts.train, parts.validation, parts.test):
        # One sample from rounding here, and one or two more inherited from the draws before.
        assert (torch.bincount(digits.y_N[rows], minlength=10) - share * len(rows)).abs().max() < 2


def test_an_unbalanced_pool_is_shared_out_by_largest_remainder() -> None:
    y_N = torch.tensor([0] * 7 + [1] * 2 + [2] * 1)
    taken, left = draw(torch.arange(10), y_N, 4, torch.Generator())
    assert torch.bincount(y_N[taken]).tolist() == [3, 1]  # 2.8, 0.8 and 0.4 samples
    assert sorted(taken.tolist() + left.tolist()) == list(range(10))


def test_one_setting_of_the_split_moves_only_what_it_names(digits: Dataset) -> None:
    whole, part = (split(digits, DataConfig(subset=subset), 3) for subset in (None, 100))
    assert torch.equal(whole.test, part.test) and torch.equal(whole.validation, part.validation)
    assert torch.isin(part.train, whole.train).all()
    assert torch.equal(whole.test, split(digits, DataConfig(validation=50), 3).test)


def test_seeds_and_epochs_and_nothing_else_decide(digits: Dataset) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, order = split(digits, DataConfig(), 0), batch_order(0, 0, 1150)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = split(digits, DataConfig(), 0)
    assert torch.equal(first.train, again.train) and torch.equal(first.test, again.test)
    assert torch.equal(order, batch_order(0, 0, 1150))
    assert not torch.equal(first.test, split(digits, DataConfig(), 1).test)


def test_batch_orders_are_permutations_unlike_each_other() -> None:
    orders = [batch_order(seed, epoch, 1000) for seed in range(4) for epoch in range(4)]
    assert all(order.sort().values.tolist() == list(range(1000)) for order in orders)
    agreement = [(a == b).sum().item() for i, a in enumerate(orders) for b in orders[:i]]
    assert max(agreement) < 10  # about one position in a thousand agrees by chance


def test_every_purpose_has_a_stream_of_its_own() -> None:
    seeds = {stream(purpose, 3).initial_seed() for purpose in ("test", "validation", "subset", "order")}
    assert len(seeds) == 4


def test_the_first_samples_of_the_files_are_the_same_for_every_seed(digits: Dataset) -> None:
    wanted = DataConfig("gaussian", subset=300, draw="first", validation=100, test=50)
    made = load(wanted)
    for seed in range(3):
        parts = split(made, wanted, seed)
        assert parts.train.tolist() == list(range(300))
        assert parts.validation.min() >= 300 and parts.validation.max() < 2000 and len(parts.validation) == 100
        assert parts.test.min() >= 2000 and len(parts.test) == 50
    assert not torch.equal(split(made, wanted, 0).test, split(made, wanted, 1).test)


def test_draws_with_replacement_repeat_samples_and_cover_all() -> None:
    draws = batch_draws(0, 0, 1000, 10_000)
    assert len(draws) == 10_000 and draws.unique().numel() > 990
    assert len(draws[:1000].unique()) == pytest.approx(1000 * (1 - 1 / 2.718281828), abs=40)
    assert not torch.equal(draws, batch_draws(0, 1, 1000, 10_000))
    assert torch.equal(draws, batch_draws(0, 0, 1000, 10_000))
