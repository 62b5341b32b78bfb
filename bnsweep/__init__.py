"""bnsweep: which of activation, initialisation, learning rate and BatchNorm placement mattered?

import bnsweep

result = bnsweep.sweep(bn=["none", "before"], lr=[0.01, 0.1, 1], seed=range(10))
result.ranking
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnsweep.api.result import Result
    from bnsweep.api.sweep import Interrupted, load, sweep
    from bnsweep.config.checks import ConfigError

__version__ = "0.1.0"
__all__ = ["ConfigError", "Interrupted", "Result", "load", "sweep"]

_HOMES = {
    "ConfigError": "bnsweep.config.checks",
    "Interrupted": "bnsweep.api.sweep",
    "Result": "bnsweep.api.result",
    "load": "bnsweep.api.sweep",
    "sweep": "bnsweep.api.sweep",
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: to import bnsweep costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bnsweep' has no attribute '{name}' (there are {', '.join(__all__)})")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
