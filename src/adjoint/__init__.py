"""adjoint: deep learning as what it is, linear maps and their adjoints.

>>> import numpy as np, adjoint as aj
>>> net = aj.nn.MLP((4, 8, 2), rng=0)
>>> y, J = aj.linearize(net, np.ones(4, "float32"))
>>> J
Dense @ Diagonal @ Dense: (4,) → (2,)
>>> int(J.nullity())
2
"""

from adjoint import _blas as _blas  # first of all: it chooses OpenBLAS's kernels before NumPy loads

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from adjoint import classical, data, interop, maps, nn, ops, optim, random, training
from adjoint.checks import Linearity, Report, check, is_linear
from adjoint.classical import *  # noqa: F403
from adjoint.errors import (
    BackendError,
    CheckpointError,
    DerivativeError,
    DtypeError,
    InPlaceError,
    ShapeError,
    SpectrumError,
    TraceError,
)
from adjoint.interop import load, open, save
from adjoint.maps import *  # noqa: F403
from adjoint.nn.init import seed
from adjoint.nn.module import to
from adjoint.ops import *  # noqa: F403
from adjoint.samples import per_sample_grad
from adjoint.training import fit
from adjoint.transforms import ggn, grad, hvp, jacobian, jvp, linearize, stop_gradient, value_and_grad, vjp
from adjoint.vectorized import vmap

if TYPE_CHECKING:
    from adjoint import costs as costs
    from adjoint import inspection as inspection
    from adjoint import lora, models, quantization, slim
    from adjoint.costs import cost
    from adjoint.inspection import diff, inspect
    from adjoint.quantization import quantize
    from adjoint.slim import factorize
else:
    _HOMES = {
        "cost": "costs",
        "diff": "inspection",
        "factorize": "slim",
        "inspect": "inspection",
        "quantize": "quantization",
    }

    def __getattr__(name: str) -> Any:
        """Costs, inspection, the architectures, adaptation, quantization and slimming, which load when first used."""
        from importlib import import_module

        if name in ("costs", "inspection", "lora", "models", "quantization", "slim"):
            return import_module(f"adjoint.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'adjoint' has no attribute {name!r}")  # Python adds the name that is meant
        found = globals()[name] = getattr(import_module(f"adjoint.{_HOMES[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*__all__, "costs", "inspection", *(name for name in globals() if name.startswith("__"))})


__all__ = [  # noqa: PLE0604
    "BackendError",
    "CheckpointError",
    "DerivativeError",
    "DtypeError",
    "InPlaceError",
    "Linearity",
    "Report",
    "ShapeError",
    "SpectrumError",
    "TraceError",
    "check",
    "cost",
    "data",
    "diff",
    "factorize",
    "fit",
    "ggn",
    "grad",
    "hvp",
    "inspect",
    "interop",
    "is_linear",
    "jacobian",
    "jvp",
    "linearize",
    "load",
    "lora",
    "models",
    "nn",
    "open",
    "optim",
    "per_sample_grad",
    "quantization",
    "quantize",
    "random",
    "save",
    "seed",
    "slim",
    "stop_gradient",
    "to",
    "training",
    "value_and_grad",
    "vjp",
    "vmap",
    *classical.__all__,
    *maps.__all__,
    *ops.__all__,
]
