"""Metrics equal scikit-learn's, on every backend, under jax.jit and with any leading axes."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from sklearn import metrics

import adjoint as aj
from adjoint.training import accuracy, confusion_matrix, top_k_accuracy

RNG = np.random.default_rng(0)
LOGITS, TARGET = RNG.standard_normal((40, 5)), np.concatenate([np.arange(5), RNG.integers(0, 5, 35)])


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_scikit_learns(to: str, dtype: str) -> None:
    logits, target = aj.to((LOGITS, TARGET), to, dtype)
    predicted = LOGITS.argmax(-1)
    tolerance = 4 * float(np.finfo(dtype).eps)
    assert float(accuracy(logits, target)) == pytest.approx(metrics.accuracy_score(TARGET, predicted), rel=tolerance)
    for k in (1, 2, 4):
        expected = metrics.top_k_accuracy_score(TARGET, LOGITS, k=k)
        assert float(top_k_accuracy(logits, target, k)) == pytest.approx(expected, rel=tolerance)
    np.testing.assert_array_equal(
        np.asarray(confusion_matrix(logits, target)), metrics.confusion_matrix(TARGET, predicted)
    )


def test_leading_axes() -> None:
    logits, target = LOGITS.reshape(2, 20, 5), TARGET.reshape(2, 20)
    assert accuracy(logits, target) == accuracy(LOGITS, TARGET)
    assert top_k_accuracy(logits, target, 2) == top_k_accuracy(LOGITS, TARGET, 2)
    assert (confusion_matrix(logits, target) == confusion_matrix(LOGITS, TARGET)).all()
    assert accuracy(LOGITS[0], TARGET[0]) in (0.0, 1.0)


def test_under_jit() -> None:
    logits, target = aj.to((LOGITS, TARGET), "jax")
    for metric in (accuracy, top_k_accuracy, confusion_matrix):
        np.testing.assert_array_equal(jax.jit(metric)(logits, target), metric(logits, target))


@pytest.mark.parametrize("metric", [accuracy, top_k_accuracy, confusion_matrix])
def test_shapes_are_checked(metric: object) -> None:
    with pytest.raises(aj.ShapeError, match=rf"{metric.__name__}: logits \(40, 5\) and classes \(40, 5\).*one-hot"):  # type: ignore[attr-defined]
        metric(LOGITS, np.eye(5)[TARGET])  # type: ignore[operator]
