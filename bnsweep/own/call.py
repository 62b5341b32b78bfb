"""Code of the user's is imported and called: errors of its own become one line, and the process stays as it was."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnsweep.config.checks import ConfigError, OwnCodeError

MOST_SAID = 300
"""Letters quoted of an error."""


def function_named(dotted: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises ImportError and AttributeError."""
    module, _, name = dotted.partition(":")
    if module == "__main__":
        raise ImportError("what is in __main__, as in a notebook, must lie in a file of its own: workers import it")
    if module.endswith(".py"):
        raise ImportError(f"without .py: {module[:-3]}:{name}")
    found = importlib.import_module(module)
    if not hasattr(found, name):
        close = difflib.get_close_matches(name, vars(found), 1, cutoff=0.75)
        raise AttributeError(f"module {module!r} has no {name!r}" + (f", did you mean {close[0]}?" if close else ""))
    function: Callable[..., Any] = getattr(found, name)
    return function


@contextmanager
def called(key: str, dotted: str, what: str) -> Iterator[None]:
    """The user's code runs inside. Raises OwnCodeError for what it raises: `key`=`dotted` must be `what`."""
    here = Path.cwd()
    try:
        with process_kept(here):
            yield
    except (KeyboardInterrupt, ConfigError):  # what is called in turn has its own line
        raise
    except BaseException as error:  # SystemExit, too
        says = f"{key}={dotted}: must be {what} from {here} ({error_text(error)})"
        raise OwnCodeError(says + raised_at(error, here)) from error


def error_text(error: BaseException) -> str:
    """The error in one line."""
    try:
        text = " ".join(str(error).split())[:MOST_SAID]
    except Exception:  # one whose __str__ is broken
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def process_kept(here: Path) -> Iterator[None]:
    """Modules are found in the folder `here`. What the user's code sets for the whole process is put back: paths and
    numbers of the sweep do not depend on it. The global random numbers of torch and numpy serve nothing here."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    sys.path.insert(0, str(here))
    try:
        with np.errstate(), warnings.catch_warnings(), torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        os.chdir(here)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        with suppress(ValueError):
            sys.path.remove(str(here))


def raised_at(error: BaseException, here: Path) -> str:
    """Where the user's code in the folder `here` raised it; empty where it did not."""
    ours = Path(__file__).parents[1]
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    near = [(file, line) for file, line in frames if here in file.parents and ours not in file.parents]
    own = [(file, line) for file, line in near if "site-packages" not in file.parts]
    return f"; raised in {own[-1][0].relative_to(here)}, line {own[-1][1]}" if own else ""
