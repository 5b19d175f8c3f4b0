"""JAX's convolutions: both adjoints are convolutions again, with stride and dilation in each other's places."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from adjoint.arrays.convolution_windows import Pairs, Window, reach
from adjoint.arrays.dispatch import Shape


def convolution(
    x: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    y = lax.conv_general_dilated(x, weight, stride, padding, rhs_dilation=dilation, feature_group_count=groups)
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(stride))


def convolution_input(
    u: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    """The flipped kernel, channels in and out exchanged, slides over u with zeros between its entries."""
    out, per, *kernel = weight.shape
    swapped = jnp.swapaxes(weight.reshape(groups, out // groups, per, *kernel), 1, 2)
    flipped = jnp.flip(swapped.reshape(groups * per, out // groups, *kernel), range(2, 2 + len(kernel)))
    spans = reach(tuple(kernel), dilation)
    left = [(r - 1 - a, r - 1 - b) for r, (a, b) in zip(spans, padding, strict=True)]
    x = lax.conv_general_dilated(
        u, flipped, (1,) * len(stride), left, lhs_dilation=stride, rhs_dilation=dilation, feature_group_count=groups,
    )  # fmt: skip
    return x if bias is None else x + bias.reshape(-1, *(1,) * len(stride))


def convolution_weight(
    x: Any, u: Any, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,), groups: int = 1
) -> Any:
    """x with batch and channels exchanged under the kernel u, exchanged alike: its dilation is the stride."""
    n, c, *_ = x.shape
    kernel = Window(stride, padding, dilation).kernel(x.shape[2:], u.shape[2:])
    if not (n and c and u.shape[1]):
        return jnp.zeros((u.shape[1], c // groups, *kernel), x.dtype)
    moved = jnp.moveaxis(x.reshape(n, groups, c // groups, *x.shape[2:]), 0, 2)
    found = lax.conv_general_dilated(
        jnp.swapaxes(moved, 0, 1).reshape(c // groups, groups * n, *x.shape[2:]),
        jnp.swapaxes(u, 0, 1), dilation, padding, rhs_dilation=stride, feature_group_count=groups,
    )  # fmt: skip
    return jnp.swapaxes(found, 0, 1)
