"""The loss's kernel is what torch makes of the same outputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from interpreted import DEVICE, quiet  # noqa: F401
from torch import Tensor

from bnsweep.kernels.codes import MOST_OUTPUTS, fits
from bnsweep.kernels.loss import add_totals, cross_entropy, squared_error
from bnsweep.nets.loss import is_right

pytestmark = pytest.mark.usefixtures("quiet")
TYPES = pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 3e-7)])


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return (4 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(DEVICE, dtype)


def counters(members: int) -> tuple[Tensor, Tensor]:
    return torch.ones(members, dtype=torch.bool, device=DEVICE), torch.full((members,), 5, device=DEVICE)


@TYPES
@pytest.mark.parametrize("smoothing", [None, [0.0, 0.1, 0.5]])
@pytest.mark.parametrize(("classes", "samples"), [(10, 128), (2, 1), (7, 33), (100, 20)])
def test_gradients_are_those_of_torchs_cross_entropy(
    classes: int, samples: int, smoothing: list[float] | None, dtype: torch.dtype, bound: float
) -> None:
    z_KCB, (alive_K, survived_K) = drawn(3, classes, samples, dtype=dtype), counters(3)
    y_B = torch.arange(samples, device=DEVICE) % classes
    given = None if smoothing is None else torch.tensor(smoothing, device=DEVICE, dtype=dtype)
    found = cross_entropy(z_KCB, y_B.expand(3, -1), given, alive_K, survived_K)
    for k in range(3):
        z = z_KCB[k].double().cpu().requires_grad_()
        loss = F.cross_entropy(z.T, y_B.cpu(), label_smoothing=smoothing[k] if smoothing else 0.0)
        (wanted,) = torch.autograd.grad(loss, z)
        torch.testing.assert_close(found[k].double().cpu(), wanted, rtol=0, atol=bound)
    assert alive_K.tolist() == [True] * 3 and survived_K.tolist() == [6] * 3


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize(("classes", "samples"), [(10, 300), (2, 1), (128, 129)])
def test_totals_are_added_up(classes: int, samples: int, dtype: torch.dtype, bound: float) -> None:
    z_KCB, y_KB = (
        drawn(3, classes, samples, dtype=dtype),
        torch.arange(3 * samples, device=DEVICE).view(3, -1) % classes,
    )
    z_KCB[1] = z_KCB[1].round()  # so that some are equal
    loss_K, right_K = (torch.full((3,), start, device=DEVICE, dtype=torch.float64) for start in (2.0, 5.0))
    add_totals(z_KCB, y_KB, loss_K, right_K)
    losses = F.cross_entropy(z_KCB.double(), y_KB, reduction="none").sum(1)
    torch.testing.assert_close(loss_K - 2, losses, rtol=bound, atol=bound)
    assert right_K.tolist() == (5 + is_right(z_KCB, y_KB).sum(1)).tolist()


def test_scores_of_what_is_not_finite_are_those_of_torch() -> None:
    z_KCB = drawn(2, 10, 40).round()
    z_KCB[0, 3, ::2], z_KCB[0, 5, ::3], z_KCB[0, 7, ::5] = torch.inf, torch.nan, -torch.inf
    y_KB = (torch.arange(80, device=DEVICE).view(2, -1) // 2) % 10
    loss_K, right_K = (torch.zeros(2, device=DEVICE, dtype=torch.float64) for _ in range(2))
    add_totals(z_KCB, y_KB, loss_K, right_K)
    assert right_K.tolist() == is_right(z_KCB, y_KB).sum(1).tolist()
    assert loss_K.isfinite().tolist() == [False, True]


def test_the_loss_of_a_sample_that_is_classed_with_confidence_keeps_its_digits() -> None:
    z_KCB = torch.zeros(1, 10, 128, device=DEVICE)
    z_KCB[:, 0] = 16
    loss_K, right_K = (torch.zeros(1, device=DEVICE, dtype=torch.float64) for _ in range(2))
    add_totals(z_KCB, torch.zeros(1, 128, device=DEVICE, dtype=torch.long), loss_K, right_K)
    exact = F.cross_entropy(z_KCB.double(), torch.zeros(1, 128, device=DEVICE, dtype=torch.long)).item()
    assert loss_K.item() / 128 == pytest.approx(exact, rel=1e-5), "a sum in float32 is 6e-8 off"
    assert right_K.item() == 128


@TYPES
def test_gradients_are_those_of_torchs_squared_error(dtype: torch.dtype, bound: float) -> None:
    z_K1B, (alive_K, survived_K) = drawn(2, 1, 33, dtype=dtype), counters(2)
    y_KB = drawn(1, 34, dtype=dtype)[:, 1:].repeat(2, 1)
    found = squared_error(z_K1B, y_KB, alive_K, survived_K)
    z = z_K1B.double().cpu().requires_grad_()
    (wanted,) = torch.autograd.grad((z[:, 0] - y_KB.double().cpu()).square().mean(1).sum(), z)
    torch.testing.assert_close(found.double().cpu(), wanted, rtol=0, atol=10 * bound)
    assert alive_K.tolist() == [True] * 2 and survived_K.tolist() == [6] * 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_member_whose_loss_is_not_finite_stops_for_good_and_alone(bad: float) -> None:
    """Of 1e300 the loss of a class is finite, and its square is not."""
    alive_K, survived_K = counters(3)
    z_KCB, y_KB = drawn(3, 10, 20), torch.zeros(3, 20, dtype=torch.long, device=DEVICE)
    calm = cross_entropy(z_KCB, y_KB, None, *counters(3))
    z_KCB[1, 3, 7] = bad
    stops = bad != 1e300
    for turn in (1, 2):
        found = cross_entropy(z_KCB, y_KB, None, alive_K, survived_K)
        assert torch.equal(found[::2], calm[::2])
        assert alive_K.tolist() == [True, not stops, True]
        assert survived_K.tolist() == [5 + turn, 5 if stops else 5 + turn, 5 + turn]
        z_KCB = drawn(3, 10, 20) if stops else z_KCB  # it does not come back
    alive_K, survived_K = counters(3)
    squared_error(z_KCB[:, :1].contiguous() * bad, y_KB.double(), alive_K, survived_K)
    assert alive_K.tolist() == [False] * 3 and survived_K.tolist() == [5] * 3


def test_what_fits_is_counted_in_powers_of_two() -> None:
    assert fits(100, 128) and fits(10, 1024) and not fits(10, 1025)
    assert 128 * 128 == 16 * 1024 == MOST_OUTPUTS
