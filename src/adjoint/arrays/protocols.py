"""NumPy's and PyTorch's functions called on traced values: tables from their names to the seam's functions.

An entry has the signature of the function it stands for. A function without an entry raises, and is named in the error.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.numpy_names import NUMPY, UFUNC_ACCUMULATIONS, UFUNC_REDUCTIONS, UFUNCS, Entry
from adjoint.errors import BackendError, TraceError


def numpy_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `ufunc` (np.exp), or one of its methods (np.add.reduce), gives on traced values."""
    name = ufunc.__name__
    if method == "outer":
        x, y = inputs
        inputs = (xp.reshape(x, (*x.shape, *(1,) * len(y.shape))), y)
    table = {"__call__": UFUNCS, "outer": UFUNCS, "reduce": UFUNC_REDUCTIONS, "accumulate": UFUNC_ACCUMULATIONS}
    title = f"np.{name}" if method == "__call__" else f"np.{name}.{method}"
    return _call(title, table.get(method, {}).get(name), inputs, kwargs)


def numpy_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function of NumPy that is no ufunc (np.sum, np.linalg.norm) gives on traced values."""
    name = f"{func.__module__}.{func.__name__}".removeprefix("numpy.")
    return _call(f"np.{name}", NUMPY.get(name), args, kwargs)


def torch_function(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function of PyTorch (torch.exp, F.linear, Tensor.__add__) gives on traced values."""
    from adjoint.arrays.torch_names import TORCH

    name = func.__name__.removeprefix("special_")
    if (name.endswith("_") and not name.endswith("__")) or name == "__setitem__":
        raise TraceError(
            f"Tensor.{name} would change a tensor in place by a traced value: use the function that returns one."
        )
    f = TORCH.get(func.__qualname__) or TORCH.get(name)
    spelled = {"axis": "dim", "keepdims": "keepdim"}
    return _call(f"torch.{name}", f, args, {spelled.get(key, key): value for key, value in kwargs.items()})


# Arguments that say nothing when they have these values
SILENT = {
    ("where", True), ("casting", "same_kind"), ("order", "K"), ("order", "C"), ("subok", True), ("copy", True),
    ("optimize", True), ("optimize", False), ("inplace", False), ("ignore_index", -100), ("label_smoothing", 0.0),
    ("log_target", False), ("norm_type", 2.0), ("scale_grad_by_freq", False), ("sparse", False), ("_stacklevel", 3),
}  # fmt: skip


def _is_silent(key: str, value: Any) -> bool:
    return value is None or (isinstance(value, (bool, int, float, str)) and (key, value) in SILENT)


def _call(title: str, f: Entry | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if f is None:
        raise BackendError(
            f"{title} has no operation here, so its derivative is not known: write it with functions of adjoint's, or "
            "add the operation (CONTRIBUTING.md shows how)."
        )
    if kwargs.get("out") is not None:
        raise TraceError(f"{title}: out= would change an array in place by a traced value: use the result instead.")
    signature = _signature(f)
    said = {key: value for key, value in kwargs.items() if key in signature.parameters or not _is_silent(key, value)}
    if "dtype" in said and "dtype" not in signature.parameters:
        args = (xp.astype(args[0], said.pop("dtype")), *args[1:])
    try:
        signature.bind(*args, **said)
    except TypeError as error:
        raise BackendError(f"{title} is known here with the arguments {signature}: {error}.") from None
    return f(*args, **said)


@functools.cache
def _signature(f: Entry) -> inspect.Signature:
    return inspect.signature(f)
