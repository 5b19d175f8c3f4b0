"""Linear maps: the vocabulary, their algebra, their spectra."""

from adjoint.maps.algebra import block, kron
from adjoint.maps.attention import Attention
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.columns import Columns, Unfold
from adjoint.maps.combinations import Composition, Kronecker, Sum
from adjoint.maps.convolution import Convolution, ConvolutionTranspose
from adjoint.maps.convolution_weighting import ConvolutionWeighting, TransposedWeighting
from adjoint.maps.elementary import Cast, Diagonal, Gate, Identity, Negate, Scale, Zero
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
from adjoint.maps.linalg import CofactorChange, Exponential, Solve, SymmetricPart, TriangularSolve, UpperFold
from adjoint.maps.matrices import Dense, Einsum, LeftProduct, LowRank, Outer, RightProduct, Weighting
from adjoint.maps.normalization import Gain, Normalization
from adjoint.maps.pooling import Selection
from adjoint.maps.quantized import QuantizedDense
from adjoint.maps.records import SVD, Count, Eigen, Number, Values
from adjoint.maps.recurrent import Recurrence
from adjoint.maps.reductions import CumulativeSum, LogSoftmax, Reduce, Softmax, Surprisal
from adjoint.maps.resampling import Resampling
from adjoint.maps.rotations import Rotation
from adjoint.maps.scipy import Operator, from_scipy
from adjoint.maps.self_attention import PackedAttention
from adjoint.maps.subspaces import Projection, Subspace
from adjoint.maps.tables import Block

__all__ = [
    "SVD", "Adjoint", "Attention", "Block", "Broadcast", "Cast", "CofactorChange", "Columns", "Composition",
    "Concatenate", "Convolution", "ConvolutionTranspose", "ConvolutionWeighting", "Count", "CumulativeSum", "Dense",
    "Diagonal", "DiagonalPart", "Eigen", "Einsum", "Exponential", "Flatten", "Flip", "Gain", "Gate", "Identity",
    "Inverse", "Kronecker", "LeftProduct", "LinearMap", "LogSoftmax", "LowRank", "Negate", "Normalization", "Number",
    "Operator", "Outer", "PackedAttention", "Permute", "Projection", "QuantizedDense", "Recurrence", "Reduce",
    "Resampling", "Reshape", "RightProduct", "Roll", "Rotation", "Scale", "Selection", "Slice", "Softmax", "Solve",
    "Subspace", "Sum", "Surprisal", "SymmetricPart", "Take", "TakeAlong", "TransposedWeighting", "TriangularSolve",
    "Unfold", "UpperFold", "Values", "Weighting", "Zero", "block", "from_scipy", "kron",
]  # fmt: skip
