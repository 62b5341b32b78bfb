"""The resampling does what its formulas promise, on draws from known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bnsweep.report.stats import resample


def means(score, resamples=2000):
    return resample.bootstrap_means(score, resample.bundle_counts(score.shape[1], resamples))


def groups(score):
    n = score.shape[1]
    return resample.tied_groups(score.mean(axis=1), resample.paired_errors(means(score), n), n)


def test_the_interval_of_the_mean_covers_the_truth_at_ten_seeds():
    draws = np.random.default_rng(1).standard_normal((2000, 10))
    low, high = resample.mean_interval(means(draws, 4000), 10)
    assert 0.93 < np.mean((low < 0) & (high > 0)) < 0.97


def test_one_seed_has_no_interval():
    low, high = resample.mean_interval(means(np.array([[0.5], [0.7]])), 1)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_whole_bundles_are_drawn_so_shared_luck_leaves_the_rank_alone():
    luck = np.random.default_rng(2).normal(0, 1, 10)
    low, high = resample.rank_interval(means(np.stack([luck, luck - 0.01, luck - 0.02])), 10)
    assert list(low) == list(high) == [1, 2, 3]


def test_equal_arms_share_the_whole_span_of_ranks():
    low, high = resample.rank_interval(means(np.full((4, 10), 0.1)), 10)
    assert list(low) == [1] * 4
    assert list(high) == [4] * 4


@pytest.mark.parametrize("ahead", [0.0, 0.5, 2.0])
def test_the_best_arm_is_in_the_first_group(ahead):
    """In 95 % of sweeps, whether it is ahead or one of many equals; 18 or more misses of 200 come by chance in 1 of 200
    cases."""
    random = np.random.default_rng(3)
    sweeps = random.standard_normal((200, 1, 10)) + random.standard_normal((200, 18, 10))
    sweeps[:, 7] += ahead
    assert sum(groups(sweep)[7] != 1 for sweep in sweeps) <= 17


def test_the_first_group_is_small_where_one_arm_is_ahead():
    """Intervals for all 153 pairs keep 13 of the 18."""
    random = np.random.default_rng(3)
    sweeps = random.standard_normal((50, 18, 10))
    sweeps[:, 7] += 2
    assert np.mean([(groups(sweep) == 1).sum() for sweep in sweeps]) < 7


def test_groups_are_those_of_a_loop():
    random = np.random.default_rng(4)
    score = random.normal(0, 1, (9, 8)) + np.arange(9)[:, None] / 3
    mean, n = score.mean(axis=1), 8
    error = resample.paired_errors(means(score), n)
    left, plain, letter = set(range(9)), {}, 0
    while left:
        letter += 1
        t = stats.t.ppf(1 - 0.05 / max(len(left) - 1, 1), n - 1)
        best = {i for i in left if not any(mean[j] - mean[i] > t * error[i, j] + 1e-12 for j in left)}
        plain |= dict.fromkeys(best, letter)
        left -= best
    assert list(groups(score)) == [plain[i] for i in range(9)]
    assert letter > 1


def test_planted_steps_between_arms_make_groups():
    random = np.random.default_rng(4)
    level = np.repeat([0.9, 0.8, 0.5], 3)[:, None]
    score = level + random.normal(0, 0.05, 10) + random.normal(0, 0.005, (9, 10))
    assert list(groups(score)) == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_four_seeds_make_no_groups():
    assert not groups(np.random.default_rng(5).random((6, 4))).any()


def test_the_sign_flip_p_is_scipys_exact_one():
    differences = np.random.default_rng(6).normal(0.4, 1, (5, 9))
    expected = [
        stats.permutation_test((row,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
        for row in differences
    ]
    assert resample.sign_flip_p(differences) == pytest.approx(expected)


def test_five_pairs_cannot_go_below_a_sixteenth():
    assert resample.sign_flip_p(np.full((1, 5), 100.0)) == pytest.approx([0.0625])


def test_many_pairs_are_drawn_and_never_give_zero():
    assert resample.sign_flip_p(np.full((1, 40), 1.0))[0] == pytest.approx(1e-4)


def test_holm_steps_down_and_leaves_missing_ones_out():
    p = resample.holm(np.array([0.01, np.nan, 0.04, 0.03]))
    assert p[[0, 2, 3]] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(p[1])


def test_a_rate_chosen_on_other_seeds_flatters_nobody():
    random = np.random.default_rng(7)
    naive, fitted = [], []
    for _ in range(400):
        score = random.standard_normal((8, 10))
        chosen, best = resample.cross_fit(score, 1)
        fitted.append(score[chosen, range(10)].mean())
        naive.append(score[best].mean())
    assert np.mean(naive) > 0.35, "the best of eight equal rates looks better than it is"
    assert abs(np.mean(fitted)) < 0.07


def test_a_rate_is_chosen_without_the_seed_it_is_scored_on():
    score = np.array([[0.9, 0.9, 0.9, 0.0], [0.8, 0.8, 0.8, 0.8]])
    chosen, best = resample.cross_fit(score, 1)
    assert list(chosen) == [1, 1, 1, 0], "only the last seed does not see its own failure"
    assert best == 1


def cross_fitted(sweep, count):
    """Scores and draws of every arm of [A, L, N]."""
    n = sweep.shape[2]
    score = np.array([arm[resample.cross_fit(arm, 1)[0], range(n)].mean() for arm in sweep])
    return score, resample.bootstrap_cross_fit(sweep, 1, count)


@pytest.mark.parametrize("n", [5, 10])
def test_equal_arms_at_equal_rates_tie_although_seeds_choose_the_rate(n):
    random = np.random.default_rng(8)
    tied = []
    for _ in range(60):
        score, draws = cross_fitted(random.standard_normal((9, 3, n)), resample.bundle_counts(n, 500))
        tied.append((resample.tied_groups(score, resample.paired_errors(draws, n), n) == 1).mean())
    assert np.mean(tied) >= 0.9, "of nine equal arms each is the best, and outside in 5 % at the most"


@pytest.mark.parametrize("gap", [0.0, 1.0, 10.0])
def test_the_interval_at_the_best_rate_covers_the_truth_whether_rates_are_equal_or_apart(gap):
    random = np.random.default_rng(9)
    score = random.standard_normal((500, 3, 10)) - np.array([[0.0], [gap], [gap]])
    draws = cross_fitted(score, resample.bundle_counts(10, 500))[1]
    low, high = resample.mean_interval(draws, 10)
    assert np.mean((low < 0) & (high > 0)) >= 0.93


def test_with_one_rate_nothing_is_chosen():
    score = np.random.default_rng(10).random((1, 6))
    count = resample.bundle_counts(6, 50)
    assert resample.bootstrap_cross_fit(score[None], -1, count) == pytest.approx(means(score, 50))


def plain_draws(score, count):
    """One arm, one draw, one bundle after the other: the rate whose mean over the draws of the others is highest."""
    rates, n = score.shape
    out = []
    for drawn in count.tolist():
        total = 0.0
        for bundle, times in enumerate(drawn):
            others = [(i, c) for i, c in enumerate(drawn) if i != bundle or c == n]
            weight = max(sum(c for _, c in others), 1)
            mean = [round(sum(c * score[l, i] for i, c in others) / weight, 12) for l in range(rates)]
            total += times * score[mean.index(max(mean)), bundle]
        out.append(total / n)
    return out


@pytest.fixture(params=[None, 7], ids=["whole", "in small blocks"])
def block(request, monkeypatch):
    """The large sweeps are worked on block by block; here the small ones are too."""
    if request.param:
        monkeypatch.setattr(resample, "BLOCK", request.param)
        resample.bundle_counts.cache_clear()


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_cross_fitted_draws_are_those_of_the_plain_loop(n):
    score = np.random.default_rng(12).random((3, 3, n)).round(1)  # rounded: equal rates occur
    score[1, 2] = np.nan  # an arm without that rate
    count = resample.bundle_counts(n, 60)
    draws = resample.bootstrap_cross_fit(score, 1, count)
    for arm, drawn in zip(score, draws.T, strict=True):
        assert drawn == pytest.approx(plain_draws(arm[~np.isnan(arm).any(axis=1)], count), abs=1e-12)


@pytest.mark.usefixtures("block")
def test_bundles_are_drawn_as_numpy_draws_them_at_once():
    at_once = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=50)
    count = resample.bundle_counts(6, 50)
    assert (count == at_once).all()
    score = np.random.default_rng(13).random((4, 6))
    assert resample.bootstrap_means(score, count) == pytest.approx(at_once @ score.T / 6)


@pytest.mark.usefixtures("block")
def test_intervals_are_quantiles_over_all_draws():
    draws = np.random.default_rng(14).random((200, 5)).round(1)
    low_high = np.quantile(draws, [resample.tail(9), 1 - resample.tail(9)], axis=0)
    assert (np.array(resample.mean_interval(draws, 9)) == low_high).all()
    best, worst = (stats.rankdata(-draws, method=method, axis=1) for method in ("min", "max"))
    low, high = resample.rank_interval(draws, 9)
    assert (low == np.quantile(best, resample.tail(9), axis=0, method="inverted_cdf")).all()
    assert (high == np.quantile(worst, 1 - resample.tail(9), axis=0, method="inverted_cdf")).all()


@pytest.mark.usefixtures("block")
def test_many_signs_are_flipped_as_numpy_draws_them_at_once():
    difference = np.random.default_rng(15).normal(0.2, 1, (3, 14))
    bits = np.random.default_rng(0).integers(0, 2, size=(resample.RESAMPLES, 14))
    bits[0] = 1
    flipped = np.abs((2.0 * bits - 1) @ difference.T)
    at_least = flipped >= np.abs(difference.sum(axis=1)) - 1e-12
    assert resample.sign_flip_p(difference) == pytest.approx(at_least.mean(axis=0))


@pytest.mark.parametrize("digits", [0, 1, 12])
def test_equal_scores_share_the_ranks_that_scipy_gives_them(digits):
    goodness = np.random.default_rng(16).random((30, 8)).round(digits)
    best, worst = resample.ranks(goodness)
    assert (best == stats.rankdata(-goodness, method="min", axis=1)).all()
    assert (worst == stats.rankdata(-goodness, method="max", axis=1)).all()


def test_the_standard_error_is_the_spread_of_the_paired_differences():
    draws, n = np.random.default_rng(17).random((300, 4)), 8
    spread = (draws[:, :, None] - draws[:, None, :]).std(axis=0) * np.sqrt(n / (n - 1))
    assert resample.paired_errors(draws, n) == pytest.approx(spread)
    assert resample.simultaneous(6, n) == pytest.approx(stats.t.ppf(1 - 0.05 / (2 * 6), n - 1))


def test_the_tail_is_hesterbergs():
    for n in (2, 5, 10, 1000):
        assert resample.tail(n) == pytest.approx(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)))
