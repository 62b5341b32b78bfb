"""A reading of a stack says of each member what plain autograd says of it alone, and leaves no trace in training."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import plain_diagnostics as plain
import pytest
import torch
from members import changed, mix
from torch import Tensor, nn

from bnsweep.catalogue.metrics import FULL, LIGHT, measured
from bnsweep.config.groups import (
    ActivationConfig,
    BnConfig,
    DataConfig,
    InitConfig,
    LrConfig,
    OptimizerConfig,
    ProbesConfig,
    TrainConfig,
)
from bnsweep.config.network import SKIPS, ModelConfig, SkipConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.probes import diagnostics
from bnsweep.records import DIVERGED
from bnsweep.training.trainer import Trainer, train

CPU = torch.device("cpu")
TINY = 1e-11
"""What is 0 but for rounding, such as the gradient of a bias that BN removes, is compared to within this."""

ARMS = [
    ("sigmoid", BnConfig()),
    ("relu", BnConfig("before")),
    ("tanh", BnConfig("after", momentum=0.4)),
    ("relu", BnConfig()),
    ("gelu", BnConfig("before", affine=False)),
    ("elu", BnConfig("after", eps=1e-3)),
    ("identity", BnConfig("before", eps=1e-3)),
    ("silu", BnConfig()),
    ("leaky_relu", BnConfig("after", affine=False)),
    ("tanh", BnConfig("before", noise=0.5)),
]


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def runs(optimizer: str = "sgd", hidden: tuple[int, ...] = (20, 7, 13), dropout: bool = False) -> list[RunConfig]:
    """Members that differ in all that members of one stack may differ in."""
    return [
        RunConfig(
            activation=ActivationConfig(activation),
            init=InitConfig(("he", "xavier")[i % 2]),
            lr=LrConfig((0.004 if optimizer == "adam" else 0.05) * (1 + i), hidden=(1.0, 2.0)[i % 2]),
            bn=bn,
            data=DataConfig(subset=220),
            model=ModelConfig(list(hidden), dropout=(0.0, 0.5, 0.2)[i % 3] if dropout else 0.0, bias=i != 7),
            optimizer=OptimizerConfig(optimizer, weight_decay=(0.0, 0.01)[i % 2]),
            train=TrainConfig(epochs=3, batch_size=32, dtype="float64"),
            probes=ProbesConfig("full", samples=90),
            seed=i % 3,
        )
        for i, (activation, bn) in enumerate(ARMS)
    ]


def probe_batch(trainer: Trainer, k: int) -> tuple[Tensor, Tensor]:
    group = trainer.stack.group_of_K[k]
    x_GBD, y_KB = trainer.batches.take(trainer.batches.rows["probe"])
    return x_GBD[group], y_KB[k]


def smooth(configs: list[RunConfig]) -> list[RunConfig]:
    """Without BN after what is linear for a unit that is always on: such a unit's bias has gradient 0, and Adam turns
    its rounding noise into full steps."""
    gelu = ActivationConfig("gelu")
    return [replace(c, activation=gelu) if c.activation.name in ("elu", "leaky_relu") else c for c in configs]


def optimizer_of(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """torch's own, with the hidden weights' learning rate."""
    modules = {name for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    modules -= {f"linear{config.model.layers + 1}"}
    maps = {f"{name}.{of}" for name in modules for of in ("weight", "weight_v", "weight_g")}
    hidden, rest = [], []
    for name, parameter in model.named_parameters():
        (hidden if name in maps else rest).append(parameter)
    groups = [{"params": hidden, "lr": config.lr.value * config.lr.hidden}, {"params": rest}]
    decay = config.optimizer.weight_decay
    if config.optimizer.name == "adam":
        return torch.optim.Adam(groups, lr=config.lr.value, weight_decay=decay)
    momentum = config.optimizer.momentum if config.optimizer.name == "momentum" else 0.0
    return torch.optim.SGD(groups, lr=config.lr.value, momentum=momentum, weight_decay=decay)


def plain_step(config: RunConfig, state: dict[str, object] | None = None) -> plain.Step:
    def step(model: nn.Module) -> None:
        optimizer = optimizer_of(config, model)
        if state is not None:
            optimizer.load_state_dict(state)
        optimizer.step()

    return step


def member(values: dict[str, Tensor], k: int) -> dict[str, float]:
    """Metrics that member k has."""
    return {name: float(v[k]) for name, v in values.items() if not math.isnan(v[k])}


def assert_alike(measured: dict[str, float], expected: dict[str, float], says: object) -> None:
    assert measured.keys() == expected.keys(), f"{says}: what has no meaning for a member is missing, not 0"
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-6, abs=TINY), f"{says} {name}"


NETWORKS: dict[str, dict[str, Any]] = {
    "20-7-13": {"model.hidden": (20, 7, 13)},
    "9": {"model.hidden": (9,)},
    "weights": {"model.hidden": (9, 8)},
    "residual": {"model.hidden": (9, 9, 9)},
    "conv": {"model.family": "conv", "model.channels": (3, 4)},
    "resnet": {"model.family": "resnet", "model.channels": (3, 4)},
    "projected": {"model.family": "resnet", "model.channels": (3, 4), "model.shortcut": "B", "skip.name": "on"},
}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_member_reads_what_autograd_on_the_plain_network_reads(network: str, digits: data.Dataset) -> None:
    """At the start, and after steps with all members in their own state; every other one with skips. Six members where
    what is read is of images."""
    chosen = (0, 1, 2, 3, 4, 9) if "model.family" in NETWORKS[network] else range(len(ARMS))
    configs = [changed(runs()[i], NETWORKS[network]) for i in chosen]
    if network in ("weights", "projected"):
        configs = [changed(config, {"norm.name": "weight"} if i == 0 else {}) for i, config in enumerate(configs)]
    if network in ("residual", "resnet"):
        configs = [changed(config, {"skip.name": SKIPS[i % 2]}) for i, config in enumerate(configs)]
    trainer = Trainer(configs, digits, CPU)
    start = trainer.diagnostics.full(histograms=False)[0]
    first = [trainer.stack.export(k) for k in range(len(trainer.stack))]
    rows = list(trainer.batches_of(0))
    for rows_GB in rows[:-1]:
        trainer.step(rows_GB)
    before = [trainer.stack.export(k) for k in range(len(trainer.stack))]
    trainer.diagnostics.remember()
    trainer.step(rows[-1])
    end = trainer.diagnostics.full(histograms=False)[0]
    for k, config in enumerate(trainer.stack.configs):
        x, y = probe_batch(trainer, k)
        now, says = trainer.stack.export(k), (config.activation.name, config.bn)
        expected = plain.full(config, first[k], x, y, config.lr.value, plain_step(config))
        assert_alike(member(start, k), expected, says)
        expected = plain.full(config, now, x, y, config.lr.value, plain_step(config))
        expected |= plain.angular_updates(before[k], now, config.model.layers)
        for i, (q, earlier) in enumerate(
            zip(plain.percentiles(now, x, y), plain.percentiles(first[k], x, y), strict=True), 1
        ):
            expected[f"layer/{i}/shift"] = (q - earlier).abs().mean().item()
        assert_alike(member(end, k), expected, says)


def test_a_member_with_fixups_scalars_reads_what_autograd_reads(digits: data.Dataset) -> None:
    """Once it has left the start, where branches and outputs are 0, and with them all gradients but those of the output
    layer; beside a member without skips."""
    configs = [changed(config, {"model.hidden": (9, 9, 9)}) for config in runs()[:4]]
    configs[3] = replace(configs[3], init=InitConfig("fixup", scalars=True), skip=SkipConfig("on"))
    trainer = Trainer(configs, digits, CPU)
    for epoch in range(2):
        for rows_GB in trainer.batches_of(epoch):
            trainer.step(rows_GB)
    values, k = trainer.diagnostics.full(histograms=False)[0], trainer.stack.positions.index(3)
    config, (x, y) = trainer.stack.configs[k], probe_batch(trainer, k)
    expected = plain.full(config, trainer.stack.export(k), x, y, config.lr.value, plain_step(config))
    assert_alike(member(values, k), expected, config)


@pytest.mark.parametrize("budget", [4, 100])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_covariate_shift_is_by_the_step_that_the_optimizer_would_take(
    optimizer: str, budget: int, digits: data.Dataset
) -> None:
    """With what it remembers of earlier steps, and how many they were, after the last step, too; the plain network
    trains beside the stack."""
    configs = [changed(config, {"train.steps": budget}) for config in smooth(runs(optimizer))]
    trainer = Trainer(configs, digits, CPU)
    rows, configs = list(trainer.batches_of(0))[:4], trainer.stack.configs
    models = [trainer.stack.export(k).train() for k in range(len(configs))]
    optimizers = [optimizer_of(c, m) for c, m in zip(configs, models, strict=True)]
    for rows_GB in rows:
        for k, (model, plain_optimizer) in enumerate(zip(models, optimizers, strict=True)):
            index = rows_GB[trainer.stack.group_of_K[k]]
            plain_optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(digits.x_ND[index].double()), digits.y_N[index]).backward()
            plain_optimizer.step()
        trainer.step(rows_GB)
    values, _ = trainer.diagnostics.full(histograms=False)
    for k, (config, plain_optimizer) in enumerate(zip(configs, optimizers, strict=True)):
        if config.bn.noise == 0:
            x, y = probe_batch(trainer, k)
            step = plain_step(config, plain_optimizer.state_dict())
            expected = plain.covariate_shift(models[k], x, y, config.model.layers, step)
            measured = {name: v for name, v in member(values, k).items() if "/ics" in name}
            assert_alike(measured, expected, (config.activation.name, config.bn))


def test_dropout_changes_the_variance_of_the_same_units_in_the_plain_network(digits: data.Dataset) -> None:
    configs = runs(dropout=True)
    configs[1] = replace(configs[1], bn=BnConfig(noise=0.5))  # without BN there is none
    trainer = Trainer(configs, digits, CPU)
    for rows_GB in trainer.batches_of(0):
        trainer.step(rows_GB)
    values, step = trainer.diagnostics.full(histograms=False)[0], int(trainer.stack.t)
    for k, config in enumerate(trainer.stack.configs):
        measured = {name: v for name, v in member(values, k).items() if name.endswith("dropout_ratio")}
        expected = {}
        if config.model.dropout > 0 and (config.bn.noise == 0 or config.bn.placement == "none"):
            expected = plain.dropout_ratios(config, trainer.stack.export(k), *probe_batch(trainer, k), step)
        assert_alike(measured, expected, (config.activation.name, config.bn))


@pytest.mark.parametrize("part", [1, 2 * 20 * 90, 7 * 20 * 90])
def test_a_stack_read_in_parts_reads_as_a_whole(
    part: int, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One member, two, and five at a time: cut through neighbours, with and without BN, and data seeds."""
    whole, cut = Trainer(runs(), digits, CPU), Trainer(runs(), digits, CPU)
    for rows_GB in list(whole.batches_of(0))[:3]:
        whole.step(rows_GB)
        cut.step(rows_GB)
    expected, expected_counts = whole.diagnostics.light(histograms=True)
    monkeypatch.setattr(diagnostics, "PART", part)
    for _ in range(2):  # the second time in memory that was used
        values, counts = cut.diagnostics.light(histograms=True)
        assert len(cut.diagnostics._parts) == {1: 10, 3600: 5, 12600: 2}[part]
        assert values.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(values[name], value, rtol=1e-9, atol=TINY, equal_nan=True, msg=name)
        assert all(torch.equal(a, b) for a, b in zip(counts, expected_counts, strict=True))


@pytest.mark.parametrize("hidden", [(20, 7, 13), (9,)])
def test_a_reading_has_the_names_that_the_table_of_metrics_lists(hidden: tuple[int, ...], digits: data.Dataset) -> None:
    trainer = Trainer(runs(hidden=hidden, dropout=True), digits, CPU)
    curves = {name: row.level for name, row in measured(len(hidden)).items() if not row.single}
    light = {name for name, level in curves.items() if level == LIGHT}
    full = light | {name for name, level in curves.items() if level == FULL}
    assert trainer.diagnostics.light(histograms=False)[0].keys() == light
    assert trainer.diagnostics.full(histograms=False)[0].keys() == full


def test_mates_matter_with_bn_only(digits: data.Dataset) -> None:
    trainer = Trainer(runs(), digits, CPU)
    values, _ = trainer.diagnostics.full(histograms=False)
    for k, config in enumerate(trainer.stack.configs):
        assert (values["mates"][k] < 1e-12) == (config.bn.placement == "none")


def bits(tensors: list[Tensor]) -> list[Tensor]:
    """So that NaN equals NaN, and 0 does not equal -0."""
    return [t.view(torch.int64 if t.element_size() == 8 else torch.int32) for t in tensors]


def state_of(trainer: Trainer) -> list[Tensor]:
    stack = trainer.stack
    return [*stack.parameters.values(), *stack.running.values(), stack.t, *trainer.optimizer.state]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_probing_leaves_every_bit_of_the_training_as_it_is(optimizer: str, dtype: str, digits: data.Dataset) -> None:
    """Parameters, running statistics, curves and the step of divergence, with dropout, schedules, noise and a member
    that diverges in the stack."""
    finals, curves = [], []
    for name in ("off", "light", "full"):
        configs = mix(optimizer, dtype)
        configs[3] = changed(configs[3], {"lr.value": 1e200})
        configs[4] = changed(configs[4], {"bn.noise": 0.5})
        configs = [replace(config, probes=ProbesConfig(name, samples=70, every=1)) for config in configs]
        records, stack = train(configs, digits, CPU)
        assert records[3].status == DIVERGED
        finals.append(bits([*stack.parameters.values(), *stack.running.values(), stack.t]))
        drifts = [[r.summary.pop(n) for n in list(r.summary) if n.startswith("drift_")] for r in records]
        assert all(len(d) == (2 if name == "full" else 0) for d, r in zip(drifts, records, strict=True))
        scores = [{n: v for n, v in r.history.items() if n.split("/")[0] in ("train", "val", "test")} for r in records]
        seen = zip(records, scores, strict=True)
        curves.append([(r.status, r.diverged_step, repr(s), repr(r.summary)) for r, s in seen])
        probed = [n for n in records[0].history if n.startswith("layer/")]
        assert bool(probed) == (name != "off") and ("layer/2/ics" in probed) == (name == "full")
    for other in (1, 2):
        assert all(torch.equal(a, b) for a, b in zip(finals[0], finals[other], strict=True))
        assert curves[other] == curves[0]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_a_reading_puts_everything_back_where_it_was(optimizer: str, digits: data.Dataset) -> None:
    """The same bits in the same memory, which a captured step reads; the next step takes the same batch statistics."""
    trainer = Trainer(mix(optimizer), digits, CPU)
    rows = list(trainer.batches_of(0))
    for rows_GB in rows[:3]:
        trainer.step(rows_GB)
    before, places = [t.clone() for t in bits(state_of(trainer))], [t.data_ptr() for t in state_of(trainer)]
    trainer.diagnostics.full(histograms=True)
    assert [t.data_ptr() for t in state_of(trainer)] == places
    assert all(torch.equal(a, b) for a, b in zip(before, bits(state_of(trainer)), strict=True))


@pytest.mark.parametrize("name", ["light", "full"])
def test_a_stack_whose_members_all_diverged_still_has_its_start(name: str, digits: data.Dataset) -> None:
    diverging = {"lr.value": 1e200, "probes": ProbesConfig(name, every=1)}
    configs = [changed(config, diverging) for config in runs()[3:4] + runs()[7:8]]
    for record in train(configs, digits, CPU)[0]:
        assert record.status == DIVERGED
        assert math.isfinite(record.history["flow"][0])
        assert all(math.isnan(v) for n in record.history if "/" in n for v in record.history[n][1:])


def test_a_neighbour_that_diverged_changes_no_reading_of_a_member(digits: data.Dataset) -> None:
    def read(*lrs: float) -> dict[str, list[float]]:
        configs = [changed(config, {"lr.value": lr}) for config, lr in zip(runs()[:4], lrs, strict=True)]
        return train(configs, digits, CPU)[0][3].history

    calm, beside = read(0.1, 0.1, 0.1, 0.1), read(0.1, 1e200, 1e200, 0.1)
    assert calm.keys() == beside.keys()
    for name, values in calm.items():
        assert beside[name] == pytest.approx(values, rel=1e-9, abs=TINY, nan_ok=True), name
