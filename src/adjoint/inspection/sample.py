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

    `loss` is what the gradients are of, "" where they are those of a random unit cotangent, and `value` that loss.

    >>> import numpy as np, adjoint as aj
    >>> print(Sample(np.ones((2, 3)), aj.nn.Linear(3, 1)))
    2 examples of 3, float64; gradients of a random unit cotangent at the output
    """

    x: Array = field(repr=False)
    net: Module = field(repr=False)
    loss: str = ""
    value: float = math.nan

    @property
    def cotangent(self) -> str:
        """What is sent back."""
        return f"{self.loss}, {self.value:.4g} there" if self.loss else "a random unit cotangent at the output"

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
        return f"{n} example{'s' * (n != 1)} of {size}, {self.dtype}; gradients of {self.cotangent}"
