"""Transforms: what JAX users know, from one tape; and the Jacobian as a map."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array
from adjoint.arrays.traced import Traced
from adjoint.errors import ShapeError
from adjoint.maps.base import SYMMETRIC, LinearMap, guarded
from adjoint.ops.define import plain
from adjoint.program import Door, jacobian_of
from adjoint.recording import Function, Recording, beside, check_scalar, name_of, separated
from adjoint.tape import Edge, pull, push
from adjoint.trees import Structure, flatten


def value_and_grad(f: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """A function that gives f's scalar value and its gradient with respect to the arguments at `argnums`.

    The gradient has the argument's own structure (array, tuple, dict, module), with None where it is frozen or not a
    floating number; with has_aux, f returns (value, aux) and so does the result: ((value, aux), gradient).

    >>> import numpy as np, adjoint as aj
    >>> aj.value_and_grad(lambda w, x: aj.sum(aj.square(w * x)))(np.array([1.0, 2.0]), 3.0)
    (np.float64(45.0), array([18., 36.]))
    """
    single = isinstance(argnums, int)
    numbers: tuple[int, ...] = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(f)
    def with_gradient(*args: Any, **kwargs: Any) -> Any:
        with Recording(f, args, numbers, has_aux, kwargs=kwargs) as run:
            y = run.value(run.result)
            check_scalar(y, f)
            i = run.place(run.result)
            cotangents = {} if i is None else separated(pull(run.edges, {i: xp.ones_like(y)}))
            gradients = tuple([argument.gradient(cotangents) for argument in run.arguments])
        return ((y, run.value(run.aux)) if has_aux else y), gradients[0] if single else gradients

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
    arrays that J refers to are copied (primals) or guarded against changes in place while J lives (constants: NumPy's
    become read-only, which cannot reach views of them that were made before; PyTorch's are verified at every use).

    >>> import numpy as np, adjoint as aj
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> y, J = aj.linearize(lambda x: aj.tanh(A @ x), np.zeros(2))
    >>> J
    Diagonal @ Dense: (2,) → (2,)
    >>> J.T @ np.array([1.0, 0.0])
    array([1., 2.])
    """
    single = len(primals) == 1
    packed = primals if single else (primals,)
    with Recording(f if single else lambda each: f(*each), packed, (0,), has_aux, keep=True) as run:
        (argument,) = run.arguments
    y = run.value(run.result)
    tree = None if is_array(y) or isinstance(y, (int, float)) else Structure(y)
    outputs = (run.result,) if tree is None else tree.leaves(run.result)
    if not outputs:
        raise TypeError(
            f"linearize: {name_of(f)} returned a value of type {type(y).__name__} in which there is no floating array: "
            "return arrays, or tuples, lists, dicts and modules of them."
        )
    shapes = tuple(tuple(getattr(x, "shape", ())) for x in outputs)
    leaves = {x.i: x.shape for x in argument.traced}
    J = jacobian_of(
        run.edges,
        leaves,
        [run.place(x) for x in outputs],
        next(iter(leaves.values())) if argument.structure is None else tuple(leaves.values()),
        shapes[0] if tree is None else shapes,
    )
    like = _kind(J, argument.traced[0].value)
    if argument.structure is not None or tree is not None or run.tape.watched or like is not None:
        J = Door(J, argument.structure, tree, run.tape if run.tape.watched else None, like=like)
    if run.tape.held:
        guarded(J, run.tape.release)
    return (_copied(y), J, _copied(run.value(run.aux))) if has_aux else (_copied(y), J)


def _kind(J: LinearMap, x: Array) -> Array | None:
    """An empty array of x's kind where J is a map without numbers, whose matrix would be of another."""
    if J.array() is not None:
        return None
    like, own = xp.zeros(x, (0,)), J.eye(0)
    return None if type(like) is type(own) and like.dtype == own.dtype else like


def jacobian(f: Function, *primals: Any) -> LinearMap:
    """The Jacobian of f at the primals as a map; `.dense()` is the array of shape out_shape + in_shape.

    >>> import numpy as np, adjoint as aj
    >>> aj.jacobian(aj.square, np.array([1.0, 2.0])).dense()
    array([[2., 0.],
           [0., 4.]])
    """
    return linearize(f, *primals)[1]


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(y, pullback): f's value, and the function u ↦ Jᵀ u that gives a tuple with one cotangent a primal.

    >>> import numpy as np, adjoint as aj
    >>> y, pullback = aj.vjp(aj.multiply, np.array([2.0]), np.array([3.0]))
    >>> pullback(np.array([1.0]))
    (array([3.]), array([2.]))
    """
    with Recording(f, primals, range(len(primals)), has_aux, keep=True) as run:
        outputs, treedef = flatten(run.result)

    def pullback(u: Any) -> tuple[Any, ...]:
        return pulled(run, list(run.edges), outputs, treedef.flatten_up_to(u))

    if run.tape.held:
        weakref.finalize(pullback, run.tape.release)
    y = _copied(run.value(run.result))
    return (y, pullback, _copied(run.value(run.aux))) if has_aux else (y, pullback)


def pulled(run: Recording, edges: list[Edge], outputs: Sequence[Any], parts: Sequence[Any]) -> tuple[Any, ...]:
    """The gradients of a run's arguments for cotangents of its outputs (None: none arrives); uses up the edges."""
    run.tape.verify()
    cotangents: dict[int, Any] = {}
    for x, part in zip(outputs, parts, strict=True):
        if part is None:
            continue
        part = beside(x, part, "vjp: a cotangent", "value")
        i = run.place(x)
        if i is not None:
            cotangents[i] = cotangents[i] + part if i in cotangents else part
    found = separated(pull(edges, cotangents), *parts)
    return tuple([argument.gradient(found) for argument in run.arguments])


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(y, J v): f's value and the pushforward of the tangents, one a primal and of its structure.

    >>> import numpy as np, adjoint as aj
    >>> aj.jvp(aj.square, (np.array([3.0]),), (np.array([1.0]),))
    (array([9.]), array([6.]))
    """
    if not (isinstance(primals, (tuple, list)) and isinstance(tangents, (tuple, list))):
        raise TypeError(f"jvp takes tuples of primals and tangents: aj.jvp({name_of(f)}, (x,), (v,)).")
    if len(primals) != len(tangents):
        raise ShapeError(f"jvp: {len(primals)} primals but {len(tangents)} tangents; give one tangent a primal.")
    with Recording(f, primals, range(len(primals))) as run:
        start: dict[int, Any] = {}
        for argument, tangent in zip(run.arguments, tangents, strict=True):
            start.update(zip([x.i for x in argument.traced], argument.leaves(tangent, "jvp"), strict=True))
        pushed = push(run.edges, start)
    outputs, treedef = flatten(run.result)
    found = [pushed.get(run.place(x)) for x in outputs]  # type: ignore[arg-type]
    filled = [_zero(run.value(x)) if v is None else v for x, v in zip(outputs, found, strict=True)]
    return run.value(run.result), treedef.unflatten(filled)


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
    return J.T @ Door(H, H.in_tree, H.out_tree, properties=SYMMETRIC) @ J


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


def _zero(y: Any) -> Any:
    return xp.zeros_like(y) if is_array(y) else 0.0


def _copied(y: Any) -> Any:
    if is_array(y):
        return y if type(y) is Traced else xp.copy(y)
    leaves, treedef = flatten(y)
    return treedef.unflatten([_copied(leaf) if is_array(leaf) else leaf for leaf in leaves])
