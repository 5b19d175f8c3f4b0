"""Adapters: the arrays of a low-rank change of a weight, under the names that PEFT gives them."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Rng
from adjoint.nn.module import Module
from adjoint.transforms import stop_gradient


class LoRA(Module):
    """ΔW = s B A with s = α/r, or α/√r where `rslora`: lora_A (r, in, …), lora_B (out, r, …).

    Beside a convolution in g groups lora_B is (out, r/g, …): it takes r/g of A's r values to each group of outputs.
    With `lora_bias` b (out,) the outputs change by s b besides, as with PEFT's `lora_bias=True`.
    Hu et al. 2021 (arXiv 2106.09685); rsLoRA: Kalajdzievski 2023 (arXiv 2312.03732).

    >>> import numpy as np, adjoint as aj
    >>> adapter = LoRA(np.ones((2, 3)), np.ones((4, 2)), alpha=16.0)
    >>> adapter.rank, adapter.scale, adapter.delta().shape
    (2, 8.0, (4, 3))
    """

    peft_type = "LORA"
    dora = False

    def __init__(
        self, lora_A: Array, lora_B: Array, alpha: float, *, rslora: bool = False, dropout: float = 0.0,
        init: str = "zeros", rng: Rng = None, lora_bias: Array | None = None,
    ) -> None:  # fmt: skip
        self.lora_A = lora_A
        self.lora_B = lora_B
        self.lora_bias = lora_bias
        self.alpha = float(alpha)
        self.rslora = rslora
        self.init = init
        self.p = float(dropout)
        self.dropout = Dropout(dropout, rng=rng) if dropout else None

    @property
    def rank(self) -> int:
        """r, the columns of B."""
        return int(self.lora_A.shape[0])

    @property
    def scale(self) -> float:
        """s, by which B A is multiplied."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def between(self, h: Array, axis: int) -> Array:
        """What stands between A and B: h times the scale; `axis` is that of the rank, from the end."""
        return h * self.scale

    def factors(self) -> tuple[Array, Array]:
        """(A, B) as matrices (r, in·size) and (out, r), the scale left out."""
        A, B = self.lora_A, self.lora_B
        a, b = ((x.shape[0], math.prod(x.shape[1:])) for x in (A, B))  # -1 is undecided where no rank is left
        return xp.reshape(A, a), xp.reshape(B, b)

    def delta(self) -> Array:
        """s B A as a matrix (out, in·size), formed: what is merged into a weight."""
        A, B = self.factors()
        B = self.between(B, -1)
        (r, size), (out, share) = A.shape, B.shape
        if r == share:
            return xp.matmul(B, A)
        groups = r // share
        parts = xp.matmul(xp.reshape(B, (groups, -1, share)), xp.reshape(A, (groups, share, size)))
        return xp.reshape(parts, (out, size))


class DoRA(LoRA):
    """W' = m (W + s B A)/‖W + s B A‖ row by row: the magnitude m (out, …) learns apart from the direction.

    The norm is a constant to gradients, as the paper has it (Liu et al. 2024, arXiv 2402.09353, section 4.3).

    >>> import numpy as np
    >>> W, A, B = np.eye(2), np.ones((1, 2)), np.array([[1.0], [0.0]])
    >>> DoRA(A, B, 1.0, magnitude=np.ones(2)).norm(W).tolist() == [5.0**0.5, 1.0]
    True
    """

    dora = True

    def __init__(self, *arrays: Any, magnitude: Array, **options: Any) -> None:
        super().__init__(*arrays, **options)
        self.lora_magnitude_vector = magnitude

    def norm(self, W: Array) -> Array:
        """‖W + s B A‖ of every row of a matrix (out, in), from products with r columns alone, as a constant.

        ‖w + s b A‖² = ‖w‖² + 2 s ⟨b, w Aᵀ⟩ + s² ⟨b, b (A Aᵀ)⟩ for the rows w of W and b of B.
        """
        W, A, B = (stop_gradient(x) for x in (W, *self.factors()))
        s = self.scale
        change = xp.dot(B, 2.0 * s * xp.linear(W, A) + s * s * xp.matmul(B, xp.linear(A, A)))
        own = xp.einsum("oi,oi->o", W, W)  # which forms no array of W's size
        return xp.sqrt(xp.maximum(own + change, 0.0))

    def factor(self, W: Array) -> Array:
        """m/‖W + s B A‖ (out,): what the rows of W + s B A are multiplied by; rows of zeros stay."""
        norm = self.norm(W)
        return xp.reshape(self.lora_magnitude_vector, (-1,)) / xp.where(xp.equal(norm, 0.0), 1.0, norm)


class AdaLoRA(LoRA):
    """ΔW = s P Λ Q, s = α/(r₀ + 10⁻⁵): lora_A is Q, lora_E the diagonal of Λ (r, 1), lora_B is P, r₀ the rank at first.

    Singular values are set to zero by an `Allocator` (Zhang et al. 2023, arXiv 2303.10512); `compact` then takes their
    vectors away. `kept` says which of the r₀ are left.

    >>> import numpy as np
    >>> adapter = AdaLoRA(np.ones((2, 3)), np.ones((4, 2)), 2.0, values=np.array([[1.0], [0.0]]))
    >>> adapter.start, float(adapter.delta()[0, 0]) == 2.0 / (2 + 1e-5)
    (2, True)
    """

    peft_type = "ADALORA"

    def __init__(self, *arrays: Any, values: Array, kept: tuple[bool, ...] | None = None, **options: Any) -> None:
        super().__init__(*arrays, **options)
        self.lora_E = values
        self.kept = kept

    @property
    def start(self) -> int:
        """r₀, the rank before any was pruned."""
        return self.rank if self.kept is None else len(self.kept)

    @property
    def scale(self) -> float:
        """α/(r₀ + 10⁻⁵), as PEFT has it; r₀ where α is not positive."""
        return (self.alpha if self.alpha > 0 else float(self.start)) / (self.start + 1e-5)

    def between(self, h: Array, axis: int) -> Array:
        """h times the singular values and the scale."""
        return h * (xp.reshape(self.lora_E, (-1,) + (1,) * (-1 - axis)) * self.scale)
