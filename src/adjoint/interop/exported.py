"""What a program exported from PyTorch is called with, and the module that it becomes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array, is_array
from adjoint.errors import DtypeError, ShapeError
from adjoint.interop.aten.promotion import BOOL, FLOATING, INTEGER, category, name_of
from adjoint.interop.graph import Graph, Step, Value

KINDS = {BOOL: "truth values", INTEGER: "integers", FLOATING: "floating numbers"}
ABSENT: Any = object()


@dataclass(frozen=True)
class Size:
    """A size that may differ from call to call, within bounds; equal names mean equal sizes."""

    name: str
    low: int
    high: float

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Expected:
    """What an array that a program takes is like."""

    shape: tuple[int | Size, ...]
    dtype: str

    def check(self, title: str, x: Array, sizes: dict[str, tuple[int, str]]) -> None:
        """Raise `ShapeError` or `DtypeError` unless x fits; `sizes` are those met so far, and where."""
        wanted = f"({', '.join(map(str, self.shape))}{',' if len(self.shape) == 1 else ''})"
        shape = tuple(x.shape)
        if len(shape) != len(self.shape):
            raise ShapeError(f"{title} has the shape {shape}; the program was exported for {wanted}.")
        for axis, (n, size) in enumerate(zip(shape, self.shape, strict=True)):
            if isinstance(size, int):
                if n != size:
                    raise ShapeError(
                        f"{title} has the shape {shape}; the program was exported for {wanted}, axis {axis} of size "
                        f"{size} only: export with such an example, or with dynamic_shapes."
                    )
                continue
            if not size.low <= n <= size.high:
                raise ShapeError(f"{title} has {n} on axis {axis}; the program takes {size.low} to {size.high}.")
            met, where = sizes.setdefault(size.name, (n, f"axis {axis} of {title}"))
            if met != n:
                raise ShapeError(f"{title} has {n} on axis {axis}, where {where} has {met}: both are {size.name}.")
        kind = category(name_of(x.dtype))
        if kind != category(self.dtype):
            raise DtypeError(
                f"{title} has {KINDS[kind]} ({name_of(x.dtype)}); the program was exported for "
                f"{KINDS[category(self.dtype)]} ({self.dtype})."
            )


class Interface:
    """How a program is called: the parameters of `forward`, and what stood in each when it was exported.

    `given` has for every parameter a nest of tuples, lists and dicts with a `Value` for each array, and constants.
    """

    __slots__ = ("arrays", "given", "name", "signature")

    def __init__(
        self, name: str, signature: inspect.Signature, given: Mapping[str, Any], arrays: Mapping[str, Expected]
    ) -> None:
        self.name = name
        self.signature = signature
        self.given = dict(given)
        self.arrays = dict(arrays)

    def values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Array]:
        """The arrays of a call by the names of the program's inputs; raises where they are not those expected."""
        try:
            bound = self.signature.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; it takes {', '.join(self.given) or 'nothing'}.") from None
        values: dict[str, Array] = {}
        sizes: dict[str, tuple[int, str]] = {}
        for name in {**self.given, **bound}:
            if name not in self.given:
                default = self.signature.parameters[name].default
                if bound[name] is not None and (is_array(bound[name]) or not same(bound[name], default)):
                    raise TypeError(f"{self.name}: {name} was not given when the program was exported.")
                continue
            for title, wanted, x in paired(name, self.given[name], bound.get(name, ABSENT)):
                self._take(title, wanted, x, values, sizes)
        return values

    def _take(self, title: str, wanted: Any, x: Any, values: dict[str, Array], sizes: dict[str, Any]) -> None:
        title = f"{self.name}: {title}"
        if not isinstance(wanted, Value):
            if x is not ABSENT and not same(x, wanted):
                raise ValueError(f"{title} was {wanted!r} when the program was exported, and is fixed; not {x!r}.")
        elif x is ABSENT:
            raise TypeError(f"{title} is missing.")
        elif not is_array(x):
            raise TypeError(f"{title} is to be an array, as when the program was exported, not {type(x).__name__}.")
        else:
            if wanted in self.arrays:
                self.arrays[wanted].check(title, x, sizes)
            values[wanted] = x


def same(x: Any, y: Any) -> bool:
    """Whether two constants are one."""
    return x is y or (type(x) is type(y) and bool(x == y))


def paired(title: str, wanted: Any, given: Any) -> Iterator[tuple[str, Any, Any]]:
    """(name, what is wanted, what is given) for every leaf of a nest; raises TypeError where the nests differ."""
    if isinstance(wanted, dict):
        if given is not ABSENT and not isinstance(given, Mapping):
            raise TypeError(f"{title} is to be a dict with {', '.join(map(str, wanted))}, not {type(given).__name__}.")
        for key in wanted if given is ABSENT else {**wanted, **given}:
            if key not in wanted:
                raise TypeError(f"{title}[{key!r}] was not given when the program was exported.")
            yield from paired(f"{title}[{key!r}]", wanted[key], ABSENT if given is ABSENT else given.get(key, ABSENT))
    elif isinstance(wanted, (list, tuple)):
        if given is not ABSENT and (not isinstance(given, (list, tuple)) or len(given) != len(wanted)):
            found = len(given) if isinstance(given, (list, tuple)) else type(given).__name__
            raise TypeError(f"{title} is to be a sequence of {len(wanted)}, as when exported, not {found}.")
        for i, part in enumerate(wanted):
            yield from paired(f"{title}[{i}]", part, ABSENT if given is ABSENT else given[i])
    else:
        yield title, wanted, given


class Exported(Graph):
    """A PyTorch module as a plan of this library's operations, called as the module is.

    Results keep the module's structure: tuples, lists and dicts are such, named results (dataclasses, transformers'
    outputs) are dicts. Buffers that a call changes are written back. `fallbacks` names the operators that PyTorch
    computes, each with the place where it occurs.
    """

    def __init__(
        self,
        interface: Interface,
        inputs: Sequence[str],
        result: Any,
        changes: Mapping[str, Any],
        steps: Sequence[Step],
        parameters: Mapping[str, Array],
        buffers: Mapping[str, Array],
        constants: Mapping[str, Array],
        fallbacks: Sequence[str] = (),
    ) -> None:
        sizes = {
            k: tuple((n, n) if isinstance(n, int) else (n.low, n.high) for n in x.shape)
            for k, x in interface.arrays.items()
        }
        super().__init__(inputs, (result, dict(changes)), steps, parameters, buffers, sizes)
        for name, array in constants.items():
            self.register_buffer(name, array, persistent=False)
        self.interface = interface
        self.fallbacks = tuple(fallbacks)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result, for arguments of the structure and the shapes that it was exported with."""
        fields = self.__dict__
        values = {name: fields[name] for name in self.form().names}
        values.update(self.interface.values(args, kwargs))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # PyTorch gives no warnings of NumPy's
            result, changes = self.plan.run(values)
        for name, array in changes.items():
            setattr(self, name, array)
        return result
