"""A map on another backend: the same map, made of the same numbers, for arrays of that backend."""

from __future__ import annotations

import copy
from importlib import import_module
from types import FunctionType
from typing import Any

from adjoint.arrays.dispatch import backend, is_array
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError, TraceError
from adjoint.maps.base import LinearMap, kept
from adjoint.maps.inverses import Inverse
from adjoint.maps.scipy import Operator

AS_THEY_ARE = (Inverse, Operator)  # they go over NumPy, for arrays of every backend


def moved(part: Any, target: str) -> Any:
    """A map, or a part of one, with its arrays on a backend ("numpy", "torch", "jax"); those that are there are shared.

    What a map computes when first needed is still computed then, and moved. Raises `TraceError` for a map that holds
    traced values, `BackendError` for one that recomputes a program: its function has arrays that cannot be seen.

    >>> import numpy as np, adjoint as aj
    >>> moved(aj.Dense(np.eye(2)) @ aj.Diagonal(np.ones(2)), "torch").maps[0].array().dtype
    torch.float64
    """
    if isinstance(part, LinearMap):
        return part if isinstance(part, AS_THEY_ARE) else kept(_slots(part, target), part)
    if type(part) is Traced:
        raise TraceError("this map holds a traced value, whose derivative would be lost: use A(x) inside a transform.")
    if is_array(part):
        return _array(part, target)
    if isinstance(part, dict):
        return {k: moved(v, target) for k, v in part.items()}
    if isinstance(part, (list, tuple)):
        each = [moved(x, target) for x in part]
        return part._make(each) if hasattr(part, "_make") else type(part)(each)
    kind = type(part)
    if kind.__module__ == "adjoint.ops.checkpoint":
        raise BackendError("a checkpointed program cannot be moved to another backend: move its arrays, run it there.")
    if kind.__module__ == "adjoint.maps.attention":
        return _slots(part, target)
    return part


def _slots(part: Any, target: str) -> Any:
    new = copy.copy(part)
    for kind in type(part).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if name != "__weakref__" and hasattr(part, name):
                value = getattr(part, name)
                lazy = type(value) is FunctionType and name.startswith("_")
                object.__setattr__(new, name, _later(value, target) if lazy else moved(value, target))
    return new


def _later(f: Any, target: str) -> Any:
    return lambda: moved(f(), target)


def _array(x: Any, target: str) -> Any:
    home = backend(type(x))
    if home.__name__ == f"adjoint.arrays.{target}":
        return x
    if home.__name__ == "adjoint.arrays.shapes":
        raise BackendError("this map holds an array that only has a shape: there are no numbers to move.")
    there = import_module(f"adjoint.arrays.{target}")
    return there.astype(there.from_numpy(home.to_numpy(x)), str(x.dtype).removeprefix("torch."))
