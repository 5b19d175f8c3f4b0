"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from .dataset import Dataset


def digits() -> Dataset:
    """Return the 1,797 real handwritten digits of scikit-learn, 8×8 grey values, from 43 writers.

    `x` is (1797, 64) float32 in [0, 1] (the sixteen grey levels divided by 16, hence exact), `y` (1797,) int64.
    For images, `digits().reshape(1, 8, 8)`.

    Raises `ImportError` where scikit-learn is not installed.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (the test set).

    >>> digits()
    Dataset('digits', x=(1797, 64) float32, y=(1797,) int64, 10 classes)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits() reads the data that scikit-learn carries: `pip install scikit-learn`") from error
    x, y = load_digits(return_X_y=True)
    return Dataset((x / 16).astype(np.float32), y.astype(np.int64), "digits", tuple("0123456789"))
