"""The operations: importing this package gives every differentiable function of the seam its maps.

An operation is the seam's function itself, so `adjoint.exp` serves arrays of every backend and traced values alike.
"""

from adjoint.arrays import FUNCTIONS
from adjoint.arrays.products import einsum as einsum
from adjoint.ops import elementwise, layout, losses, normalization, products, reductions  # noqa: F401
from adjoint.ops.checkpoint import checkpoint as checkpoint
from adjoint.ops.define import OPERATIONS as OPERATIONS

INTERNAL = {
    "adam_update", "einsum_apply", "gelu_slope", "hold", "normalize_moments", "own", "put", "put_along", "release",
    "reversed_cumulative_sum", "sgd_update", "softmax_residual", "verify",
}  # fmt: skip
PUBLIC = {name: function for name, function in FUNCTIONS.items() if name not in INTERNAL}
globals().update(PUBLIC)
__all__ = ["checkpoint", "einsum", *sorted(PUBLIC)]  # noqa: PLE0604
