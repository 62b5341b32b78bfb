"""What a call leaves as it was in the process that makes it, which is a person's notebook."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def process_kept() -> Iterator[None]:
    """Global random numbers, which serve nothing here, but are drawn from where modules are made and runs are named;
    the handlers of the caller's log, with what filters them; and the environment variables that MLflow reads, at the
    caller's next call of it too."""
    import numpy as np
    import torch

    from bnsweep.store.mlflow_variables import variables_kept

    numbers, array_numbers = random.getstate(), np.random.get_state()
    handlers = [(handler, handler.filters.copy()) for handler in logging.root.handlers]
    try:
        with torch.random.fork_rng(devices=[]), variables_kept():
            yield
    finally:
        random.setstate(numbers)
        np.random.set_state(array_numbers)
        logging.root.handlers[:] = [handler for handler, _ in handlers]
        for handler, filters in handlers:
            handler.filters[:] = filters


def load_matplotlib() -> None:
    """As the caller has set it up, before a report imports it as it is shipped: the caller's own figures keep their
    window or notebook, and their looks. One that cannot be imported so costs no report."""
    with suppress(Exception):
        import matplotlib  # noqa: F401
