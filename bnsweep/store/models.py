"""A trained network as an MLflow Model: what its users load by `mlflow.pytorch.load_model("runs:/RUN/model")`."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from bnsweep.config.run import RunConfig
from bnsweep.own.source import roots_of
from bnsweep.store.connect import import_mlflow, unwarned
from bnsweep.store.encode import MODEL
from bnsweep.store.environment import environment


def save_model(network: Any, folder: Path, config: RunConfig) -> Path:
    """Writes the `nn.Module` of a run, on the CPU, into the folder's `model`, which appears whole or not at all. Its
    signature takes rows of flattened inputs (a network of the user's takes its own shape) and gives what the last layer
    does: a logit a class, or the standardised target. The first one of a process takes seconds, for MLflow's import."""
    import_mlflow()
    import numpy as np

    with unwarned(r".*Any type hint is inferred"):  # of a function of MLflow's own
        import mlflow.pyfunc
        import mlflow.pytorch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

    # It warns of each pickle, also of one that it is told to write.
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)
    dtype = np.dtype(config.train.dtype)
    taken = config.sample_shape if config.model.is_own else (config.data.facts.features,)
    inputs, outputs = (Schema([TensorSpec(dtype, (-1, *shape))]) for shape in (taken, (config.data.facts.outputs,)))
    code = {str(path) for dotted in config.own_code.values() for path in roots_of(dotted)}
    versions = environment().versions
    part, target = folder / f".{MODEL}", folder / MODEL
    try:
        mlflow.pytorch.save_model(
            network,
            part,
            signature=ModelSignature(inputs, outputs),
            code_paths=sorted(code) or None,
            pip_requirements=[f"{name}=={versions[name].partition('+')[0]}" for name in ("bnsweep", "torch")],
            # Its other form, pt2, needs no class of ours to be read, and seconds a network to be traced.
            serialization_format="pickle",
        )
        return part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
