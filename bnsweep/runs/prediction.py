"""How long a plan may take, by a trial."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from bnsweep.config.identity import stack_key
from bnsweep.config.run import RunConfig
from bnsweep.data.dataset import DataKey, Dataset
from bnsweep.runs.plan import Plan, makespan
from bnsweep.training.cuda_graph import WARM_UP
from bnsweep.training.device import ieee_products, one_thread
from bnsweep.training.trainer import Trainer


def predicted_seconds(plan: Plan, datasets: Mapping[DataKey, Dataset]) -> float:
    """Training time by a trial: a few steps and an evaluation of one stack of each shape, scaled up. Logging runs
    beside the training and can make it longer."""
    per_run: dict[tuple[object, ...], float] = {}
    seconds: list[float] = []
    for stack in sorted(plan.stacks, key=len, reverse=True):
        config = plan.configs[stack[0]]
        key = stack_key(config)
        if key not in per_run:
            dataset = datasets[config.data.key]
            per_run[key] = trial([plan.configs[job] for job in stack], dataset, plan.device) / len(stack)
        share = 1 - plan.begun.get(stack[0], 0) / max(1, config.total_steps)
        seconds.append(per_run[key] * len(stack) * share)
    return makespan(seconds, plan.workers)


TRIAL_STEPS = 5


@ieee_products()
def trial(configs: Sequence[RunConfig], dataset: Dataset, device: torch.device) -> float:
    """Seconds that these runs would take as one stack."""
    trainer, config = Trainer(configs, dataset, device), configs[0]
    rows_GB = trainer.batches.rows["train"][:, : config.train.batch_size]

    def steps(n: int) -> float:
        for _ in range(n):
            trainer.step(rows_GB)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    with one_thread(device):
        started = steps(WARM_UP + 1)  # a GPU captures in the last of them
        stepped = steps(TRIAL_STEPS)
        trainer.evaluate(0)
        probed = time.perf_counter()
        trainer.probed.clear()
        trainer.evaluate(0)
        evaluated = time.perf_counter()
    step, evaluation = (stepped - started) / TRIAL_STEPS, evaluated - probed
    probe = max(0.0, probed - stepped - evaluation)
    return config.total_steps * step + config.evaluation_count * evaluation + len(config.probed) * probe
