"""Samples of attention: the core that all forms of it call, its residual, and its cotangents."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.ops.samples.operands import Factory, normal, s, strided


def pattern(*shape: int, empty: bool = False) -> Factory:
    """Two truth values in three are True; where `empty`, row 1 is False throughout."""

    def make(rng: np.random.Generator) -> Any:
        mask = np.add.outer(np.arange(shape[-2]), 2 * np.arange(shape[-1])) % 3 > 0
        mask[1] &= not empty
        return np.broadcast_to(mask, shape).copy()

    return make


def heads(n: int, m: int, e: int, d: int, *lead: int) -> tuple[Factory, ...]:
    return normal(*lead, n, e), normal(*lead, m, e), normal(*lead, m, d)


OPERANDS: list[Any] = [
    s(*heads(3, 4, 2, 2, 2), scale=0.7),
    s(*heads(3, 4, 2, 3), pattern(3, 4), scale=0.5, right=1),
    s(*heads(4, 3, 2, 2, 1, 2), pattern(2, 4, 3, empty=True)),
    s(*heads(3, 4, 2, 2, 2), normal(2, 1, 4), softcap=1.5),
    s(*heads(4, 4, 2, 1), left=1, right=1, block_size=2),
    s(*heads(3, 4, 2, 2), pattern(3, 4, empty=True), left=2, right=1, softcap=2.0, block_size=2),
    s(*(strided(x) for x in heads(3, 3, 2, 2))),
    s(*heads(2, 3, 2, 2, 0)),
]


def scores(q: Any, k: Any, mask: Any, scale: float, left: Any, right: Any, softcap: Any) -> tuple[Any, Any]:
    """The scores before masks, capped, and where they count."""
    x = scale * torch.einsum("...ie,...je->...ij", q, k)
    x = x if softcap is None else softcap * torch.tanh(x / softcap)
    seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    seen = seen if right is None else seen.tril(right)
    seen = seen if left is None else seen.triu(-left)
    if mask is not None and mask.dtype == torch.bool:
        return x, seen & mask
    return (x if mask is None else x + mask), seen


def residual(
    q: Any, k: Any, v: Any, mask: Any = None, *, scale: float = 1.0, left: Any = None, right: Any = None,
    softcap: Any = None, block_size: Any = None,
) -> Any:  # fmt: skip
    """Attention and its log-sums in PyTorch's elementary functions."""
    x, seen = scores(q, k, mask, scale, left, right, softcap)
    empty = (~seen).all(-1, keepdim=True)
    x = torch.where(empty, 0.0, torch.where(seen, x, -torch.inf))
    p = torch.where(empty, 0.0, torch.softmax(x, -1))
    return p @ v, torch.where(empty[..., 0], 0.0, torch.logsumexp(x, -1))


def cotangents(
    u: Any, q: Any, k: Any, v: Any, mask: Any, out: Any, lse: Any, *, scale: float = 1.0, left: Any = None,
    right: Any = None, softcap: Any = None, block_size: Any = None,
) -> Any:  # fmt: skip
    """Softmax's Jacobian from its log-sums, which count as constants, then those of the scores by PyTorch."""
    leaves = [x if x.requires_grad else x.requires_grad_() for x in (q, k)]
    x, seen = scores(*leaves, mask, scale, left, right, softcap)
    p = torch.where(seen, torch.exp(x - lse[..., None]), 0.0)
    ds = p * (u @ v.mT - (u * out).sum(-1, keepdim=True))
    return (*torch.autograd.grad(x, leaves, ds, create_graph=True), p.mT @ u)


def backward(sample: Any) -> Any:
    """The operands of a sample with a cotangent, a result and log-sums of their shapes."""
    (q, k, v, *mask), options = sample
    shapes = [np.shape(x(np.random.default_rng(0))) for x in (q, v)]
    out = (*shapes[0][:-1], shapes[1][-1])
    return s(normal(*out), q, k, v, *(mask or [None]), normal(*out), normal(*out[:-1]), **options)


TABLE: dict[str, list[Any]] = {
    "attend": OPERANDS,
    "attend_residual": [OPERANDS[2], OPERANDS[5], OPERANDS[7]],
    "attend_cotangents": [backward(OPERANDS[2]), backward(OPERANDS[5])],
}
TORCH = {
    "attend": lambda *xs, **options: residual(*xs, **options)[0],
    "attend_residual": residual,
    "attend_cotangents": cotangents,
}
JAX: dict[str, Any] = {}
