"""Masks of attention: True where a query attends to a key, as `scaled_dot_product_attention` takes them.

They are NumPy arrays, which arrays of every backend take, and combine by & and |. `nn.MultiheadAttention` takes their
opposites, ~mask: there True is left out, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array
from adjoint.arrays.layout import asarray, getitem
from adjoint.arrays.piecewise import less


def causal_mask(n: int, m: int | None = None) -> Any:
    """Query i attends to keys j ≤ i: (n, m), m = n unless given.

    >>> import adjoint as aj
    >>> aj.causal_mask(3).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return local_mask(n, m, right=0)


def local_mask(n: int, m: int | None = None, left: int | None = None, right: int | None = None) -> Any:
    """Query i attends to keys i - left ≤ j ≤ i + right (None: no limit): what `window=(left, right)` computes.

    >>> import adjoint as aj
    >>> aj.local_mask(4, left=1, right=0).astype(int).tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    ahead = _ahead(n, m)
    seen = np.ones(ahead.shape, bool) if left is None else ahead >= -left
    return seen if right is None else seen & (ahead <= right)


def strided_mask(n: int, stride: int, m: int | None = None) -> Any:
    """Query i attends to its last `stride` keys and to every key at a multiple of `stride` before it.

    With stride ≈ √n a query sees O(√n) keys and all others in two layers (Child et al. 2019, the strided pattern).

    >>> import adjoint as aj
    >>> aj.strided_mask(5, 2).astype(int).tolist()
    [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [1, 0, 1, 1, 1]]
    """
    back = -_ahead(n, m)
    return (back >= 0) & ((back < stride) | (back % stride == 0))


def padding_mask(lengths: Array, n: int) -> Array:
    """True at the first lengths[b] of n places: lengths (…,), result (…, n).

    For attention over (batch, heads, queries, keys) it needs axes for heads and queries: mask[:, None, None, :].

    >>> import numpy as np, adjoint as aj
    >>> aj.padding_mask(np.array([1, 3]), 3).astype(int).tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return less(asarray(lengths, np.arange(n)), getitem(lengths, (Ellipsis, None)))


def _ahead(n: int, m: int | None) -> Any:
    """j - i for queries i and keys j."""
    return np.arange(n if m is None else m) - np.arange(n)[:, None]
