"""The digits that scikit-learn ships."""

from __future__ import annotations

import hashlib

import numpy as np

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""Of all pixels and then all labels, a byte each."""


def read(config: DataConfig) -> Samples:
    """1,797 images of 8 x 8 pixels from 0 to 16. Raises ConfigError where scikit-learn is missing or holds others."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(f"data.name=digits: must be read from scikit-learn, which is missing ({error})") from None
    says = "data.name=digits: must be the digits that scikit-learn ships"
    try:
        read_ND, read_N = load_digits(return_X_y=True)
        pixels_ND, labels_N = read_ND.astype(np.uint8), read_N.astype(np.uint8)
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{says}, which cannot be read ({why}); install it again") from error
    found = hashlib.sha256(pixels_ND.tobytes() + labels_N.tobytes()).hexdigest()
    if found != SHA256:
        raise ConfigError(f"{says}, with the sha256 {SHA256}, has {found}; install it again")
    return Samples(pixels_ND, labels_N, f"scikit-learn {sklearn.__version__}", white=16.0)
