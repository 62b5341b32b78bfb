"""A training that is stopped between two steps, kept in a file, and gone on with: what it must leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import Dataset
from bnsweep.records import RunRecord
from bnsweep.runs.checkpoints import read_state, write_state
from bnsweep.training.state import State
from bnsweep.training.trainer import Training


class Stopped(Exception):
    """By a test."""


def state_at(
    step: int,
    configs: Sequence[RunConfig],
    dataset: Dataset,
    device: torch.device,
    folder: Path,
    states: Sequence[State] = (),
) -> State:
    """After so many steps, as it comes back from its file."""
    training = Training(configs, dataset, device, states)

    def tick() -> None:
        if training.step == step:
            raise Stopped

    try:
        training.run(lambda evaluation: None, tick)
    except Stopped:
        write_state(training.state(), folder / "state", {})
        return read_state(folder / "state")
    raise AssertionError(f"there is no step {step}")


def trained_from(
    states: Sequence[State], configs: Sequence[RunConfig], dataset: Dataset, device: torch.device
) -> Training:
    """To the end."""
    training = Training(configs, dataset, device, states)
    training.run(lambda evaluation: None, lambda: None)
    return training


def bits(training: Training) -> dict[str, torch.Tensor]:
    """Of everything that its members carry from step to step, in the order of the configs; but for the optimizer's, in
    which parameters that a member does not train gather what moves nothing."""
    state = {name: t for name, t in training.state().tensors.items() if not name.startswith("optimizer.")}
    return {name: tensor.contiguous().view(torch.uint8) if tensor.numel() else tensor for name, tensor in state.items()}


def assert_same_bits(found: Training, wanted: Training) -> None:
    ours, theirs = bits(found), bits(wanted)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    for a, b in zip(found.records(), wanted.records(), strict=True):
        assert_same_record(a, b)


def assert_same_record(a: RunRecord, b: RunRecord) -> None:
    """But for the time that it took and the stack that it was trained in. Python writes a float with all its bits."""
    assert (a.status, a.reason, a.diverged_step, a.histograms) == (b.status, b.reason, b.diverged_step, b.histograms)
    assert a.history.keys() == b.history.keys()
    assert [name for name in b.history if repr(a.history[name]) != repr(b.history[name])] == []
    assert repr(a.summary) == repr(b.summary)
