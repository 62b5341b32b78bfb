"""Functions of the user's: tried before anything starts, trained as the catalogue's, and known by their text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from members import CPU, changed, make, relative
from plain_loop import train_plain

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import ActivationConfig, DataConfig, InitConfig
from bnsweep.config.identity import identity, numbers, stack_key
from bnsweep.config.network import ModelConfig, SkipConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack
from bnsweep.own.functions import check_unchanged, own_activation, own_init
from bnsweep.own.source import digest_now
from bnsweep.runs.plan import describe, make_plan
from bnsweep.training.known import with_facts
from bnsweep.training.trainer import train

NUMBER = itertools.count()
Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Name of a module in the working directory with this text."""
    monkeypatch.chdir(tmp_path)

    def module(text: str) -> str:
        name = f"my_functions_{next(NUMBER)}"
        Path(f"{name}.py").write_text(f"import torch\n{text}\n", encoding="utf-8")
        return name

    return module


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


SWISH = "def swish2(a):\n    return a * torch.sigmoid(2 * a)"
SMALL = "def small(shape, generator):\n    return torch.randn(shape, generator=generator) / shape[1] ** 0.5"


@pytest.mark.parametrize(
    ("dotted", "says"),
    [
        ("torch.nn.functional:mishh", "has no 'mishh', did you mean mish?"),
        ("torch.py:erf", "without .py: torch:erf"),
        ("__main__:swish", "what is in __main__, as in a notebook, must lie in a file of its own: workers import it"),
    ],
)
def test_a_name_that_is_not_found_has_a_remedy(dotted: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        own_activation(dotted)


def test_members_with_own_activations_and_inits_equal_the_ordinary_loop(written: Written, digits: data.Dataset) -> None:
    name = written(f"{SWISH}\n{SMALL}")
    own = ["torch.nn.functional:mish", f"{name}:swish2", "torch.nn:Hardswish", "tanh"]
    inits = ["he", f"{name}:small"]
    arms = [("relu", "xavier", "constant", place) for place in ("none", "before", "after", "before")]
    configs = [
        changed(make(arm, 2 * i, "sgd"), {"activation.name": activation, "init.name": inits[i % 2]})
        for i, (arm, activation) in enumerate(zip(arms, own, strict=True))
    ]
    configs = with_facts(configs, {})
    assert len({stack_key(config) for config in configs}) == 1 and configs[0].total_steps >= 40
    records, stack = train(configs, digits, CPU)
    for k, place in enumerate(stack.positions):
        plain, ours = train_plain(configs[place], digits), stack.export(k).state_dict()
        for parameter, value in plain.model.state_dict().items():
            assert relative(ours[parameter].double(), value.double()) < 1e-9, (place, parameter)
        for curve, values in plain.history.items():
            assert records[place].history[curve] == pytest.approx(values, rel=1e-9)
    assert not [name for name in records[0].history if "saturation" in name or "dead" in name]
    assert "layer/1/std" in records[0].history


def test_arms_of_a_seed_share_what_an_own_init_draws(written: Written) -> None:
    name = written(SMALL)
    runs = [
        RunConfig(init=InitConfig(f"{name}:small", gain=gain), seed=seed) for gain, seed in ((1, 0), (2, 0), (1, 1))
    ]
    first, twice, other = (build(run).get_parameter("linear1.weight") for run in runs)
    second = build(runs[0]).get_parameter("linear2.weight")
    assert torch.equal(2 * first, twice)
    assert not torch.allclose(first, other) and not torch.allclose(first[:, :32], second)
    assert first.std().item() == pytest.approx(64**-0.5, rel=0.1)


DIRAC = """def dirac(shape, generator):
    return torch.nn.init.dirac_(torch.empty(shape))
def by_kind(shape, generator):
    w = torch.empty(shape)
    if shape[2:] in ((3, 3), (1, 1)):
        return torch.nn.init.dirac_(w)
    return torch.nn.init.kaiming_normal_(w, generator=generator)
def flat_alone(shape, generator):
    outputs, inputs = shape
    return torch.randn(shape, generator=generator) / inputs**0.5
def net(init):
    kinds = torch.nn.Conv2d(1, 5, 3), torch.nn.Conv2d(5, 4, 2), torch.nn.Flatten(), torch.nn.Linear(100, 10)
    found = torch.nn.Sequential(*kinds)
    init(found)
    return found
def convolution(init):
    found = torch.nn.Sequential(torch.nn.Conv2d(1, 10, 8), torch.nn.Flatten())
    init(found)
    return found
"""
RESNET = ModelConfig((), family="resnet", channels=(4, 8), shortcut="B")


def test_an_own_init_is_given_the_shape_that_the_weights_have(written: Written, digits: data.Dataset) -> None:
    """dirac_ wants a convolution's; every output of a 2 x 2 kernel of 5 channels sees 20 numbers."""
    name = written(DIRAC)
    init, on = InitConfig(f"{name}:by_kind"), SkipConfig("on")
    runs = [RunConfig(init=init, model=RESNET, skip=on, seed=seed) for seed in (0, 1)]
    runs += [RunConfig(init=init, model=ModelConfig((), family="module", target=f"{name}:net"))]
    *stacked, own = with_facts(runs, {runs[0].data.key: digits})
    stack = Stack(stacked, CPU)
    for k, config in enumerate(stack.configs):
        weights = {key: w for key, w in build(config).state_dict().items() if key.endswith("weight")}
        assert {w.shape[2:] for w in weights.values()} == {(3, 3), (1, 1), ()}
        for key, w in weights.items():
            assert torch.equal(stack.export(k).state_dict()[key], w)
            assert w.dim() == 2 or torch.equal(w, torch.nn.init.dirac_(torch.empty_like(w)))
    drawn = torch.cat([build(replace(own, seed=seed)).get_parameter("1.weight").flatten() for seed in range(20)])
    assert drawn.std().item() == pytest.approx((2 / 20) ** 0.5, rel=0.05)


def test_an_own_init_of_other_shapes_than_the_networks_is_refused(written: Written, digits: data.Dataset) -> None:
    name = written(DIRAC)

    def refused(init: str, **model: object) -> str:
        config = RunConfig(init=InitConfig(f"{name}:{init}"), model=ModelConfig((), **model))
        with pytest.raises(ConfigError) as error:
            with_facts([config], {config.data.key: digits})
        assert "\n" not in str(error.value)
        return str(error.value)

    can = "must be a function of (shape, generator) that can be called for the {} dimensions that weights of {} have,"
    linear, convolutions = can.format(2, "linear layers"), can.format(4, "convolutions")
    for model in ({}, {"family": "conv"}, {"family": "module", "target": f"{name}:net"}):
        assert refused("dirac", **model).startswith(f"init.name={name}:dirac: {linear}")
        says = "ValueError: Only tensors with 3, 4, or 5 dimensions are supported); raised in "
        assert says in refused("dirac", **model)
    for model in ({"family": "conv"}, {"family": "module", "target": f"{name}:net"}):
        assert refused("flat_alone", **model).startswith(f"init.name={name}:flat_alone: {convolutions}")
    networks = ModelConfig((), family="module", target=f"{name}:net")
    both = [RunConfig(init=InitConfig(init), model=networks) for init in ("he", f"{name}:flat_alone")]
    with pytest.raises(ConfigError, match=f"init.name={name}:flat_alone: must be a function of"):
        with_facts(both, {both[0].data.key: digits})
    fits = [("flat_alone", ModelConfig()), ("dirac", ModelConfig(family="module", target=f"{name}:convolution"))]
    for init, model in fits:
        config = RunConfig(init=InitConfig(f"{name}:{init}"), model=model)
        assert build(with_facts([config], {config.data.key: digits})[0]).training


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return torch.softmax(a, -1)", "element by element: what it gives for a number depends on other numbers"),
        ("return a * torch.arange(a.numel()).view(a.shape)", "element by element: "),
        ("return a.sum()", "such that it gives the shape it is asked for: of (48,) it gives ()"),
        ("return 3.0", "must give a tensor, gives float"),
        ("return a.float()", "such that it keeps the kind of numbers: of torch.float64 it gives torch.float32"),
        ("return a.log()", "finite between -3 and 3, gives NaN or infinity there"),
        ("return a * torch.rand_like(a)", "a function of its input alone: twice called, it gives two results"),
        ("return a.clamp_(min=0)", "a function that leaves its input as it is, overwrites it"),
        ("return a.detach()", "differentiable by torch's autograd, which finds no way"),
        ("return a.round()", "a function whose gradient is not 0 everywhere between -3 and 3"),
        ("return a.abs().sqrt() * (a - a) ** 0.5", "a function whose gradient is finite between -3 and 3"),
        ("raise ValueError('no')", "(ValueError: no); raised in "),
    ],
)
def test_an_activation_that_cannot_stand_in_a_network_is_refused(written: Written, body: str, says: str) -> None:
    dotted = f"{written(f'def f(a):{chr(10)}    {body}')}:f"
    with pytest.raises(ConfigError) as error:
        with_facts([RunConfig(ActivationConfig(dotted))], {})
    assert str(error.value).startswith(f"activation.name={dotted}: must ") and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return torch.zeros(shape[::-1])", "of (7, 5) it gives (5, 7)"),
        ("return torch.zeros(shape, dtype=torch.long)", "floating-point numbers, gives torch.int64"),
        ("return torch.zeros(shape) / 0", "finite, gives NaN or infinity"),
        ("return torch.randn(shape)", "draws from the generator alone: of two with one seed it gives two results"),
        ("return 1", "must give a tensor, gives int"),
        ("return shape.no", "raised in "),
    ],
)
def test_an_init_that_cannot_start_a_network_is_refused(written: Written, body: str, says: str) -> None:
    dotted = f"{written(f'def f(shape, generator):{chr(10)}    {body}')}:f"
    with pytest.raises(ConfigError) as error:
        with_facts([RunConfig(init=InitConfig(dotted))], {})
    assert str(error.value).startswith(f"init.name={dotted}: must ") and says in str(error.value)


def test_what_is_not_there_is_refused_with_where_it_was_looked_for(written: Written, tmp_path: Path) -> None:
    name = written("")
    with pytest.raises(ConfigError, match=rf"can be called from {tmp_path} \(AttributeError: "):
        own_activation(f"{name}:f")
    with pytest.raises(ConfigError, match=r"ModuleNotFoundError: No module named 'no_such_module_here'"):
        own_init("no_such_module_here:f", 2)
    with pytest.raises(ConfigError, match=r"identity, or a function of yours, as module:function$"):
        ActivationConfig("mish")
    with pytest.raises(ConfigError, match=r"without parameters, of which torch.nn:PReLU has some"):
        own_activation("torch.nn:PReLU")
    with pytest.raises(ConfigError, match=r"init.distribution=uniform: must be normal with init=a:b"):
        InitConfig("a:b", "uniform")


def test_a_changed_byte_of_the_text_or_of_what_it_imports_is_another_run(written: Written) -> None:
    below = written("TWO = 2")
    name = written(f"from {below} import TWO\ndef swish(a):\n    return a * torch.sigmoid(TWO * a)")
    before = digest_now(f"{name}:swish")
    Path(f"{below}.py").write_text("TWO = 3", encoding="utf-8")
    after = digest_now(f"{name}:swish")
    assert before and after and before != after
    Path(f"{name}.py").write_text(Path(f"{name}.py").read_text(encoding="utf-8") + "#", encoding="utf-8")
    assert digest_now(f"{name}:swish") not in (before, after)
    assert digest_now("torch.nn.functional:mish") is None
    run = RunConfig(ActivationConfig(f"{name}:swish"))
    texts = [replace(run, activation=replace(run.activation, source=digest)) for digest in (before, after)]
    assert len({identity(text) for text in texts}) == 2


def test_a_run_whose_text_has_changed_since_is_refused(written: Written) -> None:
    name = written(SWISH)
    (run,) = with_facts([RunConfig(ActivationConfig(f"{name}:swish2"))], {})
    assert numbers(run)["activation.source"] == run.activation.source
    check_unchanged([run])
    assert with_facts([run], {}) == [run]
    older = replace(run, activation=replace(run.activation, source="0123456789abcdef"))
    says = (
        rf"activation.source=0123456789abcdef: must be {run.activation.source}: the text of {name}:swish2 has changed"
    )
    for check in (check_unchanged, lambda runs: with_facts(runs, {})):
        with pytest.raises(ConfigError, match=says):
            check([older])


def test_two_functions_of_one_name_are_refused_in_one_sweep(written: Written) -> None:
    first, second = (f"{written(SWISH)}:swish2" for _ in "12")
    runs = [RunConfig(ActivationConfig(name)) for name in (first, second)]
    with pytest.raises(ConfigError, match=f"activation.name={second}: must be of another name than {first}, "):
        with_facts(runs, {})
    runs = [RunConfig(ActivationConfig(name)) for name in ("relu", "torch:relu")]
    with pytest.raises(ConfigError, match=r"activation.name=torch:relu: must be of another name than relu, as"):
        with_facts(runs, {})


def test_runs_of_the_catalogue_have_no_source() -> None:
    assert not [key for key in numbers(RunConfig()) if key.endswith("source")]


def test_the_plan_says_what_is_not_read_of_an_own_activation() -> None:
    plan = make_plan(with_facts([RunConfig(ActivationConfig("torch.nn.functional:mish"))], {}), (), CPU, 1)
    says = "not read of torch.nn.functional:mish: saturation and dead units, which are known of the catalogue's alone"
    assert says in describe(plan).splitlines()
