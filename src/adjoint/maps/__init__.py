"""Linear maps: the vocabulary, their algebra, their spectra."""

from adjoint.maps.algebra import Block, Composition, Kronecker, Sum, block, kron
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.elementary import Cast, Diagonal, Identity, Negate, Scale, Zero
from adjoint.maps.inverses import Inverse
from adjoint.maps.layout import (
    Broadcast,
    Concatenate,
    DiagonalPart,
    Flatten,
    Flip,
    Permute,
    Reshape,
    Roll,
    Slice,
    Take,
    TakeAlong,
)
from adjoint.maps.matrices import Dense, Einsum, LeftProduct, LowRank, Outer, RightProduct, Weighting
from adjoint.maps.records import SVD, Count, Eigen, Number, Values
from adjoint.maps.reductions import CumulativeSum, LogSoftmax, Normalization, Reduce, Softmax
from adjoint.maps.scipy import Operator, from_scipy
from adjoint.maps.subspaces import Projection, Subspace

__all__ = [
    "SVD", "Adjoint", "Block", "Broadcast", "Cast", "Composition", "Concatenate", "Count", "CumulativeSum", "Dense",
    "Diagonal", "DiagonalPart", "Eigen", "Einsum", "Flatten", "Flip", "Identity", "Inverse", "Kronecker",
    "LeftProduct", "LinearMap", "LogSoftmax", "LowRank", "Negate", "Normalization", "Number", "Operator", "Outer",
    "Permute", "Projection", "Reduce", "Reshape", "RightProduct", "Roll", "Scale", "Slice", "Softmax", "Subspace",
    "Sum", "Take", "TakeAlong", "Values", "Weighting", "Zero", "block", "from_scipy", "kron",
]  # fmt: skip
