"""Which runs train together: equal shapes, whole data seeds, what the caches and the memory hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from quick_runs import CPU, enormous, grid

from bnsweep.catalogue.activations import ACTIVATIONS, ActivationKind, Functions
from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import ActivationConfig, DataConfig, LrConfig, TrainConfig
from bnsweep.config.identity import identity
from bnsweep.config.network import ModelConfig
from bnsweep.config.run import RunConfig
from bnsweep.data import dataset as data
from bnsweep.runs.machine import worker_count
from bnsweep.runs.memory import member_bytes
from bnsweep.runs.plan import (
    check_memory,
    cost,
    describe,
    make_plan,
    makespan,
    pack,
    plan_on,
    stack_limit,
    step_flops,
    workers_for,
)
from bnsweep.runs.prediction import predicted_seconds
from bnsweep.runs.resources import Resources

FREE = 16 * 2**30
CUDA = torch.device("cuda")


def sizes(stacks: list[list[int]]) -> list[int]:
    return [len(stack) for stack in stacks]


def test_data_seeds_stay_whole_where_they_fit() -> None:
    configs = grid(seeds=5)
    assert sizes(pack(range(20), configs, 9)) == [8, 4, 8]
    assert sizes(pack(range(20), configs, 9, workers=2)) == [5, 5, 5, 5], "whole seeds would leave one of them idle"
    assert sizes(pack(range(20), configs, 20, workers=2)) == [8, 12], "both workers have something to do"
    assert sizes(pack(range(20), configs, 20, workers=8)) == [4] * 5, "no seed is split for it"
    assert sizes(pack(range(20), configs, 3)) == [2] * 10


def test_shapes_stay_apart_and_every_run_is_in_one_stack() -> None:
    narrow = grid(seeds=5)
    configs = narrow + [replace(config, model=ModelConfig([64])) for config in narrow]
    plan = make_plan(configs, (), CPU)
    for stack in plan.stacks:
        assert len({tuple(configs[job].model.hidden) for job in stack}) == 1
    assert sorted(job for stack in plan.stacks for job in stack) == list(range(40))


@pytest.mark.parametrize(("shapes", "stacks"), [(1, 2), (3, 6), (4, 4), (6, 6)])
def test_a_shape_is_split_where_workers_would_have_nothing_to_do(shapes: int, stacks: int) -> None:
    configs = [replace(config, model=ModelConfig([1000 + i])) for i in range(shapes) for config in grid(seeds=2)]
    assert len(make_plan(configs, (), CPU, workers=2, free=FREE).stacks) == stacks


def many(seeds: int = 10, rates: int = 13) -> list[RunConfig]:
    """So many data seeds of 52 runs on MNIST."""
    mnist, train = DataConfig("mnist"), TrainConfig(batch_size=128)
    configs = [replace(c, data=mnist, train=train) for c in grid(seeds=seeds)]
    return [replace(c, lr=LrConfig(0.01 * (i + 1))) for c in configs for i in range(rates)]


@pytest.mark.parametrize("workers", [2, 4, 8, 16, 32])
def test_all_workers_are_through_at_about_the_same_time(workers: int) -> None:
    """Ten data seeds on eight workers: with whole ones eight would train one seed, and two of them one more."""
    plan = make_plan(many(), (), CPU, workers, 64 * FREE)
    costs = [cost(stack, plan.configs) for stack in plan.stacks]
    assert makespan(costs, workers) < 1.1 * sum(costs) / workers


def test_several_shapes_on_many_cores_are_shared_out_and_not_each_split_among_all() -> None:
    configs = [replace(c, model=ModelConfig([32 + i])) for c in many(seeds=2) for i in range(6)]
    plan = make_plan(configs, (), CPU, 16, 64 * FREE)
    assert len(plan.stacks) <= 36 and min(sizes(plan.stacks)) >= 17, "twice a worker's share, not 96 stacks of 6 or 7"


def test_the_longest_stacks_come_first_where_several_train_at_a_time() -> None:
    configs = [replace(c, train=TrainConfig(epochs=1 + i)) for i in range(3) for c in grid(seeds=2)]
    first = [
        [plan.configs[stack[0]].train.epochs for stack in plan.stacks]
        for plan in (make_plan(configs, (), CPU, workers, FREE) for workers in (1, 2))
    ]
    assert first == [[1, 2, 3], [3, 2, 1]]


def test_the_last_of_several_workers_says_when_all_are_through() -> None:
    assert makespan([1, 1, 1, 3], 2) == 3
    assert makespan([2, 2, 2], 2) == 4
    assert makespan([5], 4) == 5


def test_what_is_done_and_what_is_asked_for_twice_is_not_trained() -> None:
    configs = grid()
    plan = make_plan([*configs, configs[5]], {identity(configs[0]), "of another sweep"}, CPU, workers=1)
    assert sorted(job for stack in plan.stacks for job in stack) == [1, 2, 3, 4, 5, 6, 7]
    assert (plan.combinations, plan.runs, plan.left, plan.done) == (4, 8, 7, {identity(configs[0])})
    first, second = describe(plan).splitlines()
    assert first == "plan: 4 combinations, 8 runs, 1 already done, 7 left (1 jobs mean the same run as another)"
    assert second.startswith("on cpu (one thread a stack), 1 at a time; stacks: 1 of 7; largest about ")


def test_an_activation_without_kernels_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "autograd" not in describe(make_plan(grid(), (), CPU))
    bare = ActivationKind("bare", "bare", lambda torch: Functions(torch.nn.functional.silu))
    monkeypatch.setitem(ACTIVATIONS, "bare", bare)
    configs = [replace(config, activation=ActivationConfig("bare")) for config in grid()]
    *_, last = describe(make_plan([*grid(), *configs], (), CPU)).splitlines()
    assert last == "without kernels, so trained by autograd, which is slower: bare"


def test_max_stack_bounds_the_runs_that_train_together() -> None:
    assert sizes(make_plan(grid(seeds=3, max_stack=3), (), CPU, workers=1).stacks) == [2] * 6


def test_runs_are_split_among_workers_where_a_step_is_work_enough() -> None:
    small, large = RunConfig(), RunConfig(data=DataConfig("mnist"), train=TrainConfig(batch_size=128))
    assert step_flops(large) == 4 * 784 * 32 + 6 * (32 * 32 + 32 * 10)
    assert [stack_limit(config, 8, Resources(CPU, 2, FREE)) for config in (large, small)] == [4, 20]
    held = [stack_limit(config, 1000, Resources(CPU, 2, FREE)) for config in (large, small)]
    assert held == [70, 185], "what a core's caches hold"


def test_a_gpu_takes_what_its_memory_holds() -> None:
    places = Resources(CPU, 1, FREE), Resources(CUDA, 1, FREE), Resources(CUDA, 1, 2 * FREE)
    on_cpu, on_gpu, on_larger = (stack_limit(RunConfig(), 10_000, resources) for resources in places)
    assert on_gpu > 10 * on_cpu
    assert on_larger > 1.9 * on_gpu


def test_several_gpus_share_the_runs_and_not_their_memories() -> None:
    one, four, two_each = (Resources(CUDA, workers, FREE, memories=4) for workers in (1, 4, 8))
    assert (one.each, four.each, two_each.each) == (FREE, FREE, FREE / 2)
    assert sizes(plan_on(grid(seeds=4), (), Resources(CUDA, 1, FREE)).stacks) == [16]
    plan = plan_on(grid(seeds=4), (), four)
    assert (plan.workers, sizes(plan.stacks)) == (4, [4] * 4)


def test_workers_with_memories_of_their_own_train_side_by_side() -> None:
    configs = [replace(config, model=ModelConfig([2000, 2000])) for config in grid(seeds=8)]
    free = 2**30
    assert plan_on(configs, (), Resources(CPU, 8, free)).workers == 1
    assert plan_on(configs, (), Resources(CPU, 8, free, memories=8)).workers == 8


def test_a_stack_never_plans_more_than_the_free_memory() -> None:
    configs = [replace(config, model=ModelConfig([2000, 2000])) for config in grid(seeds=20)]
    free = 2 * 2**30
    plan = make_plan(configs, (), CPU, workers=2, free=free)
    assert all(len(stack) * member_bytes(configs[0]) * plan.workers <= free for stack in plan.stacks)
    assert len(plan.stacks) > 2


def test_where_one_run_takes_most_of_the_memory_they_train_one_at_a_time() -> None:
    configs = [replace(config, model=ModelConfig([2000, 2000])) for config in grid()]
    assert make_plan(configs, (), CPU, workers=2, free=member_bytes(configs[0]) * 3 // 2).workers == 1


def test_in_a_small_container_stacks_train_one_at_a_time_and_not_run_by_run() -> None:
    plan = make_plan(grid(seeds=20), (), CPU, workers=8, free=500 * 2**20)
    assert plan.workers == 1
    assert max(sizes(plan.stacks)) > 20 and plan.bytes < 250 * 2**20


def test_there_are_never_more_workers_than_stacks() -> None:
    assert make_plan(grid(max_stack=4), (), CPU, workers=8, free=FREE).workers == 2
    assert make_plan(grid(), [identity(config) for config in grid()], CPU, workers=8, free=FREE).workers == 1


def test_a_small_sweep_starts_no_processes_unless_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six runs of twenty epochs of digits are over in a quarter of a second; to start processes takes two."""
    small, large = grid(seeds=2, epochs=1), many(seeds=1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert workers_for(small, CPU) == 1
    assert workers_for(large, CPU) == workers_for([*small, *large], CPU) == worker_count(CPU)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert workers_for(small, CPU) == worker_count(CPU)


def test_a_run_too_large_for_the_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model.hidden=\[99000, 99000\]: must be smaller: a run takes about"):
        check_memory([*grid(), enormous(grid()[0])], CPU)
    drawn = replace(grid()[0], train=TrainConfig(batch_size=10**12, replacement=True))
    with pytest.raises(ConfigError, match=r"^train.batch_size=1000000000000: must be smaller: a run takes about"):
        check_memory([drawn], CPU)
    check_memory(grid(), CPU, free=2**28)
    with pytest.raises(ConfigError, match=r"must be smaller: a run takes about 0\.0 GiB, and 0\.0 GiB are free$"):
        check_memory(grid(), CPU, free=2**10)


def test_a_trial_predicts_longer_for_more_epochs() -> None:
    def seconds(epochs: int) -> float:
        plan = make_plan(grid(epochs=epochs), (), CPU, workers=1)
        return predicted_seconds(plan, {plan.configs[0].data.key: data.load(plan.configs[0].data)})

    threads = torch.get_num_threads()
    assert 0 < seconds(2) < seconds(1000)
    assert torch.get_num_threads() == threads


def test_networks_of_large_images_share_their_first_layer_four_at_a_time() -> None:
    one = RunConfig(data=DataConfig("mnist"), model=ModelConfig(family="conv", channels=(16, 32)))
    assert stack_limit(one, 100, Resources(CPU, 2, FREE)) == 4
    assert stack_limit(one, 4, Resources(CPU, 2, FREE)) == 2, "two workers have something to do"


def test_the_plan_says_how_images_lie_in_memory() -> None:
    wide, narrow = (RunConfig(model=ModelConfig(family="conv", channels=channels)) for channels in ((16, 32), (8, 16)))
    says = "convolutions: member by member, {} side by side in memory"
    assert says.format("channels") in describe(make_plan([wide], (), CPU)).splitlines()
    assert says.format("positions or channels") in describe(make_plan([wide, narrow, *grid()], (), CPU)).splitlines()
    assert "convolutions" not in describe(make_plan(grid(), (), CPU))


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_that_only_start_are_planned(workers: int) -> None:
    configs = [replace(config, train=replace(config.train, epochs=0)) for config in grid(seeds=2)]
    assert make_plan(configs, (), CPU, workers, FREE).left == len(configs)
