"""Linear maps: the vocabulary, their algebra, their spectra."""

from adjoint.maps.algebra import Block, Composition, Kronecker, Sum, block, kron
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.elementary import Cast, Diagonal, Identity, Negate, Scale, Zero
from adjoint.maps.layout import (
    Broadcast,
    Concatenate,
    DiagonalPart,
    Flip,
    Permute,
    Reshape,
    Roll,
    Slice,
    Take,
    TakeAlong,
)
from adjoint.maps.matrices import Dense, Einsum, LeftProduct, LowRank, Outer, RightProduct, Weighting
from adjoint.maps.reductions import CumulativeSum, LogSoftmax, Normalization, Reduce, Softmax

__all__ = [
    "Adjoint", "Block", "Broadcast", "Cast", "Composition", "Concatenate", "CumulativeSum", "Dense", "Diagonal",
    "DiagonalPart", "Einsum", "Flip", "Identity", "Kronecker", "LeftProduct", "LinearMap", "LogSoftmax", "LowRank",
    "Negate", "Normalization", "Outer", "Permute", "Reduce", "Reshape", "RightProduct", "Roll", "Scale", "Slice",
    "Softmax", "Sum", "Take", "TakeAlong", "Weighting", "Zero", "block", "kron",
]  # fmt: skip
