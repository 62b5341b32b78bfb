"""The digits that scikit-learn ships."""

from __future__ import annotations

import numpy as np

from bnsweep.config.checks import ConfigError
from bnsweep.config.groups import DataConfig
from bnsweep.data.dataset import Samples


def read(config: DataConfig) -> Samples:
    """1,797 images of 8 x 8 pixels from 0 to 16. Raises ConfigError where scikit-learn is missing."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError(f"data.name=digits: must be read from scikit-learn, which is missing ({error})") from None
    pixels, labels = load_digits(return_X_y=True)
    return Samples(pixels.astype(np.uint8), labels.astype(np.uint8), f"scikit-learn {sklearn.__version__}", white=16.0)
