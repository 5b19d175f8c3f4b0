"""The seam to NumPy, PyTorch, JAX and to arrays that only have shapes: one list of functions, dispatched by type."""

from adjoint.arrays.activations import *  # noqa: F403
from adjoint.arrays.dispatch import FUNCTIONS as FUNCTIONS
from adjoint.arrays.elementwise import *  # noqa: F403
from adjoint.arrays.layout import *  # noqa: F403
from adjoint.arrays.losses import *  # noqa: F403
from adjoint.arrays.normalization import *  # noqa: F403
from adjoint.arrays.products import *  # noqa: F403
from adjoint.arrays.reductions import *  # noqa: F403
from adjoint.arrays.updates import *  # noqa: F403
