"""Functions that PyTorch computes, derivatives included: the one place where an adjoint is not written here.

An operator that this library lacks runs in PyTorch, whatever backend its operands have; the two directions of its map
are PyTorch's own (`torch.func.jvp` and `vjp`), and are such functions again, so that they have derivatives in turn.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array, Shape, backend, is_array, is_floating
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError
from adjoint.maps.base import LinearMap
from adjoint.ops.define import highest, plain, record, unwrapped

Function = Callable[..., Any]


class Foreign:
    """A function of PyTorch's tensors as a function of any backend's arrays, that transforms can pass through.

    `f` takes tensors and gives a tensor or a tuple of them, or of None; `name` is for people.

    >>> import numpy as np, adjoint as aj
    >>> cube = Foreign(lambda x: x ** 3, "cube")
    >>> cube(np.array([2.0])), aj.grad(lambda x: aj.sum(cube(x)))(np.array([2.0]))
    (array([8.]), array([12.]))
    """

    __slots__ = ("f", "name")

    def __init__(self, f: Function, name: str) -> None:
        self.f = f
        self.name = name

    def __call__(self, *arrays: Array) -> Any:
        """f of the arrays, in their backend."""
        tape = highest(arrays)
        if tape is None:
            return computed(self.f, arrays, self.name)
        raw = unwrapped(arrays, tape, len(arrays))
        found = self(*raw)
        parts = found if type(found) is tuple else (found,)
        traced = tuple([None if z is None else self._recorded(tape, z, k, arrays, raw) for k, z in enumerate(parts)])
        return traced if type(found) is tuple else traced[0]

    def _recorded(self, tape: Any, z: Array, part: int, arrays: Sequence[Any], raw: Sequence[Any]) -> Any:
        if not is_floating(z.dtype):
            return plain(z)
        maps = [
            ForeignMap(self, raw, i, part, tuple(z.shape)) if type(x) is Traced and x.tape is tape else None
            for i, x in enumerate(arrays)
        ]
        return record(tape, z, arrays, maps)


class ForeignMap(LinearMap):
    """The derivative of the part-th value of a function of PyTorch's in its i-th operand, both directions PyTorch's."""

    __slots__ = ("function", "i", "operands", "out_shape", "part")

    def __init__(self, function: Foreign, operands: Sequence[Any], i: int, part: int, out_shape: Shape) -> None:
        self.function = function
        self.operands = tuple(operands)
        self.i = i
        self.part = part
        self.out_shape = out_shape

    @property
    def in_shape(self) -> Shape:
        """The operand's."""
        return tuple(self.operands[self.i].shape)

    def array(self) -> Array:
        """The operand."""
        return self.operands[self.i]

    def apply(self, v: Any) -> Any:
        """J v, by `torch.func.jvp`."""
        push = functools.partial(_pushed, self.function.f, self.i, self.part, len(self.in_shape))
        return Foreign(push, f"{self.function.name}, pushed forward")(v, *self.operands)

    def adjoint(self, u: Any) -> Any:
        """Jᵀ u, by `torch.func.vjp`."""
        pull = functools.partial(_pulled, self.function.f, self.i, self.part, len(self.out_shape))
        return Foreign(pull, f"{self.function.name}, pulled back")(u, *self.operands)

    def describe(self) -> str:
        """The function's name."""
        return f"Foreign[{self.function.name}]"


def _along(f: Function, i: int, part: int, operands: Sequence[Any]) -> Function:
    """The part-th value as a function of the i-th operand alone."""

    def g(x: Any) -> Any:
        found = f(*operands[:i], x, *operands[i + 1 :])
        return found[part] if isinstance(found, (tuple, list)) else found

    return g


def _each(g: Function, v: Any, ndim: int) -> Any:
    """g of every element of a batch, whose axes stand in front of the last `ndim`."""
    import torch

    lead, own = v.shape[: v.ndim - ndim], v.shape[v.ndim - ndim :]
    if not lead:
        return g(v)
    rows = v.reshape(-1, *own)
    found = torch.stack([g(row) for row in rows]) if len(rows) else g(v.new_zeros(own))[None][:0]
    return found.reshape(*lead, *found.shape[1:])


@functools.cache
def _prepared() -> None:
    """Import what PyTorch's forward mode needs, without the warning that this gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


def _pushed(f: Function, i: int, part: int, ndim: int, v: Any, *operands: Any) -> Any:
    import torch

    _prepared()
    g, x = _along(f, i, part, operands), operands[i]
    try:
        return _each(lambda row: torch.func.jvp(g, (x,), (row.to(x.dtype),))[1], v, ndim)
    except (NotImplementedError, RuntimeError):  # no forward mode: J v is the derivative of u ↦ ⟨Jᵀ u, v⟩
        y, pull = _pullback(g, x)
        return _each(lambda row: _pullback(pull, torch.zeros_like(y))[1](row.to(x.dtype)), v, ndim)


def _pulled(f: Function, i: int, part: int, ndim: int, u: Any, *operands: Any) -> Any:
    y, pull = _pullback(_along(f, i, part, operands), operands[i])
    return _each(lambda row: pull(row.to(y.dtype)), u, ndim)


def _pullback(g: Function, x: Any) -> tuple[Any, Function]:
    """g(x) and the adjoint of its derivative: by `torch.func`, or the graph where an operator knows only that."""
    import torch

    try:
        y, pull = torch.func.vjp(g, x)[:2]
    except RuntimeError as error:
        if "autograd.Function" not in str(error):
            raise
    else:
        return y, lambda u: pull(u)[0]
    with torch.enable_grad():
        x = x.detach().requires_grad_() if not x.requires_grad else x
        y = g(x)

    def graph(u: Any) -> Any:
        with torch.enable_grad():
            (found,) = torch.autograd.grad(y, x, u, create_graph=u.requires_grad, retain_graph=True)
        return found

    return y, graph


# PyTorch's functions on arrays of other backends


def computed(f: Function, arrays: Sequence[Array], name: str) -> Any:
    """f of plain arrays: tensors as they are, others through NumPy, compiled JAX by a call back, shapes by shapes."""
    try:
        import torch
    except ImportError:
        raise ImportError(f"{name} is computed by PyTorch: pip install torch.") from None
    homes = {backend(type(x)).name for x in arrays if is_array(x)}
    foreign = homes - {"numpy"}
    if len(foreign) > 1:
        raise BackendError(f"{name}: arrays of {' and '.join(sorted(foreign))} in one call; move one with aj.to.")
    home = foreign.pop() if foreign else "numpy"
    if home == "torch":
        found = f(*[torch.as_tensor(x) for x in arrays])
        return tuple(found) if isinstance(found, (tuple, list)) else found
    if home == "shapes":
        from adjoint.arrays.shapes import ShapeArray

        return _mapped(lambda x: ShapeArray(tuple(x.shape), x.dtype), _shapes(f, arrays))
    if home == "jax":
        import jax

        if any(isinstance(x, jax.core.Tracer) for x in arrays):
            outline = _mapped(lambda x: jax.ShapeDtypeStruct(tuple(x.shape), _numpy_dtype(x)), _shapes(f, arrays))
            return jax.pure_callback(functools.partial(_through_numpy, f), outline, *arrays, vmap_method="sequential")
    like = backend(next(type(x) for x in arrays if backend(type(x)).name == home))
    return _mapped(like.from_numpy, _through_numpy(f, *arrays))


def _mapped(g: Function, found: Any) -> Any:
    return tuple([None if x is None else g(x) for x in found]) if isinstance(found, (tuple, list)) else g(found)


def _through_numpy(f: Function, *arrays: Array) -> Any:
    from adjoint.arrays import torch as home

    tensors = [home.from_numpy(backend(type(x)).to_numpy(x)) for x in arrays]
    return _mapped(home.to_numpy, f(*tensors))


def _shapes(f: Function, arrays: Sequence[Array]) -> Any:
    """What f gives, without values."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from adjoint.arrays.torch import as_dtype

    with FakeTensorMode():
        return f(*[torch.empty(tuple(x.shape), dtype=as_dtype(str(x.dtype))) for x in arrays])


def _numpy_dtype(x: Any) -> Any:
    return np.dtype(str(x.dtype).removeprefix("torch."))
