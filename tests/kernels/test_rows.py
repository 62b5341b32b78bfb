"""BN and activation by kernels are what torch makes of the same numbers.

K members, H units, B samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from interpreted import DEVICE, quiet  # noqa: F401
from torch import Tensor

from bnsweep.catalogue.activations import ROWS as CATALOGUE
from bnsweep.kernels.codes import ACTIVATIONS, LONGEST_ROW, PLACES
from bnsweep.kernels.rows import Rows
from bnsweep.nets.activation import activate

EPS = 1e-5
MEMBERS = [(name, place) for name in ACTIVATIONS for place in ("none", "before", "after")]
pytestmark = pytest.mark.usefixtures("quiet")


@dataclass
class Case:
    x: Tensor
    d: Tensor
    """dL/dy."""
    gamma: Tensor
    beta: Tensor
    members: list[tuple[str, str]]
    bias: Tensor | None = None

    @property
    def running(self) -> tuple[Tensor, Tensor]:
        """A running mean and variance."""
        return self.beta / 2 + 1, self.gamma * 3

    @classmethod
    def draw(cls, members: list[tuple[str, str]], units: int, samples: int, dtype: torch.dtype) -> Case:
        generator = torch.Generator().manual_seed(0)

        def normals(*shape: int) -> Tensor:
            return torch.randn(len(members), units, *shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)

        return cls(2 * normals(samples), normals(samples), normals().abs() + 0.5, normals(), members)

    def by_kernels(self) -> dict[str, Tensor]:
        nothing = torch.zeros_like(self.gamma)
        rows = Rows(
            self.bias,
            None if self.bias is None else nothing.clone(),
            self.gamma,
            self.beta,
            *(nothing.clone() for _ in range(4)),
            *self.running,
            torch.tensor([ACTIVATIONS.index(name) for name, _ in self.members], device=DEVICE, dtype=torch.int32),
            torch.tensor([PLACES.index(place) for _, place in self.members], device=DEVICE, dtype=torch.int32),
            torch.full_like(self.gamma[:, 0], EPS),
        )
        y, dx, before = torch.full_like(self.x, 7), self.d.clone(), self.x.clone()
        rows.forward(self.x, y)
        rows.backward(dx, self.x)
        assert torch.equal(self.x.nan_to_num(), before.nan_to_num()), "the way back reads what the way forward read"
        evaluated = self.x.clone()
        rows.evaluate(evaluated, evaluated)
        found = {"y": y, "dx": dx, "d_gamma": rows.d_gamma, "d_beta": rows.d_beta, "evaluated": evaluated}
        found |= {"mean": rows.mean, "variance": rows.variance}
        return found if rows.d_bias is None else found | {"d_bias": rows.d_bias}

    def by_torch(self, k: int) -> dict[str, Tensor]:
        """One member in float64, by torch's own functions and autograd."""
        name, place = self.members[k]
        x, gamma, beta = (t[k].double().cpu().requires_grad_() for t in (self.x, self.gamma, self.beta))
        mean, variance = torch.zeros(len(gamma)).double(), torch.zeros(len(gamma)).double()

        def normed(v: Tensor) -> Tensor:
            return F.batch_norm(v.T, mean, variance, gamma, beta, True, 1.0, EPS).T

        def normed_by_running(v: Tensor) -> Tensor:
            running = (t[k].double().cpu() for t in self.running)
            return F.batch_norm(v.T, *running, gamma, beta, False, 1.0, EPS).T

        z = x if self.bias is None else x + self.bias[k].double().cpu()[:, None]

        def layer(norm: Callable[[Tensor], Tensor]) -> Tensor:
            h = activate(norm(z) if place == "before" else z, name)
            return norm(h) if place == "after" else h

        y, evaluated = layer(normed), layer(normed_by_running).detach()
        asked = (x, gamma, beta)[: 1 if place == "none" else 3]
        dx, *others = torch.autograd.grad(y, asked, self.d[k].double().cpu())
        found = {"y": y.detach(), "dx": dx, "evaluated": evaluated}
        found |= dict(zip(("d_gamma", "d_beta"), others, strict=False))
        found |= {} if self.bias is None else {"d_bias": dx.sum(1)}
        return found | ({} if place == "none" else {"mean": mean, "variance": variance})

    def worst(self) -> float:
        """Largest deviation of the kernels, in units of the largest number that there is of the kind."""
        found, worst = self.by_kernels(), 0.0
        for k in range(len(self.members)):
            for name, wanted in self.by_torch(k).items():
                off = (found[name][k].double().cpu() - wanted).abs().max() / wanted.abs().max().clamp_min(1)
                worst = max(worst, off.item())
        return worst


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("units", "samples"), [(1, 128), (3, 20), (9, 33)])
def test_rows_are_what_torch_gives(units: int, samples: int, dtype: torch.dtype, bound: float) -> None:
    case = Case.draw(MEMBERS, units, samples, dtype)
    assert case.worst() < bound
    case.bias = case.beta - 0.5
    assert case.worst() < bound


@pytest.mark.parametrize("samples", [2, 1023, LONGEST_ROW])
def test_one_member_of_one_unit_with_rows_of_any_length(samples: int) -> None:
    assert Case.draw([("gelu", "after")], 1, samples, torch.float64).worst() < 1e-12


def test_activations_go_by_the_catalogues_names() -> None:
    assert set(ACTIVATIONS) <= {row.name for row in CATALOGUE}


def test_activations_keep_their_digits_near_zero_and_far_out() -> None:
    """Relative, where the obvious formulas lose them: tanh and exp - 1 near 0, exponentials of large numbers."""
    sizes = torch.logspace(-12, 2.5, 59, dtype=torch.float64)
    names = [(name, "none") for name in ACTIVATIONS]
    case = Case.draw(names, 2, len(sizes), torch.float64)
    case.x.copy_(torch.stack([sizes, -sizes]))
    found = case.by_kernels()
    for k, (name, _) in enumerate(names):
        wanted = case.by_torch(k)
        digits = 1e-15 if name == "gelu" else 1e-300  # torch's own formula of it loses them
        torch.testing.assert_close(found["y"][k].cpu(), wanted["y"], rtol=1e-13, atol=digits, msg=name)
        torch.testing.assert_close(found["dx"][k].cpu(), wanted["dx"], rtol=1e-13, atol=1e-14, msg=name)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e200])
def test_numbers_that_are_not_finite_stay_in_their_row_and_are_those_of_torch(bad: float) -> None:
    case = Case.draw(MEMBERS, 3, 20, torch.float64)
    calm = case.by_kernels()
    case.x[:, 1, 4] = bad
    found = case.by_kernels()
    for k, member in enumerate(MEMBERS):
        for of, wanted in case.by_torch(k).items():
            assert torch.equal(found[of][k, ::2], calm[of][k, ::2]), member
            if of in (
                "y",
                "mean",
                "variance",
                "evaluated",
            ):  # torch's own ways back disagree on whose slope at NaN is NaN
                assert torch.equal(found[of][k].isfinite().cpu(), wanted.isfinite()), (member, of)


def test_a_member_whose_bn_is_elsewhere_is_left_alone() -> None:
    case = Case.draw([("relu", "elsewhere"), ("relu", "none")], 3, 20, torch.float64)
    found = case.by_kernels()
    assert bool((found["y"][0] == 7).all()) and torch.equal(found["dx"][0], case.d[0])
    assert bool((found["y"][1] != 7).all()) and not torch.equal(found["dx"][1], case.d[1])
