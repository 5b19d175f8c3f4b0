"""Every function of the seam gives on PyTorch and on JAX what it gives on NumPy, and every override what it overrides.

The reference is NumPy's own function, or the plain composition of a coarse one, in float64 at the same numbers.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adjoint import arrays as xp
from adjoint.arrays.dispatch import FUNCTIONS
from adjoint.errors import BackendError, InPlaceError

BACKENDS = ("numpy", "torch", "jax")
DTYPES = ("float32", "float64")
MODULES = {name: importlib.import_module(f"adjoint.arrays.{name}") for name in BACKENDS}


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def moved(x: Any, backend: str) -> Any:
    """Operands on a backend, strided there as they are in NumPy; numbers and keys as they are."""
    if isinstance(x, list):
        return [moved(part, backend) for part in x]
    if not isinstance(x, np.ndarray) or backend == "numpy":
        return x
    if x.ndim > 1 and not x.flags.c_contiguous:
        return xp.permute(MODULES[backend].from_numpy(x.T), tuple(reversed(range(x.ndim))))
    return MODULES[backend].from_numpy(x)


def plain(x: Any) -> Any:
    """A result in NumPy's arrays."""
    if isinstance(x, (list, tuple)):
        return [plain(part) for part in x]
    return np.asarray(x) if isinstance(x, (np.ndarray, np.generic)) else xp.backend(type(x)).to_numpy(x)


def in_dtype(x: Any, dtype: str) -> Any:
    if isinstance(x, list):
        return [in_dtype(part, dtype) for part in x]
    return x.astype(dtype, order="K") if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def assert_close(got: Any, expected: Any, terms: int, dtype: str) -> None:
    """Equal to a rounding a term: 32 for what a library's exp or erf may lose, one for every entry summed."""
    if isinstance(expected, list):
        assert len(got) == len(expected)
        for part, wanted in zip(got, expected, strict=True):
            assert_close(part, wanted, terms, dtype)
        return
    assert got.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected)
        return
    tolerance = (32 + terms) * np.finfo(dtype).eps
    finite = np.abs(expected[np.isfinite(expected)])
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * finite.max(initial=0.0))


# Samples: numbers that every dtype holds exactly enough, in odd, empty and strided shapes


def numbers(seed: int, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32).astype(np.float64)


def strided(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x)


def unary(low: float = -2.0, high: float = 2.0) -> list[tuple[Any, ...]]:
    shapes = [(), (5,), (0, 3), (2, 1, 3)]
    return [(numbers(1, *s, low=low, high=high),) for s in shapes] + [(strided(numbers(2, 3, 4, low=low, high=high)),)]


def binary(low: float = -2.0, high: float = 2.0) -> list[tuple[Any, ...]]:
    pairs = [((3, 4), (4,)), ((3, 1), (1, 4)), ((), (3,)), ((0, 3), (3,)), ((2, 3), (2, 3))]
    samples: list[tuple[Any, ...]] = [
        (numbers(1, *a, low=low, high=high), numbers(2, *b, low=low, high=high)) for a, b in pairs
    ]
    x = numbers(3, 2, 3, low=low, high=high)
    return [*samples, (x, 0.75), (0.75, x), (x, 1), (strided(x), numbers(4, 3, low=low, high=high))]


def comparable() -> list[tuple[Any, ...]]:
    x = np.array([[-1.0, 0.0, 2.0], [0.5, 0.5, -0.5]])
    return [(x, np.array([0.5, 0.0, 2.0])), (x, 0.5), (0.5, x), (x[:0], x[:0])]


def truth() -> list[tuple[Any, ...]]:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    return [(a, b), (a[:, None], b), (a, True)]


def reduced(*, empty: bool = True, axes: bool = True) -> list[tuple[Any, ...]]:
    x, y = numbers(1, 2, 3, 4), strided(numbers(2, 3, 4))
    samples = [(x,), (x, 1), (x, -1, True), (y, 0), (numbers(3),)]
    several = [(x, (0, 2)), (x, (-1, 0), True), (x, ()), (x, None, True)]
    return samples + several * axes + [(numbers(1, 0, 3), 0), (numbers(1, 0, 3), None)] * empty


X, V, S = numbers(1, 2, 3, 4), numbers(2, 5), strided(numbers(3, 3, 4))
SQUARE, EMPTY, SCALAR = numbers(4, 2, 3, 3), numbers(5, 0, 3), numbers(6)
LABELS, PICKS = np.array([2, 0, -1, 1]), np.array([[1, -1, 0], [2, 2, 1]])
LOGITS, MAPS = numbers(7, 4, 3, low=-9.0, high=9.0), numbers(8, 2, 3, 5)
CHANCES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
SIGNS = np.where(numbers(9, 4, 3) > 0, 1.0, -1.0)
KINKS = [*unary(-8.0, 8.0), (np.array([-60.0, -30.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 21.0, 60.0]),)]


def losses(x: np.ndarray, target: np.ndarray, *extra: Any) -> list[tuple[Any, ...]]:
    every = [(x, target, how, *extra) for how in ("mean", "sum", "none")]
    return [(x, target), *every, (x[0], target[0]), (x[:0], target[:0], "sum")]


SAMPLES: dict[str, list[tuple[Any, ...]]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "maximum", "minimum", "atan2", "logaddexp"), binary()),
    **dict.fromkeys(("divide", "pow"), binary(0.5, 2.0)),
    **dict.fromkeys(("negative", "abs", "square", "exp", "exp2", "expm1", "sin", "cos", "atan", "sinh", "cosh"), unary()),
    **dict.fromkeys(("tanh", "asinh", "erf", "sign", "floor", "ceil", "copy", "zeros_like", "ones_like"), unary()),
    **dict.fromkeys(("sqrt", "reciprocal", "rsqrt", "log", "log2", "log10"), unary(0.5, 9.0)),
    **dict.fromkeys(("tan", "asin", "acos", "atanh", "log1p"), unary(-0.9, 0.9)),
    "acosh": unary(1.5, 9.0),
    "round": [*unary(), (np.array([-1.5, -0.5, 0.5, 1.5, 2.5]),)],
    **dict.fromkeys(("isfinite", "isnan"), [(np.array([0.0, np.inf, -np.inf, np.nan]),), (X,)]),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), comparable()),
    **dict.fromkeys(("logical_and", "logical_or"), truth()),
    "logical_not": [(np.array([True, False]),), (np.array([0.0, 2.0]),)],
    "where": [(X > 0, X, -X), (X > 0, X, 0.0), (X[0] > 0, 1.0, X), (S > 0, S, numbers(1, 4)), (EMPTY > 0, EMPTY, 1)],
    "clip": [(X, -0.5, 0.5), (X, None, 0.5), (S, 0.0), (EMPTY, 0.0, 1.0), (SCALAR, -1, 1)],
    **dict.fromkeys(("relu", "relu6", "selu", "sigmoid", "logsigmoid", "softsign", "tanhshrink", "silu", "mish"), KINKS),
    **dict.fromkeys(("hardsigmoid", "hardswish"), KINKS),
    "leaky_relu": [*KINKS, (V, 0.2)],
    **dict.fromkeys(("elu", "celu"), [*KINKS, (V, 0.5)]),
    "softplus": [*KINKS, (V, 3.0)],
    "hardtanh": [*KINKS, (V, -0.5, 0.25)],
    **dict.fromkeys(("gelu", "gelu_slope"), [*KINKS, (V, "tanh"), (S, "tanh")]),
    # Layout
    "reshape": [(X, (4, 6)), (X, (-1,)), (S, (2, 6)), (EMPTY, (3, 0)), (SCALAR, (1, 1))],
    "flatten": [(X,), (X, 1), (X, 0, 1), (S,), (EMPTY,), (SCALAR,)],
    "permute": [(X, (2, 0, 1)), (X, [-1, 0, 1]), (S, (1, 0)), (SCALAR, ())],
    "swapaxes": [(X, 0, -1), (S, 0, 1)],
    "moveaxis": [(X, 0, -1), (X, -1, 0), (X, 1, 2)],
    "broadcast_to": [(V, (3, 5)), (X[:, :1], (6, 2, 3, 4)), (SCALAR, (2, 2)), (EMPTY, (2, 0, 3))],
    "expand_dims": [(X, 0), (X, -1), (X, 2), (SCALAR, 0)],
    "squeeze": [(X[:1],), (X[:, :1], 1), (X[:1, :, :1], (0, -1)), (X[:, :1], 0)],
    "concatenate": [([X, X[:1]],), ([S, S[:, :1]], -1), ([EMPTY, S.T[:, :3]], 0), ([V], 0)],
    "stack": [([X, -X],), ([S, S], -1), ([V, V, V], 1), ([SCALAR, SCALAR],)],
    "split": [(X, 2), (X, 3, 1), (X, [1, 3], -1), (EMPTY, 3, 1), (EMPTY, 2, 0)],
    "pad": [(X, [(0, 1), (2, 0), (1, 1)]), (S, [(1, 0), (0, 2)], -3.0), (EMPTY, [(1, 1), (0, 0)])],
    "getitem": [(X, 1), (X, (slice(None), -1)), (X, (..., slice(1, None, 2))), (S, (None, 0)), (EMPTY, slice(0, 2))],
    "put": [(X[1], 1, (2, 3, 4)), (X[..., 1::2], (..., slice(1, None, 2)), (2, 3, 4)), (V[::-1], slice(None, None, -1), (5,))],
    "take": [(X, PICKS, -2), (X, PICKS, 1), (S, LABELS, -1), (V, np.array(-2)), (X, np.zeros((0, 2), int), 2), (X, [0, 1])],
    "segment_sum": [(S, np.array([1, 1, -1]), 4), (EMPTY, np.zeros(0, int), 2), (numbers(1, 5, 2), np.arange(5) % 2, 2)],
    "take_along": [(X, X.argmax(1)[:, None], 1), (S, PICKS[:, :1].repeat(2, 0)[:3]), (S, np.array([[-1, 0, 0]]), 1), (V, LABELS)],
    "put_along": [(X[:, :1], X.argmax(1)[:, None], 1, 3), (S[:, :2], PICKS.reshape(3, 2), -1, 3), (V[:4], LABELS, 0, 6)],
    "flip": [(X,), (X, 1), (X, (0, -1)), (S, 0), (SCALAR,)],
    "roll": [(X, 1, -1), (X, -2, 1), (S, 7, 0), (EMPTY, 1, 0)],
    "tile": [(X, (2, 1, 3)), (V, (2, 2)), (X, (2,))],
    "repeat": [(X, 2, 1), (S, 3, -1), (EMPTY, 2, 1)],
    **dict.fromkeys(("tril", "triu"), [(X,), (X, 1), (S, -1), (SQUARE, 2)]),
    "diagonal": [(SQUARE,), (S[:, :3],), (EMPTY[:, :0],)],
    "diagonal_matrix": [(V,), (X,), (EMPTY,), (np.array([1.0, np.inf]),)],
    "astype": [(X, "float32"), (X, np.dtype("float64")), (X, np.float32), (X, "int64")],
    "zeros": [(X, (2, 3)), (X, (), "float32"), (X, (0,), np.dtype("int64"))],
    "full": [(X, (2, 3), 1.5), (X, (), 2.0, "float32"), (X, (0,), 1.0)],
    "eye": [(X, 3), (X, 0), (X, 2, "float32")],
    "asarray": [(X, [1, 2]), (X, V[::-1]), (X, np.arange(3)), (X, [1.5], "float32")],
    # Reductions
    **dict.fromkeys(("sum", "prod", "norm"), reduced()),
    **dict.fromkeys(("mean", "std", "logsumexp", "max", "min"), reduced(empty=False)),
    "var": [*reduced(empty=False), (X, 1, False, 1), (X, None, True, 1.0), (S, (), False, 0)],
    **dict.fromkeys(("any", "all"), [(X > 0,), (X > -1.5, (0, 1), True), (X > 1, -1), (EMPTY > 0,), (X, 0), (X > 0, ())]),
    **dict.fromkeys(("cumulative_sum", "reversed_cumulative_sum"), [(X,), (X, 0), (S, 1), (EMPTY, 0)]),
    "compensated_sum": [(X,), (S, 0), (V,), (EMPTY, 0)],
    **dict.fromkeys(("argmax", "argmin"), [(X,), (X, 1), (X > 0, -1), (np.array([1.0, 3.0, 3.0, 1.0]),), (S, 0)]),
    # Products and whole layers
    "matmul": [(X, X.swapaxes(1, 2)), (S, V[:4]), (V[:3], S), (V, V), (EMPTY, S), (SQUARE, SQUARE[0]), (SQUARE, S)],
    "linear": [(X, numbers(1, 5, 4), V), (S, strided(numbers(1, 5, 4))), (V[:4], numbers(1, 5, 4), V), (EMPTY, S.T, numbers(1, 4))],
    "affine": [(X, numbers(1, 4, 5), V), (S, strided(numbers(1, 4, 5))), (V[:4], numbers(1, 4, 5), V), (EMPTY, S, None)],
    "einsum_apply": [([X, X], "bij,bkj->bik"), ([S], "ij->j"), ([V, V], "i,i"), ([X, S, S], "b i j, ij, ij"), ([X, S], "...ij,ij->...")],
    "dot": [(X, S), (V, V), (EMPTY, V[:3])],
    "outer": [(V, V[:2]), (X, X[..., :2]), (EMPTY, EMPTY)],
    "weight_product": [(S, numbers(1, 3, 2)), (X, X[..., :2]), (EMPTY, EMPTY)],
    **dict.fromkeys(("softmax", "log_softmax"), [(X,), (X, 0), (LOGITS * 50, 1), (EMPTY,), (V,)]),
    "normalize_moments": [(X, 1, 1e-5, True), (X, 2, 1e-5, True), (X, 1, 1e-6, False), (X, 2, 1e-6, False), (S, 1, 1e-5, True)],
    "layer_norm": [(X,), (X, V[:4], numbers(1, 4)), (X, S, None, 2), (S, V[:4], None, 1, 0.1), (EMPTY, V[:3], V[:3])],
    "rms_norm": [(X,), (X, V[:4]), (X, S, 2), (S, V[:4], 1, 0.1), (EMPTY, V[:3])],
    "normalize": [(X,), (X, 0), (np.zeros(3),), (V, 0, 3.0)],
    "cosine_similarity": [(X, -X + 1.0), (X, S, 1), (V, V)],
    "embedding": [(PICKS, S), (np.zeros((0,), int), S), (np.array(1), S)],
    "cross_entropy": [
        *losses(LOGITS, np.array([2, 0, 1, 1]))[:4], *losses(LOGITS, CHANCES)[:4], (MAPS, np.arange(10).reshape(2, 5) % 3),
        (LOGITS[0], np.array(2)),
    ],
    "softmax_residual": [
        (LOGITS, np.array([2, 0, -1, 1]), 1), (MAPS, np.arange(10).reshape(2, 5) % 3, 1), (LOGITS[0], np.array(2), 0),
        (EMPTY, np.zeros(0, int), 1), (strided(LOGITS), np.array([2, 0, 1, 1]), -1),
    ],
    "nll_loss": [*losses(LOGITS, np.array([2, 0, 1, 1]))[:4], (MAPS, np.arange(10).reshape(2, 5) % 3)],
    **dict.fromkeys(("mse_loss", "l1_loss"), losses(X, X[::-1] + 0.25)),
    "huber_loss": losses(X, X[::-1] + 0.25) + [(X, -X, "mean", 0.5)],
    "smooth_l1_loss": losses(X, X[::-1] + 0.25) + [(X, -X, "mean", 0.5), (X, -X, "mean", 0.0)],
    "binary_cross_entropy": losses(CHANCES, CHANCES[::-1].round()),
    "binary_cross_entropy_with_logits": losses(LOGITS * 9, CHANCES[::-1].round()),
    "kl_div": losses(np.log(CHANCES), CHANCES[::-1]) + [(np.log(CHANCES), np.eye(4)[:, :3], "batchmean")],
    "hinge_loss": losses(LOGITS, SIGNS),
}  # fmt: skip
OTHERWISE = {"hold", "release", "sgd_update", "adam_update"}  # tested below
NAMING = {"astype", "zeros", "full", "eye", "asarray"}  # these are told a dtype


def size(x: Any) -> int:
    return sum(map(size, x)) if isinstance(x, (list, tuple)) else x.size if isinstance(x, np.ndarray) else 0


def test_every_function_has_samples() -> None:
    assert set(FUNCTIONS) - OTHERWISE == set(SAMPLES)


def results(function: Any, samples: list[Any], backend: str) -> list[Any]:
    """The function on every sample: all in one program for JAX, so that no rule can look at values."""
    samples = [tuple(moved(x, backend) for x in sample) for sample in samples]
    if backend != "jax":
        return [plain(function(*sample)) for sample in samples]
    leaves, tree = jax.tree.flatten(samples)
    arrays = {i: x for i, x in enumerate(leaves) if isinstance(x, jax.Array)}

    @jax.jit
    def program(arrays: dict[int, Any]) -> list[Any]:
        filled = [arrays.get(i, x) for i, x in enumerate(leaves)]
        return [function(*sample) for sample in jax.tree.unflatten(tree, filled)]

    return [plain(result) for result in program(arrays)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SAMPLES)
def test_equals_numpy_in_float64(name: str, backend: str, dtype: str) -> None:
    function = FUNCTIONS[name]
    reference = function.table.composed or getattr(MODULES["numpy"], name)  # type: ignore[attr-defined]
    samples = [tuple(in_dtype(x, dtype) for x in sample) for sample in SAMPLES[name]]
    with np.errstate(all="ignore"):
        for sample, got in zip(samples, results(function, samples, backend), strict=True):
            expected = plain(reference(*[in_dtype(x, "float64") for x in sample]))
            assert_close(got, expected, size(sample), dtype)
            if name not in NAMING:
                parts = got if isinstance(got, list) else [got]
                assert {str(part.dtype) for part in parts if part.dtype.kind == "f"} <= {dtype}
