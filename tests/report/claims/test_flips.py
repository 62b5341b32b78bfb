"""The joint test of all claims, held against loops, and its size and power on plain numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bnsweep.report.claims import flips
from bnsweep.report.claims.flips import claim_statistic, flipped, joint_signs, p_of, step_down, studentized
from bnsweep.report.stats import resample


def t_of(values: np.ndarray) -> float:
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


def test_up_to_14_seeds_every_flip_is_there_once_but_for_its_mirror_image() -> None:
    sign_RN = joint_signs(6, 1)
    assert list(sign_RN[0]) == [1.0] * 6
    mirrored = np.vstack([sign_RN, -sign_RN])
    assert {tuple(row) for row in mirrored} == set(itertools.product((1.0, -1.0), repeat=6))
    assert len(mirrored) == 64
    assert joint_signs(14, 1).shape == (2**13, 14)


def test_many_seeds_have_drawn_flips_and_large_sweeps_fewer_of_them() -> None:
    assert joint_signs(30, 1).shape == (resample.RESAMPLES, 30)
    assert joint_signs(30, 10**9).shape == (1_000, 30)
    assert joint_signs(12, 10**9).shape == (1_000, 12)
    assert joint_signs(1_000, 1).shape == (2_000, 1_000)
    assert list(joint_signs(30, 1)[0]) == [1.0] * 30
    assert joint_signs(1, 1).tolist() == [[1.0]]


def test_t_under_a_flip_is_that_of_the_flipped_differences() -> None:
    difference_N = np.random.default_rng(0).normal(1, 2, 7)
    sign_RN = joint_signs(7, 1)
    plain = [t_of(row * difference_N) for row in sign_RN]
    assert flipped(difference_N, sign_RN) == pytest.approx(plain)
    assert studentized(sign_RN * difference_N) == pytest.approx(plain)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_differences_that_are_all_alike_have_infinite_t_and_no_differences_none(scale: float) -> None:
    sign_RN = joint_signs(6, 1)
    for t_R in (flipped(np.full(6, scale / 3), sign_RN), studentized(sign_RN * scale / 3)):
        assert t_R[0] == np.inf
        assert np.isfinite(t_R[1:]).all()
        assert p_of(t_R, t_R[0]) == 1 / 32
    assert not flipped(np.zeros(6), sign_RN).any()
    assert p_of(np.zeros(32), 0.0) == 1.0


def test_a_claim_takes_most_of_its_comparisons() -> None:
    three = [np.array([3.0, 1.0]), np.array([-2.0, 2.0]), np.array([1.0, -5.0])]
    statistic_R, way_R = claim_statistic(three, 3)
    assert (list(statistic_R), list(way_R)) == ([1.0, 1.0], [1, 1])
    statistic_R, way_R = claim_statistic([-item for item in three], 3)
    assert (list(statistic_R), list(way_R)) == ([1.0, 1.0], [-1, -1])
    assert list(claim_statistic(three[:2], 2)[0]) == [0.0, 1.0], "two that disagree"
    assert list(claim_statistic(three[:1], 3)[0]) == [0.0, 0.0], "one of three has seeds enough"


def test_step_down_is_that_of_a_loop() -> None:
    statistic_CR = np.abs(np.random.default_rng(1).normal(size=(5, 200)))
    statistic_CR[:, 0] = [2.0, 3.5, 0.0, 2.5, 1.0]
    left, plain, floor = list(range(5)), {}, 0.0
    while left:
        largest = statistic_CR[left].max(axis=0)
        c = max(left, key=lambda c: statistic_CR[c, 0])
        floor = max(floor, float(np.mean(largest >= statistic_CR[c, 0])))
        plain[c] = floor
        left.remove(c)
    assert list(step_down(statistic_CR)) == [plain[c] for c in range(5)]


def share_decided(n: int, effect: float, sweeps: int = 400) -> tuple[float, float]:
    """Of eight claims, the first of `effect` standard deviations: how often it is found, and any other."""
    sign_RN, random = joint_signs(n, 1), np.random.default_rng(n)
    found = []
    for _ in range(sweeps):
        luck = random.normal(size=(8, n)) + random.normal(size=n)
        luck[0] += effect * np.sqrt(2)
        p = step_down(np.stack([np.abs(flipped(one, sign_RN)) for one in luck]))
        found.append((p[0] <= 0.05, (p[1:] <= 0.05).any()))
    first, other = np.mean(found, axis=0)
    return float(first), float(other)


@pytest.mark.parametrize("n", [6, 10])
def test_any_false_verdict_among_eight_claims_comes_in_one_sweep_in_twenty(n: int) -> None:
    """32 or more of 400 come by chance in 1 of 150 cases where 5 % do."""
    first, other = share_decided(n, 0.0)
    assert max(first, other) <= 32 / 400


def test_eight_seeds_find_what_holm_cannot_find_with_eight() -> None:
    """Holm over eight claims multiplies 2^-7 to .0625."""
    assert share_decided(8, 2.0)[0] > 0.8
    assert flips.p_of(flipped(np.arange(1.0, 9), joint_signs(8, 1)), 1e9) == 0.0
