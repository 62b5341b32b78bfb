"""What a network of the user's is asked before it is trained: whether a member has the ordinary loop's numbers."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from members import CPU
from own_runs import known, run
from plain_loop import train_plain

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data import dataset as data
from bnsweep.runs.plan import describe, make_plan
from bnsweep.training.trainer import train

NUMBER = itertools.count()

NET = """import random
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.steps = nn.Linear(64, 16), nn.Linear(16, 16), nn.Linear(16, 10), 0
        {init}
    def forward(self, x):
        h = torch.tanh(self.fc1(x.flatten(1)))
        {forward}
        return self.fc3(h)
"""


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DataConfig())


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Name of a network with these lines in it."""
    monkeypatch.chdir(tmp_path)

    def network(init: str = "pass", forward: str = "pass") -> str:
        name = f"my_checked_{next(NUMBER)}"
        Path(f"{name}.py").write_text(NET.format(init=init, forward=forward), encoding="utf-8")
        return f"{name}:Net"

    return network


AGAIN = "called again it gives something else. What it keeps from call to call has to be a buffer (register_buffer)"
OTHERS = "a module whose parameters others can stand in for, as torch.func.functional_call does it"


@pytest.mark.parametrize(
    ("init", "forward", "says"),
    [
        ("pass", "self.steps += 1; h = h * min(1, self.steps / 50)", AGAIN),
        ("self.mean = 0", "self.mean = h.mean(0).detach() if self.training else self.mean; h = h - self.mean", AGAIN),
        (
            "self.mean = 0",
            "h = h + self.mean; self.mean = h.mean(0).data if torch.is_grad_enabled() else self.mean",
            AGAIN,
        ),
        ("pass", "self.fc2.weight.data = self.fc2.weight.data.clamp(-1, 1); h = self.fc2(h)", "by `copy_` under torch"),
        ("self.maps = [self.fc2.weight]", "h = h @ self.maps[0]", OTHERS),
        (
            "pass",
            "h = torch.utils.checkpoint.checkpoint(lambda t: self.fc2(t).relu(), h, use_reentrant=False)",
            OTHERS,
        ),
        ("self.w = nn.Parameter(torch.zeros(16, dtype=torch.cfloat))", "pass", "has complex w"),
        (
            "self.more = nn.Linear(16, int(torch.randint(1, 1000, ())))",
            "pass",
            "parameters have the same names and shapes whatever the seed",
        ),
        (
            "pass",
            "return self.fc3(h).to(torch.bfloat16)",
            "numbers of the kind it is given, torch.float64, as `.to(",
        ),
        ("pass", "h = h.sigmoid(); h += 1", "a module that autograd can go back through from "),
    ],
)
def test_a_network_whose_numbers_would_be_others_is_refused(
    init: str, forward: str, says: str, digits: data.Dataset, written: Callable[..., str]
) -> None:
    target = written(init, forward)
    with pytest.raises(ConfigError) as error:
        known([run(target)], digits)
    assert str(error.value).startswith(f"model.target={target}: must be ") and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lines", ["h = F.dropout(h, 0.5)", "h = h + torch.randn_like(h)", "h = h * random.random()"])
def test_a_network_that_is_random_in_eval_mode_is_refused(
    lines: str, digits: data.Dataset, written: Callable[..., str]
) -> None:
    with pytest.raises(ConfigError, match="must be a module that draws no random numbers in eval mode"):
        known([run(written(forward=lines))], digits)


def test_what_a_network_keeps_to_show_it_is_left_to_it(digits: data.Dataset, written: Callable[..., str]) -> None:
    (config,) = known([run(written(forward="self.shown = h; self.steps += 1"))], digits)
    assert config.model.network.alone == "" and config.model.layers == 1


@pytest.mark.parametrize("draw", ["random.random()", "np.random.rand()"])
def test_numbers_of_pythons_and_numpys_generators_are_a_members_own(
    draw: str, digits: data.Dataset, written: Callable[..., str]
) -> None:
    """Of each by its seed and step, whoever else is in the stack; outside, nothing is drawn."""
    target = written(init=f"self.start = {draw}", forward=f"h = h * {draw} + self.start if self.training else h")
    configs = known([run(target, seed=seed) for seed in (0, 1)], digits)
    assert (
        configs[0].model.network.alone
        == "it draws from Python's or numpy's random numbers, of which vmap knows nothing"
    )
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    ahead = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    both, _ = train(configs, digits, CPU)
    assert ahead == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    random.seed(6), np.random.seed(6)
    (alone,), _ = train(configs[1:], digits, CPU)
    assert alone.history == both[1].history and both[0].history != both[1].history


def test_a_layer_that_the_trials_samples_leave_out_is_trained(
    digits: data.Dataset, written: Callable[..., str]
) -> None:
    lines = "h = torch.relu(self.fc2(h)) if h[:, 0].ge(-9).sum().item() > 10 else h"
    configs = known([run(written(forward=lines))], digits)
    assert all(trained for _, _, trained in configs[0].model.network.parameters)
    (record,), _ = train(configs, digits, CPU)
    wanted = train_plain(configs[0], digits).history["train/loss"]
    assert record.history["train/loss"] == pytest.approx(wanted, rel=1e-9)


def test_a_block_that_the_first_draw_leaves_out_is_trained(digits: data.Dataset, written: Callable[..., str]) -> None:
    """Stochastic depth (Huang et al. 2016): a member leaves out other blocks at every step."""
    lines = "h = h if self.training and torch.rand(1) < 0.7 else h + torch.relu(self.fc2(h))"
    target = written(forward=lines)
    configs = known([run(target, seed=seed, **{"optimizer.name": "sgd"}) for seed in (0, 1)], digits)
    network = configs[0].model.network
    assert all(trained for _, _, trained in network.parameters) and network.leaves_out
    assert network.unread == "it calls other activations from pass to pass"
    says = "parameters that a step leaves out have a gradient of 0 in it; torch's optimizers would let them rest"
    assert any(line.endswith(says) for line in describe(make_plan(configs, (), CPU, 1)).splitlines())
    records, _ = train(configs, digits, CPU)
    for config, record in zip(configs, records, strict=True):
        assert record.history["train/loss"] == pytest.approx(
            train_plain(config, digits).history["train/loss"], rel=1e-9
        )


@pytest.mark.parametrize(
    ("init", "forward", "line"),
    [
        (
            "pass",
            "h = h + torch.randperm(2)[0] if self.training else h",
            "draws random numbers where members cannot have their own",
        ),
        ("[nn.init.ones_(p) for p in self.parameters()]", "pass", "starts with the same parameters whatever the seed"),
    ],
)
def test_the_plan_says_what_is_to_be_known(
    init: str, forward: str, line: str, digits: data.Dataset, written: Callable[..., str]
) -> None:
    configs = known([run(written(init, forward))], digits)
    assert line in describe(make_plan(configs, (), CPU, 1)).splitlines()[-1]


def test_a_warning_of_the_users_is_shown_once(digits: data.Dataset, written: Callable[..., str]) -> None:
    target = written(init="import warnings; warnings.warn('old', FutureWarning)")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        train(known([run(target, seed=seed) for seed in (0, 1)], digits), digits, CPU)
    assert [str(one.message) for one in shown] == ["old"]


SLOPE = "torch.autograd.grad(self.fc2(h.requires_grad_()).square().sum(), h, create_graph=True)[0]"


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        ("self.scale = nn.Parameter(torch.tensor(2.0))", "h = h * self.scale"),
        ("pass", f"with torch.enable_grad(): h = {SLOPE}"),
    ],
    ids=["a parameter without dimensions", "a gradient in the forward pass"],
)
def test_what_is_unusual_is_trained_and_read_all_the_same(
    init: str, forward: str, digits: data.Dataset, written: Callable[..., str]
) -> None:
    given = {"probes.name": "full", "optimizer.clip": 0.1}
    configs = known([run(written(init, forward), **given)], digits)
    (record,), _ = train(configs, digits, CPU)
    wanted = train_plain(configs[0], digits).history["train/loss"]
    assert record.history["train/loss"] == pytest.approx(wanted, rel=1e-9)
    assert math.isfinite(record.history["landscape/beta"][0]) and math.isfinite(record.history["layer/1/std"][0])
