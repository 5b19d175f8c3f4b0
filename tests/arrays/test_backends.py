"""Every function of the seam gives on PyTorch and on JAX what it gives on NumPy, and every override what it overrides.

The reference is NumPy's own function, or the plain composition of a coarse one, in float64 at the same numbers.
"""

from __future__ import annotations

import importlib
import inspect
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
from torch.fx.experimental.proxy_tensor import make_fx

from adjoint import arrays as xp
from adjoint.arrays.dispatch import FUNCTIONS, backend
from adjoint.errors import BackendError, InPlaceError
from tests.ops.samples import SAMPLES as TOPIC_SAMPLES
from tests.ops.samples import SEQUENCES, TOPICS
from tests.ops.samples.operands import Sample

BACKENDS = ("numpy", "torch", "jax")
DTYPES = ("float32", "float64")
Samples = list[tuple[Any, ...]]
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
    return np.asarray(x) if isinstance(x, (np.ndarray, np.generic)) else backend(type(x)).to_numpy(x)


def in_dtype(x: Any, dtype: str) -> Any:
    if isinstance(x, list):
        return [in_dtype(part, dtype) for part in x]
    return np.asarray(x, dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


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


def unary(low: float = -2.0, high: float = 2.0) -> Samples:
    shapes = [(), (5,), (0, 3), (2, 1, 3)]
    return [(numbers(1, *s, low=low, high=high),) for s in shapes] + [(strided(numbers(2, 3, 4, low=low, high=high)),)]


def binary(low: float = -2.0, high: float = 2.0) -> Samples:
    pairs = [((3, 4), (4,)), ((3, 1), (1, 4)), ((), (3,)), ((0, 3), (3,)), ((2, 3), (2, 3))]
    samples: Samples = [(numbers(1, *a, low=low, high=high), numbers(2, *b, low=low, high=high)) for a, b in pairs]
    x = numbers(3, 2, 3, low=low, high=high)
    return [*samples, (x, 0.75), (0.75, x), (x, 1), (strided(x), numbers(4, 3, low=low, high=high))]


def comparable() -> Samples:
    x = np.array([[-1.0, 0.0, 2.0], [0.5, 0.5, -0.5]])
    return [(x, np.array([0.5, 0.0, 2.0])), (x, 0.5), (0.5, x), (x[:0], x[:0])]


def truth() -> Samples:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    return [(a, b), (a[:, None], b), (a, True)]


def reduced(*, empty: bool = True) -> Samples:
    x, y = numbers(1, 2, 3, 4), strided(numbers(2, 3, 4))
    samples = [(x,), (x, 1), (x, -1, True), (y, 0), (numbers(3),)]
    several = [(x, (0, 2)), (x, (-1, 0), True), (x, ()), (x, None, True)]
    none = [(numbers(1, 0, 3), 0), (numbers(1, 0, 3), None)]
    return [*samples, *several, *none] if empty else [*samples, *several]


X, V, S = numbers(1, 2, 3, 4), numbers(2, 5), strided(numbers(3, 3, 4))
SQUARE, EMPTY, SCALAR = numbers(4, 2, 3, 3), numbers(5, 0, 3), numbers(6)
KEY = np.array([7, 3000000000], "uint32")
LABELS, PICKS = np.array([2, 0, -1, 1]), np.array([[1, -1, 0], [2, 2, 1]])
LOGITS, MAPS = numbers(7, 4, 3, low=-9.0, high=9.0), numbers(8, 2, 3, 5)
CHANCES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
SIGNS = np.where(numbers(9, 4, 3) > 0, 1.0, -1.0)
KINKS = [*unary(-8.0, 8.0), (np.array([-60.0, -30.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 21.0, 60.0]),)]


def losses(x: np.ndarray, target: np.ndarray, *extra: Any) -> Samples:
    every = [(x, target, how, *extra) for how in ("mean", "sum", "none")]
    return [(x, target), *every, (x[0], target[0]), (x[:0], target[:0], "sum")]


def each(names: str, samples: Samples) -> dict[str, Samples]:
    return dict.fromkeys(names.split(), samples)


def positional(sample: Sample) -> tuple[Any, ...]:
    """The operands of an operation's sample and its options, in their order."""
    operands = [[*sample.make()]] if sample.name in SEQUENCES else sample.make()
    given = inspect.signature(FUNCTIONS[sample.name]).bind(*operands, **sample.options)
    given.apply_defaults()
    return given.args


LAYERS = {name: TOPIC_SAMPLES[name] for key, topic in TOPICS.items() if key != "core" for name in topic.TABLE}
SAMPLES: dict[str, Samples] = {
    **{name: [positional(sample) for sample in samples] for name, samples in LAYERS.items()},
    **each("add subtract multiply maximum minimum atan2 logaddexp", binary()),
    **each("divide pow", binary(0.5, 2.0)),
    **each("negative abs square exp exp2 expm1 sin cos atan sinh cosh", unary()),
    **each("tanh asinh erf sign floor ceil copy zeros_like ones_like", unary()),
    **each("sqrt reciprocal rsqrt log log2 log10", unary(0.5, 9.0)),
    **each("tan asin acos atanh log1p", unary(-0.9, 0.9)),
    "acosh": unary(1.5, 9.0),
    "round": [*unary(), (np.array([-1.5, -0.5, 0.5, 1.5, 2.5]),)],
    **each("isfinite isnan", [(np.array([0.0, np.inf, -np.inf, np.nan]),), (X,)]),
    **each("equal not_equal less less_equal greater greater_equal", comparable()),
    **each("logical_and logical_or", truth()),
    "logical_not": [(np.array([True, False]),), (np.array([0.0, 2.0]),)],
    "where": [(X > 0, X, -X), (X > 0, X, 0.0), (X[0] > 0, 1.0, X), (S > 0, S, numbers(1, 4)), (EMPTY > 0, EMPTY, 1)],
    "clip": [(X, -0.5, 0.5), (X, None, 0.5), (S, 0.0), (EMPTY, 0.0, 1.0), (SCALAR, -1, 1)],
    **each("relu relu6 selu sigmoid logsigmoid softsign tanhshrink silu mish", KINKS),
    **each("hardsigmoid hardswish", KINKS),
    "leaky_relu": [*KINKS, (V, 0.2)],
    **each("elu celu", [*KINKS, (V, 0.5)]),
    "softplus": [*KINKS, (V, 3.0)],
    "hardtanh": [*KINKS, (V, -0.5, 0.25)],
    **each("hardshrink softshrink", [*KINKS, (V, 0.25)]),
    "threshold": [(*x, 0.5, 2.0) for x in KINKS],
    "glu": [(MAPS, 0), (numbers(1, 3, 4),), (S, 1)],
    "gated": [(V, V), (X, -X), (S, S), (numbers(2, 3, 4), S), (EMPTY, EMPTY)],
    **each("gelu gelu_residual gelu_slope", [*KINKS, (V, "tanh"), (S, "tanh")]),
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
    "put": [
        (X[1], 1, (2, 3, 4)), (X[..., 1::2], (..., slice(1, None, 2)), (2, 3, 4)),
        (V[::-1], slice(None, None, -1), (5,)),
    ],
    "take": [
        (X, PICKS, -2), (X, PICKS, 1), (S, LABELS, -1), (V, np.array(-2)), (X, np.zeros((0, 2), int), 2), (X, [0, 1]),
    ],
    "segment_sum": [
        (S, np.array([1, 1, -1]), 4), (EMPTY, np.zeros(0, int), 2), (numbers(1, 5, 2), np.arange(5) % 2, 2),
    ],
    "take_along": [
        (X, X.argmax(1)[:, None], 1), (S, PICKS[:, :1].repeat(2, 0)[:3]), (S, np.array([[-1, 0, 0]]), 1), (V, LABELS),
    ],
    "put_along": [
        (X[:, :1], X.argmax(1)[:, None], 1, 3), (S[:, :2], PICKS.reshape(3, 2), -1, 3), (V[:4], LABELS, 0, 6),
    ],
    "flip": [(X,), (X, 1), (X, (0, -1)), (S, 0), (SCALAR,)],
    "roll": [(X, 1, -1), (X, -2, 1), (S, 7, 0), (EMPTY, 1, 0)],
    "tile": [(X, (2, 1, 3)), (V, (2, 2)), (X, (2,))],
    "repeat": [(X, 2, 1), (S, 3, -1), (EMPTY, 2, 1)],
    **each("tril triu", [(X,), (X, 1), (S, -1), (SQUARE, 2)]),
    "diagonal": [(SQUARE,), (S[:, :3],), (EMPTY[:, :0],)],
    "diagonal_matrix": [(V,), (X,), (EMPTY,), (np.array([1.0, np.inf]),)],
    "astype": [(X, "float32"), (X, np.dtype("float64")), (X, np.float32), (X, "int64")],
    "zeros": [(X, (2, 3)), (X, (), "float32"), (X, (0,), np.dtype("int64"))],
    "full": [(X, (2, 3), 1.5), (X, (), 2.0, "float32"), (X, (0,), 1.0)],
    "eye": [(X, 3), (X, 0), (X, 2, "float32")],
    "asarray": [(X, [1, 2]), (X, V[::-1]), (X, np.arange(3)), (X, [1.5], "float32")],
    # Random numbers
    "random_bits": [(KEY, (5,)), (KEY, (2, 3), 24), (KEY, (), 8, 7), (KEY, (0, 2)), (KEY, (3, 7000))],
    "random_mask": [(KEY, (4, 3), 0.25, "float32"), (KEY, (2,), 1.0, "float32"), (KEY, (3, 7000), 0.5, "float32")],
    # Reductions
    **each("sum prod norm", reduced()),
    **each("mean std logsumexp max min", reduced(empty=False)),
    "var": [*reduced(empty=False), (X, 1, False, 1), (X, None, True, 1.0), (S, (), False, 0)],
    **each("any all", [(X > 0,), (X > -1.5, (0, 1), True), (X > 1, -1), (EMPTY > 0,), (X, 0), (X > 0, ())]),
    **each("cumulative_sum reversed_cumulative_sum", [(X,), (X, 0), (S, 1), (EMPTY, 0)]),
    "compensated_sum": [(X,), (S, 0), (V,), (EMPTY, 0)],
    "sort_order": [(X,), (X, 0, True), (np.array([1.0, 3.0, 1.0, 3.0]), -1, True), (S, 0), (V[:0],)],
    **each("argmax argmin", [(X,), (X, 1), (X > 0, -1), (np.array([1.0, 3.0, 3.0, 1.0]),), (S, 0)]),
    # Products and whole layers
    "matmul": [(X, X.swapaxes(1, 2)), (S, V[:4]), (V[:3], S), (V, V), (EMPTY, S), (SQUARE, SQUARE[0]), (SQUARE, S)],
    "linear_sum": [
        (X, numbers(1, 5, 4), X[..., :3], numbers(2, 5, 3), V), (S, strided(numbers(1, 5, 4)), S[:, :1], V[:, None]),
        (V[:4], numbers(1, 5, 4), V, numbers(2, 5, 5), V), (EMPTY, S.T, EMPTY, S.T, numbers(1, 4)),
    ],
    "linear": [
        (X, numbers(1, 5, 4), V), (S, strided(numbers(1, 5, 4))), (V[:4], numbers(1, 5, 4), V),
        (EMPTY, S.T, numbers(1, 4)),
    ],
    "affine": [
        (X, numbers(1, 4, 5), V), (S, strided(numbers(1, 4, 5))), (V[:4], numbers(1, 4, 5), V), (EMPTY, S, None),
    ],
    "einsum_apply": [
        ([X, X], "bij,bkj->bik"), ([S], "ij->j"), ([V, V], "i,i"),
        ([X, S, S], "b i j, ij, ij"), ([X, S], "...ij,ij->..."),
    ],
    "dot": [(X, S), (V, V), (EMPTY, V[:3])],
    "outer": [(V, V[:2]), (X, X[..., :2]), (EMPTY, EMPTY)],
    "weight_product": [(S, numbers(1, 3, 2)), (X, X[..., :2]), (EMPTY, EMPTY)],
    **each("softmax log_softmax", [(X,), (X, 0), (LOGITS * 50, 1), (EMPTY,), (V,)]),
    "normalize": [(X,), (X, 0), (np.zeros(3),), (V, 0, 3.0)],
    "cosine_similarity": [(X, -X + 1.0), (X, S, 1), (V, V)],
    "embedding": [(PICKS, S), (np.zeros((0,), int), S), (np.array(1), S)],
    "cross_entropy": [
        *losses(LOGITS, np.array([2, 0, 1, 1]))[:4], *losses(LOGITS, CHANCES)[:4],
        (MAPS, np.arange(10).reshape(2, 5) % 3), (LOGITS[0], np.array(2)),
    ],
    "surprisal": [
        (LOGITS, np.array([2, 0, 1, 1]), 1), (MAPS, np.arange(10).reshape(2, 5) % 3, 1), (LOGITS[0], np.array(2), 0),
        (EMPTY, np.zeros(0, int), 1), (strided(LOGITS), np.array([2, 0, 1, 1]), -1),
        (LOGITS, np.array([2, 0, -100, 1]), 1),
    ],
    "softmax_difference": [
        (LOGITS, np.array([2, 0, 1, 1]), LOGITS[:, :1], CHANCES[:, :1], 0.5, 1),
        (MAPS, np.arange(10).reshape(2, 5) % 3, MAPS[:, :1], np.exp(MAPS[:, 1:2]), MAPS[:, 0], 1),
        (LOGITS[0], np.array(2), LOGITS[0, :1], CHANCES[0, :1], LOGITS[0, 0], 0),
        (EMPTY, np.zeros(0, int), EMPTY[:, :1], EMPTY[:, :1], 0.5, 1),
        (strided(LOGITS), np.array([2, 0, -100, 1]), LOGITS[:, :1], CHANCES[:, :1], LOGITS[:, 0], -1),
    ],
    "nll_loss": [*losses(LOGITS, np.array([2, 0, 1, 1]))[:4], (MAPS, np.arange(10).reshape(2, 5) % 3)],
    **each("mse_loss l1_loss", losses(X, X[::-1] + 0.25)),
    "huber_loss": [*losses(X, X[::-1] + 0.25), (X, -X, "mean", 0.5)],
    "smooth_l1_loss": [*losses(X, X[::-1] + 0.25), (X, -X, "mean", 0.5), (X, -X, "mean", 0.0)],
    "binary_cross_entropy": losses(CHANCES, CHANCES[::-1].round()),
    "binary_cross_entropy_with_logits": losses(LOGITS * 9, CHANCES[::-1].round()),
    "kl_div": [*losses(np.log(CHANCES), CHANCES[::-1]), (np.log(CHANCES), np.eye(4)[:, :3], "batchmean")],
    "hinge_loss": losses(LOGITS, SIGNS),
}  # fmt: skip
OTHERWISE = {
    "own",
    "owner",
    "hold",
    "verify",
    "release",
    "linear_added",
}  # tested below, and optimizer updates in tests/optim
NAMING = {"astype", "zeros", "full", "eye", "asarray", "random_mask"}  # these are told a dtype


def size(x: Any) -> int:
    return sum(map(size, x)) if isinstance(x, (list, tuple)) else x.size if isinstance(x, np.ndarray) else 0


def test_every_function_has_samples() -> None:
    assert {name for name in FUNCTIONS if not name.endswith("_update")} - OTHERWISE == set(SAMPLES)


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


@pytest.mark.parametrize("name", SAMPLES)
def test_torch_traces_without_looking_at_values(name: str) -> None:
    function = FUNCTIONS[name]
    for sample in SAMPLES[name][:2]:
        operands = tuple(moved(x, "torch") for x in sample)
        leaves, tree = torch.utils._pytree.tree_flatten(operands)
        tensors = [x for x in leaves if isinstance(x, torch.Tensor)]

        def program(*tensors: Any, leaves: Any = leaves, tree: Any = tree) -> Any:
            given = iter(tensors)
            filled = [next(given) if isinstance(x, torch.Tensor) else x for x in leaves]
            return function(*torch.utils._pytree.tree_unflatten(filled, tree))

        graph = make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
        expected = plain(function(*operands))
        assert_close(plain(graph(*tensors)), expected, 0, "float64")


# Keys


@given(st.data())
def test_getitem_and_put_read_keys_as_numpy_does(data: Any) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    x = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    for name in BACKENDS[1:]:
        np.testing.assert_array_equal(plain(xp.getitem(moved(x, name), key)), x[key])
        u = np.array(x[key])
        np.testing.assert_array_equal(plain(xp.put(moved(u, name), key, shape)), xp.put(u, key, shape))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "key",
    [
        [0, 1],
        [],
        ([0, 1], slice(None), [1, 3]),
        (0, slice(None), [1, 2]),  # the integer is an index array beside another: its axis comes first
        (slice(None), np.array([[2, -1]]), 1),
        (np.int64(1), ..., np.array([0, 3], np.uint8)),
        (slice(None, None, -1), [0, 2]),
        (..., slice(None, None, -2), None),
        (slice(None), slice(2, 0, -1), slice(-1, None, -3)),
        np.array([True, False]),
        (slice(None), np.array([True, False, True]), slice(None, None, -1)),
        (X > 0.5),
        (np.array(-1), [0], [1]),
    ],
)
def test_getitem_takes_arrays_masks_and_negative_steps(key: Any, backend: str) -> None:
    np.testing.assert_array_equal(
        plain(xp.getitem(moved(X, backend), key)), X[tuple(key) if isinstance(key, tuple) else key]
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", [2, (0, 3), (slice(None), -4), [0, 2], (0, 0, 0, 0)])
def test_getitem_outside_raises(key: Any, backend: str) -> None:
    with pytest.raises((IndexError, ValueError)):
        xp.getitem(moved(X, backend), key)


@pytest.mark.parametrize("backend", BACKENDS)
def test_take_outside_raises(backend: str) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        xp.take(moved(X, backend), np.array([3]), 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_indices_may_stay_in_numpy(backend: str) -> None:
    """Index arrays are given as NumPy's beside tensors, in any integer dtype."""
    s, rows = moved(S, backend), np.array([[1, 0], [2, 1]], np.uint8)
    np.testing.assert_array_equal(plain(xp.take(s, rows, 0)), S[rows])
    np.testing.assert_array_equal(plain(xp.take_along(s, np.array([[-1]], np.int8), 1)), S[:, -1:])
    sums = plain(xp.segment_sum(s, np.array([1, 0, 1], np.uint8), 2))
    np.testing.assert_allclose(sums, np.stack([S[1], S[0] + S[2]]), rtol=1e-15)
    x = plain(xp.put_along(s[:, :1], np.array([[-1]], np.int8), 1, 2))
    np.testing.assert_array_equal(x, np.stack([0 * S[:, 0], S[:, 0]], 1))


# Numbers, conversion and new arrays


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "divide", "pow", "maximum", "minimum", "logaddexp", "atan2"]
)
def test_numbers_do_not_change_the_dtype(name: str, backend: str) -> None:
    x = moved(np.full((2, 2), 0.5, np.float32), backend)
    for operands in ((x, 0.3), (0.3, x), (x, 2), (2, x), (x, np.float32(0.3)), (np.float32(0.3), x)):
        result = plain(FUNCTIONS[name](*operands))
        assert result.dtype == np.float32
        reference = getattr(np, name)(*[np.float32(0.5) if o is x else np.float32(o) for o in operands])
        np.testing.assert_allclose(result, np.full((2, 2), reference), rtol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize("values", [S, S[::-1], S[:, 1], np.arange(3), np.array(True), np.zeros((0, 2), np.float32)])
def test_conversion_copies_there_and_back(values: np.ndarray, backend: str) -> None:
    source = values.copy()
    there = MODULES[backend].from_numpy(source)
    source[...] = 0
    back = MODULES[backend].to_numpy(there)
    assert back.dtype == values.dtype
    assert back.flags.writeable
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_views_have_one_owner_and_copies_another(backend: str) -> None:
    x = MODULES[backend].from_numpy(np.arange(6.0).reshape(2, 3))
    for view in (x, x[1:], xp.reshape(x, (6,)), x.mT, x.mT[1:][:1]):
        assert xp.owner(view) == xp.owner(x)
    assert xp.owner(xp.copy(x)) != xp.owner(x)


def test_conversion_of_read_only_arrays_and_bfloat16() -> None:
    import ml_dtypes

    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    assert MODULES["torch"].from_numpy(frozen).tolist() == [0.0, 1.0, 2.0]
    short = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    tensor = MODULES["torch"].from_numpy(short)
    assert tensor.dtype == torch.bfloat16
    np.testing.assert_array_equal(MODULES["torch"].to_numpy(tensor), np.array([1.5, -2.0], np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("values", [[1, 2], [0.5, 1.0], S[::-1], np.arange(3, dtype=np.int32)])
def test_asarray_keeps_the_values_dtype(values: Any, backend: str) -> None:
    like = moved(np.zeros(2, np.float32), backend)
    got = plain(xp.asarray(like, values))
    assert got.dtype == np.asarray(values).dtype
    np.testing.assert_array_equal(got, values)
    assert plain(xp.asarray(like, values, "float32")).dtype == np.float32


def test_arrays_of_two_backends_are_refused() -> None:
    with pytest.raises(BackendError, match="numpy and torch"):
        xp.add(np.ones(2), torch.ones(2))


def test_torch_notices_changes_in_place() -> None:
    x = torch.ones(3)
    mark = xp.hold(x)
    xp.verify(x, mark)
    x += 1
    with pytest.raises(InPlaceError, match=r"\(3,\)"):
        xp.verify(x, mark)
    xp.release(x, mark)


def test_softplus_is_exact_far_out_in_float64() -> None:
    x = np.array([20.0, 25.0, 30.0, 36.0, 39.0, 41.0])
    np.testing.assert_array_max_ulp(plain(xp.softplus(torch.from_numpy(x))), np.logaddexp(x, 0.0), 2)


def test_the_seam_imports_no_backend() -> None:
    code = "import sys, adjoint.arrays; print(*{m for m in ('torch', 'jax', 'scipy', 'numba') if m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Updates

SGD = [
    {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0},
    {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.1},
    {"momentum": 0.9, "dampening": 0.5, "nesterov": False, "weight_decay": 0.0},
    {"momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 0.1},
]
SHAPES = [(3, 4), (5,), (), (0, 2), (2, 3, 1)]


def state(count: int, dtype: str) -> list[list[np.ndarray]]:
    lists = [[np.asarray(numbers(10 * k + i, *s), dtype) for i, s in enumerate(SHAPES)] for k in range(count)]
    return [*lists[:3], [np.asarray(np.abs(v)) for v in lists[3]]] if count == 4 else lists


def close_lists(got: Any, expected: Any, dtype: str) -> None:
    for xs, wanted in zip(got, expected, strict=True):
        assert (xs is None) == (wanted is None)
        for x, y in zip(xs or [], wanted or [], strict=True):
            np.testing.assert_allclose(plain(x), y, rtol=64 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps)
            assert plain(x).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", SGD)
def test_sgd_is_its_composition(how: dict[str, Any], backend: str, dtype: str) -> None:
    arrays, grads, velocities = state(3, dtype)
    kept = velocities if how["momentum"] else None
    expected = xp.sgd_update.table.composed(  # type: ignore[attr-defined]
        *in_dtype([arrays, grads], "float64"), kept and in_dtype(kept, "float64"), lr=0.1, **how
    )
    before = [moved(xs, backend) for xs in (arrays, grads)]
    got = xp.sgd_update(*before, kept and moved(kept, backend), lr=0.1, **how)
    close_lists(got, expected, dtype)
    if backend != "jax":
        assert all(a is b for a, b in zip(got[0], before[0], strict=True))


STEPS = [1, 7, 3.0, np.array(2), np.float64(4.0)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_is_its_composition(weight_decay: float, decoupled: bool, backend: str, dtype: str) -> None:
    for t in STEPS:
        lists = state(4, dtype)
        how = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": weight_decay, "decoupled": decoupled}
        composed = xp.adam_update.table.composed  # type: ignore[attr-defined]
        expected = composed(*in_dtype(lists, "float64"), t=float(t), **how)
        before = moved(lists, backend)
        t_there = moved(np.array(t, np.int32), backend) if t == 7 else t
        got = xp.adam_update(*before, t=t_there, **how)
        close_lists(got, expected, dtype)
        if backend != "jax":
            for k, i in ((0, 0), (1, 2), (2, 3)):
                assert all(a is b for a, b in zip(got[k], before[i], strict=True))


def test_torch_adam_sees_strides_and_mixed_dtypes() -> None:
    """PyTorch's fused kernels walk memory and ignore strides: a transposed or expanded gradient must not mislead."""
    how = {"t": 3, "lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
    p, g, m, v = (numbers(k, 3, 4) for k in range(4))
    v = np.abs(v)
    row = numbers(5, 4)
    expected = xp.adam_update.table.composed([p, p, p], [g, row + 0 * p, g], [m] * 3, [v] * 3, **how)  # type: ignore[attr-defined]
    there = lambda x: torch.from_numpy(x.copy())  # noqa: E731
    across = lambda x: torch.from_numpy(x.T.copy()).T  # noqa: E731
    arrays = [there(p), there(p), across(p)]
    grads = [across(g), there(row).expand(3, 4), there(g).float()]
    first, second = [there(m), there(m), there(m).float()], [there(v), across(v), there(v)]
    got = xp.adam_update(arrays, grads, first, second, **how)
    assert got[0] is arrays
    assert [x.stride() for x in arrays] == [(4, 1), (4, 1), (1, 3)]
    for xs, wanted in zip(got, expected, strict=True):
        for k, (x, y) in enumerate(zip(xs, wanted, strict=True)):
            np.testing.assert_allclose(plain(x), y, rtol=1e-14 if k < 2 else 1e-6)


def test_torch_updates_take_tensors_as_rates() -> None:
    p, g, v = (torch.from_numpy(numbers(k, 3)) for k in range(3))
    how = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    expected = xp.sgd_update([p.clone()], [g], [v.clone()], lr=0.1, dampening=0.5, **how)
    half, rate = torch.tensor(0.5), torch.tensor(0.1, dtype=torch.float64)
    got = xp.sgd_update([p.clone()], [g], [v.clone()], lr=rate, dampening=half, **how)
    close_lists(got, [[plain(x) for x in xs] for xs in expected], "float64")


def test_updates_of_nothing() -> None:
    how = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0, "lr": 0.1}
    assert MODULES["torch"].sgd_update([], [], None, **how) == ([], None)


HOW = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}


def test_adam_in_jax_jit_counts_its_steps() -> None:
    """One program serves every step: t is traced, and its bias correction exact in float32 too."""
    lists = state(4, "float32")
    step = jax.jit(lambda lists, t: xp.adam_update(*lists, t=t, **HOW))
    for t in (1, 2, 1000):
        expected = xp.adam_update.table.composed(*in_dtype(lists, "float64"), t=t, **HOW)  # type: ignore[attr-defined]
        close_lists(step(moved(lists, "jax"), np.int32(t)), expected, "float32")


def test_adam_in_a_torch_graph_counts_its_steps() -> None:
    lists = state(4, "float32")
    graph = make_fx(lambda lists, t: xp.adam_update(*lists, t=t, **HOW), tracing_mode="fake")(
        moved(lists, "torch"), torch.tensor(1)
    )
    for t in (1, 2, 1000):
        expected = xp.adam_update.table.composed(*in_dtype(lists, "float64"), t=t, **HOW)  # type: ignore[attr-defined]
        close_lists(graph(moved(lists, "torch"), torch.tensor(t)), expected, "float32")
