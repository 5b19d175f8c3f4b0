"""JAX's side of the seam: `jax.numpy` where it fits; arrays never change, so updates are the plain compositions."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import (  # noqa: F401
    celu,
    elu,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
)
from jax.numpy import (  # noqa: F401
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
    broadcast_to,
    ceil,
    clip,
    concatenate,
    copy,
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
    matmul,
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
    tril,
    triu,
    where,
)
from jax.scipy.special import erf  # noqa: F401

from adjoint.arrays.jax.convolutions import (  # noqa: F401
    convolution,
    convolution_input,
    convolution_weight,
)
from adjoint.arrays.jax.linalg import (  # noqa: F401
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
from adjoint.arrays.jax.random import random_bits  # noqa: F401
from adjoint.arrays.jax.recurrent import scan_apply  # noqa: F401

name = "jax"
permute = jnp.transpose
hardsigmoid, hardswish = jax.nn.hard_sigmoid, jax.nn.hard_silu
logsigmoid, softsign = jax.nn.log_sigmoid, jax.nn.soft_sign


# Dtypes and conversion


def as_dtype(named: Any) -> Any:
    """JAX's dtype of a name ("float32") or of NumPy's dtype; None stays None."""
    return None if named is None else jnp.dtype(named)


def dtype_of(x: Any) -> Any:
    return x.dtype


def to_numpy(x: Any) -> Any:
    return np.array(x)


def from_numpy(array: Any, device: Any = None) -> Any:
    x = jnp.array(array)
    if device is None:
        return x
    return jax.device_put(x, jax.devices(device)[0] if isinstance(device, str) else device)


def asarray(like: Any, values: Any, dtype: Any = None) -> Any:
    return jnp.array(values, as_dtype(dtype))


def astype(x: Any, dtype: Any) -> Any:
    return x.astype(as_dtype(dtype))


def zeros(like: Any, shape: Any, dtype: Any = None) -> Any:
    return jnp.zeros(shape, as_dtype(dtype) or like.dtype)


def full(like: Any, shape: Any, value: Any, dtype: Any = None) -> Any:
    return jnp.full(shape, value, as_dtype(dtype) or like.dtype)


def eye(like: Any, n: int, dtype: Any = None) -> Any:
    return jnp.eye(n, dtype=as_dtype(dtype) or like.dtype)


def hold(x: Any) -> Any:
    return None


def verify(x: Any, mark: Any) -> None:
    return None


def release(x: Any, mark: Any) -> None:
    return None


# Element by element


def round(x: Any) -> Any:
    return jnp.round(x)


def softplus(x: Any, beta: float = 1.0) -> Any:
    return jax.nn.softplus(x) if beta == 1.0 else jax.nn.softplus(beta * x) / beta


def gelu(x: Any, approximate: str = "none") -> Any:
    return jax.nn.gelu(x, approximate == "tanh")


# Layout and indices


def pad(x: Any, width: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    return jnp.pad(x, width, constant_values=value)


def diagonal(x: Any) -> Any:
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def diagonal_matrix(x: Any) -> Any:
    return jnp.where(jnp.eye(x.shape[-1], dtype=bool), x[..., None], jnp.zeros((), x.dtype))


def _checked(key: Any, shape: tuple[int, ...]) -> Any:
    """The key, lists in it as arrays; NumPy's IndexError where a known part lies outside, for JAX would clamp it."""
    parts = [
        np.asarray(p, None if p else int) if isinstance(p, list) else p
        for p in (key if isinstance(key, tuple) else (key,))
    ]
    if not builtins.any(isinstance(p, jax.Array) for p in parts):
        np.empty(shape, "V0")[tuple(parts)]
    return tuple(parts)


def getitem(x: Any, key: Any) -> Any:
    return x[_checked(key, x.shape)]


def put(u: Any, key: Any, shape: tuple[int, ...]) -> Any:
    return jnp.zeros(shape, u.dtype).at[_checked(key, shape)].set(u)


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    return jnp.take(x, _checked(indices, (x.shape[axis],))[0], axis)


def segment_sum(u: Any, indices: Any, size: int) -> Any:
    return jnp.zeros((size, *u.shape[1:]), u.dtype).at[jnp.asarray(indices)].add(u)


def take_along(x: Any, indices: Any, axis: int = -1) -> Any:
    return jnp.take_along_axis(x, jnp.asarray(indices), axis)


def put_along(u: Any, indices: Any, axis: int, size: int) -> Any:
    axis %= u.ndim
    indices = jnp.broadcast_to(jnp.asarray(indices), u.shape)
    if u.shape[axis] == 1:  # as a comparison, which XLA fuses: a scatter it does entry by entry
        places = jnp.arange(size).reshape(-1, *(1,) * (u.ndim - axis - 1))
        return jnp.where(jnp.where(indices < 0, indices + size, indices) == places, u, jnp.zeros((), u.dtype))
    key = [*np.ogrid[tuple(slice(n) for n in u.shape)]]
    key[axis] = indices
    return jnp.zeros((*u.shape[:axis], size, *u.shape[axis + 1 :]), u.dtype).at[tuple(key)].add(u)


# Reductions


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.sum(x, axis, keepdims=keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.mean(x, axis, keepdims=keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Any:
    return jnp.var(x, axis, keepdims=keepdims, correction=correction)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.max(x, axis, keepdims=keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.min(x, axis, keepdims=keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.prod(x, axis, keepdims=keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.any(x, axis, keepdims=keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jnp.all(x, axis, keepdims=keepdims)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return jax.nn.logsumexp(x, axis, keepdims=keepdims)


def sort_order(x: Any, axis: int = -1, descending: bool = False) -> Any:
    return jnp.argsort(x, axis, stable=True, descending=descending)


def cumulative_sum(x: Any, axis: int = -1) -> Any:
    return jnp.cumsum(x, axis)


# Products


def einsum_apply(arrays: Sequence[Any], spec: str) -> Any:
    return jnp.einsum(spec, *arrays)
