"""vmap: a function of one example as a function of many, where the backend can vectorize a program."""

from __future__ import annotations

import functools
from typing import Any, cast

import optree

from adjoint import arrays as xp
from adjoint.arrays.dispatch import backend, is_array
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError
from adjoint.recording import Function, name_of
from adjoint.trees import NAMESPACE

TREES: Any = {"none_is_leaf": True, "namespace": NAMESPACE}


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """f over a new axis of its arguments, by `jax.vmap` or `torch.func.vmap`; other transforms may be inside.

    in_axes says along which axis the examples are: a number for all positional arguments, or a tuple with one entry an
    argument, each a number, None (shared by all examples), or a tree of them; keyword arguments are shared. out_axes
    says where they are in the result. Raises `BackendError` for NumPy arrays, on which no program can be vectorized:
    there, give operations and modules arrays with leading batch axes.

    >>> import jax.numpy as jnp, adjoint as aj
    >>> slopes = aj.vmap(aj.grad(lambda w, x: aj.square(x @ w)), in_axes=(None, 0))
    >>> slopes(jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(f)
    def vectorized(*args: Any, **shared: Any) -> Any:
        leaves, treedef = optree.tree_flatten(cast("Any", args), **TREES)
        axes = _spread("in_axes", in_axes, args, treedef)
        places = [k for k, x in enumerate(leaves) if is_array(x)]
        run = _vectorizer(f, [leaves[k] for k in places])
        outcome: list[Any] = []

        def of_arrays(*arrays: Any) -> tuple[Any, ...]:
            filled = list(leaves)
            for k, x in zip(places, arrays, strict=True):
                filled[k] = x
            results, structure = optree.tree_flatten(f(*treedef.unflatten(filled), **shared), **TREES)
            outcome[:] = [results, structure]
            return tuple([x for x in results if is_array(x)])

        found = iter(run(of_arrays, tuple([axes[k] for k in places]))(*[leaves[k] for k in places]))
        results, structure = outcome
        tree = structure.unflatten([next(found) if is_array(x) else x for x in results])
        if isinstance(out_axes, int) and out_axes == 0:
            return tree
        parts = zip(optree.tree_leaves(tree, **TREES), _spread("out_axes", out_axes, tree, structure), strict=True)
        return structure.unflatten([xp.moveaxis(x, 0, axis) if is_array(x) and axis else x for x, axis in parts])

    return vectorized


def _spread(what: str, axes: Any, tree: Any, treedef: Any) -> list[Any]:
    """An axis for every leaf."""
    if axes is None or isinstance(axes, int):
        return [axes] * treedef.num_leaves
    try:
        return list(optree.broadcast_prefix(axes, tree, **TREES))
    except ValueError as error:
        raise ValueError(
            f"vmap: {what} {axes!r} does not fit the {'arguments' if what == 'in_axes' else 'result'}: {error}"
        ) from None


def _vectorizer(f: Function, arrays: list[Any]) -> Any:
    if any(type(x) is Traced for x in arrays):
        raise BackendError(
            f"vmap: {name_of(f)} gets a traced value, and no backend vectorizes a tape: put vmap outside of the "
            "transform, as in aj.vmap(aj.grad(f))."
        )
    names = {backend(type(x)).__name__.rpartition(".")[2] for x in arrays}
    if "jax" in names and "torch" not in names:
        import jax

        return lambda g, axes: jax.vmap(g, axes)
    if names == {"torch"}:
        import torch

        return lambda g, axes: torch.func.vmap(g, axes)
    raise BackendError(
        f"vmap: {name_of(f)} gets arrays of {' and '.join(sorted(names)) or 'no backend'}: PyTorch and JAX vectorize "
        "programs over their own arrays (aj.to moves them there). On NumPy give it arrays with leading batch axes: "
        "operations, maps and modules take them; gradients of single examples are aj.per_sample_grad's."
    )
