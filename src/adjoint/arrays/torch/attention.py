"""PyTorch's attention: its fused kernel on the processor where that fits, the plain composition elsewhere."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adjoint.arrays import attention as plain

KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def serves(query: Tensor, key: Tensor, value: Tensor, mask: Any, options: tuple[Any, ...]) -> bool:
    """Whether the kernel does: on the processor, one dtype and width, no band but the causal one, nothing empty."""
    _, left, right, softcap, block_size = options
    return (
        query.device.type == "cpu"
        and query.is_floating_point()
        and query.dtype == key.dtype == value.dtype
        and query.shape[-1] == value.shape[-1]
        and math.prod(query.shape) * key.shape[-2] > 0
        and left is None
        and right in (None, 0)
        and softcap is None
        and block_size is None
        and (mask is None or (isinstance(mask, Tensor) and mask.dtype in (torch.bool, query.dtype)))
    )


def four(x: Tensor) -> Tensor:
    """x as (batch, heads, length, features), the features side by side in memory."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x[(None,) * (4 - x.ndim)] if x.ndim <= 4 else x.reshape(-1, *x.shape[-3:])


def options_of(query: Tensor, key: Tensor, mask: Any, scale: float, right: Any) -> dict[str, Any]:
    """The kernel's arguments: the mask as numbers for every head."""
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = query.new_zeros(()).where(mask, -math.inf)
        mask = four(mask.expand(*query.shape[:-1], key.shape[-2]))
    return {"dropout_p": 0.0, "is_causal": right == 0, "attn_mask": mask, "scale": scale}


def attend_residual(
    query: Any, key: Any, value: Any, mask: Any = None, scale: float = 1.0, left: int | None = None,
    right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    options = (scale, left, right, softcap, block_size)
    if not serves(query, key, value, mask, options):
        return plain.attend_residual.table.composed(query, key, value, mask, *options)  # type: ignore[attr-defined]
    how = options_of(query, key, mask, scale, right)
    out, lse = KERNEL(four(query), four(key), four(value), **how)
    return out.reshape(query.shape), lse.reshape(query.shape[:-1])


def attend_cotangents(
    u: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, lse: Any, scale: float = 1.0,
    left: int | None = None, right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    options = (scale, left, right, softcap, block_size)
    if u.shape != out.shape or not serves(query, key, value, mask, options):
        return plain.attend_cotangents.table.composed(u, query, key, value, mask, out, lse, *options)  # type: ignore[attr-defined]
    how = options_of(query, key, mask, scale, right)
    sums = lse[(None,) * (3 - lse.ndim)] if lse.ndim <= 3 else lse.reshape(-1, *lse.shape[-2:])
    found = BACKWARD(four(u), four(query), four(key), four(value), four(out), sums, **how)
    return tuple([g.reshape(x.shape) for g, x in zip(found, (query, key, value), strict=True)])
