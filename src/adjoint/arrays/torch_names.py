"""PyTorch's functions by their names, each with its own signature: what they are in the seam's functions."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import FUNCTIONS, Array
from adjoint.arrays.numpy_names import Entry, cast, many, same, some, spread, stopped
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


def _parts(x: Array, sizes: Any, dim: int = 0) -> tuple[Array, ...]:
    n = x.shape[dim]
    ends = range(sizes, n, sizes) if isinstance(sizes, int) else np.cumsum(sizes)[:-1].tolist()
    return tuple(xp.split(x, list(ends), dim))


def _before(x: Array, dim: int) -> tuple[slice, ...]:
    return (slice(None),) * xp.positive("indexing", dim, len(x.shape))


def _narrow(x: Array, dim: int, start: Any, length: int) -> Array:
    lead, n = _before(x, dim), x.shape[dim]
    start = operator.index(start)
    start += n if start < 0 else 0
    if not (0 <= start <= n and 0 <= length <= n - start):
        raise ShapeError(f"narrow: {length} entries from {start} on do not lie in axis {dim} of {tuple(x.shape)}.")
    return xp.getitem(x, (*lead, slice(start, start + length)))


def _unflatten(input: Array, dim: int, sizes: Any) -> Array:
    shape, dim = tuple(input.shape), dim % len(input.shape)
    return xp.reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


def _gather(x: Array, dim: int, index: Array) -> Array:
    kept = tuple(slice(None) if a == dim % len(x.shape) else slice(0, n) for a, n in enumerate(index.shape))
    return xp.take_along(xp.getitem(x, kept), index, dim)


def _pad(input: Array, pad: Any, mode: str = "constant", value: Any = None) -> Array:
    """`F.pad`: pairs from the last axis on; negative ones cut, before a cyclic axis is made longer, else after."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (len(input.shape) - len(pairs)) + pairs
    shape = tuple(input.shape)
    for axis, (n, pair) in enumerate(zip(shape, pairs, strict=True)):
        if any(pair) and (max(pair) > {"reflect": n - 1, "circular": n}.get(mode, math.inf) or n + sum(pair) < 0):
            raise ShapeError(f"pad: axis {axis} of {shape} has {n} entries, too few for {pair} of {mode!r}.")
    x = _cut(input, pairs) if mode == "circular" else input
    longer = [(max(a, 0), max(b, 0)) for a, b in pairs]
    x = names.padded(x, longer, {"replicate": "edge", "circular": "wrap"}.get(mode, mode), value or 0.0)
    return x if mode == "circular" else _cut(x, pairs)


def _cut(x: Array, pairs: Any) -> Array:
    if all(min(pair) >= 0 for pair in pairs):
        return x
    return xp.getitem(x, tuple(slice(max(-a, 0), n + min(b, 0)) for (a, b), n in zip(pairs, x.shape, strict=True)))


def _attention(
    query: Array, key: Array, value: Array, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Array:  # fmt: skip
    if dropout_p > 0.0:
        raise BackendError(
            "torch.nn.functional.scaled_dot_product_attention draws its dropout out of sight of a traced program: use "
            "aj.scaled_dot_product_attention(…, dropout_key=key)."
        )
    return xp.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale, enable_gqa)


def _dropout(input: Array, p: float = 0.5, training: bool = True) -> Array:
    if training and p > 0.0:
        raise BackendError(
            "torch.nn.functional.dropout draws its mask out of sight of a traced program: use aj.nn.Dropout."
        )
    return input


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


def _trailing(name: str, x: Array, shape: Any) -> int:
    """How many axes the shape has, which must be x's last ones."""
    shape = tuple(shape)
    if not shape or tuple(x.shape)[-len(shape) :] != shape:
        raise ShapeError(f"{name}: normalized_shape {shape} must be the last axes of the input {tuple(x.shape)}.")
    return len(shape)


def _rms_norm(input: Array, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Array:
    return xp.rms_norm(input, weight, _trailing("rms_norm", input, normalized_shape), eps)


def _towards(running: Any, value: Array, momentum: float) -> None:
    """Move running statistics in place, as PyTorch does."""
    from adjoint.ops.define import plain

    if running is not None:
        running[...] = (1.0 - momentum) * running + momentum * plain(value)


def _batch_norm(
    input: Array, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    if not training:
        return xp.batch_norm(input, running_mean, running_var, weight, bias, False, eps)
    y, mean, var = xp.normalize_batch(input, weight, bias, eps)
    n = math.prod(input.shape) // input.shape[1] if math.prod(input.shape) else 0
    if n:
        _towards(running_mean, mean, momentum)
        _towards(running_var, var * (n / (n - 1)), momentum)
    return y


def _instance_norm(
    input: Array, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    if not use_input_stats:
        return xp.instance_norm(input, running_mean, running_var, weight, bias, False, eps)
    y, mean, var = xp.normalize_instances(input, weight, bias, eps)
    n = math.prod(input.shape[2:])
    if n > 1:
        _towards(running_mean, xp.mean(mean, 0), momentum)
        _towards(running_var, xp.mean(var, 0) * (n / (n - 1)), momentum)
    return y


def _softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    if threshold < 20.0:
        raise BackendError(f"torch.nn.functional.softplus: exact here, so that threshold={threshold} has no meaning.")
    return xp.softplus(input, beta)


def _vectors(name: str, x: Array, y: Array) -> Array:
    if len(x.shape) != 1 or tuple(x.shape) != tuple(y.shape):
        raise ShapeError(f"{name}: two vectors of one size, not {tuple(x.shape)} and {tuple(y.shape)}.")
    return xp.dot(x, y)


def _square(name: str, x: Array, most: int, least: int = 0) -> Array:
    if not least <= len(x.shape) <= most:
        raise ShapeError(f"{name}: a matrix has two axes, not {tuple(x.shape)}.")
    return x


def _take_along(input: Array, indices: Array, dim: int | None = None) -> Array:
    if dim is None:
        return xp.take_along(names.ravel(input), xp.reshape(indices, (-1,)), 0)
    return xp.take_along(input, indices, dim)


def _position(position: Entry) -> Entry:
    def found(input: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        place = position(input, dim)
        if not keepdim:
            return place
        return xp.reshape(place, (1,) * len(input.shape)) if dim is None else xp.expand_dims(place, dim)

    return found


def _each(f: Entry) -> Entry:
    """f of one array, or of each of several."""
    return lambda *tensors: (
        f(tensors[0])
        if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple))
        else tuple(f(x) for x in (tensors[0] if len(tensors) == 1 else tensors))
    )


def _diag_embed(input: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    return names.moveaxis(names.diagonal_matrices(input, offset), (-2, -1), (dim1, dim2))


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


def sliding(x: Array, dimension: int, size: int, step: int) -> Array:
    """`Tensor.unfold`: an axis as its overlapping parts, whose own axis comes last."""
    starts = np.arange(0, x.shape[dimension] - size + 1, step)
    parts = xp.take(x, starts[:, None] + np.arange(size), dimension)
    return xp.moveaxis(parts, dimension % len(x.shape) + 1, -1)


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


def _weighted(loss: Entry) -> Entry:
    return lambda input, target, *, reduction="mean", weight=None: loss(input, target, reduction, weight)


def _triplet_margin_loss(
    anchor: Array, positive: Array, negative: Array, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, *, reduction: str = "mean",
) -> Array:  # fmt: skip
    return xp.triplet_margin_loss(anchor, positive, negative, reduction, margin, p, eps, swap)


def _triplet_margin_with_distance_loss(
    anchor: Array, positive: Array, negative: Array, *, distance_function: Entry | None = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Array:  # fmt: skip
    return xp.triplet_margin_with_distance_loss(anchor, positive, negative, reduction, distance_function, margin, swap)


def _ctc_loss(
    log_probs: Array, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:  # fmt: skip
    return xp.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)


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
    "t": lambda input: xp.permute(_square("t", input, 2), tuple(reversed(range(len(input.shape))))),
    "adjoint": lambda input: xp.swapaxes(input, -1, -2),
    "permute": lambda input, dims: xp.permute(input, many(dims)),
    "moveaxis": names.moveaxis,
    "movedim": names.moveaxis,
    "broadcast_to": lambda input, size: xp.broadcast_to(input, many(size)),
    "atleast_1d": _each(names.at_least(1)),
    "atleast_2d": _each(names.at_least(2)),
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
    "narrow": _narrow,
    "pad": _pad,
    "tile": lambda input, dims: xp.tile(input, many(dims)),
    "repeat_interleave": lambda input, repeats, dim=None, *, output_size=None: names.repeated(input, repeats, dim),
    "flip": lambda input, dims: xp.flip(input, many(dims)),
    "fliplr": lambda input: xp.flip(input, 1),
    "flipud": lambda input: xp.flip(input, 0),
    "roll": lambda input, shifts, dims=None: names.rolled(input, shifts, dims),
    "diff": lambda input, n=1, dim=-1, prepend=None, append=None: names.diff(input, n, dim, prepend, append),
    "tril": lambda input, diagonal=0: xp.tril(input, diagonal),
    "triu": lambda input, diagonal=0: xp.triu(input, diagonal),
    "diag": lambda input, diagonal=0: names.diag(input, diagonal),
    "diag_embed": _diag_embed,
    "diagonal": lambda input, offset=0, dim1=0, dim2=1: names.diagonal(input, offset, dim1, dim2),
    "linalg_diagonal": lambda A, *, offset=0, dim1=-2, dim2=-1: names.diagonal(A, offset, dim1, dim2),
    "trace": lambda input: xp.sum(xp.diagonal(_square("trace", input, 2, 2)), -1),
    "index_select": lambda input, dim, index: xp.take(input, index, dim),
    "gather": _gather,
    "take_along_dim": _take_along,
    "clone": lambda input: input,
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
    # Whole layers and losses
    "softmax": lambda input, dim: xp.softmax(input, dim),
    "log_softmax": lambda input, dim: xp.log_softmax(input, dim),
    "layer_norm": lambda input, normalized_shape, weight=None, bias=None, eps=1e-5: xp.layer_norm(
        input, weight, bias, _trailing("layer_norm", input, normalized_shape), eps
    ),
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": lambda input, num_groups, weight=None, bias=None, eps=1e-5: xp.group_norm(
        input, weight, bias, num_groups, eps
    ),
    "local_response_norm": lambda input, size, alpha=1e-4, beta=0.75, k=1.0: xp.local_response_norm(
        input, size, alpha, beta, k
    ),
    "normalize": lambda input, p=2.0, dim=1, eps=1e-12: xp.divide(
        input, xp.maximum(names.vector_norm(input, p, dim, True), eps)
    ),
    "cosine_similarity": lambda x1, x2, dim=1, eps=1e-8: xp.cosine_similarity(x1, x2, dim, eps),
    **same(
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d max_pool1d "
        "max_pool2d max_pool3d max_unpool1d max_unpool2d max_unpool3d lp_pool1d lp_pool2d lp_pool3d interpolate "
        "pixel_shuffle pixel_unshuffle channel_shuffle adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"
    ),
    **{
        f"{name}{n}d_with_indices": functools.partial(getattr(xp, f"{name}{n}d"), return_indices=True)
        for name in ("max_pool", "adaptive_max_pool")
        for n in (1, 2, 3)
    },
    "dropout": _dropout,
    "cross_entropy": lambda input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0: (
        xp.cross_entropy(input, target, reduction, weight, ignore_index, label_smoothing)
    ),
    "nll_loss": lambda input, target, weight=None, *, ignore_index=-100, reduction="mean": xp.nll_loss(
        input, target, reduction, weight, ignore_index
    ),
    "mse_loss": _weighted(xp.mse_loss),
    "l1_loss": _weighted(xp.l1_loss),
    "binary_cross_entropy": lambda input, target, weight=None, *, reduction="mean": xp.binary_cross_entropy(
        input, target, reduction, weight
    ),
    "binary_cross_entropy_with_logits": lambda input, target, weight=None, *, reduction="mean", pos_weight=None: (
        xp.binary_cross_entropy_with_logits(input, target, reduction, weight, pos_weight)
    ),
    "kl_div": lambda input, target, *, reduction="mean", log_target=False: xp.kl_div(
        input, target, reduction, log_target
    ),
    "huber_loss": lambda input, target, reduction="mean", delta=1.0, weight=None: xp.huber_loss(
        input, target, reduction, delta, weight
    ),
    "smooth_l1_loss": lambda input, target, *, reduction="mean", beta=1.0: xp.smooth_l1_loss(
        input, target, reduction, beta
    ),
    "poisson_nll_loss": lambda input, target, log_input=True, full=False, *, eps=1e-8, reduction="mean": (
        xp.poisson_nll_loss(input, target, reduction, log_input, full, eps)
    ),
    "gaussian_nll_loss": lambda input, target, var, full=False, eps=1e-6, reduction="mean": xp.gaussian_nll_loss(
        input, target, var, reduction, full, eps
    ),
    "soft_margin_loss": _loss(xp.soft_margin_loss),
    "hinge_embedding_loss": lambda input, target, margin=1.0, *, reduction="mean": xp.hinge_embedding_loss(
        input, target, reduction, margin
    ),
    "margin_ranking_loss": lambda input1, input2, target, margin=0.0, *, reduction="mean": xp.margin_ranking_loss(
        input1, input2, target, reduction, margin
    ),
    "cosine_embedding_loss": lambda input1, input2, target, margin=0.0, *, reduction="mean": xp.cosine_embedding_loss(
        input1, input2, target, reduction, margin
    ),
    "pairwise_distance": lambda x1, x2, p=2.0, eps=1e-6, keepdim=False: xp.pairwise_distance(x1, x2, p, eps, keepdim),
    "triplet_margin_loss": _triplet_margin_loss,
    "triplet_margin_with_distance_loss": _triplet_margin_with_distance_loss,
    "multi_margin_loss": lambda input, target, p=1, margin=1.0, weight=None, *, reduction="mean": xp.multi_margin_loss(
        input, target, reduction, p, margin, weight
    ),
    "multilabel_margin_loss": _loss(xp.multilabel_margin_loss),
    "multilabel_soft_margin_loss": lambda input, target, weight=None, *, reduction="mean": (
        xp.multilabel_soft_margin_loss(input, target, reduction, weight)
    ),
    "ctc_loss": _ctc_loss,
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
    "H": lambda self: swapped(_square("H", self, 2)),
    "itemsize": lambda self: self.dtype.itemsize,
    "nbytes": lambda self: math.prod(self.shape) * self.dtype.itemsize,
}
