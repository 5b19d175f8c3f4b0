"""Attention heads as the low-rank maps that they are: what a head looks for (QK), and what it moves (OV)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.inspection.heads import Heads
from adjoint.inspection.row import UNKNOWN
from adjoint.inspection.weight import tolerance
from adjoint.maps.matrices import LowRank
from adjoint.maps.spectra.lapack import triangles
from adjoint.maps.spectra.spectrum import EPSILON, Spectrum

KINDS = ("QK", "OV")
BLOCK = 1 << 19  # numbers of heads that are made float64 at a time


@dataclass(frozen=True)
class Circuit:
    """One circuit of a head of an attention: its singular values, found from its thin factors.

    "QK" is W_Qᵀ W_K, so that the score of positions x, y before scale and softmax is xᵀ W_Qᵀ W_K y; "OV" is W_O W_V,
    what a position that is looked at adds to the one that looks (Elhage et al. 2021, "A Mathematical Framework for
    Transformer Circuits"). `shape` (m, n), `most` the head's width, the largest rank possible. `rank` to `k99` as in
    `Row`; `method` is an SVD of the small product of triangular factors, `bound` its error. `positive` is
    Σ Re λ / Σ|λ| of the eigenvalues of a square circuit, from -1 to 1: an OV near 1 copies what it reads. `left_out`
    says what the head does besides: biases, a rotation by positions, a gain of the norm before.

    >>> import adjoint as aj
    >>> heads = aj.inspect(aj.nn.MultiheadAttention(16, 4, rng=0), cache=False).circuits
    >>> len(heads), heads[0].kind, heads[0].shape, heads[0].rank
    (8, 'QK', (16, 16), 4)
    """

    name: str
    head: int
    kind: str
    shape: tuple[int, int]
    most: int
    rank: int | None = None
    tolerance: float = UNKNOWN
    sigma_max: float = UNKNOWN
    stable_rank: float = UNKNOWN
    entropy_rank: float = UNKNOWN
    k90: int | None = None
    k99: int | None = None
    positive: float = UNKNOWN
    method: str = "none"
    bound: float = UNKNOWN
    left_out: tuple[str, ...] = ()


def circuits(heads: Heads) -> list[Circuit]:
    """Both circuits of every head of an attention, head by head."""
    q, k, v, o = heads.read()
    shapes = {"QK": (q.shape[1], k.shape[1]), "OV": (o.shape[0], v.shape[1])}
    if not all(np.all(np.isfinite(x)) for x in (q, k, v, o)):
        return [
            Circuit(heads.name, i, kind, shapes[kind], heads.width, method="none: numbers that are not finite")
            for i in range(heads.count)
            for kind in KINDS
        ]
    eps = float(np.finfo(np.float64 if heads.dtype == "float64" else np.float32).eps)
    q_heads = q.reshape(heads.count, heads.width, -1)
    k_heads, v_heads = (x.reshape(heads.groups, heads.width, -1) for x in (k, v))
    o_heads = np.moveaxis(o.reshape(o.shape[0], heads.count, heads.width), 0, 2)
    group = np.arange(heads.count) * heads.groups // heads.count
    told: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    step = max(1, BLOCK // (heads.width * max(q.shape[1], o.shape[0])))
    for start in range(0, heads.count, step):
        some = slice(start, start + step)
        for kind, left, right in (("QK", q_heads, k_heads), ("OV", o_heads, v_heads)):
            own, back = np.unique(group[some], return_inverse=True)
            told[kind] += _measured(left[some].astype(np.float64, "C"), right[own].astype(np.float64, "C"), back, eps)
    return [
        Circuit(heads.name, i, kind, shapes[kind], heads.width, left_out=heads.left_out[kind], **told[kind][i])
        for i in range(heads.count)
        for kind in KINDS
    ]


def circuit(heads: Heads, head: int, kind: str) -> LowRank:
    """A circuit as a map, from the residual stream to itself: x ↦ W_Qᵀ (W_K x) or W_O (W_V x).

    Raises ValueError for another kind, IndexError for a head that the attention does not have.
    """
    if kind not in KINDS:
        raise ValueError(f"circuit: kind is 'QK' or 'OV', not {kind!r}.")
    if not 0 <= head < heads.count:
        raise IndexError(f"circuit: {heads.name} has heads 0 to {heads.count - 1}, not {head}.")
    q, k, v, o = heads.read()
    if q.dtype.itemsize < 4:
        q, k, v, o = (x.astype(np.float32) for x in (q, k, v, o))
    group = head * heads.groups // heads.count
    if kind == "QK":
        return LowRank(q.reshape(heads.count, -1, q.shape[1])[head].T, k.reshape(heads.groups, -1, k.shape[1])[group])
    left = o.reshape(o.shape[0], heads.count, -1)[:, head]
    return LowRank(left, v.reshape(heads.groups, -1, v.shape[1])[group])


def _measured(left: np.ndarray, right: np.ndarray, group: np.ndarray, eps: float) -> list[dict[str, Any]]:
    """The figures of every head, of leftᵀ for left (h, width, m) times right[group] (h, width, n).

    With leftᵀ = Q₁ R₁ and rightᵀ = Q₂ R₂ the values are those of R₁ R₂ᵀ; the eigenvalues that are not zero are those of
    right · leftᵀ. Neither takes more than products with the thin factors.
    """
    m, n = left.shape[2], right.shape[2]
    square = right[group] @ np.swapaxes(left, 1, 2) if m == n else None
    first, second = triangles(left), triangles(right)[group]
    values = np.linalg.svd(np.swapaxes(first, 1, 2) @ second, compute_uv=False)
    sizes = np.linalg.norm(first, axis=(1, 2)) * np.linalg.norm(second, axis=(1, 2))
    bounds = EPSILON * (2.0 + math.sqrt(max(m, n))) * sizes
    eigenvalues = None if square is None else np.linalg.eigvals(square)
    told = []
    for i, (sigma, bound) in enumerate(zip(values, bounds, strict=True)):
        told.append(_figures(sigma, float(bound), (m, n), eps))
        if eigenvalues is not None:
            total = float(np.sum(np.abs(eigenvalues[i])))
            told[-1]["positive"] = float(np.sum(eigenvalues[i].real)) / total if total else UNKNOWN
    return told


def _figures(values: np.ndarray, bound: float, shape: tuple[int, int], eps: float) -> dict[str, Any]:
    spectrum = Spectrum(shape, eps, values, bound, "svd of the factors")
    threshold = tolerance(spectrum)
    told = {
        "rank": int(spectrum.rank(threshold)),
        "tolerance": threshold,
        "sigma_max": float(values[0]),
        "method": spectrum.method,
        "bound": bound,
    }
    if not told["rank"]:
        return told | {"stable_rank": 0.0, "entropy_rank": 0.0, "k90": 0, "k99": 0}
    energy = np.cumsum((values / values[0]) ** 2)
    return told | {
        "stable_rank": float(energy[-1]),
        "entropy_rank": float(spectrum.effective_rank()),
        "k90": int(np.searchsorted(energy, 0.90 * energy[-1])) + 1,
        "k99": int(np.searchsorted(energy, 0.99 * energy[-1])) + 1,
    }


def cost(heads: Heads) -> float:
    """About the operations of all circuits of an attention."""
    return 2.0 * heads.count * heads.width**2 * (4.0 * heads.count * heads.width + 40.0 * heads.width)


def working_bytes(heads: Heads) -> int:
    """About how much memory they take beside the weights: thin factors of some heads in float64, and their copies."""
    return 8 * 6 * max(BLOCK, heads.count * heads.width**2)
