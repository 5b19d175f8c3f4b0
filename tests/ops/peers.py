"""The same functions in PyTorch, and in JAX where PyTorch has none: independent values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F

Peer = Callable[..., Any]


def dims(x: Any, axis: Any) -> Any:
    return tuple(range(x.ndim)) if axis is None else axis


def over_axes(f: Peer) -> Peer:
    """f over no axes, (), changes nothing in NumPy; to PyTorch that means all axes."""
    return lambda x, axis=None, keepdims=False: x * 1.0 if axis == () else f(x, dim=dims(x, axis), keepdim=keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    axes = (axis,) if isinstance(axis, int) else dims(x, axis)
    for a in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, a, keepdims)
    return x


def gelu_slope(x: Any, approximate: str = "none") -> Any:
    return torch.autograd.grad(F.gelu(x, approximate=approximate).sum(), x, create_graph=True)[0]


def put_along(u: Any, indices: Any, axis: int, size: int) -> Any:
    shape = list(u.shape)
    shape[axis] = size
    return torch.zeros(shape, dtype=u.dtype).scatter_add(axis, torch.as_tensor(indices).expand_as(u) % size, u)


SAME_NAME = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp", "exp2", "expm1", "flatten",
    "log", "log10", "log1p", "log2", "matmul", "negative", "reciprocal", "relu", "reshape", "rsqrt", "sigmoid", "sin",
    "sinh", "sqrt", "square", "tan", "tanh", "where",
)  # fmt: skip
SAME_NAME_IN_F = (
    "celu", "elu", "gelu", "hardswish", "hardtanh", "leaky_relu", "linear",
    "hardshrink", "logsigmoid", "mish", "relu6", "selu", "silu", "softplus", "softsign", "tanhshrink",
    "softshrink", "threshold",
)  # fmt: skip

TORCH: dict[str, Peer] = {
    **{name: getattr(torch, name) for name in SAME_NAME},
    **{name: getattr(F, name) for name in SAME_NAME_IN_F},
    "maximum": lambda x, y: torch.maximum(torch.as_tensor(x), torch.as_tensor(y)),
    "minimum": lambda x, y: torch.minimum(torch.as_tensor(x), torch.as_tensor(y)),
    "logaddexp": lambda x, y: torch.logaddexp(torch.as_tensor(x), torch.as_tensor(y)),
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "atan2": lambda y, x: torch.atan2(torch.as_tensor(y), torch.as_tensor(x)),
    "gated": lambda u, z: torch.where(z > 0, u, 0 * u),
    "gelu_slope": gelu_slope,
    "gelu_residual": lambda x, approximate="none": (F.gelu(x, approximate=approximate), gelu_slope(x, approximate)),
    "clip": lambda x, min=None, max=None: x * 1.0 if min is None and max is None else torch.clamp(x, min, max),
    "hardsigmoid": lambda x: F.relu6(x + 3) / 6,  # PyTorch's own multiplies by a float32 1/6 in its gradient
    "linear_sum": lambda x, W, y, V, b=None: F.linear(x, W, b) + F.linear(y, V),
    "glu": lambda x, axis=-1: F.glu(x, axis),
    # layout
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "permute": lambda x, axes: x.permute(axes),
    "swapaxes": lambda x, axis1, axis2: torch.swapaxes(x, axis1, axis2),
    "moveaxis": torch.moveaxis,
    "expand_dims": lambda x, axis: torch.unsqueeze(x, axis),
    "squeeze": lambda x, axis=None: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
    "concatenate": lambda *xs, axis=0: torch.cat(xs, axis),
    "stack": lambda *xs, axis=0: torch.stack(xs, axis),
    "split": lambda x, sections, axis=0: list(torch.tensor_split(x, sections, axis)),
    "pad": lambda x, width, value=0.0: F.pad(x, [n for pair in width[::-1] for n in pair], value=value),
    "put_along": put_along,
    "flip": lambda x, axis=None: torch.flip(x, (axis,) if isinstance(axis, int) else dims(x, axis)),
    "roll": lambda x, shift, axis: torch.roll(x, shift, axis),
    "tile": lambda x, reps: torch.tile(x, reps),
    "repeat": lambda x, repeats, axis: torch.repeat_interleave(x, repeats, axis),
    "tril": lambda x, k=0: torch.tril(x, k),
    "triu": lambda x, k=0: torch.triu(x, k),
    "diagonal": lambda x: torch.diagonal(x, dim1=-2, dim2=-1),
    "diagonal_matrix": torch.diag_embed,
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "copy": torch.clone,
    # reductions
    "sum": over_axes(torch.sum),
    "mean": over_axes(torch.mean),
    "max": over_axes(torch.amax),
    "min": over_axes(torch.amin),
    "prod": prod,
    "norm": lambda x, axis=None, keepdims=False: torch.linalg.vector_norm(x, 2, axis, keepdims),
    "logsumexp": lambda x, axis=None, keepdims=False: torch.logsumexp(x, dims(x, axis), keepdims),
    "std": lambda x, axis=None, keepdims=False, correction=0: torch.std(
        x, axis, correction=correction, keepdim=keepdims
    ),
    "var": lambda x, axis=None, keepdims=False, correction=0: torch.var(
        x, axis, correction=correction, keepdim=keepdims
    ),
    "cumulative_sum": lambda x, axis=-1: torch.cumsum(x, axis),
    "reversed_cumulative_sum": lambda x, axis=-1: torch.flip(torch.cumsum(torch.flip(x, (axis,)), axis), (axis,)),
    "compensated_sum": lambda x, axis=-1: torch.sum(x, axis),
    # products
    "affine": lambda x, w, b=None: x @ w if b is None else x @ w + b,
    "einsum_apply": lambda *xs, spec: torch.einsum(spec, *xs),
    "dot": lambda x, y: torch.linalg.vecdot(x, y),
    "outer": lambda x, y: torch.einsum("...i,...j->...ij", x, y),
    "weight_product": lambda x, u: torch.einsum("...i,...j->ij", x, u),
    # layers
    "softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
    "normalize": lambda x, axis=-1, eps=1e-12: F.normalize(x, dim=axis, eps=eps),
    "cosine_similarity": lambda x, y, axis=-1: F.cosine_similarity(x, y, dim=axis),
    "embedding": F.embedding,
}

JAX: dict[str, Peer] = {
    "getitem": lambda x, key: x[
        key if not isinstance(key, tuple) else tuple(jnp.array(k) if isinstance(k, list) else k for k in key)
    ],
    "put": lambda u, key, shape: jnp.zeros(shape).at[key].set(u),
    "take": lambda x, indices, axis=0: jnp.take(x, indices, axis),
    "take_along": lambda x, indices, axis=-1: jnp.take_along_axis(x, indices, axis),
    "segment_sum": lambda u, indices, size: jax.ops.segment_sum(u, indices, size),
}
