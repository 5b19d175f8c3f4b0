"""Linear attention: a feature map instead of the softmax, so that sums of keys and values stand for all of them."""

from __future__ import annotations

from adjoint.arrays.activations import elu
from adjoint.arrays.attention_forms import fitted
from adjoint.arrays.dispatch import Array
from adjoint.arrays.layout import concatenate, pad, reshape, swapaxes, tril
from adjoint.arrays.products import matmul
from adjoint.arrays.reductions import cumulative_sum
from adjoint.errors import ShapeError


def linear_attention(query: Array, key: Array, value: Array, is_causal: bool = False, chunk_size: int = 64) -> Array:
    """φ(Q)(φ(K)ᵀV) / φ(Q)Σφ(k), φ = elu + 1: O(L) time and memory (Katharopoulos et al. 2020).

    query (…, L, E), key (…, S, E), value (…, S, D), result (…, L, D). Causal, query i sees the running sums of keys
    j ≤ i, kept at the ends of chunks of `chunk_size`; then S = L. Raises `ShapeError`.

    >>> import numpy as np, adjoint as aj
    >>> q, k, v = np.zeros((3, 1)), np.zeros((3, 1)), np.array([[1.0], [3.0], [5.0]])
    >>> aj.linear_attention(q, k, v).ravel().tolist(), aj.linear_attention(q, k, v, is_causal=True).ravel().tolist()
    ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0])
    """
    query, key, value, _, shape = fitted(query, key, value, None, False)
    q, k = elu(query) + 1.0, elu(key) + 1.0
    one = value[..., :1] * 0.0 + 1.0
    both = concatenate([value, one], -1)  # the last column gives the denominator
    if is_causal:
        if query.shape[-2] != key.shape[-2]:
            n, m = query.shape[-2], key.shape[-2]
            raise ShapeError(f"linear_attention: causal, it needs as many queries as keys, {n} is not {m}.")
        sums = causal_sums(q, k, both, chunk_size)
    else:
        sums = matmul(q, matmul(swapaxes(k, -1, -2), both))
    return reshape(sums[..., :-1] / sums[..., -1:], shape)


def causal_sums(q: Array, k: Array, v: Array, size: int) -> Array:
    """Σ over j ≤ i of (qᵢ·kⱼ) vⱼ: within chunks by their triangle of products, before them by running sums of k vᵀ."""
    n = q.shape[-2]
    count = -(-n // size)
    q, k, v = (chunks(x, count, size) for x in (q, k, v))
    within = matmul(tril(matmul(q, swapaxes(k, -1, -2))), v)
    states = matmul(swapaxes(k, -1, -2), v)
    sums = within + matmul(q, cumulative_sum(states, -3) - states)
    joined = reshape(sums, (*sums.shape[:-3], count * size, sums.shape[-1]))
    return joined if count * size == n else joined[..., :n, :]


def chunks(x: Array, count: int, size: int) -> Array:
    """(…, n, d) as (…, count, size, d), zeros after the end."""
    lead, (n, d) = tuple(x.shape[:-2]), tuple(x.shape[-2:])
    if count * size > n:
        x = pad(x, [(0, 0)] * len(lead) + [(0, count * size - n), (0, 0)])
    return reshape(x, (*lead, count, size, d))
