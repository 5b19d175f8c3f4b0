"""NumPy's functions by their names, each with its own signature: what they are in the seam's functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from string import ascii_letters
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import FUNCTIONS, Array, is_floating
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError

Entry = Callable[..., Any]


def same(names: str) -> dict[str, Entry]:
    """The seam's functions of these names; "theirs=ours" where the names differ."""
    pairs = (name.partition("=") for name in names.split())
    return {theirs: FUNCTIONS[ours or theirs] for theirs, _, ours in pairs}


# What neither table can say in one line


def ravel(x: Array) -> Array:
    """All entries in one axis."""
    return xp.reshape(x, (-1,))


def flat(x: Array, axis: int | None) -> tuple[Array, int]:
    """x and the axis; x as one axis where none is named."""
    return (ravel(x), 0) if axis is None else (x, axis)


def many(axis: Any) -> tuple[int, ...]:
    """The axes as a tuple."""
    return tuple(axis) if isinstance(axis, Iterable) else (axis,)


def spread(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or axes given one by one, or all as one sequence."""
    return many(sizes[0]) if len(sizes) == 1 else sizes


def some(axis: Any) -> Any:
    """Axes as the seam takes them: no lists."""
    return tuple(axis) if isinstance(axis, list) else axis


def stopped(x: Array) -> Array:
    """The value as a constant."""
    from adjoint.transforms import stop_gradient

    return stop_gradient(x)


def cast(x: Array, dtype: Any) -> Array:
    """x in another dtype, a constant where that is not of real floating numbers."""
    y = xp.astype(x, dtype)
    return y if is_floating(y.dtype) else stopped(y)


def floor_divide(x: Array, y: Array) -> Array:
    """⌊x / y⌋."""
    return xp.floor(xp.divide(x, y))


def isclose(x: Array, y: Array, rtol: float = 1e-5, atol: float = 1e-8) -> Array:
    """|x - y| <= atol + rtol |y|."""
    return xp.less_equal(xp.abs(xp.subtract(x, y)), atol + rtol * xp.abs(y))


def reduction(name: str, default: Any = None) -> Entry:
    """The seam's reduction of this name, `axis` first as in NumPy, `keepdims` by name."""

    def reduced(a: Array, axis: Any = default, *, keepdims: bool = False) -> Array:
        return FUNCTIONS[name](a, axis, keepdims)

    return reduced


def shape_of(like: Array, shape: Any) -> tuple[int, ...]:
    """The shape asked for, or that of `like`."""
    return tuple(like.shape) if shape is None else many(shape)


def padded(x: Array, width: Any, mode: str, value: Any) -> Array:
    """x padded by `width`, which broadcasts to (axes, 2)."""
    if mode != "constant":
        raise BackendError(f"pad: mode={mode!r} has no operation here; 'constant' has.")
    return xp.pad(x, [(int(a), int(b)) for a, b in np.broadcast_to(width, (len(x.shape), 2))], value)


def vector_norm(x: Array, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Array:
    """(Σ |x|^ord)^(1/ord) over the axes together."""
    if ord in (2, None, "fro"):
        return xp.norm(x, axis, keepdims)
    if ord in (math.inf, -math.inf):
        return (xp.max if ord > 0 else xp.min)(xp.abs(x), axis, keepdims)
    powers = xp.abs(x) if ord == 1 else xp.pow(xp.abs(x), float(ord))
    total = xp.sum(powers, axis, keepdims)
    return total if ord == 1 else xp.pow(total, 1.0 / ord)


def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """`np.linalg.norm`: of vectors any order, of matrices Frobenius's."""
    if ord not in (None, "fro") and (len(x.shape) if axis is None else len(many(axis))) != 1:
        raise BackendError(f"norm: ord={ord!r} of a matrix has no operation here; the Frobenius norm has (ord=None).")
    return vector_norm(x, ord, some(axis), keepdims)


def tensordot(a: Array, b: Array, axes: Any = 2) -> Array:
    """Σ over pairs of axes: the last of a and the first of b, or those named."""
    left, right = (range(-axes, 0), range(axes)) if isinstance(axes, int) else map(many, axes)
    of_a, of_b = list(ascii_letters[: len(a.shape)]), list(ascii_letters[26 : 26 + len(b.shape)])
    for i, j in zip(left, right, strict=True):
        of_b[j] = of_a[i]
    kept = [c for c in of_a + of_b if (c in of_a) != (c in of_b)]
    return xp.einsum(f"{''.join(of_a)},{''.join(of_b)}->{''.join(kept)}", a, b)


def dot(a: Array, b: Array) -> Array:
    """`np.dot`: the last axis of a with the last but one of b."""
    if not np.ndim(a) or not np.ndim(b):
        return xp.multiply(a, b)
    return xp.matmul(a, b) if len(b.shape) <= 2 else tensordot(a, b, (-1, -2))


def inner(a: Array, b: Array) -> Array:
    """`np.inner`: the last axes of both."""
    return tensordot(a, b, (-1, -1)) if np.ndim(a) and np.ndim(b) else xp.multiply(a, b)


def kron(a: Array, b: Array) -> Array:
    """The Kronecker product."""
    n = max(len(a.shape), len(b.shape))
    of_a, of_b = ((1,) * (n - len(x.shape)) + tuple(x.shape) for x in (a, b))
    product = xp.reshape(a, sum(((i, 1) for i in of_a), ())) * xp.reshape(b, sum(((1, j) for j in of_b), ()))
    return xp.reshape(product, tuple(i * j for i, j in zip(of_a, of_b, strict=True)))


def moveaxis(x: Array, source: Any, destination: Any) -> Array:
    """One or several axes moved, the others in order."""
    n = len(x.shape)
    moved = sorted((d % n, s % n) for d, s in zip(many(destination), many(source), strict=True))
    axes = [a for a in range(n) if a not in {s for _, s in moved}]
    for to, a in moved:
        axes.insert(to, a)
    return xp.permute(x, tuple(axes))


def taken(x: Array, indices: Any, axis: int | None) -> tuple[Array, Any, int]:
    """The operands of `take`; x as one axis where none is named."""
    x, axis = flat(x, axis)
    return x, indices, axis


def rolled(x: Array, shift: Any, axis: Any = None) -> Array:
    """x shifted cyclically along one or several axes, or as one axis."""
    if axis is None:
        return xp.reshape(xp.roll(ravel(x), shift, 0), x.shape)
    for s, a in zip(np.broadcast_to(shift, len(many(axis))).tolist(), many(axis), strict=True):
        x = xp.roll(x, s, a)
    return x


def diagonal(x: Array, axis1: int = 0, axis2: int = 1) -> Array:
    """The main diagonals over two axes, as the last axis."""
    return xp.diagonal(moveaxis(x, (axis1, axis2), (-2, -1)))


def diag(x: Array) -> Array:
    """The diagonal matrix of a vector, the main diagonal of a matrix."""
    return xp.diagonal_matrix(x) if len(x.shape) == 1 else xp.diagonal(x)


def repeated(x: Array, repeats: int, axis: int | None = None) -> Array:
    """Every entry repeated along an axis, or along all as one."""
    x, axis = flat(x, axis)
    return xp.repeat(x, repeats, axis)


def diff(x: Array, n: int = 1, axis: int = -1) -> Array:
    """Differences of neighbours along an axis, n times."""
    lead = (slice(None),) * (axis % len(x.shape))
    for _ in range(n):
        x = xp.getitem(x, (*lead, slice(1, None))) - xp.getitem(x, (*lead, slice(None, -1)))
    return x


def at_least(n: int) -> Entry:
    """The function that gives an array n axes at least, new ones first."""

    def reshaped(x: Array) -> Array:
        missing = n - len(x.shape)
        return x if missing <= 0 else xp.reshape(x, (1,) * missing + tuple(x.shape))

    return reshaped


def hstack(arrays: Any) -> Array:
    """`np.hstack`: vectors along their only axis, others along axis 1."""
    arrays = [at_least(1)(x) for x in arrays]
    return xp.concatenate(arrays, 0 if len(arrays[0].shape) == 1 else 1)


# NumPy

UFUNCS: dict[str, Entry] = {
    **same(
        "add subtract multiply divide negative square sqrt reciprocal maximum minimum exp exp2 expm1 log log2 log10 "
        "log1p logaddexp sin cos tan sinh cosh tanh sign floor ceil isfinite isnan equal not_equal less less_equal "
        "greater greater_equal logical_and logical_or logical_not matmul absolute=abs fabs=abs power=pow "
        "float_power=pow arcsin=asin arccos=acos arctan=atan arctan2=atan2 arcsinh=asinh arccosh=acosh arctanh=atanh "
        "rint=round vecdot=dot erf expit=sigmoid log_expit=logsigmoid"
    ),
    "positive": lambda x: x,
    "conjugate": lambda x: x,
    "deg2rad": lambda x: xp.multiply(x, math.pi / 180.0),
    "radians": lambda x: xp.multiply(x, math.pi / 180.0),
    "rad2deg": lambda x: xp.multiply(x, 180.0 / math.pi),
    "degrees": lambda x: xp.multiply(x, 180.0 / math.pi),
    "hypot": lambda x, y: xp.sqrt(xp.add(xp.square(x), xp.square(y))),
    "floor_divide": floor_divide,
    "remainder": lambda x, y: xp.subtract(x, xp.multiply(floor_divide(x, y), y)),
    "trunc": lambda x: xp.multiply(xp.sign(x), xp.floor(xp.abs(x))),
    "isinf": lambda x: xp.equal(xp.abs(x), math.inf),
}  # fmt: skip

UFUNC_REDUCTIONS: dict[str, Entry] = {
    "add": reduction("sum", 0),
    "multiply": reduction("prod", 0),
    "maximum": reduction("max", 0),
    "minimum": reduction("min", 0),
    "logical_and": reduction("all", 0),
    "logical_or": reduction("any", 0),
    "logaddexp": reduction("logsumexp", 0),
}

UFUNC_ACCUMULATIONS: dict[str, Entry] = {"add": lambda a, axis=0: xp.cumulative_sum(a, axis)}

# In NumPy's signatures dtype and out stand before what is a keyword here
NUMPY: dict[str, Entry] = {
    **{name: reduction(name) for name in ("sum", "prod", "max", "min", "mean", "any", "all")},
    "amax": reduction("max"),
    "amin": reduction("min"),
    "var": lambda a, axis=None, *, ddof=0, keepdims=False, correction=None: xp.var(
        a, axis, keepdims, correction or ddof
    ),
    "std": lambda a, axis=None, *, ddof=0, keepdims=False, correction=None: xp.std(
        a, axis, keepdims, correction or ddof
    ),
    "ptp": lambda a, axis=None, *, keepdims=False: xp.max(a, axis, keepdims) - xp.min(a, axis, keepdims),
    "average": lambda a, axis=None: xp.mean(a, axis),
    "argmax": lambda a, axis=None: xp.argmax(a, axis),
    "argmin": lambda a, axis=None: xp.argmin(a, axis),
    "cumsum": lambda a, axis=None: xp.cumulative_sum(*flat(a, axis)),
    "cumulative_sum": lambda x, *, axis=None: xp.cumulative_sum(*flat(x, axis)),
    "diff": diff,
    "linalg.norm": norm,
    "linalg.vector_norm": lambda x, *, axis=None, keepdims=False, ord=2: vector_norm(x, ord, axis, keepdims),
    "linalg.matrix_norm": lambda x, *, keepdims=False, ord="fro": norm(x, ord, (-2, -1), keepdims),
    # Layout
    "reshape": lambda a, /, shape=None: xp.reshape(a, many(shape)),
    "ravel": ravel,
    "transpose": lambda a, axes=None: xp.permute(a, tuple(reversed(range(len(a.shape)))) if axes is None else axes),
    "matrix_transpose": lambda x: xp.swapaxes(x, -1, -2),
    "linalg.matrix_transpose": lambda x: xp.swapaxes(x, -1, -2),
    "swapaxes": lambda a, axis1, axis2: xp.swapaxes(a, axis1, axis2),
    "moveaxis": moveaxis,
    "expand_dims": lambda a, axis: functools.reduce(xp.expand_dims, sorted(many(axis)), a),
    "squeeze": lambda a, axis=None: xp.squeeze(a, axis),
    "broadcast_to": lambda array, shape: xp.broadcast_to(array, many(shape)),
    "atleast_1d": at_least(1),
    "atleast_2d": at_least(2),
    "concatenate": lambda arrays, axis=0: xp.concatenate(arrays, axis),
    "stack": lambda arrays, axis=0: xp.stack(arrays, axis),
    "vstack": lambda tup: xp.concatenate([at_least(2)(x) for x in tup], 0),
    "hstack": hstack,
    "column_stack": lambda tup: xp.concatenate([xp.reshape(x, (-1, 1)) if len(x.shape) == 1 else x for x in tup], 1),
    "split": lambda ary, indices_or_sections, axis=0: xp.split(ary, indices_or_sections, axis),
    "vsplit": lambda ary, indices_or_sections: xp.split(ary, indices_or_sections, 0),
    "hsplit": lambda ary, indices_or_sections: xp.split(ary, indices_or_sections, min(1, len(ary.shape) - 1)),
    "pad": lambda array, pad_width, mode="constant", *, constant_values=0.0: padded(
        array, pad_width, mode, constant_values
    ),
    "tile": lambda A, reps: xp.tile(A, many(reps)),
    "repeat": repeated,
    "flip": lambda m, axis=None: xp.flip(m, axis),
    "fliplr": lambda m: xp.flip(m, 1),
    "flipud": lambda m: xp.flip(m, 0),
    "roll": rolled,
    "tril": lambda m, k=0: xp.tril(m, k),
    "triu": lambda m, k=0: xp.triu(m, k),
    "diag": diag,
    "diagonal": lambda a, *, axis1=0, axis2=1: diagonal(a, axis1, axis2),
    "linalg.diagonal": lambda x, /: xp.diagonal(x),
    "trace": lambda a, *, axis1=0, axis2=1: xp.sum(diagonal(a, axis1, axis2), -1),
    "linalg.trace": lambda x, /: xp.sum(xp.diagonal(x), -1),
    "take": lambda a, indices, axis=None: xp.take(*taken(a, indices, axis)),
    "take_along_axis": lambda arr, indices, axis=-1: xp.take_along(arr, indices, axis),
    "copy": lambda a: a,
    "real": lambda val: val,
    "astype": lambda x, dtype, *, copy=True: cast(x, dtype),
    # Element by element
    "where": lambda condition, x, y, /: xp.where(condition, x, y),
    "clip": lambda a, a_min=None, a_max=None, *, min=None, max=None: xp.clip(
        a, min if a_min is None else a_min, max if a_max is None else a_max
    ),
    "round": lambda a, decimals=0: xp.round(xp.multiply(a, 10.0**decimals)) / 10.0**decimals,
    "around": lambda a, decimals=0: xp.round(xp.multiply(a, 10.0**decimals)) / 10.0**decimals,
    "isclose": isclose,
    "allclose": lambda a, b, rtol=1e-5, atol=1e-8: bool(xp.all(isclose(a, b, rtol, atol))),
    # Products
    "dot": dot,
    "inner": inner,
    "vdot": lambda a, b, /: xp.dot(ravel(a), ravel(b)),
    "outer": lambda a, b: xp.outer(ravel(a), ravel(b)),
    "linalg.outer": lambda x1, x2, /: xp.outer(x1, x2),
    "linalg.matmul": lambda x1, x2, /: xp.matmul(x1, x2),
    "linalg.vecdot": lambda x1, x2, /: xp.dot(x1, x2),
    "linalg.multi_dot": lambda arrays: functools.reduce(xp.matmul, arrays),
    "linalg.tensordot": lambda x1, x2, /, *, axes=2: tensordot(x1, x2, axes),
    "tensordot": tensordot,
    "einsum": lambda subscripts, /, *operands: xp.einsum(subscripts, *operands),
    "kron": kron,
    # What an array is like
    "shape": lambda a: tuple(a.shape),
    "ndim": lambda a: len(a.shape),
    "size": lambda a, axis=None: math.prod(a.shape[i] for i in (range(len(a.shape)) if axis is None else many(axis))),
    "result_type": lambda *arrays_and_dtypes: np.result_type(
        *(x.dtype if isinstance(x, Traced) else x for x in arrays_and_dtypes)
    ),
    "isrealobj": lambda x: True,
    "iscomplexobj": lambda x: False,
    "zeros_like": lambda a, dtype=None, *, shape=None: xp.zeros(a, shape_of(a, shape), dtype),
    "empty_like": lambda prototype, dtype=None, *, shape=None: xp.zeros(prototype, shape_of(prototype, shape), dtype),
    "ones_like": lambda a, dtype=None, *, shape=None: xp.full(a, shape_of(a, shape), 1.0, dtype),
    "full_like": lambda a, fill_value, dtype=None, *, shape=None: xp.full(a, shape_of(a, shape), fill_value, dtype),
}

# Methods that differ from NumPy's functions, or have none

NUMPY_METHODS: dict[str, Entry] = {
    "reshape": lambda self, *shape: xp.reshape(self, spread(shape)),
    "transpose": lambda self, *axes: NUMPY["transpose"](self, spread(axes) if axes else None),
    "flatten": ravel,
    "conj": lambda self: self,
    "conjugate": lambda self: self,
}

NUMPY_ATTRIBUTES: dict[str, Entry] = {
    "size": lambda self: math.prod(self.shape),
    "itemsize": lambda self: self.dtype.itemsize,
    "nbytes": lambda self: math.prod(self.shape) * self.dtype.itemsize,
    "real": lambda self: self,
}

NUMPY_CHANGING = frozenset({"fill", "partition", "put", "resize", "setfield", "sort"})
