"""The digits are scikit-learn's, in float32."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from adjoint.data import digits


def test_equal_scikit_learn() -> None:
    data, theirs = digits(), load_digits()
    assert data.x.dtype == np.float32
    assert data.y.dtype == np.int64
    assert data.x.shape == (1797, 64)
    assert len(data.classes) == 10
    assert (data.x * 16 == theirs.data).all()
    assert (data.y == theirs.target).all()
    assert (data.reshape(8, 8).x * 16 == theirs.images).all()
    assert data.x.min() == 0
    assert data.x.max() == 1


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        digits()
