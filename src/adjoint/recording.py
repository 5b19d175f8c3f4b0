"""One run of a function under a tape: arguments taken apart into traced leaves, results put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array, is_complex, is_floating, strangers
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError, DtypeError, ShapeError
from adjoint.tape import Tape
from adjoint.trees import Structure, carry, flatten

Function = Callable[..., Any]


class Argument:
    """A differentiated argument: its structure (None for a single array) and the traced values of its leaves."""

    __slots__ = ("structure", "traced")

    def __init__(self, structure: Structure | None, traced: list[Traced]) -> None:
        self.structure = structure
        self.traced = traced

    def leaves(self, tree: Any, what: str) -> Sequence[Any]:
        """The leaves of a tangent of this argument, checked."""
        found = (tree,) if self.structure is None else self.structure.leaves(tree)
        return [beside(x, v, f"{what}: a tangent", "primal") for x, v in zip(self.traced, found, strict=True)]

    def gradient(self, cotangents: dict[int, Any]) -> Any:
        """The cotangents of this argument in its own structure and dtype; zeros where none arrived."""
        leaves = [_fitted(x.value, cotangents.get(x.i)) for x in self.traced]
        return leaves[0] if self.structure is None else self.structure.tree(leaves)


def _fitted(value: Array, u: Any) -> Any:
    if u is None:
        return xp.zeros_like(value)
    if u.shape != value.shape:
        raise ShapeError(
            f"grad: a gradient of shape {tuple(u.shape)} arrived at an argument of shape {tuple(value.shape)}: the map "
            "of an operation on the way gives another space than its operand's (a broadcast that is not summed?); "
            "aj.check(f, …) finds the operand."
        )
    return xp.own(u) if u.dtype == value.dtype else xp.astype(u, value.dtype)


def separated(cotangents: dict[int, Any], *others: Any) -> dict[int, Any]:
    """The cotangents, with copies where one lies in the memory of another, or of one of the others."""
    given = {xp.owner(u) if is_array(u) else id(u) for u in others}
    seen = {xp.owner(u) for u in cotangents.values()}
    if len(seen) == len(cotangents) and not (given and given & seen):
        return cotangents
    for i, u in cotangents.items():
        whose = xp.owner(u)
        if whose in given:
            cotangents[i] = xp.copy(u)
        given.add(whose)
    return cotangents


class Recording:
    """A function's run: its tape, the edges recorded, its differentiated arguments and its result.

    Runs on entry as a context. On leaving it lets the arrays go that were guarded against changes in place, unless it
    is to be kept: then its leaves are copies, and what else it refers to stays guarded until `release`.
    """

    __slots__ = ("argnums", "args", "arguments", "aux", "edges", "f", "has_aux", "keep", "kwargs", "result", "tape")

    def __init__(
        self,
        f: Function,
        args: Sequence[Any],
        argnums: Sequence[int],
        has_aux: bool = False,
        keep: bool = False,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.f, self.args, self.argnums, self.kwargs = f, args, argnums, kwargs or {}
        self.has_aux, self.keep, self.tape = has_aux, keep, Tape()

    def __enter__(self) -> Recording:
        given = list(self.args)
        self.arguments: list[Argument] = []
        self.tape.__enter__()
        try:
            for k in self.argnums:
                if not -len(given) <= k < len(given):
                    raise TypeError(f"argument {k} of {name_of(self.f)} is to be differentiated, it got {len(given)}.")
                if given[k] is not self.args[k]:
                    raise ValueError(f"argument {k} of {name_of(self.f)} is named twice in argnums={self.argnums}.")
                given[k], argument = traced(given[k], self.tape, self.keep, self.f)
                self.arguments.append(argument)
            result = self.f(*given, **self.kwargs)
            if self.has_aux and not (isinstance(result, (tuple, list)) and len(result) == 2):
                raise TypeError(
                    f"with has_aux=True {name_of(self.f)} is to return (value, aux), it returned a value of type "
                    f"{type(result).__name__}."
                )
        except BaseException as failure:
            self.keep = False
            self.__exit__(type(failure), failure, failure.__traceback__)
            raise
        for k, argument in zip(self.argnums, self.arguments, strict=True):
            if argument.structure is not None and argument.structure.buffered:
                carry(given[k], self.args[k])
        self.edges = self.tape.close()
        self.result: Any = result[0] if self.has_aux else result
        self.aux: Any = result[1] if self.has_aux else None
        return self

    def __exit__(self, *failure: Any) -> None:
        self.tape.__exit__(*failure)
        if not self.keep:
            try:
                if failure[0] is None:
                    self.tape.verify()
            finally:
                self.tape.release()

    def place(self, x: Any) -> int | None:
        """Where a part of the result stands on this tape; None when it is constant."""
        return x.i if type(x) is Traced and x.tape is self.tape else None

    def value(self, y: Any) -> Any:
        """The array inside a part of the result; trees part by part."""
        if type(y) is Traced:
            return y.value if y.tape is self.tape else y
        if y is None or is_array(y) or isinstance(y, (int, float)):
            return y
        leaves, treedef = flatten(y)
        return treedef.unflatten([self.value(leaf) if type(leaf) is Traced else leaf for leaf in leaves])


def traced(x: Any, tape: Tape, own: bool, f: Function) -> tuple[Any, Argument]:
    """The argument with traced leaves, and how it was taken apart."""
    if is_array(x) or isinstance(x, (int, float)):
        leaf = tape.leaf(_leaf(x, tape, own, f))
        return leaf, Argument(None, [leaf])
    structure = Structure(x)
    leaves = [tape.leaf(_leaf(part, tape, own, f)) for part in structure.own()]
    if not leaves:
        raise TypeError(f"{name_of(f)}: there is no floating array to differentiate in {type(x).__name__}.")
    return structure.whole(leaves), Argument(structure, leaves)


def _leaf(x: Any, tape: Tape, own: bool, f: Function) -> Array:
    if not is_array(x):
        return np.float64(x)
    if not is_floating(x.dtype):
        raise DtypeError(
            f"{name_of(f)} is to be differentiated in an array of {x.dtype}: only real floating numbers have a "
            "derivative here; cast it, for instance x.astype('float64')."
        )
    if type(x) is Traced:
        return x
    if own:
        return xp.copy(x)
    tape.hold(x)
    return x


def beside(x: Any, v: Any, what: str, of: str) -> Any:
    """A tangent or cotangent of x, `what` and what it is one `of` for messages; numbers become arrays of x's own kind.

    Raises TypeError, ShapeError, DtypeError or BackendError where it cannot be one.
    """
    shape, number = tuple(getattr(x, "shape", ())), isinstance(v, (int, float))
    if not (number or is_array(v)):
        raise TypeError(f"{what} of type {type(v).__name__} for a {of} of shape {shape}: pass an array.")
    given = () if number else tuple(v.shape)
    if given != shape:
        raise ShapeError(f"{what} of shape {given} for a {of} of shape {shape}.")
    if type(x) is not Traced:
        return v
    if number:
        return xp.asarray(x.value, v, x.dtype)
    if is_complex(v.dtype):
        raise DtypeError(f"{what} of {v.dtype} for a {of} of {x.dtype}: only real numbers have a derivative here.")
    if Traced not in (type(v), type(x.value)) and (names := strangers(v, x.value)):
        raise BackendError(f"{what} and its {of} are arrays of {names}: move one by aj.to(x, backend).")
    return v


def check_scalar(y: Any, f: Function) -> None:
    """Raise `ShapeError` unless y is a single number."""
    if y is None:
        raise ShapeError(f"grad needs a scalar loss, but {name_of(f)} returned None: is its `return` missing?")
    shape = () if isinstance(y, (int, float)) else getattr(y, "shape", None)
    if shape == () and not is_floating(kind := getattr(y, "dtype", "float")):
        raise DtypeError(
            f"grad needs a loss of real floating numbers, but {name_of(f)} returned one of {kind}: the derivative of a "
            "count or a comparison is zero everywhere."
        )
    if shape is None or tuple(shape) != ():
        what = f"of type {type(y).__name__}" if shape is None else f"of shape {tuple(shape)}"
        raise ShapeError(
            f"grad needs a scalar loss, but {name_of(f)} returned a value {what}: reduce it with aj.sum or aj.mean, or "
            "use aj.linearize, aj.vjp or aj.jacobian for the derivative of an array"
            f"{'; for (loss, aux) pass has_aux=True' if isinstance(y, tuple) else ''}."
        )


def name_of(f: Function) -> str:
    """The function's name in messages."""
    return getattr(f, "__name__", type(f).__name__)
