"""NumPy's functions by their names, each with its own signature: what they are in the seam's functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from string import ascii_letters
from typing import Any, NoReturn

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import FUNCTIONS, Array, is_floating
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError, ShapeError

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


def isclose(x: Array, y: Array, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """|x - y| <= atol + rtol |y|, or both equal where they are infinite."""
    if rtol < 0 or atol < 0:
        raise ValueError(f"isclose: rtol and atol are at least 0, not {rtol} and {atol}.")
    near = xp.less_equal(xp.abs(xp.subtract(x, y)), atol + rtol * xp.abs(y))
    close = xp.logical_or(xp.equal(x, y), xp.logical_and(near, xp.isfinite(y)))
    return xp.logical_or(close, xp.logical_and(xp.isnan(x), xp.isnan(y))) if equal_nan else close


def reduction(name: str, default: Any = None) -> Entry:
    """The seam's reduction of this name, `axis` first as in NumPy, `keepdims` by name."""

    def reduced(a: Array, axis: Any = default, *, keepdims: bool = False) -> Array:
        return FUNCTIONS[name](a, axis, keepdims)

    return reduced


def shape_of(like: Array, shape: Any) -> tuple[int, ...]:
    """The shape asked for, or that of `like`."""
    return tuple(like.shape) if shape is None else many(shape)


def padded(x: Array, width: Any, mode: Any, value: Any) -> Array:
    """x padded by `width`, which broadcasts to (axes, 2); by entries of its own where `mode` says which."""
    pairs = [(int(a), int(b)) for a, b in np.broadcast_to(width, (len(x.shape), 2))]
    if mode == "constant":
        return xp.pad(x, pairs, value)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise BackendError(f"pad: mode={mode!r} has no operation here; constant, edge, reflect, symmetric, wrap have.")
    for axis, pair in enumerate(pairs):
        if any(pair):
            x = xp.take(x, np.pad(np.arange(x.shape[axis]), pair, mode), axis)
    return x


def vector_norm(x: Array, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Array:
    """(Σ |x|^ord)^(1/ord) over the axes together."""
    if ord in (2, None, "fro"):
        return xp.norm(x, axis, keepdims)
    if ord in (math.inf, -math.inf):
        return (xp.max if ord > 0 else xp.min)(xp.abs(x), axis, keepdims)
    if ord == 0:
        return xp.sum(xp.where(xp.equal(x, 0.0), xp.zeros_like(x), 1.0), axis, keepdims)
    powers = xp.abs(x) if ord == 1 else xp.pow(xp.abs(x), float(ord))
    total = xp.sum(powers, axis, keepdims)
    if ord == 1 or ord < 0:
        return total if ord == 1 else xp.pow(total, 1.0 / ord)
    zero = xp.equal(total, 0.0)  # the slope of the root there is infinite, that of the norm is taken for 0
    return xp.where(zero, 0.0, xp.pow(xp.where(zero, 1.0, total), 1.0 / ord))


def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """`np.linalg.norm`: of vectors any order, of matrices Frobenius's."""
    axes = tuple(range(len(x.shape))) if axis is None else many(axis)
    if ord is None or len(axes) == 1:
        return vector_norm(x, 2 if ord is None else ord, some(axis), keepdims)
    return matrix_norm(x, ord, axes, keepdims)


def matrix_norm(x: Array, ord: Any, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Of matrices over two axes: Frobenius's, the nuclear norm, the largest or smallest (-ord) singular value (2),
    sum of a column (1) or of a row (inf)."""
    row, column = (xp.positive("norm", a, len(x.shape)) for a in axes)
    if row == column:
        raise ShapeError(f"norm: a matrix has two axes, {axes} of {tuple(x.shape)} are one.")
    if ord == "fro":
        return xp.norm(x, axes, keepdims)
    if ord in ("nuc", 2, -2):
        s = xp.svdvals(moveaxis(x, axes, (-2, -1)))
        size = xp.sum(s, -1) if ord == "nuc" else (xp.max if ord == 2 else xp.min)(s, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        inner, outer = (row, column) if abs(ord) == 1 else (column, row)
        sums = xp.sum(xp.abs(x), inner, True)
        size = xp.squeeze((xp.max if ord > 0 else xp.min)(sums, outer, True), (row, column))
    else:
        raise ValueError(f"norm: of a matrix ord is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, not {ord!r}.")
    return functools.reduce(xp.expand_dims, sorted((row, column)), size) if keepdims else size


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
    places, gone = ([xp.positive("moveaxis", a, n) for a in many(axes)] for axes in (destination, source))
    if len({*places}) < len(places) or len({*gone}) < len(gone):
        raise ShapeError(f"moveaxis: {source} to {destination} of {tuple(x.shape)} names an axis twice.")
    moved = sorted(zip(places, gone, strict=True))
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
    if not many(shift):
        raise ValueError("roll: no shift is given.")
    if axis is None:
        return xp.reshape(xp.roll(ravel(x), shift, 0), x.shape)
    for s, a in zip(np.broadcast_to(shift, len(many(axis))).tolist(), many(axis), strict=True):
        x = xp.roll(x, s, a)
    return x


def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonals over two axes, `offset` above the main ones, as the last axis."""
    matrices = moveaxis(x, (axis1, axis2), (-2, -1))
    below, above = min(max(-offset, 0), matrices.shape[-2]), min(max(offset, 0), matrices.shape[-1])
    return xp.diagonal(xp.getitem(matrices, (..., slice(below, None), slice(above, None))) if offset else matrices)


def diagonal_matrices(x: Array, offset: int = 0) -> Array:
    """Square matrices with the last axis of x on the diagonal `offset` above the main one."""
    square, before, after = xp.diagonal_matrix(x), max(offset, 0), max(-offset, 0)
    return xp.pad(square, [(0, 0)] * (len(x.shape) - 1) + [(after, before), (before, after)]) if offset else square


def diag(x: Array, k: int = 0) -> Array:
    """The diagonal matrix of a vector, the diagonal of a matrix."""
    if len(x.shape) not in (1, 2):
        raise ShapeError(f"diag: a vector or a matrix, not {tuple(x.shape)}: see diagonal and diagonal_matrix.")
    return diagonal_matrices(x, k) if len(x.shape) == 1 else diagonal(x, k)


def repeated(x: Array, repeats: Any, axis: int | None = None) -> Array:
    """Every entry repeated along an axis, or along all as one; `repeats` is one number or one for every entry."""
    x, axis = flat(x, axis)
    if isinstance(repeats, int):
        return xp.repeat(x, repeats, axis)
    return xp.take(x, np.repeat(np.arange(x.shape[axis]), np.asarray(repeats)), axis)


def diff(x: Array, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """Differences of neighbours along an axis, n times, after the axis was made longer."""
    if n < 0:
        raise ValueError(f"diff: n is how many times differences are taken, not {n}.")
    if n and (prepend is not None or append is not None):
        x = xp.concatenate([part for part in (prepend, x, append) if part is not None], axis)
    lead = (slice(None),) * xp.positive("diff", axis, len(x.shape))
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


def reduced_only(name: str, remedy: str) -> NoReturn:
    """Raise `BackendError` for the full orthonormal bases, whose derivative is not determined."""
    raise BackendError(f"{name}: only the reduced factors have a derivative: {remedy}.")


def svd(a: Array, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """`np.linalg.svd`, without the bases that complete U or Vh."""
    if not compute_uv:
        return xp.svdvals(a)
    if full_matrices and a.shape[-1] != a.shape[-2]:
        reduced_only("svd", "full_matrices=False")
    return xp.svd(a)


def qr(a: Array, mode: str = "reduced") -> Any:
    """`np.linalg.qr`, without the basis that completes Q."""
    if mode not in ("reduced", "r"):
        reduced_only("qr", "mode='reduced'")
    return xp.qr(a).R if mode == "r" else xp.qr(a)


def cholesky(a: Array, upper: bool = False) -> Array:
    """The factor L of A = L Lᵀ, or Lᵀ."""
    return xp.swapaxes(xp.cholesky(a), -1, -2) if upper else xp.cholesky(a)


def matrix_power(a: Array, n: int) -> Array:
    """A multiplied by itself n times, by squaring; of the inverse for n < 0."""
    base, left = (a, n) if n >= 0 else (xp.inv(a), -n)
    power = None
    while left:
        if left & 1:
            power = base if power is None else xp.matmul(power, base)
        left >>= 1
        base = xp.matmul(base, base) if left else base
    return xp.zeros_like(a) + xp.eye(a, a.shape[-1]) if power is None else power


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
    "linalg.matrix_norm": lambda x, *, keepdims=False, ord="fro": matrix_norm(x, ord, (-2, -1), keepdims),
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
    "column_stack": lambda tup: xp.concatenate([xp.reshape(x, (-1, 1)) if len(x.shape) < 2 else x for x in tup], 1),
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
    "diag": lambda v, k=0: diag(v, k),
    "diagonal": lambda a, offset=0, axis1=0, axis2=1: diagonal(a, offset, axis1, axis2),
    "linalg.diagonal": lambda x, /, *, offset=0: diagonal(x, offset, -2, -1),
    "trace": lambda a, offset=0, axis1=0, axis2=1: xp.sum(diagonal(a, offset, axis1, axis2), -1),
    "linalg.trace": lambda x, /, *, offset=0: xp.sum(diagonal(x, offset, -2, -1), -1),
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
    # Linear algebra
    **{f"linalg.{name}": FUNCTIONS[name] for name in ("solve", "inv", "pinv", "svdvals", "det", "slogdet")},
    "linalg.cholesky": lambda a, /, *, upper=False: cholesky(a, upper),
    "linalg.qr": qr,
    "linalg.svd": svd,
    "linalg.eigh": lambda a, UPLO="L": xp.eigh(a),  # the symmetric part, so that either triangle serves
    "linalg.eigvalsh": lambda a, UPLO="L": xp.eigvalsh(a),
    "linalg.matrix_power": matrix_power,
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
