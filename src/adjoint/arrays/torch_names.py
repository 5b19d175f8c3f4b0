"""PyTorch's functions by their names, each with its own signature: what they are in the seam's functions."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import Array
from adjoint.arrays.numpy_names import Entry, cast, many, same, some, spread, stopped
from adjoint.errors import BackendError


class Extremum(NamedTuple):
    """What torch.max(x, dim) gives."""

    values: Array
    indices: Array


def _extremum(extreme: Entry, position: Entry, pairwise: Entry) -> Entry:
    def found(input: Array, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if dim is None and other is None:
            return extreme(input)
        if not isinstance(dim, int):
            return pairwise(input, dim if other is None else other)
        indices = position(input, dim)
        return Extremum(extreme(input, dim, keepdim), xp.expand_dims(indices, dim) if keepdim else indices)

    return found


def _spread(square_root: bool) -> Entry:
    def spread(
        input: Array, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> Array:
        if isinstance(dim, bool):  # the older signature (input, unbiased)
            dim, unbiased = None, dim
        how = float(unbiased) if correction is None else correction
        return (xp.std if square_root else xp.var)(input, some(dim), keepdim, how)

    return spread


def _parts(x: Array, sizes: Any, dim: int = 0) -> tuple[Array, ...]:
    n = x.shape[dim]
    ends = range(sizes, n, sizes) if isinstance(sizes, int) else np.cumsum(sizes)[:-1].tolist()
    return tuple(xp.split(x, list(ends), dim))


def _before(x: Array, dim: int) -> tuple[slice, ...]:
    return (slice(None),) * (dim % len(x.shape))


def _unflatten(input: Array, dim: int, sizes: Any) -> Array:
    shape, dim = tuple(input.shape), dim % len(input.shape)
    return xp.reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


def _gather(x: Array, dim: int, index: Array) -> Array:
    kept = tuple(slice(None) if a == dim % len(x.shape) else slice(0, n) for a, n in enumerate(index.shape))
    return xp.take_along(xp.getitem(x, kept), index, dim)


def _pad(input: Array, pad: Any, mode: str = "constant", value: Any = None) -> Array:
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    return names.padded(input, [(0, 0)] * (len(input.shape) - len(pairs)) + pairs, mode, value or 0.0)


def _dropout(input: Array, p: float = 0.5, training: bool = True) -> Array:
    if training and p > 0.0:
        raise BackendError(
            "torch.nn.functional.dropout draws its mask out of sight of a traced program: use aj.nn.Dropout."
        )
    return input


def _reduction(reduce: Entry) -> Entry:
    return lambda input, dim=None, keepdim=False: reduce(input, some(dim), keepdim)


def _moments(spread: Entry) -> Entry:
    return lambda input, dim=None, *, correction=1.0, keepdim=False: (
        spread(input, some(dim), keepdim, correction),
        xp.mean(input, some(dim), keepdim),
    )


def _divide(input: Array, other: Array, *, rounding_mode: str | None = None) -> Array:
    if rounding_mode == "trunc":
        return names.UFUNCS["trunc"](xp.divide(input, other))
    return names.floor_divide(input, other) if rounding_mode == "floor" else xp.divide(input, other)


def _rms_norm(input: Array, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Array:
    if eps is None:
        import torch

        eps = torch.finfo(input.dtype).eps
    return xp.rms_norm(input, weight, len(normalized_shape), eps)


def _expand(self: Array, *sizes: Any) -> Array:
    sizes = spread(sizes)
    shape = (1,) * (len(sizes) - len(self.shape)) + tuple(self.shape)
    return xp.broadcast_to(self, tuple(old if n == -1 else n for n, old in zip(sizes, shape, strict=True)))


def _to(self: Array, *like: Any, dtype: Any = None, device: Any = None) -> Array:
    """A cast; where its array lies, a traced value stays."""
    import torch

    for said in like:
        if isinstance(said, torch.dtype):
            dtype = said
        elif hasattr(said, "dtype"):
            dtype, device = said.dtype, said.device
        else:
            device = said
    here, there = self.device, torch.device(self.device if device is None else device)
    if there.type != here.type or there.index not in (None, here.index):
        raise BackendError(
            f"Tensor.to: a traced value stays on {here}: move the arrays to {there} before the transform."
        )
    return self if dtype is None else cast(self, dtype)


def _loss(loss: Entry) -> Entry:
    return lambda input, target, *, reduction="mean": loss(input, target, reduction)


def _reflected(operation: Entry) -> Entry:
    return lambda self, other: operation(other, self)


TORCH: dict[str, Entry] = {
    # Element by element
    **same(
        "square sqrt rsqrt reciprocal maximum minimum exp exp2 expm1 log log2 log10 log1p logaddexp sin cos tan asin "
        "acos atan atan2 sinh cosh tanh asinh acosh atanh erf sigmoid expit=sigmoid sign floor ceil isfinite isnan "
        "abs absolute=abs logical_and logical_or logical_not mul=multiply multiply neg=negative negative pow "
        "float_power=pow eq=equal ne=not_equal not_equal lt=less less le=less_equal less_equal gt=greater greater "
        "ge=greater_equal greater_equal arcsin=asin arccos=acos arctan=atan arctan2=atan2 arcsinh=asinh arccosh=acosh "
        "arctanh=atanh softsign tanhshrink mish silu selu relu relu6 hardsigmoid hardswish leaky_relu elu celu "
        "hardtanh gelu log_sigmoid=logsigmoid"
    ),
    **{name: names.UFUNCS[name] for name in ("positive", "deg2rad", "rad2deg", "hypot", "trunc", "isinf", "remainder")},
    "add": lambda input, other, *, alpha=1: xp.add(input, other if alpha == 1 else xp.multiply(other, alpha)),
    "sub": lambda input, other, *, alpha=1: xp.subtract(input, other if alpha == 1 else xp.multiply(other, alpha)),
    "subtract": lambda input, other, *, alpha=1: xp.subtract(input, other if alpha == 1 else xp.multiply(other, alpha)),
    "rsub": lambda input, other, *, alpha=1: xp.subtract(other, input if alpha == 1 else xp.multiply(input, alpha)),
    "div": _divide,
    "divide": _divide,
    "true_divide": xp.divide,
    "floor_divide": names.floor_divide,
    "__floordiv__": names.floor_divide,
    "__rsub__": _reflected(xp.subtract),
    "__rdiv__": _reflected(xp.divide),
    "__rpow__": _reflected(xp.pow),
    "__rmatmul__": _reflected(xp.matmul),
    "__rfloordiv__": _reflected(names.floor_divide),
    "__rmod__": _reflected(names.UFUNCS["remainder"]),
    "lerp": lambda input, end, weight: xp.add(input, xp.multiply(weight, xp.subtract(end, input))),
    "addcmul": lambda input, tensor1, tensor2, *, value=1: xp.add(input, value * xp.multiply(tensor1, tensor2)),
    "addcdiv": lambda input, tensor1, tensor2, *, value=1: xp.add(input, value * xp.divide(tensor1, tensor2)),
    "where": lambda condition, input, other: xp.where(condition, input, other),
    "masked_fill": lambda input, mask, value: xp.where(mask, value, input),
    "clamp": lambda input, min=None, max=None: xp.clip(input, min, max),
    "clip": lambda input, min=None, max=None: xp.clip(input, min, max),
    "clamp_min": xp.maximum,
    "clamp_max": xp.minimum,
    "round": lambda input, *, decimals=0: names.NUMPY["round"](input, decimals),
    "softplus": lambda input, beta=1.0, threshold=20.0: xp.softplus(input, beta),
    "isclose": names.isclose,
    "allclose": names.NUMPY["allclose"],
    # Reductions
    "sum": _reduction(xp.sum),
    "mean": _reduction(xp.mean),
    "amax": _reduction(xp.max),
    "amin": _reduction(xp.min),
    "prod": _reduction(xp.prod),
    "any": _reduction(xp.any),
    "all": _reduction(xp.all),
    "logsumexp": lambda input, dim, keepdim=False: xp.logsumexp(input, some(dim), keepdim),
    "var": _spread(False),
    "std": _spread(True),
    "var_mean": _moments(xp.var),
    "std_mean": _moments(xp.std),
    "max": _extremum(xp.max, xp.argmax, xp.maximum),
    "min": _extremum(xp.min, xp.argmin, xp.minimum),
    "argmax": lambda input, dim=None: xp.argmax(input, dim),
    "argmin": lambda input, dim=None: xp.argmin(input, dim),
    "cumsum": lambda input, dim: xp.cumulative_sum(input, dim),
    "norm": lambda input, p="fro", dim=None, keepdim=False: names.vector_norm(input, p, some(dim), keepdim),
    "dist": lambda input, other, p=2: names.vector_norm(xp.subtract(input, other), p),
    "linalg_norm": lambda A, ord=None, dim=None, keepdim=False: names.norm(A, ord, some(dim), keepdim),
    "linalg_vector_norm": lambda x, ord=2, dim=None, keepdim=False: names.vector_norm(x, ord, some(dim), keepdim),
    "linalg_matrix_norm": lambda A, ord="fro", dim=(-2, -1), keepdim=False: names.norm(A, ord, some(dim), keepdim),
    # Layout
    "reshape": lambda input, shape: xp.reshape(input, many(shape)),
    "flatten": lambda input, start_dim=0, end_dim=-1: xp.flatten(input, start_dim, end_dim),
    "ravel": names.ravel,
    "unflatten": _unflatten,
    "squeeze": lambda input, dim=None: xp.squeeze(input, some(dim)),
    "unsqueeze": lambda input, dim: xp.expand_dims(input, dim),
    "transpose": lambda input, dim0, dim1: xp.swapaxes(input, dim0, dim1),
    "swapaxes": lambda input, axis0, axis1: xp.swapaxes(input, axis0, axis1),
    "swapdims": lambda input, dim0, dim1: xp.swapaxes(input, dim0, dim1),
    "t": lambda input: xp.permute(input, tuple(reversed(range(len(input.shape))))),
    "adjoint": lambda input: xp.swapaxes(input, -1, -2),
    "permute": lambda input, dims: xp.permute(input, many(dims)),
    "moveaxis": names.moveaxis,
    "movedim": names.moveaxis,
    "broadcast_to": lambda input, size: xp.broadcast_to(input, many(size)),
    "atleast_1d": names.at_least(1),
    "atleast_2d": names.at_least(2),
    "cat": lambda tensors, dim=0: xp.concatenate(tensors, dim),
    "concat": lambda tensors, dim=0: xp.concatenate(tensors, dim),
    "concatenate": lambda tensors, dim=0: xp.concatenate(tensors, dim),
    "stack": lambda tensors, dim=0: xp.stack(tensors, dim),
    "vstack": names.NUMPY["vstack"],
    "hstack": names.hstack,
    "column_stack": names.NUMPY["column_stack"],
    "split": _parts,
    "split_with_sizes": _parts,
    "chunk": lambda input, chunks, dim=0: _parts(input, -(-input.shape[dim] // chunks), dim),
    "unbind": lambda input, dim=0: tuple(xp.squeeze(part, dim) for part in _parts(input, 1, dim)),
    "select": lambda input, dim, index: xp.getitem(input, (*_before(input, dim), index)),
    "narrow": lambda input, dim, start, length: xp.getitem(input, (*_before(input, dim), slice(start, start + length))),
    "pad": _pad,
    "tile": lambda input, dims: xp.tile(input, many(dims)),
    "repeat_interleave": lambda input, repeats, dim=None: names.repeated(input, repeats, dim),
    "flip": lambda input, dims: xp.flip(input, many(dims)),
    "fliplr": lambda input: xp.flip(input, 1),
    "flipud": lambda input: xp.flip(input, 0),
    "roll": lambda input, shifts, dims=None: names.rolled(input, shifts, dims),
    "diff": lambda input, n=1, dim=-1: names.diff(input, n, dim),
    "tril": lambda input, diagonal=0: xp.tril(input, diagonal),
    "triu": lambda input, diagonal=0: xp.triu(input, diagonal),
    "diag": names.diag,
    "diag_embed": lambda input: xp.diagonal_matrix(input),
    "diagonal": lambda input, *, dim1=0, dim2=1: names.diagonal(input, dim1, dim2),
    "trace": lambda input: xp.sum(xp.diagonal(input), -1),
    "index_select": lambda input, dim, index: xp.take(input, index, dim),
    "gather": _gather,
    "take_along_dim": lambda input, indices, dim: xp.take_along(input, indices, dim),
    "clone": lambda input: input,
    # Products
    **same("matmul mm=matmul bmm=matmul mv=matmul"),
    "dot": lambda input, tensor: xp.dot(input, tensor),
    "vdot": lambda input, other: xp.dot(input, other),
    "inner": names.inner,
    "outer": lambda input, vec2: xp.outer(input, vec2),
    "ger": lambda input, vec2: xp.outer(input, vec2),
    "addmm": lambda input, mat1, mat2, *, beta=1, alpha=1: xp.add(beta * input, alpha * xp.matmul(mat1, mat2)),
    "baddbmm": lambda input, batch1, batch2, *, beta=1, alpha=1: xp.add(
        beta * input, alpha * xp.matmul(batch1, batch2)
    ),
    "addmv": lambda input, mat, vec, *, beta=1, alpha=1: xp.add(beta * input, alpha * xp.matmul(mat, vec)),
    "tensordot": lambda a, b, dims=2: names.tensordot(a, b, dims),
    "einsum": lambda equation, /, *operands: xp.einsum(equation, *operands),
    "kron": names.kron,
    "linalg_vecdot": lambda x, y, *, dim=-1: xp.sum(xp.multiply(x, y), dim),
    "linalg_multi_dot": lambda tensors: functools.reduce(xp.matmul, tensors),
    "linalg_matmul": xp.matmul,
    "linear": lambda input, weight, bias=None: xp.linear(input, weight, bias),
    "embedding": lambda input, weight: xp.embedding(input, weight),
    # Whole layers and losses
    "softmax": lambda input, dim: xp.softmax(input, dim),
    "log_softmax": lambda input, dim: xp.log_softmax(input, dim),
    "layer_norm": lambda input, normalized_shape, weight=None, bias=None, eps=1e-5: xp.layer_norm(
        input, weight, bias, len(normalized_shape), eps
    ),
    "rms_norm": _rms_norm,
    "normalize": lambda input, p=2.0, dim=1, eps=1e-12: xp.divide(
        input, xp.maximum(names.vector_norm(input, p, dim, True), eps)
    ),
    "cosine_similarity": lambda x1, x2, dim=1, eps=1e-8: xp.cosine_similarity(x1, x2, dim, eps),
    "dropout": _dropout,
    "cross_entropy": _loss(xp.cross_entropy),
    "nll_loss": _loss(xp.nll_loss),
    "mse_loss": _loss(xp.mse_loss),
    "l1_loss": _loss(xp.l1_loss),
    "binary_cross_entropy": _loss(xp.binary_cross_entropy),
    "binary_cross_entropy_with_logits": _loss(xp.binary_cross_entropy_with_logits),
    "kl_div": _loss(xp.kl_div),
    "huber_loss": lambda input, target, reduction="mean", delta=1.0: xp.huber_loss(input, target, reduction, delta),
    "smooth_l1_loss": lambda input, target, *, reduction="mean", beta=1.0: xp.smooth_l1_loss(
        input, target, reduction, beta
    ),
    # What an array is like
    "numel": lambda input: math.prod(input.shape),
    "is_floating_point": lambda input: True,
    "is_complex": lambda input: False,
    "zeros_like": lambda input, *, dtype=None: xp.zeros(input, tuple(input.shape), dtype),
    "empty_like": lambda input, *, dtype=None: xp.zeros(input, tuple(input.shape), dtype),
    "ones_like": lambda input, *, dtype=None: xp.full(input, tuple(input.shape), 1.0, dtype),
    "full_like": lambda input, fill_value, *, dtype=None: xp.full(input, tuple(input.shape), fill_value, dtype),
}

# Methods that differ from PyTorch's functions, or have none

TORCH_METHODS: dict[str, Entry] = {
    # Layout
    "reshape": lambda self, *shape: xp.reshape(self, spread(shape)),
    "view": lambda self, *shape: xp.reshape(self, spread(shape)),
    "reshape_as": lambda self, other: xp.reshape(self, tuple(other.shape)),
    "view_as": lambda self, other: xp.reshape(self, tuple(other.shape)),
    "permute": lambda self, *dims: xp.permute(self, spread(dims)),
    "expand": _expand,
    "expand_as": lambda self, other: xp.broadcast_to(self, tuple(other.shape)),
    "repeat": lambda self, *repeats: xp.tile(self, spread(repeats)),
    "tile": lambda self, *dims: xp.tile(self, spread(dims)),
    "flip": lambda self, *dims: xp.flip(self, spread(dims)),
    "contiguous": lambda self: self,
    # Element by element
    "where": lambda self, condition, other: xp.where(condition, self, other),
    "detach": stopped,
    "to": _to,
    "cpu": lambda self: _to(self, "cpu"),
    "cuda": lambda self, device="cuda": _to(self, device),
    "type_as": lambda self, other: _to(self, other),
    "half": lambda self: cast(self, "float16"),
    "bfloat16": lambda self: cast(self, "bfloat16"),
    "float": lambda self: cast(self, "float32"),
    "double": lambda self: cast(self, "float64"),
    "int": lambda self: cast(self, "int32"),
    "long": lambda self: cast(self, "int64"),
    "bool": lambda self: cast(self, "bool"),
    # What an array is like
    "size": lambda self, dim=None: tuple(self.shape) if dim is None else self.shape[dim],
    "dim": lambda self: len(self.shape),
    "ndimension": lambda self: len(self.shape),
    "nelement": lambda self: math.prod(self.shape),
    "element_size": lambda self: self.dtype.itemsize,
    "is_contiguous": lambda self: True,
    "new_zeros": lambda self, *size, dtype=None: xp.zeros(self, spread(size), dtype),
    "new_ones": lambda self, *size, dtype=None: xp.full(self, spread(size), 1.0, dtype),
    "new_full": lambda self, size, fill_value, *, dtype=None: xp.full(self, many(size), fill_value, dtype),
}

TORCH_ATTRIBUTES: dict[str, Entry] = {
    "requires_grad": lambda self: True,
    "is_cuda": lambda self: self.device.type == "cuda",
    "data": stopped,
    "real": lambda self: self,
    "itemsize": lambda self: self.dtype.itemsize,
    "nbytes": lambda self: math.prod(self.shape) * self.dtype.itemsize,
}
