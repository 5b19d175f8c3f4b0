"""adjoint: deep learning as linear maps and their adjoints."""

__version__ = "0.1.0"

from adjoint import _blas, ops
from adjoint.arrays import *
from adjoint.maps import *
from adjoint.errors import *
from adjoint.transforms import *
