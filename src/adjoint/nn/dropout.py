"""Dropout: parts of a signal left out at random while training, a fresh part at every call.

A module holds its key and replaces it at every call, so that each training step has its own mask also where the step is
compiled (it returns the network), while checkpointing, which runs a call again from the same key, replays the mask.
"""

from __future__ import annotations

import math
from typing import ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.random import Key, beside, check_probability, key_of, split_key
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.layers import Rng
from adjoint.nn.module import Module


class Dropout(Module):
    """While training, entries are 0 with probability p and the others divided by 1 - p; else x (Srivastava 2014).

    The key is drawn from `rng`; a key (or seed, or generator) given to the call is used instead of it.

    >>> import numpy as np, adjoint as aj
    >>> drop = aj.nn.Dropout(0.5, rng=0)
    >>> x = np.ones(100, "float32")
    >>> bool((drop(x) == drop(x)).all()), bool((drop(x, key=1) == drop(x, key=1)).all())
    (False, True)
    >>> bool((drop.eval()(x) == x).all())
    True
    """

    key: Array

    def __init__(self, p: float = 0.5, *, rng: Rng = None) -> None:
        check_probability(type(self).__name__, p)
        self.p = p
        self.register_buffer("key", key_of(init.generator(rng)), persistent=False)

    def __call__(self, x: Array, key: Key = None) -> Array:
        """x with entries left out while training."""
        return self.dropped(x, self.drawn(key)) if self.training and self.p > 0.0 else x

    def drawn(self, key: Key) -> Array:
        """The key of this call: the one given, else a new one."""
        if key is not None:
            return key
        keys = split_key(self.key)
        self.key = keys[0]
        return keys[1]

    def dropped(self, x: Array, key: Key) -> Array:
        """x with entries left out."""
        return xp.dropout(x, self.p, key)


class _Channels(Dropout):
    """Dropout of whole channels: `layouts` gives, for each number of axes, how many of them come before a channel."""

    layouts: ClassVar[dict[int, int]]

    def dropped(self, x: Array, key: Key) -> Array:
        shape = tuple(x.shape)
        if len(shape) not in self.layouts:
            known = " or ".join(map(str, self.layouts))
            raise ShapeError(f"{type(self).__name__}: the input has {known} axes, not {len(shape)}: {shape}.")
        inner = len(shape) - self.layouts[len(shape)]
        return x * xp.random_mask(beside(x, key), shape[:-inner] + (1,) * inner, self.p, x.dtype)


class Dropout1d(_Channels):
    """While training, whole channels of x (N, C, L) or (C, L) are 0 with probability p (Tompson et al. 2015).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Dropout1d(0.5)(np.ones((4, 3)), key=0).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    layouts: ClassVar = {2: 1, 3: 2}


class Dropout2d(_Channels):
    """While training, whole channels of x (N, C, H, W) or (N, C, L) are 0 with probability p (Tompson et al. 2015).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Dropout2d(0.5)(np.ones((1, 4, 2, 2)), key=0).mean((2, 3)).tolist()
    [[2.0, 2.0, 0.0, 0.0]]
    """

    layouts: ClassVar = {3: 2, 4: 2}


class Dropout3d(_Channels):
    """While training, whole channels of x (N, C, D, H, W) or (C, D, H, W) are 0 with probability p.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Dropout3d(0.5)(np.ones((4, 2, 2, 2)), key=0).mean((1, 2, 3)).tolist()
    [2.0, 2.0, 0.0, 0.0]
    """

    layouts: ClassVar = {4: 1, 5: 2}


SATURATED = -1.7580993408473766  # SELU's value at -∞


class AlphaDropout(Dropout):
    """While training, entries are SELU's value at -∞ with probability p, and all then scaled and shifted so that mean 0
    and variance 1 stay (Klambauer et al. 2017).

    >>> import numpy as np, adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal(10_000)
    >>> y = aj.nn.AlphaDropout(0.2)(x, key=0)
    >>> bool(abs(y.mean()) < 0.05), bool(abs(y.std() - 1.0) < 0.05)
    (True, True)
    """

    def dropped(self, x: Array, key: Key) -> Array:
        """x with entries saturated."""
        return self.saturated(x, key, tuple(x.shape))

    def saturated(self, x: Array, key: Key, shape: tuple[int, ...]) -> Array:
        """a(m x + (1 - m) α) + b with a mask m of 0 and 1 in a shape that is broadcast."""
        p = self.p
        if p == 1.0:
            return 0.0 * x
        a = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * SATURATED**2))
        scaled = (1.0 - p) * xp.random_mask(beside(x, key), shape, p, x.dtype)
        return a * (scaled * (x - SATURATED)) + a * SATURATED * (1.0 - p)


class FeatureAlphaDropout(AlphaDropout):
    """Alpha dropout of whole channels: x (N, C, …), the mask has an entry for each of N and C.

    >>> import numpy as np, adjoint as aj
    >>> len(set(aj.nn.FeatureAlphaDropout(0.5)(np.zeros((1, 4, 9)), key=0).ravel().tolist()))
    2
    """

    def dropped(self, x: Array, key: Key) -> Array:
        """x with channels saturated."""
        shape = tuple(x.shape)
        if len(shape) < 2:
            raise ShapeError(f"FeatureAlphaDropout: the input is (N, C, …), at least two axes, not {shape}.")
        return self.saturated(x, key, shape[:2] + (1,) * (len(shape) - 2))
