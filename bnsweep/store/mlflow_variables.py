"""MLflow's own settings, which it reads from environment variables at each call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server is asked once and briefly; MLflow's own defaults keep a user waiting for minutes before the error."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""No line for each run with its address, password and all; no bar for each file."""
NO_POOL = {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}
"""MLflow keeps no connection to a file that is about to be renamed."""
REQUESTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""MLflow's own retries last for minutes and say nothing."""


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of the block; what the user set stays as it is."""
    mine = {key: value for key, value in values.items() if key not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for key in mine:
            os.environ.pop(key, None)


def stay(values: Mapping[str, str]) -> None:
    """Environment variables from now on; what the user set stays as it is."""
    for key, value in values.items():
        os.environ.setdefault(key, value)


@contextmanager
def variables_kept() -> Iterator[None]:
    """After the block MLflow's environment variables are as they were before it."""
    before = mlflow_variables()
    try:
        yield
    finally:
        for key in mlflow_variables().keys() - before.keys():
            os.environ.pop(key, None)
        os.environ.update(before)


def mlflow_variables() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_")}
