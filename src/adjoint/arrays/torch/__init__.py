"""PyTorch's side of the seam: its own functions where they fit, its fused kernels for whole layers and updates."""

from __future__ import annotations

import builtins
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import (  # noqa: F401
    Tensor,
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    celu,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    isfinite,
    isnan,
    log,
    log1p,
    log2,
    log10,
    logical_not,
    matmul,
    reciprocal,
    relu,
    reshape,
    round,
    rsqrt,
    selu,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    where,
)
from torch.nn.functional import (  # noqa: F401
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    channel_shuffle,
    elu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    linear,
    logsigmoid,
    mish,
    pixel_shuffle,
    pixel_unshuffle,
    relu6,
    silu,
    softsign,
    tanhshrink,
)

from adjoint.arrays.torch.attention import attend_cotangents, attend_residual  # noqa: F401
from adjoint.arrays.torch.convolutions import (  # noqa: F401
    convolution,
    convolution_input,
    convolution_weight,
    fold,
    unfold,
)
from adjoint.arrays.torch.linalg import (  # noqa: F401
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
from adjoint.arrays.torch.normalization import (  # noqa: F401
    layer_norm,
    normalization_product,
    normalize_channels,
    normalize_rows,
    rms_norm,
)
from adjoint.arrays.torch.pooling import interpolate, max_pool  # noqa: F401
from adjoint.arrays.torch.random import random_bits  # noqa: F401
from adjoint.arrays.torch.updates import (  # noqa: F401
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
from adjoint.errors import InPlaceError

name = "torch"

# Python's operators take a number on either side, PyTorch's functions of the same name do not all
add, subtract, multiply, divide, pow = operator.add, operator.sub, operator.mul, operator.truediv, operator.pow
equal, not_equal, less, less_equal = operator.eq, operator.ne, operator.lt, operator.le
greater, greater_equal = operator.gt, operator.ge
negative, copy = torch.neg, torch.clone
concatenate, diagonal_matrix = torch.cat, torch.diag_embed


# Dtypes and conversion


@functools.cache
def as_dtype(named: Any) -> Any:
    """PyTorch's dtype of a name ("float32") or of NumPy's dtype; None stays None."""
    if named is None or isinstance(named, torch.dtype):
        return named
    return getattr(torch, named if isinstance(named, str) else np.dtype(named).name)


def dtype_of(x: Any) -> Any:
    return x.dtype


def to_numpy(x: Any) -> Any:
    x = x.detach().cpu().resolve_conj().resolve_neg()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy().copy()


def from_numpy(array: Any, device: Any = None) -> Any:
    array = np.array(array, order="C")
    if array.dtype.isbuiltin == 2:  # of ml_dtypes: bfloat16, 8-bit floats
        bits = torch.from_numpy(array.view(f"u{array.dtype.itemsize}"))
        return bits.view(getattr(torch, array.dtype.name)).to(device=device)
    return torch.from_numpy(array).to(device=device)


def asarray(like: Any, values: Any, dtype: Any = None) -> Any:
    tensor = values if isinstance(values, Tensor) else from_numpy(values)
    return tensor.to(device=like.device, dtype=as_dtype(dtype))


def astype(x: Any, dtype: Any) -> Any:
    return x.to(as_dtype(dtype))


def zeros(like: Any, shape: Any, dtype: Any = None) -> Any:
    return like.new_zeros(shape, dtype=as_dtype(dtype))


def full(like: Any, shape: Any, value: Any, dtype: Any = None) -> Any:
    return like.new_full(shape, value, dtype=as_dtype(dtype))


def eye(like: Any, n: int, dtype: Any = None) -> Any:
    return torch.eye(n, dtype=as_dtype(dtype) or like.dtype, device=like.device)


def own(x: Any) -> Any:
    return x.contiguous() if 0 in x.stride() else x


def owner(x: Any) -> int:
    try:
        return int(x.untyped_storage()._cdata)
    except NotImplementedError:  # those of torch.func and sparse ones have none
        return id(x)


def hold(x: Any) -> Any:
    return None if x.is_inference() else x._version


def release(x: Any, mark: Any) -> None:
    return None


def verify(x: Any, mark: Any) -> None:
    if x._version != mark:
        raise InPlaceError(
            f"a tensor of shape {tuple(x.shape)} was changed in place between the forward and the backward pass, which "
            "needs its old value: work on a copy (x.clone()), or write x = x + y instead of x += y."
        )


# Element by element


def _pair(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """f of two tensors, made to take a number on either side; the number takes the tensor's dtype."""

    def call(x: Any, y: Any) -> Any:
        if not isinstance(y, Tensor):
            y = torch.full((), y, dtype=torch.result_type(x, y), device=x.device)
        elif not isinstance(x, Tensor):
            x = torch.full((), x, dtype=torch.result_type(x, y), device=y.device)
        return f(x, y)

    return call


logaddexp, atan2 = _pair(torch.logaddexp), _pair(torch.atan2)
logical_and, logical_or = _pair(torch.logical_and), _pair(torch.logical_or)


def maximum(x: Any, y: Any) -> Any:
    if not isinstance(y, Tensor):
        return torch.clamp_min(x, y)
    return torch.maximum(x, y) if isinstance(x, Tensor) else torch.clamp_min(y, x)


def minimum(x: Any, y: Any) -> Any:
    if not isinstance(y, Tensor):
        return torch.clamp_max(x, y)
    return torch.minimum(x, y) if isinstance(x, Tensor) else torch.clamp_max(y, x)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    return x if min is None and max is None else torch.clamp(x, min, max)


def softplus(x: Any, beta: float = 1.0) -> Any:
    return F.softplus(x, beta, 40.0)  # beyond 40 even float64 cannot tell softplus from the identity


def gelu(x: Any, approximate: str = "none") -> Any:
    return F.gelu(x, approximate=approximate)


def gelu_slope(x: Any, approximate: str = "none") -> Any:
    return torch.ops.aten.gelu_backward(x.new_ones(()).expand_as(x), x, approximate=approximate)


# Layout


def permute(x: Any, axes: Sequence[int]) -> Any:
    return x.permute(tuple(axes))


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    return x.expand(shape)


def flip(x: Any, axis: Any = None) -> Any:
    return torch.flip(x, tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else axis)


def roll(x: Any, shift: int, axis: int) -> Any:
    return torch.roll(x, shift, axis)


def tril(x: Any, k: int = 0) -> Any:
    return torch.tril(x, k)


def triu(x: Any, k: int = 0) -> Any:
    return torch.triu(x, k)


def diagonal(x: Any) -> Any:
    return torch.diagonal(x, dim1=-2, dim2=-1)


def pad(x: Any, width: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
    sizes = [n for before_after in reversed(width) for n in before_after]
    if builtins.any(n < 0 for n in sizes):
        raise ValueError("pad: negative width")  # PyTorch would cut
    return F.pad(x, sizes, "constant", value)


# Indices


def _is_plain(part: Any) -> bool:
    """Whether PyTorch reads this part of a key as NumPy does, whatever stands beside it."""
    kind = type(part)
    return kind is int or part is None or part is Ellipsis or (kind is slice and (part.step is None or part.step > 0))


def _index(part: Any, device: Any) -> Any:
    """Integers or truth values as a tensor that indexes; PyTorch takes 8-bit integers for truth values, so 64."""
    tensor = torch.as_tensor(part if isinstance(part, Tensor) else np.array(part), device=device)
    return tensor if tensor.dtype == torch.bool else tensor.long()


def _axes(part: Any) -> int:
    """How many axes of the array this part of a key speaks of."""
    if isinstance(part, Tensor) and part.dtype == torch.bool:
        return part.ndim
    return 0 if part is None or part is Ellipsis or isinstance(part, bool) else 1


def _translated(key: Any, shape: Sequence[int], device: Any) -> tuple[list[int], tuple[Any, ...]]:
    """NumPy's key in PyTorch's terms: the axes to reverse first, and the key that then follows.

    PyTorch has no negative steps, and applies integers before the index arrays beside them; NumPy counts them as such.
    """
    parts: list[Any] = list(key) if isinstance(key, tuple) else [key]
    parts = [_index(p, device) if isinstance(p, (list, np.ndarray, np.generic, Tensor)) else p for p in parts]
    if builtins.any(isinstance(p, Tensor) and p.ndim for p in parts):
        parts = [
            _index(p, device).reshape(-1) if type(p) is int or getattr(p, "shape", None) == () else p for p in parts
        ]
    unnamed = len(shape) - builtins.sum(map(_axes, parts))
    axis, mirrored = 0, []
    for i, part in enumerate(parts):
        if isinstance(part, slice) and (part.step or 1) < 0:
            last, kept = shape[axis] - 1, range(*part.indices(shape[axis]))
            parts[i] = slice(last - kept[0], last - kept[-1] + 1, -part.step) if kept else slice(0, 0)
            mirrored.append(axis)
        axis += unnamed if part is Ellipsis else _axes(part)
    return mirrored, tuple(parts)


def getitem(x: Any, key: Any) -> Any:
    if builtins.all(map(_is_plain, key if type(key) is tuple else (key,))):
        return x[key]
    mirrored, key = _translated(key, x.shape, x.device)
    return (x.flip(mirrored) if mirrored else x)[key]


def put(u: Any, key: Any, shape: tuple[int, ...]) -> Any:
    mirrored, key = _translated(key, shape, u.device)
    out = u.new_zeros(shape)
    out[key] = u
    return out.flip(mirrored) if mirrored else out


def _positions(indices: Any, size: int, device: Any) -> Any:
    """Indices as a tensor beside x, negative ones counted from the start: PyTorch's gathers take none."""
    indices = _index(indices, device)
    return torch.where(indices < 0, indices + size, indices)


def take(x: Any, indices: Any, axis: int = 0) -> Any:
    shape, axis = x.shape, axis % x.ndim
    indices = _positions(indices, shape[axis], x.device)
    taken = torch.index_select(x, axis, indices.reshape(-1))
    return taken.reshape((*shape[:axis], *indices.shape, *shape[axis + 1 :]))


def segment_sum(u: Any, indices: Any, size: int) -> Any:
    return u.new_zeros((size, *u.shape[1:])).index_add_(0, _positions(indices, size, u.device), u)


def take_along(x: Any, indices: Any, axis: int = -1) -> Any:
    return torch.take_along_dim(x, _positions(indices, x.shape[axis], x.device), axis)


def put_along(u: Any, indices: Any, axis: int, size: int) -> Any:
    shape = list(u.shape)
    shape[axis] = size
    return u.new_zeros(shape).scatter_add_(axis, _positions(indices, size, u.device).expand_as(u), u)


# Reductions


def _reduction(f: Callable[[Any, Any, bool], Any]) -> Callable[..., Any]:
    """f over axes, where no axes, (), reduce nothing as in NumPy: to PyTorch they mean all axes."""

    def call(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return f(x.unsqueeze(0), 0, False) if axis == () else f(x, axis, keepdims)

    return call


def _real(x: Any) -> Any:
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


sum = _reduction(torch.sum)
any = _reduction(torch.any)
all = _reduction(torch.all)
mean = _reduction(lambda x, axis, keepdims: torch.mean(_real(x), axis, keepdims))
max = _reduction(lambda x, axis, keepdims: torch.amax(x, () if axis is None else axis, keepdims))
min = _reduction(lambda x, axis, keepdims: torch.amin(x, () if axis is None else axis, keepdims))
logsumexp = _reduction(
    lambda x, axis, keepdims: torch.logsumexp(x, tuple(range(x.ndim)) if axis is None else axis, keepdims)
)
norm = _reduction(lambda x, axis, keepdims: torch.linalg.vector_norm(_real(x), 2, axis, keepdims))


def var(x: Any, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Any:
    if axis == ():
        x, axis = x.unsqueeze(0), 0
    return torch.var(_real(x), axis, correction=correction, keepdim=keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    for a in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, a, keepdims)
    return x


def argmax(x: Any, axis: Any = None) -> Any:
    return torch.argmax(x.byte() if x.dtype == torch.bool else x, axis)


def argmin(x: Any, axis: Any = None) -> Any:
    return torch.argmin(x.byte() if x.dtype == torch.bool else x, axis)


def sort_order(x: Any, axis: int = -1, descending: bool = False) -> Any:
    return torch.argsort(x, dim=axis, descending=descending, stable=True)


def cumulative_sum(x: Any, axis: int = -1) -> Any:
    return torch.cumsum(x, axis)


# Products and whole layers


def einsum_apply(arrays: Sequence[Any], spec: str) -> Any:
    return torch.einsum(spec, *arrays)


def affine(x: Any, weight: Any, bias: Any = None) -> Any:
    return linear(x, weight.t(), bias)


def softmax(x: Any, axis: int = -1) -> Any:
    return torch.softmax(x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    return torch.log_softmax(x, axis)


def surprisal(logits: Any, target: Any, axis: int, ignore_index: int = -100) -> Any:
    log_p = torch.log_softmax(logits, axis)
    counts = torch.ne(target, ignore_index)
    losses = torch.where(counts, -torch.gather(log_p, axis, _chosen(counts, target, logits, axis)).squeeze(axis), 0.0)
    total = counts.to(log_p.dtype).sum()
    share = torch.where(total > 0, total.reciprocal(), torch.nan)
    return losses, torch.amax(logits, axis, True), torch.amax(log_p, axis, True).neg_().exp_(), share


def softmax_difference(
    logits: Any, target: Any, top: Any, total: Any, factor: Any, axis: int, ignore_index: int = -100
) -> Any:
    counts = torch.ne(target, ignore_index)
    factors = torch.where(counts, factor, 0.0).to(logits.dtype).unsqueeze(axis)
    p = torch.sub(logits, top).exp_().mul_(factors / total)
    return p.scatter_add_(axis, _chosen(counts, target, logits, axis), -factors)


def _chosen(counts: Any, target: Any, logits: Any, axis: int) -> Any:
    return _positions(torch.where(counts, target, 0), logits.shape[axis], logits.device).unsqueeze(axis)
