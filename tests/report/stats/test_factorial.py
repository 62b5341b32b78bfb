"""The analysis of variance is the textbook's, finds what was planted, and calls noise noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bnsweep.catalogue.metrics import METRICS
from bnsweep.report.frame.design import Design, Factor, read_design
from bnsweep.report.frame.grid import read_grid
from bnsweep.report.stats import factorial
from bnsweep.report.stats.between_seeds import flip_p, shared_variance
from bnsweep.report.stats.factorial import CHANCE, HIGHER, analyse, strongest

ACCURACY = METRICS["final_val_accuracy"]
GRID = {"activation": ["sigmoid", "relu"], "init": ["xavier", "he"], "bn": ["none", "before", "after"]}
SEEDS_ALIKE = {"noise": 0.0, "bundle_noise": 0.02}


def design(score):
    """Factors a, b, c for the axes of [K_1, .., K_d, N]."""
    factors = [
        Factor(f, (f,), tuple((k,) for k in range(size))) for f, size in zip("abcd", score.shape[:-1], strict=False)
    ]
    return Design(tuple(factors), score, tuple(range(score.shape[-1])))


def without_bn(run):
    return 0.5 + 0.1 * (run["bn"] == "none")


def analysis(frame):
    return analyse(read_design(read_grid(frame.runs), ACCURACY))


def shares(frame):
    return analysis(frame).table.set_index("effect")


def textbook(score):
    """Sums of squares of a blocked factorial, as a statistics course writes them: term by term, seed as a block."""
    *sizes, n = score.shape
    factors = range(len(sizes))

    def squares(axes):  # of the model term, over all runs
        total = 0.0
        for k in range(len(axes) + 1):
            for part in itertools.combinations(axes, k):
                away = tuple(i for i in range(score.ndim) if i not in part)
                mean = score.mean(axis=away, keepdims=True)
                total = total + (-1) ** (len(axes) - k) * mean
        return float((np.broadcast_to(total, score.shape) ** 2).sum())

    within = float(((score - score.mean(axis=tuple(factors), keepdims=True)) ** 2).sum())
    found = {}
    for axes in [*itertools.combinations(factors, 1), *itertools.combinations(factors, 2)]:
        df = math.prod(sizes[i] - 1 for i in axes)
        error = squares((*axes, len(sizes))) / (df * (n - 1))
        found[" × ".join("abcd"[i] for i in axes)] = (squares(axes) - df * error) / within
    return found


@pytest.mark.parametrize(("shape", "n"), [((2, 3), 7), ((3, 2, 4), 5), ((2, 2, 2, 3), 6), ((2, 3), 2)])
def test_omega_squared_is_the_textbooks(shape, n):
    random = np.random.default_rng(1)
    score = random.random((*shape, n)) + random.random(shape)[..., None]
    table = analyse(design(score)).table.set_index("effect")
    for effect, share in textbook(score).items():
        assert table.loc[effect, "omega2"] == pytest.approx(share)
    assert table["omega2"].sum() == pytest.approx(1)
    assert table["df"].sum() == (math.prod(shape) - 1) * n


def test_additive_effects_are_shared_out_exactly(simulate):
    """Level means ±.1 for two levels and 0, .1, .2 for three: variances .01 and .02/3."""

    def truth(run):
        return 0.5 + 0.2 * (run["activation"] == "relu") + 0.1 * ["none", "before", "after"].index(run["bn"])

    table = shares(simulate(truth, GRID, **SEEDS_ALIKE))
    assert table.loc["activation", "omega2"] == pytest.approx(0.6)
    assert table.loc["bn", "omega2"] == pytest.approx(0.4)
    assert table.drop(["activation", "bn"])["omega2"].abs().max() < 1e-12
    assert list(table.index[:2]) == ["activation", "bn"]
    assert list(table.index[-2:]) == [HIGHER, CHANCE]


def test_a_pure_interaction_gives_no_main_effect(simulate):
    def truth(run):
        return 0.8 if (run["activation"] == "relu") == (run["init"] == "he") else 0.6

    table = shares(simulate(truth, GRID, **SEEDS_ALIKE))
    assert table.loc["activation × init", "omega2"] == pytest.approx(1)
    assert table.drop("activation × init")["omega2"].abs().max() < 1e-12
    assert table.loc["activation × init", "p"] == 2 / 2**10


def test_what_all_runs_of_a_seed_share_counts_for_nothing(simulate):
    calm, wild = (shares(simulate(without_bn, GRID, noise=0.01, bundle_noise=b)) for b in (0.0, 0.2))
    assert calm["omega2"].to_numpy() == pytest.approx(wild["omega2"].to_numpy())


def plain_agreed(table, count):
    """Pair by pair."""
    n = table.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    weight = sum(count[i] * count[j] for i, j in pairs)
    return sum(count[i] * count[j] * (table[:, i] * table[:, j]).mean() for i, j in pairs) / weight


@pytest.mark.parametrize("entries", [3, 40])
def test_what_seeds_agree_on_is_the_mean_over_pairs(entries):
    random = np.random.default_rng(2)
    table = random.standard_normal((entries, 6))
    count = random.multinomial(6, np.full(6, 1 / 6), size=20)
    assert shared_variance(table, count) == pytest.approx([plain_agreed(table, c) for c in count])
    assert shared_variance(table)[0] == pytest.approx(plain_agreed(table, [1] * 6))
    assert np.isnan(shared_variance(table, np.array([[6, 0, 0, 0, 0, 0]]))).all()


def test_p_is_that_of_all_sign_flips_of_the_seeds_tables():
    table = np.random.default_rng(3).standard_normal((4, 7)) + 0.4
    lengths = [((table @ signs) ** 2).sum() for signs in itertools.product([1, -1], repeat=7)]
    assert lengths[0] == max(lengths[0], 0)
    assert flip_p(table) == np.mean(np.array(lengths) >= lengths[0] - 1e-12)


def uneven(random, kind, shape):
    """Noise without any effect: scores that fail or learn, alike everywhere or in one level alone."""
    if kind == "fails or learns":
        return np.where(random.random(shape) < 0.3, 0.1, 0.9) + random.normal(0, 0.01, shape)
    score = random.normal(0.5, 0.01, shape)
    score[0] = np.where(random.random(shape[1:]) < 0.5, 0.1, 0.9)
    return score


@pytest.mark.parametrize("kind", ["fails or learns", "one level fails or learns"])
def test_without_effects_few_are_called_significant(kind, monkeypatch):
    """300 sweeps each: single effects at their 5 %, any effect of a sweep after Holm at its 5 %."""
    monkeypatch.setattr(factorial, "draws", lambda n: np.ones((1, n)))  # intervals are not looked at
    random = np.random.default_rng(4)
    tables = [analyse(design(uneven(random, kind, (3, 3, 10)))).table for _ in range(300)]
    assert np.mean([table["p"].dropna() <= 0.05 for table in tables]) <= 0.065
    assert np.mean([(table["p_holm"] <= 0.05).any() for table in tables]) <= 0.065


@pytest.mark.parametrize("seeds", [5, 6, 10])
def test_intervals_of_shares_end_at_nothing_and_all(seeds):
    """One factor that explains nearly all, one that explains nothing; drawn seeds alone would give 124 %."""
    for rng in range(20):
        random = np.random.default_rng(rng)
        size = random.uniform(0.2, 3, seeds)  # how far the levels are apart in each seed
        score = np.array([-1.0, 0, 1])[:, None, None] * size + random.normal(0, 0.02, (3, 2, seeds))
        table = analyse(design(score)).table
        assert (table["low"].min(), table["high"].max()) >= (0, 0)
        assert table["high"].max() <= 1
        assert (table["low"] <= table["high"]).all()


def test_a_planted_interaction_is_found_and_its_interval_covers_the_truth():
    """One of six pairs of levels is .16 lower, noise .1 a run, 10 seeds: an interaction of a tenth of the variance."""
    random = np.random.default_rng(5)
    truth = np.zeros((2, 3, 3))
    truth[0, 0] = -0.16
    pair = truth.mean(axis=2)
    pair = pair - pair.mean(axis=0) - pair.mean(axis=1, keepdims=True) + pair.mean()
    share = (pair**2).mean() / (truth.var() + 0.01 * 17 / 18)
    assert share == pytest.approx(0.109, abs=0.001)
    found, covered = [], []
    for _ in range(60):
        table = analyse(design(truth[..., None] + random.normal(0, 0.1, (2, 3, 3, 10)))).table.set_index("effect")
        row = table.loc["a × b"]
        found.append(row["p_holm"] <= 0.05)
        covered.append(row["low"] <= share <= row["high"])
    assert np.mean(found) >= 0.9
    assert np.mean(covered) >= 0.9


def test_four_seeds_give_shares_and_no_more(simulate):
    frame = simulate(without_bn, GRID, seeds=4)
    table = shares(frame)
    assert table.loc["bn", "omega2"] > 0.9
    assert table[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert strongest(analysis(frame), ACCURACY) == ""


def test_the_sentence_names_the_strongest_factor_and_interaction(lecture):
    text = strongest(analysis(lecture), ACCURACY)
    assert text.startswith("Of the differences in final validation accuracy, BN placement explains the most: ")
    design = read_design(read_grid(lecture.runs), ACCURACY)
    means = [
        f"{name} {100 * design.score[k].mean():.1f} %" for k, name in enumerate(("no BN", "BN before", "BN after"))
    ]
    assert f"; on average over all learning rates {', '.join(means)}. " in text
    assert "Strongest pair: " in text
    assert " beyond what each does alone. Three or more factors acting together: 33 %." in text, "more than BN's 28 %"


def test_the_sentence_claims_nothing_from_noise(simulate):
    text = strongest(analysis(simulate(factors=GRID)), ACCURACY)
    assert text.startswith("No factor stands out")
    few = strongest(analysis(simulate(factors=GRID, seeds=6)), ACCURACY)
    assert few.startswith("6 seeds are too few to test 6 effects; the largest share is ")


def test_a_setting_that_only_one_init_has_is_part_of_the_init(simulate):
    frame = simulate(factors={"init": ["normal", "he"], "init.std": [0.01, 0.1], "bn": ["none", "before"]}, seeds=5)
    frame.runs.loc[frame.runs["init"] == "he", "init.std"] = math.nan
    found = read_design(read_grid(frame.runs), ACCURACY)
    assert [f.name for f in found.factors] == ["bn", "init"]
    assert found.factors[1].texts == ["normal · std 0.01", "normal · std 0.1", "he"]
    assert found.cells == 6


def test_settings_that_only_change_together_are_one_factor(simulate):
    frame = simulate(factors={"init": ["normal", "he"], "bn": ["none", "before"]}, seeds=5)
    frame.runs["model.dropout"] = np.where(frame.runs["init"] == "he", 0.5, 0.0)
    assert set(shares(frame).index) == {"bn", "init + model.dropout", "bn × init + model.dropout", CHANCE}


@pytest.mark.parametrize(
    ("lost", "kept", "note"),
    [
        (lambda runs: (runs["seed"] == 3) & (runs["bn"] == "none") & (runs["init"] == "he"), (12, 9), "1 seed."),
        (lambda runs: runs["bn"] == "after", (8, 10), "BN after."),
        (lambda runs: (runs["bn"] == "after") & (runs["init"] == "he"), (8, 10), "BN after."),
        (lambda runs: (runs["init"] == "he") | (runs["seed"] > 6), (6, 7), "all of init but xavier, 3 seeds."),
    ],
)
def test_holes_cost_the_level_or_the_seed_that_they_are_in(simulate, lost, kept, note):
    frame = simulate(factors=GRID)
    frame.runs.loc[lost(frame.runs), ["status", "final_val_accuracy"]] = ["failed", math.nan]
    found = analysis(frame)
    assert (found.cells, found.n) == kept
    assert found.note == f"Left out, because results are missing there: {note}"


@pytest.mark.parametrize(
    ("factors", "seeds", "note"),
    [
        ({}, 10, "No factor was swept."),
        ({"bn": ["none", "before"]}, 1, "Nothing is compared: one seed shows no chance to compare with."),
    ],
)
def test_where_nothing_can_be_analysed_it_says_why(simulate, factors, seeds, note):
    found = analysis(simulate(factors=factors, seeds=seeds))
    assert found.table.empty
    assert found.note == note


def test_a_list_of_settings_is_no_product(simulate):
    frame = simulate(factors={"lr.value": list(range(1, 41))}, seeds=5)
    frame.runs["model.dropout"] = np.random.default_rng(6).permutation(40)[frame.runs["lr.value"] - 1] // 2 / 40
    found = analysis(frame)
    assert found.table.empty
    assert "200 of 4,000 combinations of the swept values and seeds have a result" in found.note


def test_a_sweep_in_which_all_diverged_has_nothing_to_explain(simulate):
    found = analysis(simulate(factors=GRID, diverges=lambda run: True))
    assert found.note == "All runs of a seed have one score: there is nothing to explain."


def test_one_factor_alone_shares_with_chance_only(simulate):
    table = shares(
        simulate(lambda run: 0.5 + run["model.dropout"] / 10, {"model.dropout": [k / 100 for k in range(100)]})
    )
    assert list(table.index) == ["model.dropout", CHANCE]
    assert table.loc["model.dropout", "df"] == 99
