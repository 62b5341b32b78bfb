"""A GPU gives the numbers that a CPU gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from members import assert_same_numbers, changed, mix
from plain_loop import nudged_distance
from regressions import regressions, smooth_numbers

from bnsweep.config.groups import DataConfig, ProbesConfig
from bnsweep.data import dataset as data
from bnsweep.kernels.trial import run_on
from bnsweep.runs.executors.local import local_executor
from bnsweep.training import cuda_graph as graph
from bnsweep.training.device import ieee_products, resolve_device
from bnsweep.training.trainer import Trainer, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-3)])
def test_cuda_and_cpu_agree(optimizer: str, dtype: str, tolerance: float) -> None:
    digits = data.load(DataConfig())
    configs = mix(optimizer, dtype, subset=310)
    if dtype == "float32":
        # On a chaotic member no two ways to round agree: ReLU, then BN has units with next to no variance.
        configs = [c for c in configs if nudged_distance(c, digits) < 1e-5]
        assert len(configs) >= 10, "most members are calm"
    on_cpu, _ = train(configs, digits, torch.device("cpu"))
    on_gpu, stack = train(configs, digits, resolve_device("auto"))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert b.device.startswith("cuda")
        for name in ("train/loss", "val/loss", "test/loss", "layer/1/grad_activation", "layer/2/std"):
            assert_same_numbers(b.history[name], a.history[name], tolerance, name)
    assert stack.export(0).linear1.weight.device.type == "cpu"


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_captured_step_gives_the_numbers_of_the_ordinary_one(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout, schedules, several data seeds, a diverging member and evaluations between the epochs included."""
    digits, device = data.load(DataConfig()), resolve_device("cuda")
    configs = mix(optimizer, subset=310)  # so that the last batch is a smaller one
    configs[3] = changed(configs[3], {"lr.value": 1e30})
    captured, _ = train(configs, digits, device)
    monkeypatch.setattr(graph, "WARM_UP", 10**9)
    ordinary, _ = train(configs, digits, device)
    for a, b in zip(captured, ordinary, strict=True):
        assert (a.status, a.diverged_step) == (b.status, b.diverged_step)
        assert a.histograms == b.histograms
        for name, values in b.history.items():
            assert a.history[name] == pytest.approx(values, rel=1e-10, abs=1e-14, nan_ok=True), name


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-3)])
def test_kernels_give_the_numbers_of_torchs_operators_and_of_a_cpu(
    optimizer: str, dtype: str, tolerance: float
) -> None:
    """Dropout, schedules, several data seeds, a diverging member, a smaller last batch; in captured steps."""
    digits, cuda = data.load(DataConfig()), resolve_device("cuda")
    assert run_on(cuda), "Triton's kernels run here"
    configs = mix(optimizer, dtype, subset=310)
    if dtype == "float32":
        configs = [c for c in configs if nudged_distance(c, digits) < 1e-5]
    lost = changed(configs[3], {"lr.value": 1e30})
    by_kernels, stack = train([*configs, lost], digits, cuda, kernels=True)
    by_torch, _ = train([*configs, lost], digits, cuda, kernels=False)
    on_cpu, _ = train([*configs, lost], digits, torch.device("cpu"))
    for a, b, c in zip(on_cpu, by_torch, by_kernels, strict=True):
        assert (a.status, a.diverged_step) == (c.status, c.diverged_step)
        for name in ("train/loss", "val/loss", "test/loss", "layer/1/grad_activation", "layer/2/std"):
            assert_same_numbers(c.history[name], a.history[name], tolerance, name)
            assert_same_numbers(c.history[name], b.history[name], tolerance, name)
    assert int(stack.t) == configs[0].total_steps


@pytest.mark.parametrize("probes", ["light", "full"])
def test_a_captured_step_of_a_regression_gives_the_numbers_of_a_cpu(probes: str) -> None:
    numbers = smooth_numbers(610)  # so that the last batch is a smaller one
    configs = [changed(config, {"probes.name": probes}) for config in regressions(numbers)]
    lost = changed(configs[3], {"lr.value": 1e30})
    on_cpu, _ = train([*configs, lost], numbers, torch.device("cpu"))
    on_gpu, _ = train([*configs, lost], numbers, resolve_device("cuda"))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        assert (a.status, a.diverged_step) == (b.status, b.diverged_step)
        for name in ("train/loss", "val/r2", "test/r2", "layer/1/grad_activation"):
            assert_same_numbers(b.history[name], a.history[name], 1e-7, name)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_full_probes_leave_every_bit_of_captured_training_as_it_is(optimizer: str) -> None:
    """They move the parameters and put them back in the memory that the captured step reads."""
    finals = []
    for name in ("off", "full"):
        configs = mix(optimizer, "float32", subset=310)
        configs = [replace(config, probes=ProbesConfig(name, samples=100, every=1)) for config in configs]
        _, stack = train(configs, data.load(DataConfig()), resolve_device("cuda"))
        finals.append([t.view(torch.int32) for t in (*stack.parameters.values(), *stack.running.values())])
    assert all(torch.equal(a, b) for a, b in zip(*finals, strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_full_probes_on_cuda_and_cpu_agree(optimizer: str) -> None:
    """At the start, before rounding has had time to grow."""
    configs = mix(optimizer, subset=310)
    configs = [replace(config, probes=ProbesConfig("full", samples=100)) for config in configs]
    found = []
    for device in (torch.device("cpu"), resolve_device("cuda")):
        trainer = Trainer(configs, data.load(DataConfig()), device)
        found.append(trainer.diagnostics.full(histograms=True))
    (on_cpu, cpu_counts), (on_gpu, gpu_counts) = found
    for name, value in on_cpu.items():
        torch.testing.assert_close(on_gpu[name].cpu(), value, rtol=1e-7, atol=1e-11, equal_nan=True, msg=name)
    # An output that lies on the edge between two bins may be rounded into either.
    for a, b in zip(cpu_counts, gpu_counts, strict=True):
        assert (a - b.cpu()).abs().sum() <= 4


def test_inputs_are_filled_and_standardised_in_a_captured_step() -> None:
    """As on a CPU, for several data seeds at once."""
    digits = data.load(DataConfig())
    x_ND = digits.x_ND * 100 + 7
    x_ND[::7, ::5] = torch.nan
    table = replace(digits, x_ND=x_ND)
    configs = [replace(c, data=replace(c.data, standardize=True), seed=i % 3) for i, c in enumerate(mix(subset=310))]
    on_cpu, _ = train(configs, table, torch.device("cpu"))
    on_gpu, _ = train(configs, table, resolve_device("cuda"))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        for name in ("train/loss", "val/loss", "test/loss"):
            assert_same_numbers(b.history[name], a.history[name], 1e-8, name)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_options_of_training_in_a_captured_step_give_the_numbers_of_a_cpu(optimizer: str) -> None:
    """Augmentation in all members; clipping, decay, smoothing, alpha dropout and steps of the rate in some."""
    options: list[dict[str, object]] = [
        {"optimizer.clip": 0.1},
        {"optimizer.weight_decay": 0.01, "optimizer.decayed": "weights"},
        {"train.label_smoothing": 0.1},
        {"model.dropout": 0.2, "model.dropout_kind": "alpha"},
        {"lr.schedule": "step", "init.distribution": "normal", "init.name": "lsuv"},
        {},
    ]
    digits, augmented = data.load(DataConfig()), {"data.crop": 2, "data.flip": True}
    members = mix(optimizer, subset=310)
    configs = [changed(config, augmented | options[i % len(options)]) for i, config in enumerate(members)]
    on_cpu, _ = train(configs, digits, torch.device("cpu"))
    on_gpu, _ = train(configs, digits, resolve_device("cuda"))
    for a, b in zip(on_cpu, on_gpu, strict=True):
        for name in ("train/loss", "val/loss", "test/loss"):
            assert_same_numbers(b.history[name], a.history[name], 1e-8, name)


def test_every_step_is_taken_exactly_once() -> None:
    trainer = Trainer(mix(), data.load(DataConfig()), resolve_device("cuda"))
    for epoch in range(3):
        trainer.epoch(epoch)
    assert int(trainer.stack.t) == 3 * trainer.total_steps // trainer.settings.epochs
    assert trainer._replay is not None and trainer._replay._captured


def test_float32_is_ieee_and_not_tf32() -> None:
    torch.set_float32_matmul_precision("medium")
    a = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    on_gpu, exact = a.to("cuda"), a.double() @ a.double()
    with ieee_products():
        error = ((on_gpu @ on_gpu).cpu().double() - exact).abs().max()
    torch.set_float32_matmul_precision("highest")
    assert error < 1e-4, "TF32 is off by about 1e-2 here"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_each_gpu_trains_stacks_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Each on its own device, with the numbers of one of them."""
    digits, configs = data.load(DataConfig()), mix("sgd", "float64", subset=310)
    count = torch.cuda.device_count()
    executor = local_executor(count, {configs[0].data.key: digits}, torch.device("cuda"), tmp_path, save_models=False)
    try:
        trained = [future.result(120) for future in [executor.submit(name, configs) for name in range(2 * count)]]
    finally:
        executor.stop()
    here, _ = train(configs, digits, torch.device("cuda:0"))
    for stack in trained:
        for record, own in zip(stack.records, here, strict=True):
            assert record.summary["final_val_loss"] == pytest.approx(own.summary["final_val_loss"], rel=1e-8)
