"""Attention and rotary encodings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.attention_forms import scaled_dot_product_attention
from adjoint.errors import ShapeError
from adjoint.interop.onnx.indexing import placed
from adjoint.interop.onnx.operators import Node, beside, hosted, operator, together
from adjoint.ops.define import plain


def split(x: Any, heads: int, op: str) -> Any:
    """(n, L, heads · d) as (n, heads, L, d)."""
    n, length, width = (int(m) for m in x.shape)
    if not heads or width % heads:
        raise ShapeError(f"{op}: {width} features do not divide into {heads} heads.")
    return xp.permute(xp.reshape(x, (n, length, heads, width // heads)), (0, 2, 1, 3))


def joined(x: Any) -> Any:
    """(n, heads, L, d) as (n, L, heads · d)."""
    n, heads, length, d = (int(m) for m in x.shape)
    return xp.reshape(xp.permute(x, (0, 2, 1, 3)), (n, length, heads * d))


@operator("Attention")
def attention(
    node: Node, q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None, lengths: Any = None
) -> Any:  # fmt: skip
    """(softmax(scale · Q Kᵀ + bias) V, keys and values with those before, scores)."""
    q, k, v, past_k, past_v = together(q, k, v, past_k, past_v)
    flat = len(q.shape) == 3
    if flat:
        q = split(q, node.get("q_num_heads"), node.op)
        k, v = (split(x, node.get("kv_num_heads"), node.op) for x in (k, v))
    if past_k is not None:
        k, v = xp.concatenate([past_k, k], -2), xp.concatenate([past_v, v], -2)
    n, m = int(q.shape[-2]), int(k.shape[-2])
    scale = node.get("scale")
    scale = 1.0 / math.sqrt(int(q.shape[-1])) if scale is None else scale
    softcap = node.get("softcap", 0.0) or None
    before: Any = 0 if past_k is None else int(past_k.shape[-2])
    if lengths is not None:
        lengths = plain(beside(plain(q), lengths) if hosted(plain(lengths)) else lengths)
        before = xp.reshape(lengths, (-1, 1, 1, 1)) - n if past_k is None else before
    seen = visible(node, plain(q), n, m, before, lengths)
    if mask is not None:
        mask = beside(plain(q), mask)
        short = m - int(mask.shape[-1])
        if short > 0:
            fill = False if "bool" in str(mask.dtype) else -math.inf
            mask = xp.pad(mask, [(0, 0)] * (len(mask.shape) - 1) + [(0, short)], fill)
    if node.count <= 3 and node.get("softmax_precision") is None:
        y = scaled_dot_product_attention(q, k, v, both(mask, seen), scale=scale, enable_gqa=True, softcap=softcap)
        return (joined(y) if flat else y), k, v
    y, scores = explicit(node, q, k, v, mask, seen, scale, softcap)
    return (joined(y) if flat else y), k, v, scores


def visible(node: Node, like: Any, n: int, m: int, before: Any, lengths: Any) -> Any:
    """Which keys a query sees by its position; None for all."""
    left, right = node.get("left_window_size", -1), node.get("right_window_size", -1)
    rows, cols = np.arange(n)[:, None], np.arange(m)[None, :]
    if not isinstance(before, int):
        rows, cols = (xp.asarray(before, x) for x in (rows, cols))
    parts = []
    if node.get("is_causal", 0):
        parts.append(xp.less_equal(cols, rows + before))
    if left >= 0:
        parts.append(xp.less_equal(rows + before - cols, left))
    if right >= 0:
        parts.append(xp.less_equal(cols - rows - before, right))
    if lengths is not None:
        parts.append(xp.less(xp.asarray(lengths, np.arange(m)), xp.reshape(lengths, (-1, 1, 1, 1))))
    seen: Any = None
    for part in parts:
        part = beside(like, part)
        seen = part if seen is None else xp.logical_and(seen, part)
    return seen


def both(mask: Any, seen: Any) -> Any:
    """The mask where keys are seen, and nothing elsewhere."""
    if mask is None or seen is None:
        return seen if mask is None else mask
    if "bool" in str(mask.dtype):
        return xp.logical_and(mask, seen)
    return xp.where(seen, mask, -math.inf)


def explicit(
    node: Node, q: Any, k: Any, v: Any, mask: Any, seen: Any, scale: float, softcap: float | None
) -> tuple[Any, Any]:
    """The same with the scores themselves, at the stage that the node asks for."""
    heads, shared = int(q.shape[1]), int(k.shape[1])
    if heads != shared:
        k, v = xp.repeat(k, heads // shared, 1), xp.repeat(v, heads // shared, 1)
    stage = node.get("qk_matmul_output_mode", 0)
    s = xp.matmul(q, xp.swapaxes(k, -1, -2)) * scale
    kept = s
    s = s if softcap is None else softcap * xp.tanh(s / softcap)
    kept = s if stage == 1 else kept
    bias = both(mask, seen)
    if bias is not None:
        s = xp.where(bias, s, -math.inf) if "bool" in str(bias.dtype) else s + bias
    kept = s if stage == 2 else kept
    dtype = node.dtype("softmax_precision")
    wide = s if dtype is None else xp.astype(s, dtype)
    top = xp.max(plain(wide), -1, True)
    some = xp.not_equal(top, -math.inf)
    e = xp.exp(wide - xp.where(some, top, xp.zeros_like(top)))
    p = xp.astype(e / xp.where(some, xp.sum(e, -1, True), xp.ones_like(top)), q.dtype)
    kept = p if stage == 3 else kept
    return xp.matmul(p, v), kept


@operator("RotaryEmbedding")
def rotary_embedding(node: Node, x: Any, cos: Any, sin: Any, ids: Any = None) -> Any:
    """Pairs of features turned by angles whose cosines and sines stand in tables, looked up by position."""
    x, cos, sin = together(x, cos, sin)
    flat = len(x.shape) == 3
    if flat:
        x = split(x, node.get("num_heads"), node.op)
    if ids is not None:
        cos, at = placed(cos, ids)
        sin, _ = placed(sin, ids)
        cos, sin = xp.take(cos, plain(at), 0), xp.take(sin, plain(at), 0)
    cos, sin = xp.expand_dims(cos, 1), xp.expand_dims(sin, 1)
    size = node.get("rotary_embedding_dim", 0) or int(x.shape[-1])
    if 2 * int(cos.shape[-1]) != size:
        raise ShapeError(f"RotaryEmbedding: {size} features are turned, the tables have {cos.shape[-1]} angles.")
    turned, rest = x[..., :size], x[..., size:]
    if node.get("interleaved", 0):
        a, b = turned[..., 0::2], turned[..., 1::2]
        turned = xp.reshape(xp.stack([a * cos - b * sin, a * sin + b * cos], -1), tuple(turned.shape))
    else:
        a, b = turned[..., : size // 2], turned[..., size // 2 :]
        turned = xp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
    y = xp.concatenate([turned, rest], -1) if int(rest.shape[-1]) else turned
    return joined(y) if flat else y


@operator("LinearAttention")
def linear_attention(node: Node, q: Any, k: Any, v: Any, past: Any = None, decay: Any = None, beta: Any = None) -> Any:
    """Attention by a state that every step forgets, corrects and writes to: (outputs, the last state)."""
    q, k, v, past, decay, beta = together(q, k, v, past, decay, beta)
    heads, shared = node.get("q_num_heads"), node.get("kv_num_heads")
    dtype, stored = q.dtype, q.dtype if past is None else past.dtype
    q, k, v = (wide(split(x, h, node.op)) for x, h in ((q, heads), (k, shared), (v, shared)))
    n, _, steps, width = (int(m) for m in q.shape)
    scale = node.get("scale", 0.0) or 1.0 / math.sqrt(width)
    rule = node.get("update_rule", "gated_delta")
    state = xp.zeros(plain(q), (n, shared, width, int(v.shape[-1]))) if past is None else wide(past)
    gate = None
    if "gated" in rule:
        gate = xp.exp(wide(split(decay, shared, node.op)))
    rate = None if "delta" not in rule else wide(split(beta, int(beta.shape[-1]), node.op))
    out = []
    for t in range(steps):
        key, value = k[:, :, t], v[:, :, t]
        if gate is not None:
            state = state * gate[:, :, t, :, None]
        if rate is not None:
            found = xp.squeeze(xp.matmul(key[:, :, None, :], state), 2)
            value = rate[:, :, t] * (value - found)
        state = state + key[..., None] * value[:, :, None, :]
        read = state if heads == shared else xp.repeat(state, heads // shared, 1)
        out.append(scale * xp.squeeze(xp.matmul(q[:, :, t, None, :], read), 2))
    y = joined(xp.stack(out, 2))
    return narrow(y, dtype), narrow(state, stored)


def wide(x: Any) -> Any:
    """Half precision as float32."""
    return xp.astype(x, "float32") if str(x.dtype).endswith("float16") else x


def narrow(x: Any, dtype: Any) -> Any:
    """x in a dtype."""
    return x if x.dtype == dtype else xp.astype(x, dtype)
