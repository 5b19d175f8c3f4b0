"""Transforms: what JAX users know, from one tape; and the Jacobian as a map."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array, is_floating
from adjoint.arrays.traced import Traced
from adjoint.errors import DtypeError, ShapeError
from adjoint.maps.base import LinearMap
from adjoint.ops.define import plain
from adjoint.program import Trees, jacobian_of
from adjoint.tape import Tape, pull, push
from adjoint.trees import Structure, flatten

Function = Callable[..., Any]


def value_and_grad(f: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """A function that gives f's scalar value and its gradient with respect to the arguments at `argnums`.

    The gradient has the argument's own structure (array, tuple, dict, module), with None where it is frozen or not a
    floating number; with has_aux, f returns (value, aux) and so does the result: ((value, aux), gradient).

    >>> import numpy as np, adjoint as aj
    >>> aj.value_and_grad(lambda w, x: aj.sum(aj.square(w * x)))(np.array([1.0, 2.0]), 3.0)
    (np.float64(45.0), array([18., 36.]))
    """

    @functools.wraps(f)
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        with Tape() as tape:
            traced, inputs = _trace(tape, args, argnums, f)
            try:
                result = f(*traced, **kwargs)
                y, aux = result if has_aux else (result, None)
                edges = tape.edges
                if not isinstance(y, Traced) or y.tape is not tape:
                    _scalar(y, f)
                    cotangents: dict[int, Any] = {}
                else:
                    _scalar(y.value, f)
                    cotangents = pull(edges, {y.i: xp.ones_like(y.value)})
            finally:
                tape.release()
        gradients = _gathered(inputs, cotangents, argnums)
        value = _inside(y, tape)
        return ((value, _inside_tree(aux, tape)) if has_aux else value), gradients

    return with_gradient


def grad(f: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """A function that gives the gradient of f's scalar value; with has_aux (gradient, aux).

    >>> import adjoint as aj
    >>> aj.grad(aj.grad(lambda x: x**3))(2.0)
    np.float64(12.0)
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def linearize(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(y, J): f's value at the primals and its Jacobian there, a `LinearMap` that is never formed.

    J acts from the primal's space to the value's: `J @ v` is the pushforward of a tangent, `J.T @ u` the pullback of a
    cotangent. Several primals, or a tree such as a module, make a product of spaces; J then takes and gives trees. The
    arrays that J refers to are copied (primals) or guarded against changes in place while J lives (constants).

    >>> import numpy as np, adjoint as aj
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> y, J = aj.linearize(lambda x: aj.tanh(A @ x), np.zeros(2))
    >>> J
    Diagonal @ Dense: (2,) → (2,)
    >>> J.T @ np.array([1.0, 0.0])
    array([1., 2.])
    """
    argument = primals[0] if len(primals) == 1 else primals
    call = f if len(primals) == 1 else lambda packed: f(*packed)
    with Tape() as tape:
        (traced,), (inputs,) = _trace(tape, (argument,), 0, f, own=True)
        result = call(traced)
        y, aux = result if has_aux else (result, None)
        edges = tape.edges
    J = _as_map(tape, edges, inputs, y)
    if tape.held:
        weakref.finalize(J, tape.release)
    value = _copied(_inside_tree(y, tape))
    return (value, J, _inside_tree(aux, tape)) if has_aux else (value, J)


def jacobian(f: Function, *primals: Any) -> LinearMap:
    """The Jacobian of f at the primals as a map; `.dense()` is the array of shape out_shape + in_shape.

    >>> import numpy as np, adjoint as aj
    >>> aj.jacobian(aj.square, np.array([1.0, 2.0])).dense()
    array([[2., 0.],
           [0., 4.]])
    """
    return linearize(f, *primals)[1]  # type: ignore[no-any-return]


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(y, pullback): f's value, and the function u ↦ Jᵀ u that gives a tuple with one cotangent a primal.

    >>> import numpy as np, adjoint as aj
    >>> y, pullback = aj.vjp(aj.multiply, np.array([2.0]), np.array([3.0]))
    >>> pullback(np.array([1.0]))
    (array([3.]), array([2.]))
    """
    with Tape() as tape:
        traced, inputs = _trace(tape, primals, tuple(range(len(primals))), f, own=True)
        result = f(*traced)
        y, aux = result if has_aux else (result, None)
        edges = tape.edges
    outputs, treedef = flatten(y)
    places = [x.i if isinstance(x, Traced) and x.tape is tape else None for x in outputs]
    shapes = [tuple(x.shape) for x in outputs]

    def pullback(u: Any) -> tuple[Any, ...]:
        cotangents: dict[int, Any] = {}
        for i, part, shape in zip(places, treedef.flatten_up_to(u), shapes, strict=True):
            if tuple(getattr(part, "shape", ())) != shape:
                raise ShapeError(f"vjp: the cotangent's shape {np.shape(part)} is not the value's, {shape}.")
            if i is not None:
                cotangents[i] = cotangents[i] + part if i in cotangents else part
        return tuple(_gathered(inputs, pull(list(edges), cotangents), (0,)))

    if tape.held:
        weakref.finalize(pullback, tape.release)
    value = _copied(_inside_tree(y, tape))
    return (value, pullback, _inside_tree(aux, tape)) if has_aux else (value, pullback)


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(y, J v): f's value and the pushforward of the tangents, one a primal and of its structure.

    >>> import numpy as np, adjoint as aj
    >>> aj.jvp(aj.square, (np.array([3.0]),), (np.array([1.0]),))
    (array([9.]), array([6.]))
    """
    if len(primals) != len(tangents):
        raise ShapeError(f"jvp: {len(primals)} primals but {len(tangents)} tangents; give one tangent a primal.")
    with Tape() as tape:
        traced, inputs = _trace(tape, tuple(primals), tuple(range(len(primals))), f)
        try:
            y = f(*traced)
            edges = tape.edges
            start: dict[int, Any] = {}
            for entry, tangent in zip(inputs, tangents, strict=True):
                for x, v in zip(entry.traced, entry.leaves(tangent), strict=True):
                    if tuple(getattr(v, "shape", ())) != x.shape:
                        raise ShapeError(f"jvp: a tangent's shape {np.shape(v)} is not its primal's, {x.shape}.")
                    start[x.i] = v
            values = push(edges, start)
        finally:
            tape.release()
    outputs, treedef = flatten(y)
    pushed = [
        values[x.i] if isinstance(x, Traced) and x.tape is tape and x.i in values else xp.zeros_like(_inside(x, tape))
        for x in outputs
    ]
    return _inside_tree(y, tape), treedef.unflatten(pushed)


def hvp(f: Function, x: Any, v: Any) -> Any:
    """H v, the Hessian of the scalar function f at x times v: the pushforward of the gradient.

    >>> import numpy as np, adjoint as aj
    >>> aj.hvp(lambda x: aj.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([ 6., 12.])
    """
    return jvp(grad(f), (x,), (v,))[1]


def ggn(model: Function, loss: Function, x: Any) -> LinearMap:
    """The generalized Gauss-Newton matrix Jᵀ H J as a map: J the Jacobian of `model` at x (parameters, say), H the
    Hessian of the scalar `loss` at model(x) (Schraudolph 2002).

    >>> import numpy as np, adjoint as aj
    >>> A = np.array([[1.0, 2.0]])
    >>> aj.ggn(lambda x: A @ x, lambda y: aj.sum(y**2), np.zeros(2)).dense()
    array([[2., 4.],
           [4., 8.]])
    """
    y, J = linearize(model, x)
    H = jacobian(grad(loss), y)
    return J.T @ H @ J


def stop_gradient(x: Any) -> Any:
    """x as a constant: the value passes, the derivative is zero. Trees pass leaf by leaf.

    >>> import adjoint as aj
    >>> aj.grad(lambda x: x * aj.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    if is_array(x) or isinstance(x, (int, float)):
        return _stopped(x)
    leaves, treedef = flatten(x)
    return treedef.unflatten([_stopped(leaf) for leaf in leaves])


def _stopped(x: Any) -> Any:
    if type(x) is not Traced:
        return x
    value = plain(x)
    x.tape.hold(value)
    return value


# Taking arguments apart


class Input:
    """One differentiated argument: its structure and the traced values that stand for its leaves."""

    __slots__ = ("structure", "traced")

    def __init__(self, structure: Structure | None, traced: list[Traced]) -> None:
        self.structure = structure
        self.traced = traced

    def leaves(self, tree: Any) -> Sequence[Any]:
        """The leaves of a tangent of this argument."""
        return (tree,) if self.structure is None else self.structure.leaves(tree)

    def tree(self, leaves: Sequence[Any]) -> Any:
        """The leaves of a cotangent as the argument's structure."""
        return leaves[0] if self.structure is None else self.structure.tree(leaves)


def _trace(
    tape: Tape, args: tuple[Any, ...], argnums: int | tuple[int, ...], f: Function, own: bool = False
) -> tuple[list[Any], list[Input]]:
    traced, inputs = list(args), []
    for k in (argnums,) if isinstance(argnums, int) else argnums:
        try:
            x = args[k]
        except IndexError:
            raise TypeError(f"argument {k} is to be differentiated, but {_name(f)} got {len(args)} arguments.") from None
        if is_array(x) or isinstance(x, (int, float)):
            leaf = tape.leaf(_leaf(x, tape, own, f))
            traced[k] = leaf
            inputs.append(Input(None, [leaf]))
        else:
            structure = Structure(x)
            leaves = [tape.leaf(_leaf(part, tape, own, f)) for part in structure.leaves(x)]
            if not leaves:
                raise TypeError(f"argument {k} of {_name(f)} holds no floating array to differentiate: {type(x)}.")
            traced[k] = structure.whole(leaves)
            inputs.append(Input(structure, leaves))
    return traced, inputs


def _leaf(x: Any, tape: Tape, own: bool, f: Function) -> Array:
    if isinstance(x, (int, float)) and not is_array(x):
        return np.asarray(float(x))[()]
    if not is_floating(x.dtype):
        raise DtypeError(
            f"{_name(f)} is to be differentiated in an array of {x.dtype}: only real floating numbers have a "
            "derivative here; cast it, for instance x.astype('float64')."
        )
    if type(x) is Traced:
        return x
    if own:
        return xp.copy(x)
    tape.hold(x)
    return x


def _as_map(tape: Tape, edges: list[Any], entry: Input, y: Any) -> LinearMap:
    out_tree = None if is_array(y) or isinstance(y, (int, float)) else Structure(_inside_tree(y, tape))
    outputs = (y,) if out_tree is None else out_tree.leaves(y)
    shapes = tuple(tuple(getattr(part, "shape", ())) for part in outputs)
    leaves = {x.i: x.shape for x in entry.traced}
    J = jacobian_of(
        edges,
        leaves,
        [x.i if isinstance(x, Traced) and x.tape is tape else None for x in outputs],
        next(iter(leaves.values())) if entry.structure is None else tuple(leaves.values()),
        shapes[0] if out_tree is None else shapes,
    )
    return J if entry.structure is None and out_tree is None else Trees(J, entry.structure, out_tree)


def _gathered(inputs: list[Input], cotangents: dict[int, Any], argnums: int | tuple[int, ...]) -> Any:
    gradients = [entry.tree([_cotangent(x, cotangents.get(x.i)) for x in entry.traced]) for entry in inputs]
    return gradients[0] if isinstance(argnums, int) else tuple(gradients)


def _cotangent(x: Traced, u: Any) -> Any:
    if u is None:
        return xp.zeros_like(x.value)
    return u if u.dtype == x.value.dtype else xp.astype(u, x.value.dtype)


def _inside(y: Any, tape: Tape) -> Any:
    return y.value if isinstance(y, Traced) and y.tape is tape else y


def _inside_tree(y: Any, tape: Tape) -> Any:
    if y is None or is_array(y) or isinstance(y, (int, float)):
        return _inside(y, tape)
    leaves, treedef = flatten(y)
    return treedef.unflatten([_inside(leaf, tape) for leaf in leaves])


def _copied(y: Any) -> Any:
    if is_array(y):
        return y if type(y) is Traced else xp.copy(y)
    leaves, treedef = flatten(y)
    return treedef.unflatten([_copied(leaf) if is_array(leaf) else leaf for leaf in leaves])


def _scalar(y: Any, f: Function) -> None:
    shape = getattr(y, "shape", () if isinstance(y, (int, float)) else None)
    if shape is None or tuple(shape) != ():
        what = f"of shape {tuple(shape)}" if shape is not None else f"of type {type(y).__name__}"
        raise ShapeError(
            f"grad needs a scalar loss, but {_name(f)} returned a value {what}: reduce it with aj.sum or aj.mean, or use "
            "aj.linearize, aj.vjp or aj.jacobian for the derivative of an array"
            f"{'; for (loss, aux) pass has_aux=True' if isinstance(y, tuple) else ''}."
        )


def _name(f: Function) -> str:
    return getattr(f, "__name__", type(f).__name__)
