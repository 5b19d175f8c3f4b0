"""PyTorch's functions by their names, each with its own signature: what they are in the seam's functions."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import FUNCTIONS, Array
from adjoint.arrays.numpy_names import Entry, cast, many, same, some, spread, stopped
from adjoint.arrays.torch_layers import LAYERS
from adjoint.arrays.torch_layout import LAYOUT, sliding, square
from adjoint.errors import BackendError, ShapeError


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


def _reduction(reduce: Entry) -> Entry:
    return lambda input, dim=None, keepdim=False: reduce(input, some(dim), keepdim)


def _moments(square_root: bool) -> Entry:
    spread = _spread(square_root)

    def moments(
        input: Array, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> tuple[Array, Array]:
        axes = None if isinstance(dim, bool) else some(dim)
        return spread(input, dim, unbiased, keepdim, correction=correction), xp.mean(input, axes, keepdim)

    return moments


def _divide(input: Array, other: Array, *, rounding_mode: str | None = None) -> Array:
    if rounding_mode == "trunc":
        return names.UFUNCS["trunc"](xp.divide(input, other))
    return names.floor_divide(input, other) if rounding_mode == "floor" else xp.divide(input, other)


def _softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    if threshold < 20.0:
        raise BackendError(f"torch.nn.functional.softplus: exact here, so that threshold={threshold} has no meaning.")
    return xp.softplus(input, beta)


def _vectors(name: str, x: Array, y: Array) -> Array:
    if len(x.shape) != 1 or tuple(x.shape) != tuple(y.shape):
        raise ShapeError(f"{name}: two vectors of one size, not {tuple(x.shape)} and {tuple(y.shape)}.")
    return xp.dot(x, y)


def _position(position: Entry) -> Entry:
    def found(input: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        place = position(input, dim)
        if not keepdim:
            return place
        return xp.reshape(place, (1,) * len(input.shape)) if dim is None else xp.expand_dims(place, dim)

    return found


def _solve(a: Array, b: Array, left: bool) -> Array:
    """`torch.linalg.solve`: b also counts as a batch of vectors where its shape is A's without the last axis."""
    if len(b.shape) == 1 or tuple(b.shape) == tuple(a.shape[:-1]):
        x = xp.solve(a, xp.expand_dims(b, -1)) if left else xp.solve(swapped(a), xp.expand_dims(b, -1))
        return xp.squeeze(x, -1)
    return xp.solve(a, b) if left else swapped(xp.solve(swapped(a), swapped(b)))


def _qr(a: Array, mode: str = "reduced") -> Any:
    """`torch.linalg.qr`, both factors reduced."""
    return xp.qr(a) if mode == "reduced" else names.reduced_only("qr", "mode='reduced'")


def swapped(x: Array) -> Array:
    """The last two axes exchanged."""
    return xp.swapaxes(x, -1, -2)


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
        "hardtanh gelu log_sigmoid=logsigmoid hardshrink softshrink threshold"
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
    "softplus": _softplus,
    "glu": lambda input, dim=-1: xp.glu(input, dim),
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
    "var_mean": _moments(False),
    "std_mean": _moments(True),
    "max": _extremum(xp.max, xp.argmax, xp.maximum),
    "min": _extremum(xp.min, xp.argmin, xp.minimum),
    "argmax": _position(xp.argmax),
    "argmin": _position(xp.argmin),
    "cumsum": lambda input, dim: xp.cumulative_sum(input, dim),
    "norm": lambda input, p="fro", dim=None, keepdim=False: (names.norm if p == "nuc" else names.vector_norm)(
        input, p, some(dim), keepdim
    ),
    "dist": lambda input, other, p=2: names.vector_norm(xp.subtract(input, other), p),
    "linalg_norm": lambda A, ord=None, dim=None, keepdim=False: names.norm(A, ord, some(dim), keepdim),
    "linalg_vector_norm": lambda x, ord=2, dim=None, keepdim=False: names.vector_norm(x, ord, some(dim), keepdim),
    "linalg_matrix_norm": lambda A, ord="fro", dim=(-2, -1), keepdim=False: names.matrix_norm(A, ord, dim, keepdim),
    **LAYOUT,
    # Products
    **same("matmul mm=matmul bmm=matmul mv=matmul"),
    "dot": lambda input, tensor: _vectors("dot", input, tensor),
    "vdot": lambda input, other: _vectors("vdot", input, other),
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
    **{
        f"conv{n}d": lambda input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, conv=conv: conv(
            input, weight, bias, stride, padding, dilation, groups
        )
        for n, conv in ((1, xp.conv1d), (2, xp.conv2d), (3, xp.conv3d))
    },
    **{
        f"conv_transpose{n}d": (
            lambda input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, conv=conv: (
                conv(input, weight, bias, stride, padding, output_padding, groups, dilation)
            )
        )
        for n, conv in ((1, xp.conv_transpose1d), (2, xp.conv_transpose2d), (3, xp.conv_transpose3d))
    },
    "unfold": lambda input, kernel_size, dilation=1, padding=0, stride=1: xp.unfold(
        input, kernel_size, dilation, padding, stride
    ),
    "fold": lambda input, output_size, kernel_size, dilation=1, padding=0, stride=1: xp.fold(
        input, output_size, kernel_size, dilation, padding, stride
    ),
    "embedding": lambda input, weight: xp.embedding(input, weight),
    # Linear algebra
    **{f"linalg_{name}": FUNCTIONS[name] for name in ("inv", "det", "slogdet", "svdvals", "matrix_exp")},
    **same("inverse=inv det logdet slogdet matrix_exp pinverse=pinv"),
    "linalg_pinv": xp.pinv,
    "linalg_solve": lambda A, B, *, left=True: _solve(A, B, left),
    "linalg_solve_triangular": lambda input, B, *, upper, left=True, unitriangular=False: xp.solve_triangular(
        input, B, upper, left, unitriangular
    ),
    "linalg_cholesky": lambda input, *, upper=False: names.cholesky(input, upper),
    "linalg_qr": _qr,
    "linalg_svd": lambda A, full_matrices=True: names.svd(A, full_matrices),
    "linalg_eigh": lambda A, UPLO="L": xp.eigh(A),  # the symmetric part, so that either triangle serves
    "linalg_eigvalsh": lambda A, UPLO="L": xp.eigvalsh(A),
    "linalg_matrix_power": names.matrix_power,
    "matrix_power": names.matrix_power,
    **LAYERS,
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
    "unfold": lambda self, dimension, size, step: sliding(self, dimension, size, step),
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
    "mH": lambda self: swapped(self),
    "H": lambda self: swapped(square("H", self, 2)),
    "itemsize": lambda self: self.dtype.itemsize,
    "nbytes": lambda self: math.prod(self.shape) * self.dtype.itemsize,
}
