"""The inits: one row each, and one YAML in conf/init."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bnsweep.catalogue.own import Table, is_own, title_of


@dataclass(frozen=True)
class InitKind:
    name: str
    title: str
    """As text writes it."""
    std: Callable[[int, int], float] | None = None
    """(fan in, fan out): standard deviation of a layer's weights. None: `init.std` gives it, or `orthogonal`."""
    orthogonal: bool = False
    """Whether the weights are an orthogonal matrix (Saxe et al. 2014), in place of independent draws."""
    of_branches: bool = False
    """Whether residual branches start small: the first map of each is divided by the root of their number, and the last
    of each and the output layer are 0."""

    by_batch: bool = False
    """Whether the weights of each layer are then scaled so that its outputs on the first training batch have variance 1
    (Mishkin & Matas 2016)."""

    @property
    def takes_std(self) -> bool:
        return self.std is None and not self.orthogonal and not is_own(self.name)

    @property
    def has_distribution(self) -> bool:
        """Whether `init.distribution` says how weights of its standard deviation are drawn."""
        return not self.orthogonal and not is_own(self.name)


ROWS = (
    InitKind("normal", "normal"),
    InitKind(
        "xavier", "Xavier", lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out))
    ),  # Glorot & Bengio 2010, eq. 16
    InitKind("he", "He", lambda fan_in, fan_out: math.sqrt(2 / fan_in)),  # He et al. 2015, eq. 10
    InitKind("lecun", "LeCun", lambda fan_in, fan_out: math.sqrt(1 / fan_in)),  # LeCun et al. 1998, section 4.6
    # Glorot & Bengio 2010, eq. 1, as a uniform.
    InitKind("heuristic", "heuristic", lambda fan_in, fan_out: math.sqrt(1 / (3 * fan_in))),
    InitKind("orthogonal", "orthogonal", orthogonal=True),
    InitKind("lsuv", "LSUV", orthogonal=True, by_batch=True),
    # Zhang et al. 2019, arXiv 1901.09321, section 3, for branches of two; its scalars are init.scalars.
    InitKind("fixup", "Fixup", lambda fan_in, fan_out: math.sqrt(2 / fan_in), of_branches=True),
)
INITS = Table(ROWS, lambda dotted: InitKind(dotted, title_of(dotted)))
