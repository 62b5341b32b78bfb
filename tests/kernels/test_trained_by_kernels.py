"""A stack that trains by kernels is the stack that trains by torch's operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from interpreted import DEVICE, quiet  # noqa: F401
from members import changed, mix, relative

from bnsweep.config.groups import DataConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.kernels import codes
from bnsweep.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quiet")


def trained(configs: list[RunConfig], kernels: bool) -> Trainer:
    trainer = Trainer(configs, data.load(DataConfig()), DEVICE, kernels=kernels)
    trainer.epoch(0)
    return trainer


def assert_same(configs: list[RunConfig], bound: float) -> None:
    plain, fused = (trained(configs, kernels) for kernels in (False, True))
    assert plain.engine.activated and not fused.engine.activated, "kernels leave nothing to look at"
    assert torch.equal(plain.alive_K, fused.alive_K)
    assert torch.equal(plain.survived_K, fused.survived_K)
    alive = plain.alive_K
    for found, wanted in zip(fused.score("validation"), plain.score("validation"), strict=True):
        torch.testing.assert_close(found[alive], wanted[alive], rtol=100 * bound, atol=100 * bound, equal_nan=True)
    for name, wanted in {**plain.stack.parameters, **plain.stack.running}.items():
        found = {**fused.stack.parameters, **fused.stack.running}[name]
        assert relative(found[alive], wanted[alive]) < bound, name
        # Of what has diverged the numbers grew from rounding: it has stopped at the same step.
        assert torch.equal(found[~alive].isfinite(), wanted[~alive].isfinite()), name


def small(values: dict[str, Any], optimizer: str = "sgd", dtype: str = "float64") -> list[RunConfig]:
    """Twelve members, of whom one diverges, six steps, of which the last has fewer samples."""
    configs = mix(optimizer, dtype, hidden=(6, 5), subset=150)
    configs[3] = changed(configs[3], {"lr.value": 1e30})
    return [changed(config, values) for config in configs]


@pytest.mark.parametrize(
    ("optimizer", "dtype", "bound"),
    [("sgd", "float64", 1e-10), ("adam", "float64", 1e-8), ("momentum", "float32", 1e-3)],
)
def test_all_activations_placements_and_kinds_of_statistics(optimizer: str, dtype: str, bound: float) -> None:
    configs = enumerate(small({}, optimizer, dtype))
    free = [changed(c, {"bn.unbiased": i % 3 > 0, "train.label_smoothing": 0.1 * (i % 2)}) for i, c in configs]
    assert_same(free, bound)


def test_members_that_kernels_do_not_know_stand_beside_others() -> None:
    """Another normalisation, noise behind BN, a function of the user's, skips."""
    options: list[dict[str, Any]] = [{"norm.name": "layer"}, {"bn.noise": 0.5}, {"skip.name": "on"}, {}]
    members = enumerate(small({"model.hidden": (6, 6, 6)}))
    configs = [changed(c, {} if c.placement == "none" else options[i % 4]) for i, c in members]
    configs[0] = changed(configs[0], {"activation.name": "torch:cos"})
    assert_same(configs, 1e-10)


def test_full_probes_read_the_same() -> None:
    probes = {"probes.name": "full", "probes.samples": 30, "model.dropout": 0.0}
    configs = [changed(c, probes) for c in small({}) if c.lr.value < 1][::4]
    plain, fused = (trained(configs, kernels).diagnostics.full(histograms=False)[0] for kernels in (False, True))
    assert plain.keys() == fused.keys()
    for name, wanted in plain.items():
        torch.testing.assert_close(fused[name], wanted, rtol=1e-7, atol=1e-10, equal_nan=True, msg=name)


@pytest.mark.parametrize(("family", "channels"), [("conv", (2, 3)), ("resnet", (2, 3)), ("conv", (16, 16))])
def test_images_are_rows_of_channels(family: str, channels: tuple[int, int]) -> None:
    """Of more channels a CPU has them side by side, and goes without kernels."""
    values = {"model.family": family, "model.channels": channels, "model.dropout": 0.0, "model.head": "flat"}
    skip = "on" if family == "resnet" else "off"
    assert_same([changed(c, {**values, "skip.name": skip, "data.subset": 60}) for c in small({})[3:6]], 1e-10)


def test_batches_that_are_too_long_for_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "LONGEST_ROW", 19)
    monkeypatch.setattr(codes, "MOST_OUTPUTS", 16 * 16)
    assert_same(small({}), 1e-10)
