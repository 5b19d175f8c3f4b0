"""Reading on: tokens in the midst of a sequence, what they may see, and the keys and values of those before them."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array
from adjoint.errors import ShapeError
from adjoint.nn.attention import Cache
from adjoint.nn.dropout import Dropout


class Reading:
    """Where the tokens of a call stand in their sequences: the first of them is number `start` among the keys.

    `positions` (N, L) number the tokens, start, start + 1, … unless given. `seen` (N, S) tells which keys are tokens
    rather than padding; all unless given. `caches` hold the keys and values of every layer, laid out once for the whole
    sequence and written to as it is read.

    >>> import numpy as np, adjoint as aj
    >>> net, tokens = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=0).eval(), np.array([[3, 1, 2]])
    >>> at = Reading(caches=net.caches(1, 3))
    >>> _ = net.logits(tokens[:, :2], at)
    >>> np.allclose(net.logits(tokens[:, 2:], at.on(2)), net(tokens)[:, 2:], atol=1e-6)
    True
    """

    __slots__ = ("_masks", "caches", "positions", "seen", "start")

    def __init__(
        self, start: Any = 0, positions: Array | None = None, seen: Array | None = None,
        caches: list[Cache] | None = None,
    ) -> None:  # fmt: skip
        self.start = start
        self.positions = positions
        self.seen = seen
        self.caches = caches
        self._masks: dict[Any, Any] = {}

    def on(self, count: int) -> Reading:
        """Where the tokens after the next `count` stand."""
        positions = None if self.positions is None else self.positions[:, -1:] + 1
        return Reading(self.start + count, positions, self.seen, self.caches)

    def numbers(self, length: int) -> Array:
        """The positions of `length` tokens, (length,) or (N, length)."""
        return self.start + np.arange(length) if self.positions is None else self.positions

    def remembered(self, layer: int, key: Array, value: Array) -> tuple[Array, Array]:
        """All keys and values so far, the new ones (N, heads, L, d) written behind those of earlier tokens."""
        if self.caches is None:
            return key, value
        cache = self.caches[layer]
        cache = self.caches[layer] = Cache(
            _written(cache.key, key, self.start), _written(cache.value, value, self.start)
        )
        if not isinstance(self.start, int):
            return cache
        stop = self.start + key.shape[-2]
        return cache.key[:, :, :stop], cache.value[:, :, :stop]

    def mask(self, like: Array, length: int, keys: int, left: int | None) -> Array:
        """Where `length` tokens may see their keys: those up to their own, `left` at most before it, no padding.

        (L, S), or (N, 1, L, S) where there is padding.
        """
        known = self._masks.get((length, keys, left))
        if known is not None:
            return known
        rows, columns = self.start + np.arange(length)[:, None], np.arange(keys)
        mask = xp.less_equal(columns, rows)
        if left is not None:
            mask = xp.logical_and(mask, xp.greater_equal(columns, rows - left))
        if type(mask) is np.ndarray:
            mask = xp.asarray(like, mask)
        if self.seen is not None:
            mask = xp.logical_and(mask, truths(like, self.seen)[:, None, None, :keys])
        self._masks[length, keys, left] = mask
        return mask


def attended(
    at: Reading | None, layer: int, query: Array, key: Array, value: Array, *, left: int | None = None,
    scale: float | None = None, drop: Dropout | None = None,
) -> Array:  # fmt: skip
    """Causal attention (N, heads, L, d) of the tokens of a call to themselves and to those before them.

    A token sees `left` keys at most before its own, where that is given. Fewer heads of key and value are shared.

    >>> import numpy as np, adjoint as aj
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 4, 2))
    >>> attended(None, 0, q, k, v, left=2).shape
    (1, 1, 4, 2)
    """
    how: dict[str, Any] = {"scale": scale, "enable_gqa": True, **dropped(drop)}
    if at is not None:
        key, value = at.remembered(layer, key, value)
    length, keys = query.shape[-2], key.shape[-2]
    if at is None or (at.seen is None and length == keys and isinstance(at.start, int)):
        window = None if left is None else (left, 0)
        return xp.scaled_dot_product_attention(query, key, value, is_causal=True, window=window, **how)
    return xp.scaled_dot_product_attention(query, key, value, at.mask(query, length, keys, left), **how)


def dropped(drop: Dropout | None) -> dict[str, Any]:
    """The options of attention that leave weights out while training."""
    if drop is None or not drop.training or drop.p == 0.0:
        return {}
    return {"dropout_p": drop.p, "dropout_key": drop.drawn(None)}


def reading(name: str, tokens: Array, attention_mask: Any) -> Reading | None:
    """The whole of the tokens (N, T), those left out where `attention_mask` (N, T) is 0 or False.

    Positions count the tokens that are seen, so that padding on either side changes nothing for the others.

    >>> import numpy as np
    >>> reading("net", np.array([[0, 7, 8]]), np.array([[0, 1, 1]])).positions.tolist()
    [[0, 0, 1]]
    """
    if len(tokens.shape) != 2:
        raise ShapeError(f"{name}: tokens are (N, T), not {tuple(tokens.shape)}.")
    if attention_mask is None:
        return None
    seen = fitting(name, tokens, attention_mask)
    numbers = xp.cumulative_sum(xp.astype(seen, "int32"), -1) - 1
    return Reading(0, xp.maximum(numbers, 0), seen)


def fitting(name: str, tokens: Array, attention_mask: Any) -> Array:
    """A mask of tokens as truth values; raises ShapeError unless it has an entry for each."""
    seen = (
        attention_mask
        if is_array(attention_mask) and not isinstance(attention_mask, list)
        else np.asarray(attention_mask)
    )
    if tuple(seen.shape) != tuple(tokens.shape):
        raise ShapeError(
            f"{name}: attention_mask has an entry for every token, {tuple(tokens.shape)}, not {tuple(seen.shape)}."
        )
    return seen if "bool" in str(seen.dtype) else xp.not_equal(seen, 0)


def truths(like: Array, mask: Array) -> Array:
    """A boolean mask beside an array."""
    return xp.asarray(like, mask) if type(mask) is np.ndarray else mask


def _written(buffer: Array, x: Array, start: Any) -> Array:
    """The buffer with x in its positions start, start + 1, …; where arrays can be changed it is the same one."""
    if hasattr(buffer, "at"):  # JAX's
        from jax.lax import dynamic_update_slice_in_dim as updated

        return updated(buffer, x.astype(buffer.dtype), start, axis=-2)
    buffer[:, :, start : start + x.shape[-2]] = x
    return buffer
