"""Arrays of shape and dtype only: the same program run on them counts what it costs, and explains what does not fit.

What a function costs, in floating-point operations; a function of one number counts one, exp and tanh as well as +:

| functions | FLOPs |
|---|---|
| element-wise arithmetic, comparisons, logic, rounding, exp, tanh, erf, sigmoid … | 1 an entry of the result |
| sum, prod, max, argmax, any, cumulative_sum … | 1 an entry of the operand |
| matmul (…, n, k) by (…, k, m) | 2·n·k·m for each of the batch |
| einsum of two operands, or each step of the optimal pairwise path | 2·∏ of all sizes; 1·∏ where no index is summed |
| convolution and its adjoints | 2·N·O·positions·C/groups·kernel, and 1 an entry of the result for the bias |
| linear | its matmul, and 1 an entry of the result for the bias |
| quantized_linear | its matmul, and 2 an entry of the matrix that is unpacked |
| activations, softmax, normalizations, optimizer updates | those of the composition they stand for |
| solve, inv, cholesky, qr, svd, eigh, det … | Golub & Van Loan's: see `adjoint.arrays.shapes.linalg` |
| max pooling; average pooling and interpolation | 1 an entry of every window; 2 an entry and axis that is weighted |
| segment_sum, put_along, fold | 1 an entry added |
| layout, indexing, casts, new arrays | 0 |

Bytes are those of the operands read and the results written, once each: coarse functions count as fused. Views by
NumPy's rules (reshape where strides allow, permute, slices, broadcast_to, flip, diagonal) are free, gathers read what
they pick, optimizer updates work in place. Results have NumPy's dtypes; bfloat16 behaves beside others as float16 does.
"""

from adjoint.arrays.shapes.array import ShapeArray, like
from adjoint.arrays.shapes.attention import attend_cotangents as attend_cotangents
from adjoint.arrays.shapes.attention import attend_residual as attend_residual
from adjoint.arrays.shapes.convolutions import convolution as convolution
from adjoint.arrays.shapes.convolutions import convolution_input as convolution_input
from adjoint.arrays.shapes.convolutions import convolution_weight as convolution_weight
from adjoint.arrays.shapes.convolutions import fold as fold
from adjoint.arrays.shapes.convolutions import unfold as unfold
from adjoint.arrays.shapes.elementwise import ELEMENTWISE
from adjoint.arrays.shapes.layers import LAYERS
from adjoint.arrays.shapes.layout import *  # noqa: F403
from adjoint.arrays.shapes.linalg import LINALG
from adjoint.arrays.shapes.pooling import max_pool as max_pool
from adjoint.arrays.shapes.pooling import pick as pick
from adjoint.arrays.shapes.pooling import place as place
from adjoint.arrays.shapes.pooling import resample as resample
from adjoint.arrays.shapes.positions import rotate as rotate
from adjoint.arrays.shapes.products import *  # noqa: F403
from adjoint.arrays.shapes.quantized import quantized_linear as quantized_linear
from adjoint.arrays.shapes.random import random_bits as random_bits
from adjoint.arrays.shapes.random import random_mask as random_mask
from adjoint.arrays.shapes.reductions import REDUCTIONS
from adjoint.arrays.shapes.tally import Tally, count
from adjoint.arrays.shapes.updates import UPDATES

__all__ = ["ShapeArray", "Tally", "count", "like"]

name = "shapes"
globals().update({**ELEMENTWISE, **REDUCTIONS, **LAYERS, **LINALG, **UPDATES})
