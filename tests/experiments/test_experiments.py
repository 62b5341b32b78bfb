"""The language of expectations on synthetic records whose truth is known: quantities, contrasts, medians, verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from members import changed

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import BnConfig, InitConfig, LrConfig
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.experiments.expect import Expectation, parse_expectation, read_expectations
from bnsweep.experiments.quantities import check_known, measure, parse_quantity
from bnsweep.experiments.selection import Run, check_selector, matches
from bnsweep.experiments.sets import SETS
from bnsweep.experiments.verdicts import answer, deviation, interval, median_of
from bnsweep.records import DIVERGED, FAILED, FINISHED, RunRecord

NAN = math.nan


def config(seed: int = 0, bn: str = "none", std: float = 0.5, lr: float = 0.1, depth: int = 2) -> RunConfig:
    return RunConfig(
        bn=BnConfig(bn), init=InitConfig("normal", std=std), lr=LrConfig(lr), model=ModelConfig([8] * depth), seed=seed
    )


def run(
    of: RunConfig | None = None,
    status: str = FINISHED,
    summary: dict[str, float] | None = None,
    **curves: Sequence[float],
) -> Run:
    """Readings after 0, 10, 20, ... steps; `train_accuracy` stands for train/accuracy."""
    history = {name.replace("__", "/"): list(values) for name, values in curves.items()}
    length = max(map(len, history.values()), default=0)
    history["step"] = [10.0 * i for i in range(length)]
    return Run(of or config(), RunRecord(status, history=history, summary=summary or {}))


def value(text: str, of: Run) -> float:
    return measure(parse_quantity(text), of)


def entry(quantity: str = "train/loss@end", **more: Any) -> Expectation:
    more = {key.rstrip("_"): item for key, item in more.items()}
    return parse_expectation({"quantity": quantity, "from": "computed", **more})


def row(expectation: Expectation, runs: Sequence[Run], quick: bool = False) -> Any:
    return answer(expectation, runs, "name", "", quick)


def test_a_reading_is_the_first_the_last_or_that_after_a_number_of_steps() -> None:
    one = run(flow=[1.0, 2.0, 4.0])
    assert [value(f"flow@{reading}", one) for reading in ("start", "10", "end")] == [1, 2, 4]
    assert math.isnan(value("flow@11", one)), "no reading was made after 11 steps"
    assert math.isnan(value("growth@end", one)), "this run never measured it"


def test_growth_is_the_factor_on_the_squared_gradient_norm_of_a_backward_step() -> None:
    norms = {f"layer__{l}__grad_activation": [7 * 1.5 ** (-l / 2), 3.0] for l in range(1, 6)}
    assert value("growth(2,5)@start", run(**norms)) == pytest.approx(1.5)
    assert value("growth(2,5)@end", run(**norms)) == pytest.approx(1)
    norms["layer__2__grad_activation"][0] *= 1.1
    slope = np.polyfit(
        [-2, -3, -4, -5], [2 * math.log(norms[f"layer__{l}__grad_activation"][0]) for l in range(2, 6)], 1
    )
    assert value("growth(2,5)@start", run(**norms)) == pytest.approx(math.exp(slope[0]))


def test_functions_of_two_metrics_are_read_point_by_point() -> None:
    one = run(train__loss=[2.0, 100.0], test__loss=[4.0, 1.0])
    assert value("ratio(train/loss, test/loss)@start", one) == 0.5
    assert value("log10ratio(train/loss,test/loss)@end", one) == pytest.approx(2)
    assert value("difference(train/loss,test/loss)@end", one) == 99


def test_functions_of_all_readings_pass_over_those_that_were_not_made() -> None:
    one = run(layer__1__ics=[NAN, 1.0, -5.0], layer__2__ics=[NAN, 3.0, 2.0], layer__3__ics=[NAN, 9.0, 9.0])
    assert value("largest(layer/1/ics)", one) == 5
    assert value("largest(layer/*/ics)", one) == 5, "layer 3 is the output layer"
    assert value("mean(layer/1/ics)", one) == -2
    one.record.status = DIVERGED
    assert math.isnan(value("mean(layer/1/ics)", one)), "its last readings are lost"


def test_a_diverged_run_scores_chance_and_has_no_other_number() -> None:
    lost = run(
        None, DIVERGED, {"final_test_accuracy": NAN, "gap_accuracy": NAN}, train__accuracy=[0.3, NAN], flow=[1, NAN]
    )
    assert value("train/accuracy@end", lost) == value("final_test_accuracy", lost) == 0.1
    assert value("train/accuracy@start", lost) == 0.3, "it had not diverged then"
    assert math.isnan(value("flow@end", lost)) and math.isnan(value("gap_accuracy", lost))
    assert math.isnan(value("train/accuracy@end", run(None, FAILED))), "nothing is known of a run that failed"


def test_the_median_has_a_place_for_infinity() -> None:
    assert median_of([3, 1, 2]) == 2
    assert median_of([4, 1, 2, 3]) == 2.5
    assert median_of([1, math.inf, 2]) == 2
    assert median_of([math.inf, 1, math.inf]) == math.inf


def test_the_interval_of_the_median_covers_it_about_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    spans = [interval(list(random.normal(size=15))) for _ in range(200)]
    assert 0.9 <= np.mean([low <= 0 <= high for low, high in spans]) <= 0.99
    assert interval([2.0] * 5) == (2, 2)
    assert all(map(math.isnan, interval([1.0, 2.0, 3.0, 4.0]))), "four seeds give no 95 % interval"
    assert interval([1.0, 2.0, 3.0, math.inf, math.inf])[1] == math.inf


@pytest.mark.parametrize(
    ("bounds", "inside"),
    [
        ({"expected": 2, "tolerance": 0.5}, "yes"),
        ({"expected": 2, "tolerance": 0.4}, "no"),
        ({"expected": -2, "tolerance": 0.5}, "no"),
        ({"expected": 2.4, "tolerance": "5%"}, "yes"),
        ({"expected": 2.4, "tolerance": "4%"}, "no"),
        ({"low": 2.5}, "yes"),
        ({"low": 2.6}, "no"),
        ({"high": 2.5, "expected": 9}, "yes"),
        ({"low": 1, "high": 2}, "no"),
        ({"expected": 2.5}, "reported"),
        ({}, "reported"),
    ],
)
def test_a_verdict_is_on_the_median_of_the_seeds(bounds: dict[str, Any], inside: str) -> None:
    runs = [run(config(seed), train__loss=[9.0, end]) for seed, end in enumerate([1.0, 2.5, 99.0])]
    found = row(entry(**bounds), runs)
    assert (found.inside, found.median, found.n) == (inside, 2.5, 3)


def test_a_contrast_pairs_seeds_and_leaves_out_those_without_a_partner() -> None:
    plain = [run(config(seed, "none"), train__loss=[loss]) for seed, loss in enumerate([1.0, 2.0, 4.0])]
    normed = [run(config(seed, "before"), train__loss=[loss]) for seed, loss in enumerate([2.0, 8.0])]
    arms = {"runs": {"bn": "before"}, "against": {"bn": "none"}}
    difference = row(entry(by="difference", **arms), [*normed, *plain])
    assert (difference.median, difference.n) == (3.5, 2), "2 - 1 and 8 - 2"
    assert row(entry(by="ratio", **arms), [*normed, *plain]).median == 3, "2 / 1 and 8 / 2"


def test_the_deviation_of_curves_is_the_largest_relative_one() -> None:
    assert deviation([1.0, 2.2, NAN], [1.0, 2.0, NAN]) == pytest.approx(0.1)
    assert deviation([1.0, 3.0], [1.0, 3.0]) == 0
    assert deviation([0.0, 1.0], [0.0, 1.0]) == 0, "0 / 0 is no deviation"
    assert math.isnan(deviation([1.0, NAN], [1.0, 2.0]))
    assert math.isnan(deviation([], []))
    runs = [run(config(0, bn), train__loss=loss) for bn, loss in (("before", [1.0, 1.5]), ("none", [1.0, 1.0]))]
    one = entry("train/loss", runs={"bn": "before"}, against={"bn": "none"}, by="deviation", high=0.4)
    assert (row(one, runs).median, row(one, runs).inside) == (0.5, "no")


def test_missing_seeds_are_counted_in_the_row() -> None:
    runs = [
        run(config(0), train__loss=[1.0]),
        run(config(1), DIVERGED, train__loss=[NAN]),
        Run(config(2), RunRecord(FAILED, reason="no memory")),
    ]
    found = row(entry(high=2), runs)
    assert (found.inside, found.median, found.n) == ("yes", 1, 1)
    assert found.why == "2 of 3 missing, 1 diverged, 1 failed"
    none = row(entry(high=2), runs[1:])
    assert none.inside == "not run" and math.isnan(none.median)
    assert none.why == "no number: 2 of 2 missing, 1 diverged, 1 failed"


def test_steps_to_tau_that_runs_never_reached_are_said_to_be_no_more_than_their_budget() -> None:
    def runs(bn: str, reached: Sequence[float]) -> list[Run]:
        summaries = ({"steps_to_tau": 40.0 if got else 360.0, "tau_reached": got} for got in reached)
        return [run(config(seed, bn), summary=summary) for seed, summary in enumerate(summaries)]

    both = [*runs("before", [1.0, 1.0, 1.0]), *runs("none", [1.0, 0.0, 0.0])]
    faster = entry("steps_to_tau", runs={"bn": "before"}, against={"bn": "none"}, by="ratio", high=0.999)
    assert row(faster, both).why == "2 of 3 runs never reached τ and count with all of their steps"
    assert row(faster, [*runs("before", [1.0]), *runs("none", [1.0])]).why == ""


def test_the_quick_form_leaves_out_what_is_for_the_full_one() -> None:
    one = entry(high=2, full_only=True)
    assert row(one, [run(train__loss=[1.0])], quick=True).inside == "not run"
    assert row(one, [run(train__loss=[1.0])]).inside == "yes"


def test_a_selector_names_factors() -> None:
    factors = run(config(bn="before", std=0.01)).factors
    assert matches(factors, {"bn": "before", "init": "normal", "init.std": 1e-2, "model.hidden": [8, 8]})
    assert not matches(factors, {"bn": "none"})
    assert not matches(factors, {"init.std": None}), "it has one"
    assert matches(run(config()).factors, {"bn.eps": None}), "eps is no factor without BN"


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ({"bn": "after"}, "bn=after: matches no run (there are before, none)"),
        ({"bn.epss": 1}, "bn.epss: no run has this factor (did you mean bn.eps"),
        ({"bn": "none", "bn.eps": 1e-5}, "bn none, bn.eps 1e-05: no run has all of these"),
        ({"seed": 0}, "seed: must be left out: an expectation is judged on all seeds"),
    ],
)
def test_a_selector_that_matches_nothing_is_refused(selector: dict[str, Any], says: str) -> None:
    factors = [run(config(0, bn)).factors for bn in ("none", "before")]
    with pytest.raises(ConfigError) as refused:
        check_selector(factors, selector)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ({}, "quantity=None: must be the name of what is measured"),
        ({"quantity": "flow"}, "quantity=flow: needs a reading: @start, @end or @STEP"),
        ({"quantity": "flow@middle"}, "quantity=flow@middle: must be NAME, NAME@start"),
        ({"quantity": "flwo@end"}, "quantity=flwo@end: flwo: no such metric (did you mean flow"),
        ({"quantity": "layer/4/mean@end"}, "layer/4/mean: no such metric"),
        ({"quantity": "ratio(train/loss,tset/loss)@end"}, "tset/loss: no such metric (did you mean test/loss"),
        ({"quantity": "ratio(train/loss)@end"}, "ratio takes two arguments"),
        ({"quantity": "smallest(train/loss)"}, "no such function (there are growth, ratio, log10ratio, difference"),
        ({"quantity": "largest(train/loss,lr)"}, "largest takes one metric"),
        ({"quantity": "largest(train/loss)@end"}, "is one number of a run: it takes no reading"),
        ({"quantity": "growth(2,2)@end"}, "must name two layers, from 1 to 3, in order"),
        ({"quantity": "growth(2,4)@end"}, "must name two layers, from 1 to 3, in order"),
        ({"quantity": "train/loss@999999"}, "must be read after one of the steps 0, 18, 36, 54, ..., 324, 342, 360"),
        ({"quantity": "layer/1/mean@18"}, "must be read after one of the steps 0, "),
        ({"quantity": "largest(layer/*/ics)"}, "is measured under probes=full (in the experiment's file)"),
        ({"quantity": "final_train_accuracy@end"}, "is one number of a run: it takes no reading"),
        ({"quantity": "lr@end", "runs": "bn"}, "runs=bn: must be a mapping of factors to values"),
        ({"quantity": "lr@end", "runs": {"bn": "none"}}, "matches several runs a seed; they differ in init.std"),
        ({"quantity": "lr@end", "runs": {"bn": "sideways"}}, "bn=sideways: matches no run"),
        ({"quantity": "lr@end", "against": {"bn": "none"}}, "by=None: must be given with against"),
        ({"quantity": "lr@end", "by": "ratio"}, "by=ratio: must be given with against, and left out without it"),
        (
            {"quantity": "lr@end", "by": "quotient", "against": {"bn": "none"}},
            "by=quotient: must be one of difference, ratio, deviation",
        ),
        (
            {"quantity": "lr@end", "by": "deviation", "against": {"bn": "none"}},
            "must have no reading: a deviation is of whole curves",
        ),
        ({"quantity": "lr@end", "expected": 10**400}, "expected=1000"),
        ({"quantity": "lr@end", "low": math.nan}, "low=nan: must be a finite number or null"),
        ({"quantity": "lr@end", "runs": {1: 2}}, "runs={1: 2}: must be a mapping of factors to values"),
        ({"quantity": "lr@end", "runs": {"lr.value": 10**400}}, "matches no run (there are 0.1)"),
        ({"quantity": "lr@end", "expected": "high"}, "expected=high: must be a finite number or null"),
        ({"quantity": "lr@end", "tolerance": 1}, "tolerance=1: must be given with an expected number"),
        ({"quantity": "lr@end", "expected": 1, "tolerance": "2 apples"}, "tolerance=2 apples: must be a number >= 0"),
        ({"quantity": "lr@end", "expected": 1, "tolerance": -1}, "tolerance=-1: must be a number >= 0"),
        (
            {"quantity": "lr@end", "expected": 1, "tolerance": 1, "low": 0},
            "tolerance=1: must be left out where low or high is given",
        ),
        ({"quantity": "lr@end", "low": 2, "high": 1}, "low=2.0: must be <= high=1.0"),
        ({"quantity": "lr@end", "full_only": "yes"}, "full_only=yes: must be true or false"),
        ({"quantity": "lr@end", "from": None}, "from=None: must be one of published, second-hand, computed"),
        ({"quantity": "lr@end", "from": "the book"}, "from=the book: must be one of published, second-hand, computed"),
        ({"quantity": "lr@end", "from": ["computed"]}, "from=['computed']: must be one of published, second-hand"),
        ({"quantity": "lr@end", "published": 1}, "published=1: must be left out or renamed: no such key"),
        ({"quantity": "lr@end", "tolerence": 1}, "no such key (did you mean tolerance?)"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused_by_name(text: dict[str, Any], says: str) -> None:
    configs = [config(seed, bn, std) for seed in (0, 1) for bn in ("none", "before") for std in (0.1, 1)]
    with pytest.raises(ConfigError) as refused:
        read_expectations("name", [{"from": "computed", **text}], configs, quick=False)
    assert str(refused.value).startswith("name: expect 1: ")
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_only_for_the_full_form_need_not_match_the_quick_one() -> None:
    text = {"quantity": "lr@end", "from": "computed", "runs": {"bn": "before"}, "full_only": True}
    assert read_expectations("name", [text], [config()], quick=True)
    with pytest.raises(ConfigError, match="matches no run"):
        read_expectations("name", [text], [config()], quick=False)


def swept(reached: dict[float, list[bool]]) -> list[Run]:
    """Learning rate -> whether each seed reached tau."""
    return [
        run(config(seed, lr=lr), summary={"tau_reached": float(ok)})
        for lr, oks in reached.items()
        for seed, ok in enumerate(oks)
    ]


def test_lr_tolerance_is_the_longest_stretch_that_half_of_the_seeds_reach() -> None:
    yes, half, no = [True, True], [True, False], [False, False]
    inner = SETS["lr_tolerance"](swept({0.001: no, 0.01: yes, 0.1: half, 1.0: no, 10.0: no}))
    assert inner.values == {None: pytest.approx(2)} and inner.remark == ""
    edge = SETS["lr_tolerance"](swept({0.01: no, 0.1: yes, 1.0: yes}))
    assert edge.values == {None: pytest.approx(2)} and edge.remark.startswith("at least")
    assert SETS["lr_tolerance"](swept({0.1: no, 1.0: no})).values == {None: 0}


def test_a_number_of_all_seeds_stands_in_the_table_without_an_interval() -> None:
    runs = swept({0.01: [True] * 6, 0.1: [True] * 6, 1.0: [False] * 6})
    found = row(entry("lr_tolerance", expected=2, tolerance=0.1), runs)
    assert (found.inside, found.n) == ("yes", 6) and math.isnan(found.low)


def test_the_largest_lr_is_a_number_of_each_seed() -> None:
    found = SETS["largest_lr"](swept({0.1: [True, True, False], 1.0: [False, True, False]}))
    assert found.values == {0: 0.1, 1: 1.0, 2: pytest.approx(NAN, nan_ok=True)}
    assert found.remark == "at least: 1 of 3 seeds at the edge of the grid"


def test_the_trainable_depth_is_the_largest_that_learns_more_than_twice_chance() -> None:
    scores = {1: 0.9, 2: 0.21, 3: 0.2, 4: 0.1}
    runs = [run(config(depth=depth), summary={"final_train_accuracy": score}) for depth, score in scores.items()]
    assert SETS["trainable_depth"](runs).values == {0: 2}


@pytest.mark.parametrize("probes", ["off", "light", "full"])
def test_every_metric_that_a_run_records_can_be_expected(probes: str) -> None:
    from bnsweep.data import dataset as data
    from bnsweep.training.device import resolve_device
    from bnsweep.training.trainer import train

    one = config(bn="before")
    one = changed(one, {"train.epochs": 2, "model.dropout": 0.1, "probes.name": probes})
    (record,), _ = train([one], data.load(one.data), resolve_device("cpu"))
    for name in record.history:
        check_known(parse_quantity(f"{name}@end"), one)
    for name in record.summary:
        check_known(parse_quantity(name), one)
