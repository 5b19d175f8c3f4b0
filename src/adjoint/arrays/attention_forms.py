"""Attention as people call it: scaled dot products with PyTorch's arguments, and their weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import attention, reductions
from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.attention import attend
from adjoint.arrays.dispatch import Array, Shape, is_array
from adjoint.arrays.layout import asarray, astype, broadcast_to, reshape, zeros
from adjoint.arrays.products import matmul
from adjoint.arrays.random import dropout
from adjoint.errors import ShapeError

Window = tuple[int | None, int | None]


def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False, *, window: Window | None = None,
    softcap: float | None = None, block_size: int | None = None, dropout_key: Any = None,
) -> Array:  # fmt: skip
    """softmax(Q Kᵀ · scale + mask) V, scale = 1/√E unless given (Vaswani et al. 2017), with PyTorch's arguments.

    query (…, L, E), key (…, S, E), value (…, S, D), result (…, L, D); leading axes are broadcast. `attn_mask`,
    broadcast to (…, L, S), is added, or boolean: True attends. A query that sees nothing gives zeros. `is_causal` lets
    query i see keys j ≤ i, `window=(left, right)` i - left ≤ j ≤ i + right (None: no limit) at a cost that grows with
    the window's width, both together with the mask. `softcap` c turns scores s into c · tanh(s / c). With `enable_gqa`
    query has a multiple of the heads of key and value, axis -3 of all. `dropout_p` drops weights by `dropout_key`.

    The weights are never kept: the backward pass computes them again from their log-sums, block by block where they
    are many (Dao et al. 2022), in blocks of `block_size` rows where that is given. Raises `ShapeError`.

    >>> import numpy as np, adjoint as aj
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 2, 8, 5, 4))
    >>> aj.scaled_dot_product_attention(q, k, v, is_causal=True).shape
    (2, 8, 5, 4)
    """
    query, key, value, mask, shape = fitted(query, key, value, attn_mask, enable_gqa)
    left, right = band(is_causal, window)
    how: dict[str, Any] = {"scale": scale_of(query, scale), "left": left, "right": right, "softcap": softcap}
    if key.shape[-2] == 0:
        out = zeros(query, (*query.shape[:-1], value.shape[-1]))
    elif dropout_p:
        p = dropout(weighed(query, key, mask, **how), dropout_p, dropout_key)
        out = matmul(p, value)
    else:
        out = attend(query, key, value, mask, **how, block_size=block_size)
    return out if tuple(out.shape) == shape else reshape(out, shape)


def attention_weights(
    query: Array, key: Array, attn_mask: Array | None = None, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False, *, window: Window | None = None, softcap: float | None = None,
) -> Array:  # fmt: skip
    """The weights of `scaled_dot_product_attention`, (…, L, S): rows sum to one, those that see nothing are zero.

    >>> import numpy as np, adjoint as aj
    >>> aj.attention_weights(np.ones((3, 2)), np.ones((3, 2)), is_causal=True).round(3).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.333, 0.333, 0.333]]
    """
    query, key, _, mask, shape = fitted(query, key, key, attn_mask, enable_gqa)
    left, right = band(is_causal, window)
    p = weighed(query, key, mask, scale_of(query, scale), left, right, softcap)
    return reshape(p, (*shape[:-1], key.shape[-2]))


def weighed(
    query: Array, key: Array, mask: Array | None, scale: float, left: int | None, right: int | None,
    softcap: float | None,
) -> Array:  # fmt: skip
    """The softmax of the scores, zero in rows that see nothing."""
    every = range(query.shape[-2]), range(key.shape[-2])
    s, _ = attention.scores(query, key, mask, scale, left, right, softcap, *every)
    top = reductions.max(s, -1, True)
    seen = pw.not_equal(top, -math.inf)
    e = el.exp(s - el.where(seen, top, 0.0))
    return e / el.where(seen, reductions.sum(e, -1, True), 1.0)


def scale_of(query: Array, scale: float | None) -> float:
    """The scale meant: as given, or 1/√E."""
    return 1.0 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale


def band(is_causal: bool, window: Window | None) -> Window:
    """How far to the left and to the right a query sees."""
    left, right = window or (None, None)
    return left, (0 if right is None else min(right, 0)) if is_causal else right


# Shapes


def fitted(query: Array, key: Array, value: Array, mask: Any, grouped: bool) -> tuple[Any, Any, Any, Any, Shape]:
    """The operands with equal leading axes (heads that share a key in an axis of their own), and the result's shape."""
    q, k, v = (tuple(x.shape) for x in (query, key, value))
    mask = mask if mask is None else beside(query, mask)
    grouped = grouped and q[-3:-2] != k[-3:-2]
    lead = checked(q, k, v, mask, grouped)
    shape = (*lead, q[-2], v[-1])
    if grouped:
        heads, group = k[-3], q[-3] // k[-3]
        lead = (*lead[:-1], heads, group)
        query = reshape(query, (*q[:-3], heads, group, *q[-2:]))
        key, value = (reshape(x, (*x.shape[:-2], 1, *x.shape[-2:])) for x in (key, value))
        if mask is not None and len(mask.shape) > 2:
            m = tuple(mask.shape)
            mask = reshape(mask, (*m[:-3], *((1, 1) if m[-3] == 1 else (heads, group)), *m[-2:]))
    if mask is not None and len(mask.shape) < 2:
        mask = reshape(mask, (1,) * (2 - len(mask.shape)) + tuple(mask.shape))
    query, key, value = (
        x if tuple(x.shape[:-2]) == lead else broadcast_to(x, (*lead, *x.shape[-2:])) for x in (query, key, value)
    )
    return query, key, value, mask, shape


def checked(q: Shape, k: Shape, v: Shape, mask: Any, grouped: bool) -> Shape:
    """The leading axes of the result; raises `ShapeError` where the shapes do not fit one another."""
    shown = f"query {q}, key {k}, value {v}"
    if min(len(q), len(k), len(v)) < 2:
        raise ShapeError(f"attention: {shown}: each needs two axes at least, (…, length, features).")
    if q[-1] != k[-1]:
        raise ShapeError(f"attention: {shown}: query and key need equally many features, {q[-1]} is not {k[-1]}.")
    if k[-2] != v[-2]:
        raise ShapeError(f"attention: {shown}: every key has one value, {k[-2]} is not {v[-2]} (axis -2).")
    if grouped and (min(len(q), len(k), len(v)) < 3 or k[-3] != v[-3] or not k[-3] or q[-3] % k[-3]):
        raise ShapeError(f"attention: {shown}: query's heads, axis -3, are to be a multiple of key's and value's.")
    try:
        cut = -3 if grouped else -2
        lead = np.broadcast_shapes(q[:cut], k[:cut], v[:cut]) + q[cut:-2]
    except ValueError:
        hint = "; for fewer heads of key and value set enable_gqa=True" if q[-3:-2] != k[-3:-2] else ""
        raise ShapeError(f"attention: {shown}: their leading axes do not broadcast{hint}.") from None
    scores = (*lead, q[-2], k[-2])
    if mask is not None and not broadcasts(tuple(mask.shape), scores):
        raise ShapeError(
            f"attention: a mask of shape {tuple(mask.shape)} does not broadcast to the scores' {scores} of {shown}; a "
            "padding mask (batch, keys) needs axes for heads and queries: mask[:, None, None, :]."
        )
    return lead


def broadcasts(small: Shape, big: Shape) -> bool:
    """Whether an array of the one shape can be repeated to the other.

    >>> broadcasts((3, 1), (2, 3, 4)), broadcasts((2, 4), (3, 4))
    (True, False)
    """
    pairs = zip(small[::-1], big[::-1], strict=False)
    return len(small) <= len(big) and all(n in (1, m) for n, m in pairs)


def beside(x: Array, mask: Any) -> Any:
    """The mask on x's backend, where NumPy's and lists move, numbers in x's dtype."""
    mask = asarray(x, mask) if type(mask) is np.ndarray or not is_array(mask) else mask
    return mask if "bool" in str(mask.dtype) or mask.dtype == x.dtype else astype(mask, x.dtype)
