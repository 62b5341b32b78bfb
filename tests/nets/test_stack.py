"""A stack holds every member as it would be alone, side by side with those it shares work with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from members import CPU, make, mix

from bnsweep.nets.plain import build
from bnsweep.nets.stack import Stack


@pytest.fixture
def stack() -> Stack:
    return Stack(mix(), CPU)


def changes(values: list[object]) -> int:
    return sum(a != b for a, b in zip(values, values[1:], strict=False))


def test_members_stand_in_an_order_of_which_the_given_places_are_known(stack: Stack) -> None:
    configs = mix()
    assert sorted(stack.positions) == list(range(len(configs)))
    assert stack.configs == [configs[i] for i in stack.positions]


def test_members_that_share_a_normalisation_then_an_activation_stand_side_by_side(stack: Stack) -> None:
    norms: list[object] = [(c.bn.placement, c.bn.eps) for c in stack.configs]
    assert changes(norms) == len(set(norms)) - 1
    both: list[object] = [(c.bn.placement, c.bn.eps, c.activation.name) for c in stack.configs]
    assert changes(both) == len(set(both)) - 1


def test_members_of_other_shapes_are_refused() -> None:
    wide = make(("relu", "he", "constant", "none"))
    narrow = replace(wide, model=replace(wide.model, hidden=[8]))
    with pytest.raises(AssertionError, match="share shapes"):
        Stack([wide, narrow], CPU)


def test_an_exported_member_is_the_plain_network(stack: Stack) -> None:
    x = torch.randn(7, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for k, config in enumerate(stack.configs):
        ours, plain = stack.export(k), build(config).eval()
        assert not ours.training
        assert ours.state_dict().keys() == plain.state_dict().keys()
        for name, tensor in plain.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), (config, name)
        assert torch.equal(ours(x), plain(x))


def test_an_exported_member_stays_as_it_is_when_the_stack_trains_on(stack: Stack) -> None:
    ours = stack.export(0)
    before = ours.linear1.weight.clone()
    for tensor in stack.parameters.values():
        tensor.zero_()
    assert torch.equal(ours.linear1.weight, before)


def test_a_member_does_not_depend_on_company(stack: Stack) -> None:
    for k in (0, 5, 11):
        alone = Stack([stack.configs[k]], CPU)
        for name, tensor in alone.export(0).state_dict().items():
            assert torch.equal(stack.export(k).state_dict()[name], tensor)


def test_a_part_of_a_stack_is_its_members_in_the_same_memory(stack: Stack) -> None:
    part = stack.part(slice(3, 7))
    assert (part.configs, part.positions) == (stack.configs[3:7], stack.positions[3:7])
    for tensor in (*stack.parameters.values(), *stack.running.values()):
        tensor.normal_(generator=torch.Generator().manual_seed(0)).abs_()
    for k in range(len(part)):
        for name, tensor in part.export(k).state_dict().items():
            assert torch.equal(stack.export(3 + k).state_dict()[name], tensor), name


def test_every_member_knows_its_data_and_its_seed() -> None:
    base = make(("relu", "he", "constant", "none"))
    configs = [replace(base, seed=s, data=replace(base.data, seed=d)) for s, d in ((4, 9), (2, 9), (4, 1))]
    stack = Stack(configs, CPU)
    for k, config in enumerate(stack.configs):
        assert stack.data_seeds[stack.group_of_K[k]] == config.data_seed
        assert stack.seeds[stack.seed_of_K[k]] == config.seed
