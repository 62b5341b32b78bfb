"""The digits that scikit-learn ships."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.metadata import distribution

import numpy as np

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
"""Of all pixels and then all labels, a byte each."""
FILE = "sklearn/datasets/data/digits.csv.gz"
"""Of scikit-learn's: a line an image, its pixels and its label."""


def read(config: DataConfig) -> Samples:
    """1,797 images of 8 x 8 pixels from 0 to 16. Raises ConfigError where scikit-learn is missing or holds others."""
    return from_file() or from_function()


def from_file() -> Samples | None:
    """Without importing scikit-learn, which takes a second. None where its file is not as it is known here."""
    with suppress(Exception):  # whatever is the matter, its own function finds the file or says why not
        package = distribution("scikit-learn")
        lines_ND = np.loadtxt(str(package.locate_file(FILE)), dtype=np.uint8, delimiter=",")
        found = Samples(lines_ND[:, :-1].copy(), lines_ND[:, -1].copy(), f"scikit-learn {package.version}", white=16.0)
        return found if digest(found) == SHA256 else None
    return None


def from_function() -> Samples:
    """As scikit-learn reads them. Raises ConfigError."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(f"data.name=digits: must be read from scikit-learn, which is missing ({error})") from None
    says = "data.name=digits: must be the digits that scikit-learn ships"
    try:
        read_ND, read_N = load_digits(return_X_y=True)
        found = Samples(
            read_ND.astype(np.uint8), read_N.astype(np.uint8), f"scikit-learn {sklearn.__version__}", white=16.0
        )
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{says}, which cannot be read ({why}); install it again") from error
    if digest(found) != SHA256:
        raise ConfigError(f"{says}, with the sha256 {SHA256}, has {digest(found)}; install it again")
    return found


def digest(samples: Samples) -> str:
    return hashlib.sha256(samples.x_ND.tobytes() + samples.y_N.tobytes()).hexdigest()
