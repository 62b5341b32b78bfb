"""Two sweeps side by side: every number against a plain one, what matches what, how often luck passes for a move."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bnsweep.catalogue.metrics import METRICS
from bnsweep.config.checks import ConfigError
from bnsweep.report.claims.verdicts import MIXED, SUPPORTED, TOO_FEW, Evidence, Unit, Verdict
from bnsweep.report.compare.changes import changed_factors, circumstances, told
from bnsweep.report.compare.match import match
from bnsweep.report.compare.moves import BETTER, FEW, NOISE, SAME, WORSE, compare, side, table
from bnsweep.report.compare.pages import arm_line, claim_line
from bnsweep.report.compare.sentences import changed_verdict, notices
from bnsweep.report.stats import resample
from bnsweep.store.sweep_data import SweepInfo

ACCURACY = METRICS["final_val_accuracy"]
SMALL = {"activation": ["sigmoid", "relu"], "bn": ["none", "before"], "lr.value": [0.1]}
MOVED = [BETTER, WORSE]


@pytest.fixture
def sweep(simulate):
    """The runs of a simulated sweep; `tag` makes them other runs than those of another one."""

    def make(tag="a", factors=SMALL, **options):
        runs = simulate(factors=factors, **options).runs
        return runs.assign(run_id=tag + runs["run_id"])

    return make


def shifted(runs, by, **where):
    chosen = np.all([runs[f] == level for f, level in where.items()], axis=0)
    return runs.assign(final_val_accuracy=runs["final_val_accuracy"] + by * chosen)


def scores(runs, arm):
    """An arm's scores by seed, of a sweep with one learning rate."""
    activation, bn = arm.split(" · ")
    rows = runs[(runs["activation"] == activation) & (runs["bn"] == ("none" if bn == "no BN" else "before"))]
    return rows.sort_values("seed")["final_val_accuracy"].to_numpy()


def drawn(values, seed=0):
    """Means of the bootstrap's draws, the slow way."""
    return np.array([np.repeat(values, counts).mean() for counts in resample.bundle_counts(len(values), seed=seed)])


def plain_holm(p):
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, worst = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, p[i] * (len(p) - place)))
        out[i] = worst
    return out


def test_paired_numbers_are_the_plain_ones(sweep):
    a, b = sweep("a"), shifted(sweep("b", rng=1), 0.02, bn="none")
    found = compare(a, b, ACCURACY)
    assert found.match.paired
    n, p = 10, []
    for row in found.table.itertuples():
        one, two = scores(a, row.arm), scores(b, row.arm)
        assert (row.score_a, row.score_b) == (pytest.approx(one.mean()), pytest.approx(two.mean()))
        assert row.difference == pytest.approx((two - one).mean())
        error = drawn(two - one).std() * math.sqrt(n / (n - 1))
        half = stats.t.ppf(0.975, n - 1) * error
        assert (row.low, row.high) == (pytest.approx(row.difference - half), pytest.approx(row.difference + half))
        p.append(2 * stats.t.sf(abs(row.difference) / error, n - 1))
        assert error == pytest.approx((two - one).std(ddof=1) / math.sqrt(n), rel=0.03)
        assert (row.n_a, row.n_b, row.same_runs) == (10, 10, 0)
    assert list(found.table["p"]) == pytest.approx(p)
    assert list(found.table["p_holm"]) == pytest.approx(plain_holm(p))


def test_unpaired_numbers_are_the_plain_ones(sweep):
    a, b = sweep("a", seeds=6), sweep("b", rng=1, seeds=12)
    b = shifted(b.assign(seed=b["seed"] + 100, **{"data.seed": b["data.seed"] + 100}), 0.05, bn="before")
    found = compare(a, b, ACCURACY)
    assert not found.match.paired
    for row in found.table.itertuples():
        one, two = scores(a, row.arm), scores(b, row.arm)
        v1, v2 = drawn(one).var() * 6 / 5, drawn(two, seed=1).var() * 12 / 11
        pooled = (5 * 6 * v1 + 11 * 12 * v2) / 16 * (1 / 6 + 1 / 12)
        error, freedom = math.sqrt(max(v1 + v2, pooled)), (v1 + v2) ** 2 / (v1**2 / 5 + v2**2 / 11)
        assert row.difference == pytest.approx(two.mean() - one.mean())
        assert row.high - row.difference == pytest.approx(stats.t.ppf(0.975, freedom) * error)
        assert row.p == pytest.approx(2 * stats.t.sf(abs(row.difference) / error, freedom))
        plain = max(stats.ttest_ind(two, one, equal_var=equal).pvalue for equal in (True, False))
        assert row.p >= 0.8 * plain
    assert set(found.table["verdict"][found.table["arm"].str.contains("before")]) == {BETTER}


def test_arms_that_changed_places_are_those_of_the_plain_pairs(sweep):
    factors = {"init": ["normal", "xavier", "he"], "bn": ["none", "before"], "lr.value": [0.1]}
    truth = {"normal": 0.6, "xavier": 0.7, "he": 0.705}
    a = sweep("a", factors, truth=lambda run: truth[run["init"]])
    b = sweep("b", factors, rng=1, truth=lambda run: truth[run["init"]] + 0.2 * (run["init"] == "normal"))
    found = compare(a, b, ACCURACY)
    moved = found.table.set_index("arm")
    by_arm = [
        {key: rows.sort_values("seed")["final_val_accuracy"].to_numpy() for key, rows in runs.groupby(["init", "bn"])}
        for runs in (a, b)
    ]
    swaps = dict.fromkeys(by_arm[0], 0)
    for i, j in itertools.permutations(by_arm[0], 2):
        before, after = (side[i] - side[j] for side in by_arm)
        change = after - before
        error = drawn(change).std() * math.sqrt(10 / 9)
        beyond = abs(change.mean()) > stats.t.ppf(1 - 0.05 / (2 * 15), 9) * error
        swaps[i] += bool(beyond and before.mean() * after.mean() < 0)
    for (init, bn), count in swaps.items():
        assert moved["swaps"][f"{init} · {'no BN' if bn == 'none' else 'BN before'}"] == count
    assert list(moved["swaps"].sort_values()) == [2, 2, 2, 2, 4, 4]
    assert set(moved["rank_a"][moved.index.str.startswith("normal")]) == {5, 6}
    assert set(moved["rank_b"][moved.index.str.startswith("normal")]) == {1, 2}
    assert set(moved["verdict"][moved.index.str.startswith("normal")]) == {BETTER}
    assert found.tau == pytest.approx(stats.kendalltau(moved["score_a"], moved["score_b"]).statistic)


def test_for_a_loss_less_is_better(sweep):
    a, b = sweep("a"), sweep("b", rng=1)
    a["final_val_loss"], b["final_val_loss"] = 1 - a["final_val_accuracy"], 0.9 - b["final_val_accuracy"]
    found = compare(a, b, METRICS["final_val_loss"]).table
    assert set(found["verdict"]) == {BETTER}
    assert (found["difference"] < 0).all()


def test_a_factor_varied_in_one_and_fixed_in_the_other_matches_at_its_level(sweep):
    both = match(sweep("a"), sweep("b", SMALL | {"activation": ["relu"]}), ACCURACY)
    assert both.arms == ["relu · no BN", "relu · BN before"]
    assert both.one_sided == ["activation"]
    assert both.only == (["sigmoid · BN before", "sigmoid · no BN"], [])


def test_what_both_hold_fixed_is_no_part_of_an_arm(sweep):
    a, b = sweep("a"), sweep("b", rng=1).assign(**{"train.epochs": 40, "init": "he", "model.dropout": 0.5})
    a = a.assign(init="xavier")
    assert len(compare(a, b, ACCURACY).table) == 4
    changes, same = changed_factors(a, b)
    assert {c.name: (c.a, c.b) for c in changes} == {
        "train.epochs": ("20", "40"),
        "init": ("xavier", "he"),
        "model.dropout": ("0", "0.5"),
    }
    assert {"activation", "bn", "optimizer", "seeds"} <= set(same)


def test_a_setting_that_does_not_apply_everywhere_does_not_keep_arms_apart(sweep):
    factors = {"init": ["normal", "xavier"], "lr.value": [0.1]}
    a, b = sweep("a", factors), sweep("b", factors, rng=1)
    b.loc[b["init"] == "normal", "init.std"] = 0.05
    assert match(a, b, ACCURACY).arms == ["normal", "xavier"]
    assert ("init.std", "0.01", "0.05") in changed_factors(a, b)[0]


def test_sweeps_of_the_learning_rate_alone_match_by_rate(sweep):
    a, b = (sweep(tag, {"lr.value": rates}, rng=i) for i, (tag, rates) in enumerate([("a", [0.1, 1.0]), ("b", [1.0])]))
    assert match(a, b, ACCURACY).arms == ["lr 1"]
    arms = sweep("c", SMALL)
    assert match(a, arms.query("activation == 'relu' and bn == 'none'"), ACCURACY).arms == ["lr 0.1"]


def test_each_arm_stands_at_the_best_of_its_own_sweeps_rates(sweep):
    def truth(run):
        return 0.9 - 0.1 * abs(math.log10(run["lr.value"]) + 1)

    rates = [0.01, 0.1, 1.0]
    a, b = (
        sweep("a", SMALL | {"lr.value": rates}, truth=truth),
        sweep("b", SMALL | {"lr.value": [1.0]}, truth=truth, rng=1),
    )
    found = compare(a, b, ACCURACY).table
    assert (set(found["lr_a"]), set(found["lr_b"])) == ({"lr 0.1"}, {"lr 1"})
    assert set(found["verdict"]) == {WORSE}
    assert list(found["difference"]) == pytest.approx([-0.1] * 4, abs=0.02)


def test_seeds_are_paired_where_half_of_the_smaller_sweeps_are_shared(sweep):
    a, b = sweep("a"), sweep("b", rng=1, seeds=16)
    found = match(a, b, ACCURACY)
    assert found.paired
    assert found.a.bundles == found.b.bundles == [str(i) for i in range(10)]
    late = b[b["seed"] >= 6]
    assert not match(a, late, ACCURACY).paired
    assert (len(match(a, late, ACCURACY).a.bundles), len(match(a, late, ACCURACY).b.bundles)) == (10, 10)
    other_split = b.assign(**{"data.seed": b["data.seed"] + 50})
    assert not match(a, other_split, ACCURACY).paired, "a seed with another split is another replicate"


def test_runs_that_fail_take_their_arm_or_seed_out_and_it_is_said(sweep):
    a, b = sweep("a"), sweep("b", rng=1)
    b.loc[(b["bn"] == "none") & (b["activation"] == "relu"), "status"] = "failed"
    b.loc[(b["seed"] == 3) & (b["bn"] == "before"), "status"] = "failed"
    found = compare(a, b, ACCURACY)
    assert found.match.dropped == ["relu · no BN"]
    assert found.match.a.bundles == [str(i) for i in range(10) if i != 3]
    assert set(found.table["n_a"]) == {9}


def test_the_very_same_runs_cannot_differ(sweep):
    a = sweep("a")
    found = compare(a, a.copy(), ACCURACY)
    assert set(found.table["verdict"]) == {SAME}
    assert found.table["p"].isna().all()
    b = sweep("b", rng=1)
    half = (b["activation"] == "relu").to_numpy()
    b.loc[half, ["run_id", "final_val_accuracy"]] = a.loc[half, ["run_id", "final_val_accuracy"]]
    mixed = compare(a, b, ACCURACY).table.set_index("arm")
    assert set(mixed["verdict"][mixed.index.str.startswith("relu")]) == {SAME}
    rest = mixed[~mixed.index.str.startswith("relu")]
    assert list(rest["p_holm"]) == pytest.approx(plain_holm(list(rest["p"]))), "they are not in Holm's family"


def test_few_seeds_infer_nothing(sweep):
    found = compare(sweep("a", seeds=4), shifted(sweep("b", rng=1, seeds=4), -0.5, bn="none"), ACCURACY).table
    assert set(found["verdict"]) == {FEW}
    assert found[["low", "high", "p", "p_holm", "swaps", "rank_a_low", "rank_b_high"]].isna().all(axis=None)
    assert len(compare(sweep("a", seeds=1), sweep("b", seeds=1, rng=1), ACCURACY).table) == 4


def test_no_interval_says_that_accuracies_differ_by_more_than_all(sweep):
    a, b = sweep("a", rng=1, seeds=5), sweep("b", rng=2, seeds=5)
    random = np.random.default_rng(0)
    for runs, values in ((a, (0.0, 0.3)), (b, (0.7, 1.0))):
        runs["final_val_accuracy"] = random.choice(values, len(runs))
    table = compare(a, b, ACCURACY).table
    assert table["high"].max() <= 1
    assert (table["high"] >= table["difference"]).all()
    assert (table["high"] == 1).any(), "where a symmetric one would go beyond"


def test_the_share_that_got_to_tau_stands_beside_steps(sweep):
    a, b = sweep("a", rng=1, seeds=5), sweep("b", rng=2, seeds=5)
    a["tau_reached"], b["tau_reached"] = 1.0, (b["seed"] < 4).astype(float)
    table = compare(a, b, METRICS["steps_to_tau"]).table
    assert set(table["reached_a"]) == {1.0}
    assert set(table["reached_b"]) == {4 / b["seed"].nunique()}
    line = arm_line(table.iloc[0].to_dict(), METRICS["steps_to_tau"])
    assert line.cells["B"].text.startswith("≥ ")
    assert not line.cells["A"].text.startswith("≥ ")


def test_too_few_seeds_for_a_claim_is_no_change_of_its_verdict() -> None:
    measured = (Evidence(name="it", unit=Unit("points"), effect=1.0),)
    few, decided, mixed = (Verdict("k", "c", word, "", measured) for word in (TOO_FEW, SUPPORTED, MIXED))
    assert not changed_verdict(few, decided)
    assert claim_line(few, decided).cells["Changed"].text == "too few seeds to say"
    assert changed_verdict(mixed, decided)
    assert claim_line(mixed, decided).cells["Changed"].text == "yes"


def test_seeds_that_all_agree_count_by_their_number(sweep):
    a = sweep("a", noise=0, bundle_noise=0, seeds=6)
    found = compare(a, shifted(a.assign(run_id="x" + a["run_id"]), 0.01, bn="none"), ACCURACY).table
    assert dict(zip(found["arm"], found["p"], strict=True))["relu · no BN"] == 2.0**-5
    assert dict(zip(found["arm"], found["p"], strict=True))["relu · BN before"] == 1


@pytest.mark.parametrize(
    ("one", "two", "says"),
    [
        ({"bn": ["none"]}, {"bn": ["after", "before"]}, "bn is none in A and before, after in B"),
        (
            {"activation": ["relu"], "bn": ["none", "after"]},
            {"activation": ["relu", "sigmoid"], "bn": ["before"]},
            "bn is",
        ),
    ],
)
def test_sweeps_without_a_shared_arm_are_one_clear_line(sweep, one, two, says):
    with pytest.raises(ConfigError, match=f"must have an arm in common; {says}"):
        compare(sweep("a", SMALL | one), sweep("b", SMALL | two), ACCURACY)


def test_shared_arms_without_a_result_are_one_clear_line(sweep):
    a = sweep("a")
    with pytest.raises(ConfigError, match="none of 4 shared ones has"):
        compare(a.assign(status="failed"), sweep("b"), ACCURACY)


def test_code_and_machines_that_differ_are_told_and_names_are_not():
    a = SweepInfo("s", commit="abc", versions={"torch": "2.1", "numpy": "2"}, hardware="x")
    b = replace(a, commit="def", dirty=True, versions={"torch": "2.2", "numpy": "2"}, created="today")
    names = {c.name: (c.a, c.b) for c in told(circumstances(a, b))}
    assert names == {"commit": ("abc", "def"), "uncommitted changes": ("no", "yes"), "torch": ("2.1", "2.2")}
    assert [c.name for c in circumstances(a, a)] == ["commit", "uncommitted changes", "planned on", "torch", "numpy"]


def luck(random, arms, n, shared):
    """Noise of arms that train (.95) or do not (.1), and of erratic ones; in a seed arms share some luck."""
    noise = np.where(random.random((arms, n)) < np.linspace(0.1, 0.9, arms)[:, None], 0.95, 0.1)
    noise[::2] = 0.8 + shared + np.linspace(0.002, 0.05, arms)[::2, None] * random.standard_normal((len(noise[::2]), n))
    return noise + 0.002 * random.standard_normal((arms, n))


def pairs_of_sweeps(simulations, arms, n_a, n_b, paired, planted=0.0):
    """Tables of the comparisons of sweeps that differ by luck, and by `planted` in their first arm."""
    frames = []
    for tag, n, first in (("a", n_a, 0), ("b", n_b, 0 if paired else 100)):
        pairs = list(itertools.product(range(arms), range(first, first + n)))
        runs = [{"model.dropout": arm / 100, "seed": s, "run_id": f"{tag}{arm}/{s}"} for arm, s in pairs]
        fixed = {"status": "finished", "data": "digits", "bn": "none", "final_val_accuracy": 0.0}
        frames.append(pd.DataFrame(runs).assign(**fixed))
    found = match(*frames, ACCURACY)
    assert found.paired == paired
    for k in range(simulations):
        random = np.random.default_rng(k)
        shared = [0.02 * random.standard_normal(n) for n in (n_a, n_b)]
        a, b = luck(random, arms, n_a, shared[0]), luck(random, arms, n_b, shared[0 if paired else 1])
        b[0] += planted
        halves = [replace(h, score_SLN=y[:, None, :]) for h, y in ((found.a, a), (found.b, b))]
        sides = [side(h, ACCURACY, seed) for h, seed in zip(halves, (0, 0 if paired else 1), strict=True)]
        yield table(found, *sides, ACCURACY)


@pytest.mark.parametrize(("n_a", "n_b", "paired"), [(8, 8, True), (8, 8, False), (5, 15, False)])
def test_sweeps_that_differ_by_luck_only_show_a_move_in_at_most_one_of_twenty(n_a, n_b, paired):
    simulations = 60
    found = list(pairs_of_sweeps(simulations, 6, n_a, n_b, paired))
    moved = sum(each["verdict"].isin(MOVED).any() for each in found)
    swapped = sum((each["swaps"] > 0).any() for each in found)
    most = stats.binom.ppf(0.999, simulations, 0.05)
    assert (moved <= most, swapped <= most) == (True, True), (moved, swapped)


def test_a_planted_difference_is_found():
    """An arm whose seeds scatter by .2 points, 1 point better in B: 8 paired seeds, 6 arms in the family."""
    found = list(pairs_of_sweeps(40, 6, 8, 8, paired=True, planted=0.01))
    right = sum(each.set_index("arm")["verdict"]["dropout 0"] == BETTER for each in found)
    assert right >= 36
    assert NOISE in set(found[0]["verdict"])


def test_stopped_runs_are_counted_and_compared_on_neither_side(sweep, stop, simulate):
    a, b = (sweep(tag, {**SMALL, "lr.value": [0.1, 1.0]}, noise=0.002, rng=rng) for tag, rng in (("a", 0), ("b", 1)))
    gone = (b["bn"] == "none") & (b["activation"] == "relu")
    late = (b["bn"] == "before") & (b["lr.value"] == 1.0) & (b["seed"] == 2)
    cut = stop(replace(simulate(factors=SMALL, seeds=2), runs=b), gone | late, 0.3).runs
    found = compare(a, cut, ACCURACY)
    assert found.match.stopped == (0, 22) and found.match.dropped == ["relu · no BN"]
    assert set(found.table["arm"]) == {"sigmoid · no BN", "sigmoid · BN before", "relu · BN before"}
    assert set(found.table["n_a"]) == {10}, "no seed is lost by a run that was stopped"
    with_bn = found.table[found.table["arm"].str.contains("before")]
    assert set(with_bn["lr_a"]) == set(with_bn["lr_b"]) == {"lr 0.1"}, "B ran to the end there alone"
    told = " ".join(n.text for n in notices(found, SweepInfo("a"), SweepInfo("b"), []))
    assert "Stopped runs are not compared: 0 of A and 22 of B were stopped early." in told
    assert "topped" not in " ".join(
        n.text for n in notices(compare(a, b, ACCURACY), SweepInfo("a"), SweepInfo("b"), [])
    )
