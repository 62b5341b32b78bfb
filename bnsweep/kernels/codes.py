"""What kernels take, and the numbers by which they know what a member has. Readable without Triton."""

from __future__ import annotations

LONGEST_ROW = 2048
"""Samples of a batch up to which a program's registers hold the numbers of a unit."""

MOST_OUTPUTS = 16_384
"""Outputs of a batch up to which they hold those of a member."""

TOTALS_BLOCK = 128
"""Samples that a program totals at a time."""


def fits(outputs: int, samples: int) -> bool:
    """Whether a kernel of the loss takes so many outputs of so many samples: its blocks are powers of two."""
    return 1 << (outputs - 1).bit_length() + (samples - 1).bit_length() <= MOST_OUTPUTS


ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu")
"""Rows of the catalogue that kernels have, each known by its place here."""

PLACES = ("none", "before", "after", "elsewhere")
"""Where a member's BN stands, known by its place here; elsewhere: kernels leave the member to others."""
