"""Text from a language model, token after token: the likeliest, or drawn by temperature, top-k and top-p."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array
from adjoint.arrays.dispatch import backend as backend_of
from adjoint.arrays.random import Key, categorical, key_of, split_key
from adjoint.errors import ShapeError
from adjoint.models.reading import Reading, fitting
from adjoint.nn.attention import Cache
from adjoint.nn.module import register_with_jax

ROOM = 256  # positions that a cache has beyond its prompt at first; it doubles when they are full


class Reader(Protocol):
    """What generation asks of a model."""

    limit: int | None  # the most positions it can tell apart
    stop: tuple[int, ...]  # tokens that end a text
    pad: int | None  # what stands behind the end of a text

    def logits(self, tokens: Array, at: Reading | None = None, last: bool = False) -> Array:
        """The logits of the token after each of `tokens` (N, L), or after the `last` one of them alone."""

    def caches(self, n: int, length: int) -> list[Cache]:
        """Zeros for the keys and values of n sequences of `length` tokens, one pair a layer."""


def stream(
    net: Any, tokens: Any, n: int, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
    stop: Sequence[int] | int | None = None, attention_mask: Any = None, key: Key = 0,
) -> Iterator[np.ndarray]:  # fmt: skip
    """The tokens (N,) that `generate` puts behind `tokens` (N, T), each as soon as it is known: `n` of them at most.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=0)
    >>> len(list(stream(net, np.array([[1, 2]]), 3)))
    3
    """
    rows = _rows(tokens)
    seen = None if attention_mask is None else host(fitting("generate", rows, attention_mask))
    if seen is not None and not seen[:, -1].all():
        raise ValueError("generate: the last token of every row is to be one that is seen: put padding on the left.")
    _check(n, temperature, top_k, top_p)
    chosen = functools.partial(choose, temperature=temperature, top_k=top_k, top_p=top_p)
    return _streamed(net, rows, n, chosen, _stops(net, stop), seen, key_of(key))


def _streamed(
    net: Any, rows: np.ndarray, n: int, chosen: Any, stop: tuple[int, ...], seen: np.ndarray | None, key: Any
) -> Iterator[np.ndarray]:
    net, limit = net.to().eval(), net.limit or math.inf
    ended = np.zeros(len(rows), bool)
    filler = net.pad if net.pad is not None else stop[0] if stop else 0
    like = net.caches(1, 1)[0].key
    read = _compiled() if hasattr(like, "at") else _read  # JAX's arrays have `at`
    at: Reading | None
    fresh, at = rows[:, -min(rows.shape[1], limit) :], None
    for left in range(n, 0, -1):
        if at is None or at.start + fresh.shape[1] > limit:
            if at is not None:  # a model with so many positions goes on from the last half of them
                fresh = rows[:, -max(limit // 2, 1) :]
            at = _beginning(net, fresh, None if seen is None else seen[:, -fresh.shape[1] :], left, limit)
        if at.start + fresh.shape[1] > _room(at):
            _enlarge(at, left, limit)
        logits, at.caches = read(net, xp.asarray(like, fresh), at.start, at.positions, at.seen, at.caches)
        at = at.on(fresh.shape[1])
        key, now = split_key(key)
        new = chosen(host(logits)[:, -1], key=now)
        new = np.where(ended, filler, new).astype(rows.dtype)
        ended |= np.isin(new, stop)
        yield new
        if ended.all():
            return
        fresh = new[:, None]
        rows = np.concatenate([rows, fresh], 1)
        if seen is not None:
            seen = _all_seen(seen, 1)


def _beginning(net: Any, rows: np.ndarray, seen: np.ndarray | None, n: int, limit: float) -> Reading:
    """The place of the first tokens of sequences that will have n more, or as many as the model has positions for."""
    count, length = rows.shape
    total = int(min(length + min(n, ROOM), limit))
    if seen is None:
        return Reading(caches=net.caches(count, total))
    positions = np.maximum(np.cumsum(seen, 1) - 1, 0)
    return Reading(0, positions, _all_seen(seen, total - length), net.caches(count, total))


def _room(at: Reading) -> int:
    """The positions that the caches have room for."""
    return at.caches[0].length if at.caches else 0


def _enlarge(at: Reading, n: int, limit: float) -> None:
    """Give the caches twice their room, or what n more tokens need."""
    old = _room(at)
    more = int(min(max(old, ROOM), n, limit - old))
    caches = []
    for cache in at.caches or ():
        room = xp.zeros(cache.key, (*cache.key.shape[:2], more, cache.key.shape[-1]))
        caches.append(Cache(xp.concatenate([cache.key, room], -2), xp.concatenate([cache.value, room], -2)))
    at.caches = caches
    at.seen = None if at.seen is None else _all_seen(at.seen, more)


def _all_seen(seen: np.ndarray, more: int) -> np.ndarray:
    return np.concatenate([seen, np.ones((len(seen), more), bool)], 1)


def _read(net: Any, tokens: Array, start: Any, positions: Any, seen: Any, caches: list[Cache] | None) -> Any:
    """(logits after the last token, the caches with these tokens in them)."""
    at = Reading(start, positions, seen, list(caches or ()))
    return net.logits(tokens, at, last=True), at.caches


@functools.cache
def _compiled() -> Any:
    """The same compiled by JAX: once for the prompt, and once for every step after it."""
    import jax

    register_with_jax()
    return jax.jit(_read)


def choose(
    logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, key: Key = 0
) -> np.ndarray:
    """A token for each row of logits (N, vocabulary): drawn with the probabilities softmax(logits / temperature).

    Temperature 0 takes the likeliest. Of the `top_k` largest only, and of the likeliest ones that together have the
    probability `top_p` (Holtzman et al. 2020), the first of them always. Raises ValueError for logits that are NaN.

    >>> import numpy as np
    >>> choose(np.log([[0.5, 0.3, 0.2]]), top_p=0.4, key=1).tolist(), choose(np.array([[1.0, 2.0]]), 0.0).tolist()
    ([0], [1])
    """
    if np.isnan(logits).any():
        raise ValueError("generate: the model's logits are NaN: its weights, or the tokens before, are not finite.")
    if temperature == 0.0:
        return np.argmax(logits, -1)
    logits = logits.astype(np.float64) / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, -1)[:, -top_k, None]
        logits = np.where(logits < least, -np.inf, logits)
    if top_p is not None and top_p < 1.0:
        order = np.argsort(-logits, -1, kind="stable")
        p = np.exp(np.take_along_axis(logits, order, -1) - logits.max(-1, keepdims=True))
        before = (np.cumsum(p, -1) - p) / p.sum(-1, keepdims=True)
        dropped = np.take_along_axis(before >= top_p, np.argsort(order, -1), -1)
        logits = np.where(dropped, -np.inf, logits)
    return np.asarray(categorical(logits, host(key_of(key))))


def _check(n: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if n < 0:
        raise ValueError(f"generate: n is the number of tokens, not {n}.")
    if not 0.0 <= temperature < math.inf:
        raise ValueError(
            f"generate: the temperature is 0 (the likeliest token) or a positive number, not {temperature}."
        )
    if top_k is not None and top_k < 1:
        raise ValueError(f"generate: top_k is a number of tokens, 1 at least, not {top_k}.")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"generate: top_p is a probability above 0, not {top_p}.")


def _stops(net: Any, stop: Sequence[int] | int | None) -> tuple[int, ...]:
    if stop is None:
        return tuple(net.stop)
    return tuple(np.ravel(np.asarray(stop, np.int64)).tolist())


def _rows(tokens: Any) -> np.ndarray:
    rows = host(tokens)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ShapeError(f"generate: tokens are (T,) or (N, T), one at least, not {tuple(np.shape(tokens))}.")
    if rows.dtype.kind not in "iu":
        raise TypeError(f"generate: tokens are integers, not {rows.dtype}.")
    return rows


def host(x: Any) -> np.ndarray:
    """The array in NumPy."""
    return np.asarray(backend_of(type(x)).to_numpy(x) if is_array(x) else x)


def generated(net: Any, tokens: Any, n: int, **options: Any) -> Any:
    """Tokens (T,) or (N, T) and those that `stream` puts behind them, on the tokens' own backend.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=0)
    >>> generated(net, np.array([1, 2]), 3).shape
    (5,)
    """
    rows = host(tokens)
    whole = rows[None] if rows.ndim == 1 else rows
    new = list(stream(net, whole, n, **options))
    found = np.concatenate([whole, np.stack(new, 1)], 1) if new else whole
    found = found[0] if rows.ndim == 1 else found
    return xp.asarray(tokens, found) if is_array(tokens) and not isinstance(tokens, list) else found
