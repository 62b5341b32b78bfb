"""Numbers by which kernels know what a member has. Readable without Triton."""

from __future__ import annotations

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu")
"""Rows of the catalogue that kernels have, each known by its place here."""

PLACES = ("none", "before", "after", "elsewhere")
"""Where a member's BN stands, known by its place here; elsewhere: kernels leave the member to others."""
