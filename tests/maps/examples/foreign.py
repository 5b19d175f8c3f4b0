"""Examples of derivatives that PyTorch computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import digamma

from adjoint.interop.foreign import Foreign, ForeignMap
from tests.maps.examples.example import Example, Shape


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(1.0, 2.0, shape)


def parts(x: Any, y: Any) -> Any:
    """Two values of two operands; the second is x yᵀ."""
    return x.sum(), torch.outer(x, y)


EXAMPLES = [
    Example(
        ForeignMap,
        lambda x: ForeignMap(Foreign(torch.lgamma, "lgamma"), (x,), 0, 0, (3,)),
        ((3,),),
        lambda x: np.diag(digamma(x)),
        (positive,),
        held=True,
    ),
    Example(
        ForeignMap,
        lambda x, y: ForeignMap(Foreign(parts, "parts"), (x, y), 1, 1, (2, 3)),
        ((2,), (3,)),
        lambda x, y: np.kron(x[:, None], np.eye(3)),
        held=True,
    ),
]
