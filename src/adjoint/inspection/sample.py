"""The sample that a network was inspected at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from adjoint.arrays.dispatch import Array
from adjoint.nn.module import Module


@dataclass(frozen=True)
class Sample:
    """The examples `x` (n, *in_shape) and the network that they passed, in evaluation mode.

    Gradients are at the first `points` of them: of the `loss`, whose `value` is there, or where that is "" of a random
    unit cotangent.

    >>> import numpy as np, adjoint as aj
    >>> print(Sample(np.ones((2, 3)), aj.nn.Linear(3, 1)))
    2 examples of 3, float64
    >>> print(Sample(np.ones((64, 3)), aj.nn.Linear(3, 1), 16, "MSELoss", 0.25).gradients)
    gradients of MSELoss (0.25), for the first 16
    """

    x: Array = field(repr=False)
    net: Module = field(repr=False)
    points: int = 16
    loss: str = ""
    value: float = math.nan

    @property
    def cotangent(self) -> str:
        """What is sent back."""
        return f"{self.loss} ({self.value:.4g})" if self.loss else "a random unit cotangent at the output"

    @property
    def gradients(self) -> str:
        """Of what they are, and at which examples where not at all."""
        first = f", for the first {self.points}" if self.points < self.x.shape[0] else ""
        return f"gradients of {self.cotangent}{first}"

    def as_dict(self) -> dict[str, Any]:
        """Shape, dtype, loss."""
        value = None if math.isnan(self.value) else self.value
        return {"shape": list(self.x.shape), "dtype": self.dtype, "loss": self.loss or None, "value": value}

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return str(self.x.dtype).removeprefix("torch.")

    def __str__(self) -> str:
        n, *each = self.x.shape
        size = "×".join(map(str, each))
        return f"{n:,} example{'s' * (n != 1)} of {size}, {self.dtype}"
