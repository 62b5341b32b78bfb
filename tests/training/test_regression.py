"""A regression: squared error of a standardised target, scored by R²."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from members import CPU, changed, make, mix, relative
from plain_loop import loss_distance, nudged_distance, train_plain
from regressions import on, regressions, smooth_numbers
from sklearn.metrics import r2_score

from bnsweep.config.run import RunConfig
from bnsweep.data import splits
from bnsweep.data.dataset import Dataset
from bnsweep.nets.loss import SquaredError
from bnsweep.records import DIVERGED, FINISHED, RunRecord
from bnsweep.training.batches import standardised
from bnsweep.training.trainer import Trainer, train


@pytest.fixture(scope="module")
def numbers() -> Dataset:
    return smooth_numbers()


def deviation(config: RunConfig, record: RunRecord, model: torch.nn.Module, dataset: Dataset) -> float:
    """Largest relative deviation from torch's own loop: every parameter, buffer, loss and R²."""
    plain = train_plain(config, dataset)
    state = {n: t for n, t in plain.model.state_dict().items() if not n.endswith("num_batches_tracked")}
    of_state = [relative(model.state_dict()[name], theirs) for name, theirs in state.items()]
    assert set(plain.history) == {f"{split}/{kind}" for split in ("train", "val", "test") for kind in ("loss", "r2")}
    pairs = [(torch.tensor(record.history[name]).double(), torch.tensor(h)) for name, h in plain.history.items()]
    return max(*of_state, *(relative(*pair) for pair in pairs))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_float64_members_equal_torch_s_own_loop_with_its_mse(optimizer: str, numbers: Dataset) -> None:
    configs = regressions(numbers, optimizer)
    records, stack = train(configs, numbers, CPU)
    models = {stack.positions[k]: stack.export(k) for k in range(len(stack))}
    assert configs[0].total_steps >= 50 and len(stack) == 12
    assert max(deviation(c, records[i], models[i], numbers) for i, c in enumerate(configs)) < 5e-11


def test_float32_losses_equal_torch_s_own_loop_where_it_is_calm(numbers: Dataset) -> None:
    configs = regressions(numbers, dtype="float32")
    records, _ = train(configs, numbers, CPU)
    for config, record in zip(configs[:4], records[:4], strict=True):
        distance = loss_distance(record.history, train_plain(config, numbers).history)
        assert distance < 1e-5 or distance < 3 * nudged_distance(config, numbers)


def test_r2_is_sklearn_s_on_the_target_as_it_was_given(numbers: Dataset) -> None:
    configs = [replace(c, seed=seed) for c in regressions(numbers)[:2] for seed in (0, 1)]
    records, stack = train(configs, numbers, CPU)
    for k, i in enumerate(stack.positions):
        split = splits.split(numbers, configs[i].data, configs[i].data_seed)
        model = stack.export(k)
        y_N = numbers.y_N.double()
        mean, std = (records[i].summary[name] for name in ("target_mean", "target_std"))
        assert mean == pytest.approx(y_N[split.train].mean().item(), rel=1e-12)
        for name in ("train", "validation", "test"):
            rows = getattr(split, name)
            with torch.no_grad():
                found = model(numbers.x_ND[rows].double())[:, 0] * std + mean
            short = name.replace("validation", "val")
            assert records[i].summary[f"final_{short}_r2"] == pytest.approx(r2_score(y_N[rows], found), abs=1e-6)
            rmse = std * math.sqrt(records[i].summary[f"final_{short}_loss"])
            assert rmse == pytest.approx(((found - y_N[rows]) ** 2).mean().sqrt().item(), rel=1e-6)


def test_predicting_the_mean_scores_0_at_a_loss_of_1(numbers: Dataset) -> None:
    """On the training samples, whose mean and variance they are."""
    (config,) = on(numbers, [make(("relu", "xavier", "constant", "none"))])
    trainer = Trainer([config], numbers, CPU)
    trainer.stack.weights[-1].zero_()
    loss_K, r2_K = trainer.score("train")
    assert loss_K.item() == pytest.approx(1, abs=1e-12) and r2_K.item() == pytest.approx(0, abs=1e-12)


def test_r2_of_a_target_that_never_varies_is_sklearn_s() -> None:
    y_GB, group = torch.full((1, 5), 3.0), torch.zeros(2, dtype=torch.long)
    found = SquaredError().score(torch.tensor([0.0, 0.5], dtype=torch.float64), y_GB, group)
    assert found.tolist() == [r2_score(y_GB[0], y_GB[0]), r2_score(y_GB[0], y_GB[0] + 0.5**0.5)] == [1, 0]


def test_each_data_seed_standardises_by_its_own_training_rows() -> None:
    y_N, rows = torch.tensor([1.0, 2, 3, 4, 1e9, 1e9]), torch.tensor([[0, 1, 2], [3, 1, 0], [4, 5, 5]])
    found, scale_G2 = standardised(y_N, rows)
    some = found.gather(1, rows)
    assert found.dtype == torch.float64 and torch.allclose(some.mean(1), torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(some.std(1, correction=0), torch.tensor([1.0, 1, 0]).double())
    assert found[2, 4] == 0 and found[2].isfinite().all(), "what never varies is only shifted"
    assert torch.allclose(found * scale_G2[:, 1:] + scale_G2[:, :1], y_N.double().expand(3, 6), rtol=1e-12)


def test_a_regression_draws_its_splits_from_all_samples(numbers: Dataset) -> None:
    (config,) = on(numbers, [make(("relu", "xavier", "constant", "none"))])
    found = splits.split(numbers, config.data, seed=3)
    parts = [found.train, found.validation, found.test]
    assert [len(part) for part in parts] == [380, 100, 120] and len(torch.cat(parts).unique()) == 600
    assert not torch.equal(found.test, splits.split(numbers, config.data, seed=4).test)


@pytest.mark.parametrize("probes", ["light", "full"])
def test_every_probe_reads_a_regression(numbers: Dataset, probes: str) -> None:
    """All but what depends on class probabilities."""
    configs = [changed(c, {"probes.name": probes}) for c in regressions(numbers)[:3]]
    records, _ = train(configs, numbers, CPU)
    for record in records:
        assert not [name for name in (*record.history, *record.summary) if "accuracy" in name or name == "mates"]
        assert math.isfinite(record.history["layer/1/grad_weight"][-1])
        if probes == "full":
            assert math.isfinite(record.history["landscape/beta"][-1])
            assert -100 < record.history["batch/r2"][-1] <= 1


def test_a_network_learns_it_and_one_that_diverges_stops_alone(numbers: Dataset) -> None:
    good = on(numbers, [make(("tanh", "xavier", "constant", "none"), dtype="float32")])[0]
    good = changed(good, {"train.epochs": 60, "model.dropout": 0.0})
    bad = changed(good, {"lr.value": 1e6, "activation.name": "relu"})
    learned, lost = train([good, bad], numbers, CPU)[0]
    alone = train([good], numbers, CPU)[0][0]
    assert (learned.status, lost.status) == (FINISHED, DIVERGED)
    assert learned.summary == alone.summary and learned.summary["final_test_r2"] > 0.8
    assert math.isnan(lost.summary["final_val_r2"]) and lost.diverged_step is not None


def test_what_is_worse_than_guessing_counts_as_guessing_in_numbers_made_of_several(numbers: Dataset) -> None:
    """At its start a wide network is at an R² of -10 or less; its curve says so, its time mean does not."""
    wide = mix("sgd")[0]
    (config,) = on(numbers, [changed(wide, {"init.std": 3.0, "lr.value": 1e-9, "train.steps": 4})])
    (record,), _ = train([config], numbers, CPU)
    assert max(record.history["val/r2"]) < -10 and record.summary["final_train_r2"] < -10
    assert record.summary["auc"] == 0 and record.summary["gap_r2"] == 0
