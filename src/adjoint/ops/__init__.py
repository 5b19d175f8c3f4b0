"""The operations: importing this package gives every differentiable function of the seam its maps."""

from adjoint.ops import elementwise, layout, networks, products, reductions
from adjoint.ops.define import OPERATIONS, coarse, elementwise as elementwise_operation, operation
