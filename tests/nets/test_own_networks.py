"""Networks of the user's: stacked, each member has the numbers that an ordinary loop gives it alone."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import own_modules
import pytest
import torch
from members import CPU, relative
from own_runs import known, run
from plain_loop import train_plain
from regressions import on, smooth_numbers
from torch import Tensor, nn

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import (
    DataConfig,
)
from bnsweep.config.identity import identity, numbers, stack_key
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.activation import functions
from bnsweep.nets.member_chance import MemberChance
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.own.functions import own_activation
from bnsweep.probes import diagnostics
from bnsweep.records import DIVERGED, FINISHED
from bnsweep.runs.plan import describe, make_plan
from bnsweep.training.known import with_facts
from bnsweep.training.trainer import Trainer, train

QUICK = ("SkipMlp", "conv_bn_relu", "Dropouts", "in_place", "Tied", "Buffers", "DataDependent", "HiddenTensor")
QUICK += ("Assigned", "DropPath", "Transformer")
ALONE = {
    "ByFunction": "vmap: It looks like you're calling .item() on a Tensor",
    "DataDependent": "vmap: It looks like you're calling .item() on a Tensor",
    "HiddenTensor": "as one they would differ in their outputs from the same networks alone",
    "Recurrent": "torch.func has no batching rule for aten::gru",
    "weight_normed": "torch.func has no batching rule for aten::_weight_norm",
    "EmbeddingBag": "torch.func has no batching rule for aten::embedding_bag",
}
"""Kinds that torch.func cannot call as one, and how that is said."""


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


def four(target: str) -> list[RunConfig]:
    """They differ in what members of one stack may differ in."""
    return [
        run(
            target,
            seed=i % 3,
            **{"lr.value": 0.04 * (1 + i), "lr.schedule": ("constant", "cosine")[i % 2]},
            **{"optimizer.weight_decay": (0.0, 0.01)[i % 2], "optimizer.decayed": ("all", "weights")[i // 2]},
            **{"optimizer.clip": (None, 0.5)[i // 2]},
        )
        for i in range(4)
    ]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in own_modules.KINDS]
)
def test_each_kind_stacked_equals_the_ordinary_loop(
    kind: str, digits: data.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = known(four(kind), digits)
    assert len({stack_key(config) for config in configs}) == 1 and configs[0].total_steps >= 40
    records, stack = train(configs, digits, CPU)
    worst = 0.0
    for k, place in enumerate(stack.positions):
        plain, ours = train_plain(configs[place], digits), stack.export(k)
        theirs = {**dict(plain.model.named_parameters()), **dict(plain.model.named_buffers())}
        for name, t in (*ours.named_parameters(), *ours.named_buffers()):
            worst = max(worst, relative(t.detach().double(), theirs[name].detach().double()))
        for curve, values in plain.history.items():
            found = torch.tensor(records[place].history[curve], dtype=torch.float64)
            worst = max(worst, relative(found, torch.tensor(values, dtype=torch.float64)))
    with capsys.disabled():
        print(f"\n{kind}: {worst:.1e} largest relative deviation in {configs[0].total_steps} float64 steps.", end="")
    assert worst < 1e-9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_torch_func_cannot_call_as_one_is_found_before_training(dtype: str, digits: data.Dataset) -> None:
    found = known([run(kind, **{"train.dtype": dtype}) for kind in own_modules.KINDS], digits)
    said = {kind: config.model.network.alone for kind, config in zip(own_modules.KINDS, found, strict=True)}
    assert {kind for kind, reason in said.items() if reason} == {*ALONE}
    for kind, start in ALONE.items():
        assert said[kind].startswith(start)


@pytest.mark.parametrize("column", [True, False])
def test_a_regression_is_trained_whether_its_outputs_are_a_column_or_not(column: bool) -> None:
    dataset = smooth_numbers()

    def runs(column: bool) -> list[RunConfig]:
        found = on(dataset, [run("Regressor", seed=seed, **{"model.kwargs": {"column": column}}) for seed in (0, 1)])
        return with_facts(found, {found[0].data.key: dataset})

    records, _ = train(runs(column), dataset, CPU)
    wanted = [train_plain(config, dataset).history for config in runs(True)]
    for record, history in zip(records, wanted, strict=True):
        for name in ("train/loss", "val/r2"):
            assert record.history[name] == pytest.approx(history[name], rel=1e-9)


def test_a_signal_comes_as_channels_and_length() -> None:
    dataset = data.load(DataConfig("mnist1d"))
    config = run("signal_net", **{"data.name": "mnist1d", "data.validation": 100})
    (config,) = with_facts([config], {config.data.key: dataset})
    assert config.sample_shape == (1, 40) and [row for _, row in config.model.network.activations] == ["relu"]


@pytest.mark.parametrize("kind", ["SkipMlp", "HiddenTensor"])
def test_light_probes_read_members_in_parts_as_all_at_once(
    kind: str, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = known([run(kind, seed=seed, **{"probes.name": "light"}) for seed in (0, 1, 2)], digits)
    at_once = Trainer(configs, digits, CPU).evaluate(0)
    monkeypatch.setattr(diagnostics, "PART", 1)
    in_parts = Trainer(configs, digits, CPU).evaluate(0)
    assert in_parts.counts == at_once.counts
    for name, values in at_once.values.items():
        assert in_parts.values[name] == pytest.approx(values, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("alone", [False, True])
def test_a_network_that_writes_into_its_input_changes_nothing_of_what_others_read(
    alone: bool, digits: data.Dataset
) -> None:
    given = {"model.kwargs": {"alone": alone}, "data.seed": 0, "probes.name": "full"}
    configs = known([run("Overwriting", seed=seed, **given) for seed in (0, 1)], digits)
    assert bool(configs[0].model.network.alone) is alone
    before, (records, _) = digits.x_ND.clone(), train(configs, digits, CPU)
    assert torch.equal(digits.x_ND, before)
    for config, record in zip(configs, records, strict=True):
        plain = train_plain(config, digits).history
        for name, values in train([config], digits, CPU)[0][0].history.items():
            assert record.history[name] == pytest.approx(values, rel=1e-9, abs=1e-12, nan_ok=True), name
        for name, values in plain.items():
            assert record.history[name] == pytest.approx(values, rel=1e-9), name


def test_a_network_starts_as_its_factory_makes_it_from_the_seed(digits: data.Dataset) -> None:
    (config,) = known([run("ResNetBlock", seed=7)], digits)
    torch.manual_seed(7)
    wanted, built = own_modules.ResNetBlock().double(), build(config)
    assert type(built) is own_modules.ResNetBlock
    exported = Stack([config], CPU).export(0)
    for name, t in wanted.state_dict().items():
        assert torch.equal(built.state_dict()[name], t) and torch.equal(exported.state_dict()[name], t)


def test_arms_of_a_seed_share_what_a_network_starts_with(digits: data.Dataset) -> None:
    configs = known([run("SkipMlp", **{"init.gain": gain}) for gain in (1.0, 2.0)], digits)
    one, two = (build(config).get_parameter("second.weight") for config in configs)
    assert torch.equal(2 * one, two) and one.std().item() == pytest.approx(math.sqrt(2 / 16), rel=0.2)


def test_members_come_back_as_the_users_own_module(digits: data.Dataset) -> None:
    configs = known([run("TwoHeads", seed=seed) for seed in (0, 1)], digits)
    _, stack = train(configs, digits, CPU)
    trainer = Trainer(configs, digits, CPU)
    trainer.stack.rest.flat.copy_(stack.rest.flat)
    for name, buffer in stack.buffers.items():
        trainer.stack.buffers[name].copy_(buffer)
    x = digits.x_ND[:20].double()
    outputs = trainer.reader.evaluate(x.expand(2, 20, 64).contiguous())
    for k in range(2):
        module = stack.export(k)
        assert isinstance(module, own_modules.TwoHeads) and not module.training
        assert torch.allclose(module(x.view(20, 1, 8, 8)), outputs[k].T, rtol=1e-12)


def test_a_diverging_member_changes_no_bit_of_the_others(digits: data.Dataset) -> None:
    configs = known([run("in_place", seed=seed, **{"probes.name": "light"}) for seed in range(3)], digits)
    alone, healthy = train(configs, digits, CPU)
    object.__setattr__(configs[1].lr, "value", float("nan"))
    records, stack = train(configs, digits, CPU)
    assert [record.status == DIVERGED for record in records] == [False, True, False]
    for k in (0, 2):
        assert records[k].history == alone[k].history
        for name, buffer in stack.buffers.items():
            assert torch.equal(buffer[k], healthy.buffers[name][k])
    counts = stack.buffers["2.num_batches_tracked"].tolist()
    assert counts == [42, counts[1], 42] and counts[1] < 3, "its running statistics are frozen, too"


def test_what_activations_do_is_read_as_in_the_packages_own_network(digits: data.Dataset) -> None:
    """The same network, once as a module and once as native layers."""
    for activation, placement in (("relu", "before"), ("sigmoid", "none")):
        given = {"activation.name": activation, "bn.placement": placement, "probes.name": "full"}
        (own,) = known([run("Plain", **given)], digits)
        native = replace(own, model=ModelConfig((16, 16)))
        ours, theirs = Trainer([own], digits, CPU), Trainer([native], digits, CPU)
        for name, p in theirs.stack.parameters.items():
            if name in ours.stack.parameters:
                ours.stack.parameters[name].copy_(p.view(ours.stack.parameters[name].shape))
        found, wanted = ours.evaluate(0), theirs.evaluate(0)
        left_out = {name for name in wanted.values if name not in found.values}
        of_weights = ("grad_weight", "update_ratio", "effective_lr", "weight_cosine", "grad_bias", "angular_update")
        of_weights += ("running_variance", "ics", "ics_ratio", "ics_cosine")
        assert {name.rpartition("/")[2] for name in left_out} <= {*of_weights} and found.counts == wanted.counts
        for name, values in found.values.items():
            assert values == pytest.approx(wanted.values[name], rel=1e-9, abs=1e-12, nan_ok=True), name
        assert {"flow", "layer/1/std", "layer/3/grad_activation", "landscape/beta", "mates"} <= {*found.values}


def test_a_worker_imports_an_own_activation_before_it_calls_members_as_one(digits: data.Dataset) -> None:
    configs = known([run("SkipMlp", seed=seed, **{"activation.name": "torch:erf"}) for seed in (0, 1)], digits)
    functions.cache_clear()
    own_activation.cache_clear()
    records, _ = train(configs, digits, CPU)
    assert [record.status for record in records] == [FINISHED] * 2


def test_activations_are_found_by_class_and_by_factory(digits: data.Dataset) -> None:
    def rows(target: str, **given: Any) -> list[str]:
        (config,) = known([run(target, **given)], digits)
        return [row for _, row in config.model.network.activations]

    assert rows("SkipMlp", **{"activation.name": "torch.nn.functional:mish"}) == ["torch.nn.functional:mish"] * 2
    assert rows("ResNetBlock") == ["relu"] * 3, "one module is called three times"
    assert rows("depthwise") == ["torch.nn.functional:hardswish", "relu"]
    assert rows("ByFunction") == ["relu"] and rows("linear_map") == []


def test_a_network_that_takes_no_part_is_one_run_whatever_the_parts(digits: data.Dataset) -> None:
    (one,), (other,) = (
        known([run("in_place", **{"activation.name": name, "init.name": "xavier"})], digits)
        for name in ("relu", "tanh")
    )
    assert identity(one) == identity(other)
    gone = {"activation", "init", "bn", "skip", "model.hidden", "model.dropout"}
    assert not gone & {*numbers(one)} and numbers(one)["model.layers"] == 2
    taken = known([run("SkipMlp", **{"activation.name": name}) for name in ("relu", "tanh")], digits)
    assert len({identity(config) for config in taken}) == len({stack_key(config) for config in taken}) == 2
    inits = known([run("SkipMlp", **{"init.name": name}) for name in ("he", "xavier")], digits)
    assert len({identity(config) for config in inits}) == 2 and len({stack_key(config) for config in inits}) == 1


def test_a_last_batch_of_one_sample_is_refused_of_networks_with_a_bn_of_their_own(digits: data.Dataset) -> None:
    left = {"data.subset": 15, "bn.placement": "before"}
    with pytest.raises(ConfigError, match=r"train.batch_size=14: must be such that no batch holds a single sample"):
        known([run("in_place", **left)], digits)
    (config,) = known([run("layer_norm", **left)], digits)
    assert not config.batch_norm


def test_what_a_network_does_not_take_cannot_be_swept(digits: data.Dataset) -> None:
    with pytest.raises(ConfigError, match=r"activation=relu,tanh: must be one value with model.target=own_modules:"):
        known([run("in_place", **{"activation.name": name}) for name in ("relu", "tanh")], digits)
    with pytest.raises(ConfigError, match=r"bn=none,before: .* which takes no argument `norm`$"):
        known([run("in_place", **{"bn.placement": place}) for place in ("none", "before")], digits)


def test_the_plan_says_what_is_taken_read_and_trained_one_by_one(digits: data.Dataset) -> None:
    configs = known([run("SkipMlp"), run("DataDependent"), run("linear_map")], digits)
    lines = describe(make_plan(configs, (), CPU, 1)).splitlines()
    nothing = "takes no argument of ours; settings that say nothing about it: activation, bn, init, model.hidden"
    assert lines[2:] == [
        "own_modules:SkipMlp takes activation, norm, init, sizes",
        "own_modules:SkipMlp: layer metrics are those of its 2 activations, none of its weights",
        f"own_modules:DataDependent {nothing}",
        "own_modules:DataDependent: layer metrics are those of its 1 activation, none of its weights",
        "own_modules:DataDependent trains one by one: vmap: It looks like you're calling .item() on a Tensor",
        f"own_modules:linear_map {nothing}",
        "own_modules:linear_map: no layer metrics, as it calls none of torch's activations",
    ]


NUMBER = itertools.count()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def Net(): return 3", "model.target={0}: must be a class or function that gives a torch.nn.Module"),
        ("def Net(): return nn.Flatten()", "model.target={0}: must be a module with parameters, has none"),
        ("def Net(width): return nn.Linear(width, 10)", "missing 1 required positional argument: 'width'"),
        (
            "def Net(): return nn.Linear(64, 10)",
            "model.target={0}: must be a module that takes inputs of 4 x 1 x 8 x 8",
        ),
        (
            "def Net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))",
            "must be a module that gives 10 numbers a sample, as classification wants: of 4 samples it gives (4, 9)",
        ),
        (
            "def Net(norm): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), norm(10))",
            "bn=after: must be none or a place that {0} asks `norm` for: norm(units, place) was called for before",
        ),
        ("def Net(norm): return norm(10, 'behind')", "place=behind: must be one of before, after"),
        (
            "def Net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)",
            "must be a module whose outputs depend on a parameter that requires a gradient",
        ),
        ("Net = 3", "and can be called, is int"),
        ("other = 3", "has no 'Net'"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(
    body: str, says: str, digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"my_network_{next(NUMBER)}"
    Path(f"{name}.py").write_text(f"from torch import nn\n{body}\n", encoding="utf-8")
    config = run("in_place", **{"model.target": f"{name}:Net", "bn.placement": "after"})
    with pytest.raises(ConfigError) as error:
        known([config], digits)
    assert says.format(f"{name}:Net") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model.dropout": 0.5}, "model.dropout=0.5: must be 0 with model=module, whose network says so itself"),
        ({"skip.name": "on"}, "skip=on: must be off with model=module"),
        ({"norm.name": "weight"}, "norm=weight: must be another with model=module"),
        ({"init.name": "lsuv"}, "init=lsuv: must be another with model=module"),
        ({"lr.hidden": 0.5}, "lr.hidden=0.5: must be 1 with model=module"),
        ({"model.family": "mlp"}, "model.target=own_modules:in_place: must be left out"),
        ({"model.target": None}, "model.target=None: must be given with model=module, as module:name"),
        ({"model.target": "Net"}, "model.target=Net: must be a class or function of yours that gives a torch module"),
    ],
)
def test_settings_that_a_network_of_the_users_does_not_have_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        run("in_place", **given)
    assert str(error.value).startswith(says)


def test_a_members_draws_depend_on_seed_step_and_call_alone() -> None:
    def draws(seed: int, step: int) -> list[Tensor]:
        with MemberChance(torch.tensor(seed), torch.tensor(step)):
            x = torch.ones(4000, dtype=torch.float64)
            return [
                nn.functional.dropout(x, 0.25),
                nn.functional.dropout(x, 0.25),
                torch.randn(4000),
                torch.rand((40, 100)),
            ]

    torch.manual_seed(0)
    first = draws(3, 5)
    assert all(torch.equal(a, b) for a, b in zip(first, draws(3, 5), strict=True))
    for other in (draws(4, 5), draws(3, 6)):
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    kept, again, normal, uniform = first
    assert not torch.equal(kept, again) and {*kept.unique().tolist()} == {0.0, 4 / 3}
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert normal.mean().item() == pytest.approx(0, abs=0.06) and normal.std().item() == pytest.approx(1, abs=0.05)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.02) and uniform.shape == (40, 100)
