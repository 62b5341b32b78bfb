"""Training batches are shifted and mirrored as an image at a time is; nothing else is."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from members import CPU, changed, make
from plain_loop import augmented, train_plain

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.chance import crop_draws, flip_draws
from bnsweep.training.augment import Augment
from bnsweep.training.trainer import Trainer, train

SHAPES = {
    "colour images": DataConfig("cifar10", validation=5000),
    "grey images": DataConfig("mnist", validation=5000),
    "signals": DataConfig("mnist1d", validation=500),
}


@pytest.mark.parametrize(
    "settings", [{"data.crop": 3}, {"data.flip": True}, {"data.crop": 4, "data.flip": True}], ids=str
)
@pytest.mark.parametrize("name", SHAPES)
def test_a_batch_is_augmented_as_its_images_are_one_by_one(name: str, settings: dict[str, object]) -> None:
    config = changed(RunConfig(data=SHAPES[name]), settings)
    x_GBD = torch.rand(2, 20, config.data.facts.features, generator=torch.Generator().manual_seed(0))
    ours = Augment(config, [5, 8], CPU)(x_GBD, torch.tensor(7))
    for x_BD, seed, found in zip(x_GBD, (5, 8), ours, strict=True):
        assert torch.equal(found, augmented(changed(config, {"data.seed": seed}), 7, x_BD))
    assert not torch.equal(ours, x_GBD)


def test_every_place_and_side_is_drawn_equally_often_and_anew_at_every_step() -> None:
    seeds = torch.tensor([3, 4])
    down, right = crop_draws(seeds, 1, 5000, 2)
    for draws in (down, right):
        counts = Counter(draws.flatten().tolist())
        assert set(counts) == {-2, -1, 0, 1, 2} and all(1800 < n < 2200 for n in counts.values())
    assert not torch.equal(down, right) and not torch.equal(down, crop_draws(seeds, 2, 5000, 2)[0])
    assert not torch.equal(down[0], down[1])
    mirrored = flip_draws(seeds, 1, 5000)
    assert mirrored.double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert not torch.equal(mirrored, flip_draws(seeds, 2, 5000))


def test_only_what_a_step_is_taken_on_is_augmented() -> None:
    """Scores and probes, before the first step, are those of the run without it."""
    digits, settings = data.load(DataConfig()), {"data.crop": 2, "data.flip": True}
    one = make(("relu", "he", "constant", "before"))
    config = changed(one, settings)
    (with_it,), (without,) = (
        train([changed(c, {"train.epochs": 0, "probes.name": "full"})], digits, CPU)[0] for c in (config, one)
    )
    for name, values in without.history.items():
        assert with_it.history[name] == pytest.approx(values, nan_ok=True), name
    trainer = Trainer([config], digits, CPU)
    rows = next(trainer.batches_of(0))
    assert torch.equal(trainer.batches.take(rows)[0][0], digits.x_ND.double()[rows[0]])
    assert not torch.equal(trainer.batches.take(rows, trainer.stack.t)[0][0], digits.x_ND.double()[rows[0]])


def test_convolutional_members_of_two_data_seeds_train_on_augmented_images_as_alone() -> None:
    digits = data.load(DataConfig())
    settings = {"model.family": "conv", "model.channels": (3, 4), "model.dropout": 0.0, "train.steps": 40}
    settings |= {"data.crop": 1, "data.flip": True}
    arms = [("tanh", "xavier", "constant", "before"), ("silu", "he", "constant", "none")]
    configs = [changed(make(arm, i), settings | {"seed": i // 2}) for i, arm in enumerate(arms * 2)]
    records, _ = train(configs, digits, CPU)
    for config, record in zip(configs, records, strict=True):
        for name, values in train_plain(config, digits).history.items():
            assert record.history[name] == pytest.approx(values, rel=1e-9, abs=1e-12), name
