"""What there is to inspect: the weights of a module, of files or of a mapping, and what is left out and why."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import is_floating
from adjoint.inspection import integers
from adjoint.inspection.heads import Heads, attentions, circuits_of
from adjoint.inspection.sliding import Sliding, of_graph, of_module, of_weight
from adjoint.inspection.weight import refused
from adjoint.interop.entries import dtype_of
from adjoint.interop.opening import open as opened
from adjoint.interop.weights import Weights
from adjoint.maps.flat import to_numpy

EMBEDDING = re.compile(r"(^|[._/])(\w*emb\w*|wte|wpe|shared)([._/]|$)", re.IGNORECASE)
ATTENTION = re.compile(
    r"(^|[._/])(\w*attn\w*|\w*attention\w*|[qkvo]_proj|qkv|query|key|value|in_proj_weight)([._/]|$)", re.IGNORECASE
)
UNPACKED = "float32"  # what quantized weights are unpacked to


@dataclass(frozen=True)
class Source:
    """A weight before it is looked at: `read()` gives its numbers, of `dtype`; `tied` are its other names.

    A quantized weight has its format as dtype, such as "nf4", and its numbers unpacked.

    `sliding` says how the kernel of a convolution slides; None for what is no kernel.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]
    tied: tuple[str, ...] = ()
    sliding: Sliding | None = None

    @property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns): the first axis by all others."""
        return self.shape[0], math.prod(self.shape[1:])

    @property
    def numbers(self) -> np.dtype[Any]:
        """The dtype of what is read."""
        return dtype_of(self.dtype if is_floating(self.dtype) else UNPACKED)


@dataclass
class Sources:
    """What a model is made of: its name, exact counts, its weights, and why what is not examined is not.

    `parameters` counts what is tied once; `buffers` are numbers that are not learned; `dtypes` says how many bytes of
    each there are; `heads` are the attentions of a module.
    """

    name: str
    weights: list[Source] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    parameters: int = 0
    buffers: int = 0
    dtypes: dict[str, int] = field(default_factory=dict)
    arrays: int = 0
    net: Any = None
    heads: dict[str, Heads] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(self.dtypes.values())


Sizes = Mapping[str, tuple[int, ...]]


def sources(model: Any, trust_pickle: bool = False, sizes: Sizes | None = None) -> Sources:
    """The weights of a module (this library's or PyTorch's), of `Weights`, of a mapping, or of a path that opens.

    A weight is an array of floating numbers of two axes or more that is a parameter. `sizes` are those of what the
    layers of kernels are given, by the kernel's name. Raises TypeError for anything else, and what `aj.open` raises.

    >>> import adjoint as aj
    >>> found = sources(aj.nn.Linear(3, 2))
    >>> found.parameters, [x.name for x in found.weights], found.skipped
    (8, ['weight'], {'bias': 'one axis: a bias, gain or the like'})
    """
    if isinstance(model, (str, os.PathLike)):
        found = sources(opened(model, trust_pickle=trust_pickle), sizes=sizes)
        found.name = os.path.basename(os.path.normpath(os.fspath(model)))
        return found
    if isinstance(model, Weights):
        result = Sources(os.path.basename(model.files[0]))
        entries = {name: model.entry(name) for name in model}
        _fill(result, (_plain(name, e, e.read) for name, e in entries.items()))
        _headless(result)
        return result
    if hasattr(model, "named_parameters") and hasattr(model, "named_modules"):
        known, unknown = attentions(model)
        result = Sources(type(model).__name__, heads=known)
        _fill(result, _of_module(model))
        result.weights = [
            replace(x, sliding=x.sliding.at(sizes[x.name])) if x.sliding and sizes and x.name in sizes else x
            for x in result.weights
        ]
        result.skipped |= {circuits_of(name): why for name, why in unknown.items()}
        if not known and not unknown:
            _headless(result)
        result.net = model
        return result
    if isinstance(model, Mapping):
        result = Sources("arrays")
        _fill(result, (_plain(name, x, _reading(x)) for name, x in model.items()))
        _headless(result)
        return result
    raise TypeError(
        f"inspect: {type(model).__name__} has no weights: give a module, adjoint.interop.Weights, a mapping of names "
        "to arrays, or the path of a model."
    )


def _headless(result: Sources) -> None:
    """Say that attentions have no circuits where there are weights of such names, and no module that tells of heads."""
    if any(x.kind == "attention" for x in result.weights):
        result.skipped[circuits_of("")] = "how many heads attentions have, their weights do not tell: give their module"


Found = tuple[str, Any, str, bool, Callable[[], np.ndarray], Sliding | None]


def _plain(name: str, x: Any, read: Callable[[], np.ndarray]) -> Found:
    """What is known of an array from its name and shape."""
    shape = _shape(x)
    return name, x, _kind(name, "", shape), False, read, of_weight(name, shape)


def _of_module(model: Any) -> Iterator[Found]:
    """(name, array, kind, whether it is a buffer, reading, sliding) of every array, a tied one once a name."""
    owners, stored = dict(model.named_modules()), integers.of_graph(model)
    slid = of_graph(model, stored)
    torch = type(model).__module__.partition(".")[0] != "adjoint" and hasattr(model, "register_forward_hook")
    options = {"remove_duplicate": False} if torch else {}
    packs = {name: module for name, module in owners.items() if getattr(module, "packed_parameters", 0)}
    for name, pack in packs.items():
        told = f"{name.rpartition('.')[0]}.weight".removeprefix(".")
        yield told, pack, _kind(told, "", pack.shape), False, _reading_packed(pack), None
    for name, x in stored.items():
        read = _reading_packed(x) if isinstance(x, integers.Stored) else _reading(x)
        yield name, x, _kind(name, "", x.shape), False, read, slid.get(name)
    for group, buffer in ((model.named_parameters, False), (model.named_buffers, True)):
        for name, x in group(**options):
            owner, shape = owners.get(name.rpartition(".")[0]), _shape(x)
            if name.rpartition(".")[0] in packs:
                continue
            kind = _kind(name, "" if owner is None else type(owner).__name__, shape)
            sliding = of_module(owner, shape) if name.rpartition(".")[2] == "weight" else None
            yield name, x, kind, buffer, _reading(x), slid.get(name, sliding)


def _fill(result: Sources, found: Iterator[Found]) -> None:
    first: dict[int, str] = {}
    kept: dict[str, Source] = {}
    for name, x, kind, buffer, read, sliding in found:
        if id(x) in first:
            origin = first[id(x)]
            if origin in kept:
                old = kept[origin]
                kept[origin] = replace(old, tied=(*old.tied, name))
            result.skipped[name] = f"tied: it is {origin}"
            continue
        first[id(x)] = name
        dtype, shape = _dtype(x), _shape(x)
        size, result.arrays = math.prod(shape), result.arrays + 1
        result.dtypes[dtype] = result.dtypes.get(dtype, 0) + _nbytes(x, size, dtype)
        if buffer:
            result.buffers += size
        else:
            result.parameters += size
        if why := _why_not(x, shape, dtype, buffer):
            result.skipped[name] = why
        else:
            kept[name] = Source(name, kind, shape, dtype, read, sliding=sliding)
    result.weights = list(kept.values())


def _why_not(x: Any, shape: tuple[int, ...], dtype: str, buffer: bool) -> str:
    """Why an array is no row of the report, or nothing."""
    if buffer:
        return "a buffer: it is not learned"
    if getattr(x, "packed_parameters", 0):
        x, dtype = x.codes, UNPACKED
    if not is_floating(dtype):
        return _no_floats(dtype or type(x).__name__, shape)
    if len(shape) < 2:
        return "one axis: a bias, gain or the like" if shape else "a single number"
    if not math.prod(shape):
        return f"empty: its shape is {shape}"
    if type(x).__name__ == "ShapeArray" or getattr(getattr(x, "device", None), "type", "") == "meta":
        return "no numbers: it only has a shape"
    return refused(shape[0], math.prod(shape[1:]), dtype_of(dtype))


def _no_floats(dtype: str, shape: tuple[int, ...]) -> str:
    if "int" in dtype:
        return f"{dtype}: integers" + ("; if it is quantized, its scales are not known" if len(shape) > 1 else "")
    return f"{dtype}: complex numbers" if "complex" in dtype else f"{dtype}: no floating numbers"


def _kind(name: str, owner: str, shape: tuple[int, ...]) -> str:
    if len(shape) > 2:
        return "kernel"
    if "Embedding" in owner or (not owner and EMBEDDING.search(name)):
        return "embedding"
    return "attention" if ATTENTION.search(name) else "matrix"


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in getattr(x, "shape", ()))


def _dtype(x: Any) -> str:
    """The name of an array's dtype, whatever the order of its bytes."""
    dtype = getattr(x, "dtype", "")
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def _reading(x: Any) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        found = to_numpy(x)
        return found.astype(found.dtype.newbyteorder("="), copy=False)

    return read


def _reading_packed(x: Any) -> Callable[[], np.ndarray]:
    return lambda: to_numpy(x.dequantize(UNPACKED))


def _nbytes(x: Any, size: int, dtype: str) -> int:
    found = getattr(x, "nbytes", None)
    return int(found) if found is not None else size * (dtype_of(dtype).itemsize if dtype else 0)
