"""Dispatch on the types of the arrays: one dict lookup a call, and no backend imported before its arrays appear."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from adjoint.errors import BackendError, DtypeError, ShapeError

P = ParamSpec("P")
R = TypeVar("R")
Array = Any
Shape = tuple[int, ...]

SCALAR, NUMBER, NUMPY, DEVICE, SHAPES, TRACED = range(6)
_OWNERS = {
    ("numpy", "ndarray"): (NUMPY, "adjoint.arrays.numpy"),
    ("numpy", "generic"): (NUMBER, "adjoint.arrays.numpy"),
    ("torch", "Tensor"): (DEVICE, "adjoint.arrays.torch"),
    ("jax", "Array"): (DEVICE, "adjoint.arrays.jax"),
    ("jaxlib", "ArrayImpl"): (DEVICE, "adjoint.arrays.jax"),
    ("jax", "Tracer"): (DEVICE, "adjoint.arrays.jax"),
    ("adjoint", "ShapeArray"): (SHAPES, "adjoint.arrays.shapes"),
}
FUNCTIONS: dict[str, Any] = {}


@functools.cache
def _known(kind: type) -> tuple[int, str] | None:
    """Precedence and module of the backend that owns arrays of this type; None when no backend does."""
    from adjoint.arrays.traced import Traced

    if kind is Traced:
        return TRACED, ""
    if kind in (bool, int, float, complex, list, tuple, type(None)):
        return SCALAR, "adjoint.arrays.numpy"
    for base in kind.__mro__:
        found = _OWNERS.get((base.__module__.partition(".")[0], base.__name__))
        if found:
            return found
    return None


def backend(kind: type) -> ModuleType:
    """The backend module that serves arrays of type `kind`.

    >>> import numpy as np
    >>> backend(np.ndarray).__name__
    'adjoint.arrays.numpy'
    """
    known = _known(kind)
    if known is None:
        raise BackendError(
            f"no backend knows {kind.__module__}.{kind.__qualname__}: pass NumPy, PyTorch or JAX arrays."
        )
    return import_module(known[1])


def strangers(x: Array, y: Array) -> str:
    """The names of two arrays' backends where they cannot meet in one call, else nothing.

    >>> import numpy as np, torch
    >>> strangers(torch.ones(2), np.ones(2)), strangers(np.ones(2), np.ones(2))
    ('torch and numpy', '')
    """
    names = [backend(type(part)).__name__.rpartition(".")[2] for part in (x, y)]
    return " and ".join(names) if "torch" in names and names[0] != names[1] else ""


def is_array(x: Any) -> bool:
    """Whether `x` is an array of some backend, or a traced value (Python numbers and lists are not)."""
    kind: type = type(x)
    known = _known(kind)
    return known is not None and known[0] != SCALAR


@functools.cache
def is_floating(dtype: Any) -> bool:
    """Whether a dtype of any backend is one of real floating numbers.

    >>> import numpy as np
    >>> is_floating(np.dtype("float32")), is_floating(np.dtype("int64"))
    (True, False)
    """
    return "float" in str(dtype)


@functools.cache
def is_complex(dtype: Any) -> bool:
    """Whether a dtype of any backend is one of complex numbers.

    >>> import numpy as np
    >>> is_complex(np.dtype("complex128")), is_complex(np.dtype("float64"))
    (True, False)
    """
    return "complex" in str(dtype)


class Table(dict[Any, Callable[..., Any]]):
    """Implementations of one function by operand type (a tuple of types where it takes several arrays)."""

    __slots__ = ("composed", "name")

    def __init__(self, name: str, composed: Callable[..., Any] | None) -> None:
        super().__init__()
        self.name = name
        self.composed = composed

    def __missing__(self, kinds: Any) -> Callable[..., Any]:
        kind = kinds if isinstance(kinds, type) else self._dominant(kinds)
        found, home = self.get(kind), None
        if found is None:
            home = None if _known(kind) == (TRACED, "") else backend(kind)
            found = self.composed if home is None else getattr(home, self.name, self.composed)
        if found is None:
            raise BackendError(f"{self.name} has no rule for {kind.__module__}.{kind.__name__}: see CONTRIBUTING.md.")
        fitted = getattr(home, "fitted", None)
        if fitted is not None:
            found = fitted(self.name, found, kinds)
        self[kinds] = found
        return found

    def _dominant(self, kinds: tuple[type, ...]) -> type:
        ranked = {kind: _known(kind) for kind in kinds}
        for kind, known in ranked.items():
            if known is None:
                raise BackendError(
                    f"{self.name} cannot take {kind.__module__}.{kind.__qualname__}: pass NumPy, PyTorch or JAX arrays."
                )
        best = max(kinds, key=lambda kind: ranked[kind][0])  # type: ignore[index]
        modules = {k[1] for k in ranked.values() if k and k[0] in (NUMPY, DEVICE)}
        if len(modules) > 1 and "adjoint.arrays.torch" in modules:
            names = " and ".join(sorted(m.rpartition(".")[2] for m in modules))
            raise BackendError(f"{self.name}: arrays of {names} in one call; move one of them with aj.to(x, backend).")
        return best


def explain(table: Table, error: Exception, operands: tuple[Any, ...], options: dict[str, Any]) -> Exception:
    """The clearest error for a failed call: what the shape-only backend says of the same shapes, else the error."""
    from adjoint.arrays import shapes

    if isinstance(error, AttributeError):
        lists = [type(x).__name__ for x in operands if isinstance(x, (list, tuple))]
        return TypeError(f"{table.name}: a {lists[0]} where an array is needed: np.asarray(x)") if lists else error
    own = getattr(shapes, table.name, None)
    function = own or table.composed
    if function is None or isinstance(error, (DtypeError, BackendError)) or (isinstance(error, ShapeError) and not own):
        return error
    try:
        function(*[shapes.like(x) for x in operands], **options)
    except (ShapeError, DtypeError) as clear:
        return clear
    except Exception:
        return error
    return error


def _unary(t: Table) -> Callable[..., Any]:
    def call(x):  # type: ignore[no-untyped-def]
        try:
            return t[type(x)](x)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise explain(t, error, (x,), {}) from None

    return call


def _unary_options(t: Table) -> Callable[..., Any]:
    def call(x, *args, **options):  # type: ignore[no-untyped-def]
        try:
            return t[type(x)](x, *args, **options)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise explain(t, error, (x, *args), options) from None

    return call


def _binary(t: Table) -> Callable[..., Any]:
    def call(x, y):  # type: ignore[no-untyped-def]
        try:
            return t[type(x), type(y)](x, y)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise explain(t, error, (x, y), {}) from None

    return call


def _ternary(t: Table) -> Callable[..., Any]:
    def call(x, y=None, z=None):  # type: ignore[no-untyped-def]
        try:
            return t[type(x), type(y), type(z)](x, y, z)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise explain(t, error, (x, y, z), {}) from None

    return call


def _general(t: Table, arity: int) -> Callable[..., Any]:
    def call(*operands, **options):  # type: ignore[no-untyped-def]
        try:
            return t[tuple([type(x) for x in operands[:arity]])](*operands, **options)
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
            raise explain(t, error, operands, options) from None

    return call


def _sequence(t: Table) -> Callable[..., Any]:
    def call(arrays, *args, **options):  # type: ignore[no-untyped-def]
        try:
            return t[tuple([type(x) for x in arrays])](arrays, *args, **options)
        except AttributeError as error:
            raise explain(t, error, tuple(arrays), options) from None
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            raise explain(t, error, (arrays, *args), options) from None

    return call


def _declare(f: Callable[P, R], composed: Callable[P, R] | None) -> Callable[P, R]:
    parameters = inspect.signature(f).parameters.values()
    arity = sum(p.kind is p.POSITIONAL_ONLY for p in parameters)
    bare = arity == len(parameters)
    table = Table(f.__name__, composed)
    call: Any
    if next(iter(parameters)).name == "arrays":
        call = _sequence(table)
    elif arity == 1:
        call = _unary(table) if bare else _unary_options(table)
    else:
        call = {2: _binary, 3: _ternary}[arity](table) if bare and arity < 4 else _general(table, arity)
    call = functools.wraps(f)(call)
    call.table, call.arity, call.bare = table, arity, bare
    FUNCTIONS[f.__name__] = call
    return call


def primitive(f: Callable[P, R]) -> Callable[P, R]:
    """Declare a function that every backend has under this name; parameters before `/` are arrays to dispatch on."""
    return _declare(f, None)


def composition(f: Callable[P, R]) -> Callable[P, R]:
    """Declare a function by its plain composition; a backend with a better one overrides it by the same name."""
    return _declare(f, f)
