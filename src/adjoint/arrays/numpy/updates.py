"""Optimizer updates on NumPy, in place: Numba kernels where arrays repay them, else the composition, written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy import dtype, ndarray

from adjoint.arrays import updates
from adjoint.arrays.numpy import kernels


def composed(function: Any) -> Any:
    """The plain composition of a function of the seam."""
    return function.table.composed


def written(arrays: Any, values: Any) -> Any:
    """The arrays with the values written into them; plain numbers cannot change and are replaced.

    Raises ValueError, before anything is written, where an array is read-only.
    """
    if not all(isinstance(x, ndarray) for x in arrays):
        return list(values)
    if not all(x.flags.writeable for x in arrays):
        raise ValueError(
            "a step writes into its arrays, and one of them is read-only, as constants are while a Jacobian, or an "
            "array of one, refers to them: delete that before the step, or give the optimizer a copy of the network."
        )
    for x, y in zip(arrays, values, strict=True):
        x[...] = y
    return arrays


def in_place(rule: Any) -> Callable[..., Any]:
    """An update whose results are written into the parameters and states that it was given."""
    plain = composed(rule)

    def update(arrays: Any, *states: Any, **how: Any) -> Any:
        grads, *before = states
        new, *after = plain(arrays, grads, *before, **how)
        moved = [old and written(old, now) for old, now in zip(before, after, strict=True)]
        return written(arrays, new), *moved

    return update


COMPILED = 1 << 14  # parameters from which the Numba kernels repay their loading
KINDS = (dtype("float32"), dtype("float64"))


def large(arrays: Any) -> bool:
    """Whether the kernels repay their loading."""
    return bool(sum([x.size for x in arrays]) >= COMPILED)


def contiguous(arrays: Any, grads: Any, *states: Any) -> bool:
    """Whether arrays and states are in one piece, may be written, are floats or doubles, and have the grads' shapes."""
    for x, g, *others in zip(arrays, grads, *states, strict=True):
        for y in (x, *others):
            if not (type(y) is ndarray and y.flags.carray and y.dtype in KINDS and y.shape == g.shape):
                return False
    return True


def sgd_update(arrays: Any, grads: Any, velocities: Any, **how: Any) -> Any:
    if large(arrays) and contiguous(arrays, grads, *([] if velocities is None else [velocities])):
        kernels.of("update").sgd(arrays, grads, velocities, **how)
        return arrays, velocities
    new, moved = composed(updates.sgd_update)(arrays, grads, velocities, **how)
    return written(arrays, new), moved and written(velocities, moved)


def adam_update(arrays: Any, grads: Any, first: Any, second: Any, **how: Any) -> Any:
    if large(arrays) and kernels.of("update").adam(arrays, grads, first, second, **how):
        return arrays, first, second
    new, m, v = composed(updates.adam_update)(arrays, grads, first, second, **how)
    return written(arrays, new), written(first, m), written(second, v)


amsgrad_update = in_place(updates.amsgrad_update)
adagrad_update = in_place(updates.adagrad_update)
adadelta_update = in_place(updates.adadelta_update)
rmsprop_update = in_place(updates.rmsprop_update)
adamax_update = in_place(updates.adamax_update)
nadam_update = in_place(updates.nadam_update)
radam_update = in_place(updates.radam_update)
rprop_update = in_place(updates.rprop_update)
asgd_update = in_place(updates.asgd_update)
lion_update = in_place(updates.lion_update)
muon_update = in_place(updates.muon_update)
adafactor_update = in_place(updates.adafactor_update)


def average_update(arrays: Any, others: Any, *, rate: Any) -> Any:
    return (written(arrays, composed(updates.average_update)(arrays, others, rate=rate)[0]),)
