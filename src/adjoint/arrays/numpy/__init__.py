"""NumPy, the embedded default: its own functions where they fit, Numba kernels where arrays repay them."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import (  # noqa: F401  # noqa: F401
    abs,
    acos,
    acosh,
    add,
    argmax,
    argmin,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    concatenate,
    cos,
    cosh,
    divide,
    equal,
    exp,
    exp2,
    expm1,
    flip,
    floor,
    greater,
    greater_equal,
    isfinite,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    pow,
    reciprocal,
    reshape,
    roll,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    where,
)
from numpy import transpose as permute  # noqa: F401

from adjoint.arrays import products
from adjoint.arrays.dispatch import is_floating
from adjoint.arrays.numpy import memory
from adjoint.arrays.numpy.activations import gated, gelu, gelu_residual, gelu_slope, sigmoid  # noqa: F401
from adjoint.arrays.numpy.attention import attend_cotangents, attend_residual  # noqa: F401
from adjoint.arrays.numpy.convolutions import (  # noqa: F401
    convolution,
    convolution_input,
    convolution_weight,
    fold,
    unfold,
)
from adjoint.arrays.numpy.gemm import affine, matmul
from adjoint.arrays.numpy.halves import fitted  # noqa: F401
from adjoint.arrays.numpy.linalg import (  # noqa: F401
    cholesky,
    det,
    eigh,
    eigvalsh,
    inv,
    matrix_exp,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)
from adjoint.arrays.numpy.losses import (  # noqa: F401
    cross_entropy,
    gaussian_nll_loss,
    nll_loss,
    softmax_difference,
    surprisal,
)
from adjoint.arrays.numpy.normalization import (  # noqa: F401
    normalization_gain,
    normalization_product,
    normalize_channels,
    normalize_rows,
)
from adjoint.arrays.numpy.pooling import max_pool, pick, place, resample  # noqa: F401
from adjoint.arrays.numpy.positions import rotate  # noqa: F401
from adjoint.arrays.numpy.quantized import quantized_linear  # noqa: F401
from adjoint.arrays.numpy.random import random_bits, random_mask  # noqa: F401
from adjoint.arrays.numpy.sums import linear_added, linear_sum  # noqa: F401
from adjoint.arrays.numpy.threads import together  # noqa: F401
from adjoint.arrays.numpy.updates import (  # noqa: F401
    adadelta_update,
    adafactor_update,
    adagrad_update,
    adam_update,
    adamax_update,
    amsgrad_update,
    asgd_update,
    average_update,
    lion_update,
    muon_update,
    nadam_update,
    radam_update,
    rmsprop_update,
    rprop_update,
    sgd_update,
)
from adjoint.errors import ShapeError

name = "numpy"
memory.keep()
_sum: Any = np.add.reduce
_max: Any = np.maximum.reduce
_min: Any = np.minimum.reduce
_prod: Any = np.multiply.reduce
_any: Any = np.logical_or.reduce
_all: Any = np.logical_and.reduce
ZEROS: dict[Any, Any] = {np.dtype(t): np.zeros((), t) for t in (np.float32, np.float64)}


SMALL = 4096  # entries below which copying is faster than making a view


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    if getattr(x, "shape", ()) == shape:
        return x
    if math.prod(shape) > SMALL:
        return np.broadcast_to(x, shape)
    out = np.empty(shape, dtype_of(x))
    out[...] = x
    return out


def ones_like(x: Any) -> Any:
    out = np.empty(x.shape, x.dtype)
    out.fill(1)
    return out


def round(x: Any) -> Any:
    return np.round(x)


def erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


def relu(x: Any) -> Any:
    dtype = getattr(x, "dtype", None)
    zero = ZEROS.get(dtype)
    if zero is None and is_floating(dtype):
        zero = ZEROS[dtype] = np.zeros((), dtype)
    return maximum(x, 0.0 if zero is None else zero)


MANY = 1 << 17  # entries from which the sum of rows is faster as a product


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    if axis is not None and not keepdims and type(x) is np.ndarray and x.size >= MANY and x.dtype.char in "fd":
        rows = leading(x, axis)
        if rows:
            return matmul(np.ones(rows, x.dtype), x.reshape(rows, -1)).reshape(x.shape[len(axis) :])
    return _sum(x, axis, None, None, keepdims)


def leading(x: Any, axis: Any) -> int:
    """How many rows a contiguous x has along the axes 0, 1, …; 0 where the axes are others."""
    if type(axis) is not tuple or not 0 < len(axis) < x.ndim or not x.flags.c_contiguous:
        return 0
    first = [a % x.ndim for a in axis] == list(range(len(axis)))
    return math.prod(x.shape[: len(axis)]) if first else 0


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    total = sum(x, axis, keepdims)
    count = x.size // total.size if total.size else 0
    return total * (1.0 / count) if count else total * math.nan


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _max(x, axis, None, None, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _min(x, axis, None, None, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _prod(x, axis, None, None, keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _any(x, axis, None, None, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _all(x, axis, None, None, keepdims)


def sort_order(x: Any, axis: int = -1, descending: bool = False) -> Any:
    if not descending:
        return np.argsort(x, axis, stable=True)
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, stable=True), axis)


def cumulative_sum(x: Any, axis: int = -1) -> Any:
    return np.cumsum(x, axis)


def einsum_apply(arrays: Sequence[Any], spec: str) -> Any:
    return np.einsum(spec, *arrays, optimize=len(arrays) > 1)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    shape = x.shape
    if len(shape) > 2:  # matmul would make a product for each matrix in x
        x = x.reshape(math.prod(shape[:-1]), shape[-1])
    y = affine(x, weight.T, bias)
    return y.reshape(*shape[:-1], y.shape[-1]) if len(shape) > 2 else y


NARROW = 64  # rows of a result up to which BLAS makes its transpose faster


def weight_product(x: Any, u: Any) -> Any:
    x, u = products.rows(x), products.rows(u)
    return matmul(u.T, x).T if x.shape[1] < NARROW <= u.shape[1] else matmul(x.T, u)


def pad(x: Any, width: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    return np.pad(x, width, constant_values=value)


def getitem(x: Any, key: Any) -> Any:
    return x[key]


def put(u: Any, key: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, u.dtype)
    out[key] = u
    return out


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    return np.take(x, indices, axis)


def segment_sum(u: Any, indices: Any, size: int) -> Any:
    from scipy.sparse import csr_array

    n = len(indices)
    picks = csr_array((np.ones(n, u.dtype), (indices % size if size else indices, np.arange(n))), (size, n))
    return np.asarray(picks @ u)


def take_along(x: Any, indices: Any, axis: int = -1) -> Any:
    return np.take_along_axis(x, indices, axis)


def put_along(u: Any, indices: Any, axis: int, size: int) -> Any:
    shape = list(u.shape)
    shape[axis] = size
    out = np.zeros(shape, u.dtype)
    if indices.shape[axis] == 1:
        np.put_along_axis(out, indices, u, axis)
    else:
        grid = list(np.ogrid[tuple(slice(n) for n in u.shape)])
        grid[axis] = np.broadcast_to(indices, u.shape)
        np.add.at(out, tuple(grid), u)
    return out


def diagonal(x: Any) -> Any:
    return np.diagonal(x, axis1=-2, axis2=-1)


def diagonal_matrix(x: Any) -> Any:
    n = x.shape[-1]
    out = np.zeros((*x.shape, n), x.dtype)
    out[..., np.arange(n), np.arange(n)] = x
    return out


def tril(x: Any, k: int = 0) -> Any:
    return np.tril(matrices("tril", x), k)


def triu(x: Any, k: int = 0) -> Any:
    return np.triu(matrices("triu", x), k)


def matrices(name: str, x: Any) -> Any:
    """x; raises `ShapeError` where it has no two axes, for NumPy would stack a vector's copies."""
    if x.ndim < 2:
        raise ShapeError(f"{name}: {x.shape} is no matrix: the last two axes are its rows and columns.")
    return x


def known(dtype: Any) -> Any:
    """The dtype; where NumPy does not know its name, the one of ml_dtypes."""
    if type(dtype) is not str or dtype in np.sctypeDict:
        return dtype
    from adjoint.arrays.shapes.array import as_dtype

    return as_dtype(dtype)


def astype(x: Any, dtype: Any) -> Any:
    return np.asarray(x).astype(known(dtype), copy=False)


def copy(x: Any) -> Any:
    return np.array(x)


def own(x: Any) -> Any:
    return x if x.flags.writeable or not x.shape else x.copy()


def owner(x: Any) -> int:
    return id(x if x.base is None else x.base)


def zeros(like: Any, shape: tuple[int, ...], dtype: Any = None) -> Any:
    return np.zeros(shape, known(dtype) or dtype_of(like))


def full(like: Any, shape: tuple[int, ...], value: float, dtype: Any = None) -> Any:
    return np.full(shape, value, known(dtype) or dtype_of(like))


def eye(like: Any, n: int, dtype: Any = None) -> Any:
    return np.eye(n, dtype=known(dtype) or dtype_of(like))


def asarray(like: Any, values: Any, dtype: Any = None) -> Any:
    return np.asarray(values, known(dtype))


def dtype_of(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


_holds: dict[int, int] = {}  # how often each frozen array is held
_waiting: dict[int, list[Any]] = {}  # views to thaw with their base
_holding = threading.RLock()


def hold(x: Any) -> Any:
    mine: list[Any] = []
    with _holding:
        if x.base is None and x.flags.writeable:  # the common case
            x.setflags(write=False)
            _holds[id(x)] = 1
            return x
        while isinstance(x, np.ndarray):
            base, key = x.base, id(x)
            if x.flags.writeable:
                foreign = base is not None and not isinstance(base, np.ndarray)
                if foreign or (base is not None and not base.flags.writeable and id(base) not in _holds):
                    break  # NumPy could not make it writable again
                x.flags.writeable = False
            elif key not in _holds:
                break
            _holds[key] = _holds.get(key, 0) + 1
            mine.append(x)
            x = base
    return mine or None


def verify(x: Any, mark: Any) -> None:
    return None


def release(x: Any, mark: Any) -> None:
    with _holding:
        for array in (x,) if mark is x else mark[::-1]:
            key = id(array)
            count = _holds[key] - 1
            if count:
                _holds[key] = count
            else:
                del _holds[key]
                if mark is x and not _waiting:
                    x.setflags(write=True)
                else:
                    _thaw(array)


def _thaw(x: Any) -> None:
    base = x.base
    if isinstance(base, np.ndarray) and not base.flags.writeable:
        _waiting.setdefault(id(base), []).append(x)
        return
    x.setflags(write=True)
    if _waiting:
        for view in _waiting.pop(id(x), ()):
            _thaw(view)


def to_numpy(x: Any) -> Any:
    return np.asarray(x)


def from_numpy(x: Any, device: Any = None) -> Any:
    return x
