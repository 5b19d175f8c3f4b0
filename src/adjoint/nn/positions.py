"""Where a token stands: sinusoidal, learned and rotary encodings of positions.

Attention without them cannot tell one order of its tokens from another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.maps.rotations import Rotation
from adjoint.nn import init
from adjoint.nn.layers import Rng, _positive
from adjoint.nn.module import Module


def frequencies(dim: int, base: float = 10000.0) -> np.ndarray:
    """ωᵢ = base^(-2i/dim) for i < dim/2: wavelengths from 2π to 2π·base in a geometric progression.

    Raises ValueError unless dim is even.

    >>> import adjoint as aj
    >>> aj.nn.positions.frequencies(4).tolist()
    [1.0, 0.01]
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"positions: sines and cosines come in pairs, so the width must be even, not {dim}.")
    return base ** (-np.arange(0, dim, 2) / dim)


class PositionalEncoding(Module):
    """x plus sines and cosines of the position: PE(t)₂ᵢ = sin ωᵢt, PE(t)₂ᵢ₊₁ = cos ωᵢt (Vaswani et al. 2017).

    x (…, T, d_model) with T at most max_len; a shift of all positions is a linear map, see `shift`. Raises ShapeError
    for longer x.

    >>> import numpy as np, adjoint as aj
    >>> pe = aj.nn.PositionalEncoding(4)
    >>> pe(np.zeros((2, 4), "float32")).round(2).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.84, 0.54, 0.01, 1.0]]
    """

    table: Array

    def __init__(self, d_model: int, max_len: int = 5000, base: float = 10000.0, dtype: Any = "float32") -> None:
        self.d_model = d_model
        self.base = base
        angles = np.arange(max_len)[:, None] * frequencies(d_model, base)
        table = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(max_len, d_model)
        self.register_buffer("table", table.astype(dtype), persistent=False)

    def __call__(self, x: Array, start: int = 0) -> Array:
        """x plus the encodings of the positions start, start + 1, …."""
        return x + _rows("PositionalEncoding", self.table, x, start)

    def shift(self, k: float) -> Rotation:
        """The rotation M with PE(t + k) = M PE(t) for every t.

        >>> import numpy as np, adjoint as aj
        >>> pe = aj.nn.PositionalEncoding(4, dtype="float64")
        >>> bool(np.allclose(pe.shift(3) @ pe.table[7], pe.table[10]))
        True
        """
        angles = np.asarray(-k * frequencies(self.d_model, self.base))
        return Rotation(xp.asarray(self.table, angles, self.table.dtype), (self.d_model,), interleaved=True)


class LearnedPositions(Module):
    """x plus a learned vector for each position, as GPT-2 and BERT have: weight (max_len, d_model) starts N(0, 0.02²).

    x (…, T, d_model) with T at most max_len; raises ShapeError for longer x.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LearnedPositions(10, 4)(np.zeros((2, 3, 4), "float32")).shape
    (2, 3, 4)
    """

    def __init__(self, max_len: int, d_model: int, dtype: Any = "float32", rng: Rng = None) -> None:
        _positive("LearnedPositions", max_len=max_len, d_model=d_model)
        self.weight: Array = init.normal((max_len, d_model), 0.02, rng, dtype)

    def __call__(self, x: Array, start: int = 0) -> Array:
        """x plus the vectors of the positions start, start + 1, …."""
        return x + _rows("LearnedPositions", self.weight, x, start)


def _rows(name: str, table: Array, x: Array, start: int) -> Array:
    """The table's rows for the positions of x."""
    n, known, shape = int(table.shape[0]), int(table.shape[1]), tuple(x.shape)
    if len(shape) < 2 or shape[-1] != known:
        raise ShapeError(f"{name}: x is (…, T, {known}), not {shape}.")
    if start < 0 or start + shape[-2] > n:
        raise ShapeError(f"{name}: {n} positions are known, not {start} to {start + shape[-2] - 1}: raise max_len.")
    return xp.getitem(table, slice(start, start + shape[-2]))


class RotaryEmbedding(Module):
    """Queries or keys turned by position: pair i of position t by the angle ωᵢt, ωᵢ = theta^(-2i/dim) (Su et al. 2021).

    Then ⟨R_s q, R_t k⟩ depends on positions through t - s alone. x (…, T, dim); pair i is (xᵢ, xᵢ₊dim/₂) as in LLaMA of
    Hugging Face, or (x₂ᵢ, x₂ᵢ₊₁) with `interleaved` as in the paper.

    >>> import numpy as np, adjoint as aj
    >>> rope = aj.nn.RotaryEmbedding(2)
    >>> rope(np.array([[1.0, 0.0], [1.0, 0.0]])).round(2).tolist()
    [[1.0, 0.0], [0.54, 0.84]]
    """

    def __init__(self, dim: int, theta: float = 10000.0, interleaved: bool = False) -> None:
        frequencies(dim, theta)
        self.dim = dim
        self.theta = theta
        self.interleaved = interleaved

    def __call__(self, x: Array, positions: Array | int = 0) -> Array:
        """x turned; positions are the number of the first, or all of them, (T,) or broadcast to (…, T)."""
        shape = tuple(x.shape)
        if len(shape) < 2 or shape[-1] != self.dim:
            raise ShapeError(f"RotaryEmbedding: x is (…, T, {self.dim}), not {shape}.")
        wide = "float64" if "float64" in str(x.dtype) else "float32"
        omega = frequencies(self.dim, self.theta)
        if isinstance(positions, int):
            positions = positions + np.arange(shape[-2])
        if isinstance(positions, np.ndarray):
            angles = xp.asarray(x, positions[..., None] * omega, wide)
        else:
            angles = xp.expand_dims(xp.astype(positions, wide), -1) * xp.asarray(positions, omega, wide)
        return xp.rotate(x, angles, self.interleaved)
