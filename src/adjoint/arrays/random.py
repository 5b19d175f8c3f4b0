"""The seam's random numbers: functions of a key, so that one key draws the same numbers on every backend.

A key is an array of two 32-bit words. Nothing is ever read from it, so a compiled program takes it as an argument.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array, Shape, composition, is_array, primitive
from adjoint.arrays.elementwise import cos, log, maximum, sqrt
from adjoint.arrays.layout import asarray, astype, getitem
from adjoint.arrays.piecewise import greater_equal
from adjoint.arrays.reductions import argmax
from adjoint.errors import DtypeError, ShapeError

Key = Any  # an array of two words; a seed or a generator where one may be made from it
DIGITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
MULTIPLIERS = 0x7FEB352D, 0x846CA68B  # of `mix`, the integer hash "lowbias32" (Wellons 2018): its shifts 16, 15, 16


@primitive
def random_bits(key: Array, /, shape: Shape, count: int = 32, start: Any = 0) -> Array:
    """The leading `count` bits of the words start, start + 1, … of the key's stream, as integers in `shape`.

    Word i of the key (a, b) is mix(mix(i ⊕ a) ⊕ b), where mix is a bijection of 32-bit words: a counter-based generator
    (Salmon et al. 2011). The dtype is uint32, in PyTorch int64.
    """


@composition
def random_mask(key: Array, /, shape: Shape, p: float, dtype: Any) -> Array:
    """Independent entries: 0 with probability p, else 1/(1 - p), so that their mean is 1 (all 0 where p = 1)."""
    kept = greater_equal(random_bits(key, shape), threshold(p))
    return astype(kept, dtype) * inverse(p)


def threshold(p: float) -> int:
    """The smallest word that is kept."""
    return min(round(p * 2**32), 2**32 - 1)


def inverse(p: float) -> float:
    """1/(1 - p), and 0 for p = 1."""
    return 0.0 if p == 1.0 else 1.0 / (1.0 - p)


@composition
def dropout(x: Array, /, p: float, key: Key) -> Array:
    """x with entries set to 0 with probability p and the others divided by 1 - p (Srivastava et al. 2014).

    `key` is a key of `aj.random`, which always gives the same mask, or a seed, or a NumPy or PyTorch generator, from
    which one is drawn. Raises ValueError unless 0 ≤ p ≤ 1.

    >>> import numpy as np, adjoint as aj
    >>> y, J = aj.linearize(lambda x: aj.dropout(x, 0.5, key=1), np.ones(6))
    >>> y.tolist() == J.dense().diagonal().tolist(), sorted(set(y.tolist()))
    (True, [0.0, 2.0])
    """
    check_probability("dropout", p)
    return x if p == 0.0 else x * random_mask(beside(x, key), tuple(x.shape), p, x.dtype)


def check_probability(name: str, p: float) -> None:
    """Raise ValueError unless 0 ≤ p ≤ 1."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: p is the probability that an entry is dropped, between 0 and 1, not {p!r}.")


# Keys


def make_key(seed: int) -> Array:
    """A key from a seed, as a NumPy array; different seeds give unrelated numbers.

    >>> import adjoint as aj
    >>> aj.random.key(0).dtype, aj.random.key(0).shape
    (dtype('uint32'), (2,))
    """
    return np.random.SeedSequence(seed).generate_state(2)


def key_of(source: Key) -> Array:
    """The key meant: itself, one from a seed, or one drawn from a generator of NumPy's or PyTorch's."""
    if isinstance(source, (int, np.integer)):
        return make_key(int(source))
    if isinstance(source, np.random.Generator):
        return source.integers(0, 2**32, 2, "uint32")
    if hasattr(source, "initial_seed"):
        import torch

        return torch.randint(2**32, (2,), generator=source, device=source.device).cpu().numpy().astype("uint32")
    if not is_array(source):
        raise TypeError(f"a key is an array of aj.random, a seed or a generator, not {type(source).__name__}.")
    if tuple(source.shape) != (2,):
        raise ShapeError(f"a key has shape (2,), not {tuple(source.shape)}: take one of them, keys[i].")
    if not str(source.dtype).rpartition(".")[2].startswith(("uint", "int")):
        raise DtypeError(f"a key consists of unsigned integers, not {source.dtype}: make one with aj.random.key(seed).")
    return source


def beside(x: Array, key: Key) -> Array:
    """The key on x's backend and device."""
    key = key_of(key)
    return asarray(x, key) if type(key) is np.ndarray else key


def split_key(key: Key, n: int = 2) -> Array:
    """n new keys, shape (n, 2), from one that is then spent: what they draw is unrelated.

    >>> import adjoint as aj
    >>> key, now = aj.random.split(aj.random.key(0))
    >>> bool((key == now).all())
    False
    """
    return astype(random_bits(key_of(key), (n, 2)), "uint32")


def fold_in(key: Key, i: Any) -> Array:
    """The i-th of the keys that `split` gives; i may be a traced integer, the number of a step say.

    >>> import adjoint as aj
    >>> key = aj.random.key(0)
    >>> bool((aj.random.fold_in(key, 3) == aj.random.split(key, 4)[3]).all())
    True
    """
    return astype(random_bits(key_of(key), (2,), start=2 * i), "uint32")


# Distributions


def random_uniform(key: Key, shape: Shape, dtype: Any = "float32") -> Array:
    """Independent numbers, uniform in [0, 1).

    >>> import adjoint as aj
    >>> u = aj.random.uniform(aj.random.key(0), (10_000,))
    >>> u.dtype, bool(abs(u.mean() - 0.5) < 0.01)
    (dtype('float32'), True)
    """
    key, name = key_of(key), getattr(dtype, "__name__", None) or str(dtype).rpartition(".")[2]
    if name not in DIGITS:
        raise DtypeError(f"random numbers are of a floating dtype ({', '.join(DIGITS)}), not {dtype}.")
    if name != "float64":
        return astype(random_bits(key, shape, DIGITS[name]), dtype) * 2.0 ** -DIGITS[name]
    n = math.prod(shape)
    high, low = random_bits(key, shape, 27), random_bits(key, shape, 26, start=n)
    return astype(high, dtype) * 2.0**-27 + astype(low, dtype) * 2.0**-53


def random_normal(key: Key, shape: Shape, dtype: Any = "float32") -> Array:
    """Independent normal numbers of mean 0 and variance 1: √(-2 log u) cos 2πv (Box & Muller 1958).

    >>> import adjoint as aj
    >>> x = aj.random.normal(aj.random.key(0), (10_000,))
    >>> bool(abs(x.mean()) < 0.03), bool(abs(x.std() - 1.0) < 0.03)
    (True, True)
    """
    u = random_uniform(key, (2, *shape), dtype)
    return sqrt(-2.0 * log(1.0 - getitem(u, 0))) * cos(math.tau * getitem(u, 1))


def categorical(logits: Array, key: Key, axis: int = -1) -> Array:
    """Indices drawn with the probabilities softmax(logits) along an axis, which disappears (by Gumbel's maximum).

    >>> import numpy as np, adjoint as aj
    >>> logits = np.log(np.tile([0.7, 0.2, 0.1], (10_000, 1)))
    >>> (np.bincount(aj.random.categorical(logits, key=0)) / 10_000).round(2)
    array([0.7, 0.2, 0.1])
    """
    u = maximum(random_uniform(beside(logits, key), tuple(logits.shape), logits.dtype), 2.0**-25)
    return argmax(logits - log(-log(u)), axis)
