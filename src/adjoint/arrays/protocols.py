"""NumPy's and PyTorch's functions and methods called on traced values: tables from their names to the seam's functions.

An entry has the signature of the function it stands for. A function without an entry raises, and is named in the error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Set
from typing import Any, NamedTuple, NoReturn

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import FUNCTIONS, backend
from adjoint.arrays.numpy_names import NUMPY as NAMES
from adjoint.arrays.numpy_names import (
    NUMPY_ATTRIBUTES,
    NUMPY_CHANGING,
    NUMPY_METHODS,
    UFUNC_ACCUMULATIONS,
    UFUNC_REDUCTIONS,
    UFUNCS,
    Entry,
    cast,
)
from adjoint.arrays.numpy_order import ORDER
from adjoint.arrays.traced import ELSEWHERE, Traced
from adjoint.errors import BackendError, TraceError

NUMPY = NAMES | ORDER


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
    from adjoint.arrays.torch_names import TORCH, TORCH_METHODS

    name = func.__name__.removeprefix("special_")
    name = name if name.startswith("__") else name.removeprefix("_")
    if (name.endswith("_") and not name.endswith("__")) or name == "__setitem__":
        _changing(f"Tensor.{name}")
    own = TORCH_METHODS.get(name) if func.__qualname__.startswith("Tensor") else None
    return _call(f"torch.{name}", own or TORCH.get(name) or _elsewhere(name), args, kwargs)


def _elsewhere(name: str) -> Entry | None:
    return next((f for ask in ELSEWHERE if (f := ask(name)) is not None), None)


class Names(NamedTuple):
    """What the arrays of one library answer to."""

    title: str
    attributes: dict[str, Entry]
    methods: dict[str, Entry]
    changing: Set[str]


@functools.cache
def _names(kind: type) -> Names:
    if backend(kind).name != "torch":
        shared = {n: f for n, f in NUMPY.items() if hasattr(np.ndarray, n) and n not in NUMPY_CHANGING}
        return Names("ndarray", NUMPY_ATTRIBUTES, shared | NUMPY_METHODS, NUMPY_CHANGING)
    import torch

    from adjoint.arrays.torch_names import TORCH, TORCH_ATTRIBUTES, TORCH_METHODS

    shared = {name: f for name, f in TORCH.items() if hasattr(torch.Tensor, name)}
    changing = {name for name in dir(torch.Tensor) if name.endswith("_") and not name.endswith("__")}
    return Names("Tensor", TORCH_ATTRIBUTES, shared | TORCH_METHODS, changing)


def method(x: Any, name: str) -> Any:
    """The method or attribute of that name that the array inside x has, for x itself; raises AttributeError."""
    if name.startswith("__"):
        raise AttributeError(f"{type(x).__name__!r} object has no attribute {name!r}")
    inner = x
    while type(inner) is Traced:
        inner = inner.value
    kind: Any = type(inner)
    names = _names(kind)
    if name in names.attributes:
        return names.attributes[name](x)
    if name in names.methods:
        return functools.partial(_method, f"{names.title}.{name}", names.methods[name], x)
    if names.title == "Tensor" and (further := _elsewhere(name)):
        return functools.partial(_method, f"Tensor.{name}", further, x)
    if name in names.changing:
        return functools.partial(_changing, f"{names.title}.{name}")
    if name in ("strides", "ctypes"):
        raise AttributeError(
            f"{names.title}.{name}: a traced value has no memory to look into: take windows of it by "
            "np.lib.stride_tricks.sliding_window_view, by slices, or by aj.unfold."
        )
    remedy = f"use aj.{name}(x)" if name in FUNCTIONS else "write it with functions of adjoint's"
    raise AttributeError(
        f"{names.title}.{name} has no operation here: {remedy}, or take it of aj.stop_gradient(x) where no derivative "
        "is wanted."
    )


def _method(title: str, f: Entry, x: Any, /, *args: Any, **kwargs: Any) -> Any:
    return _call(title, f, (x, *args), kwargs)


def _changing(title: str, /, *args: Any, **kwargs: Any) -> NoReturn:
    raise TraceError(
        f"{title} would change an array in place that the derivative may need: use the function that returns a new one."
    )


# Arguments that say nothing when they have these values
SILENT = {
    ("where", True), ("casting", "same_kind"), ("order", "K"), ("order", "C"), ("subok", True), ("copy", True),
    ("optimize", True), ("optimize", False), ("inplace", False), ("ignore_index", -100), ("label_smoothing", 0.0),
    ("log_target", False), ("norm_type", 2.0), ("scale_grad_by_freq", False), ("sparse", False), ("_stacklevel", 3),
    ("copy", False), ("non_blocking", True), ("non_blocking", False),
}  # fmt: skip

# What PyTorch calls dim and keepdim it also takes by NumPy's names
SYNONYMS = {"axis": "dim", "keepdims": "keepdim"}


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
    parameters = signature.parameters
    said = {}
    for key, value in kwargs.items():
        if key not in parameters and SYNONYMS.get(key) in parameters:
            key = SYNONYMS[key]
        if key in parameters or not _is_silent(key, value):
            said[key] = value
    if "dtype" in said and "dtype" not in parameters:
        args = (cast(args[0], said.pop("dtype")), *args[1:])
    try:
        return f(*args, **said)
    except TypeError:
        _check(title, signature, args, said)
        raise


def _check(title: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise `BackendError` where the arguments are not those of the signature."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise BackendError(f"{title} is known here with the arguments {signature}: {error}.") from None


@functools.cache
def _signature(f: Entry) -> inspect.Signature:
    return inspect.signature(f)
