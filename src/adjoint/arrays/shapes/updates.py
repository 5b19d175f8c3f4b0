"""Optimizer updates, in place: parameters, gradients and states read, all but the gradients written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.arrays.dispatch import FUNCTIONS
from adjoint.arrays.shapes import layer_rules
from adjoint.arrays.shapes.array import operand, spend
from adjoint.arrays.shapes.tally import ACTIVE, count_apart


def in_place(name: str, *states: str) -> Callable[..., Any]:
    """The update of this name with the FLOPs of its composition; states that are named have a parameter's shape."""

    def update(arrays: Any, grads: Any, *moments: Any, **how: Any) -> Any:
        known = [group if group is None else [operand(x) for x in group] for group in (arrays, grads, *moments)]
        named = dict(zip(("parameter", "gradient", *states), known, strict=False))
        layer_rules.updates(name, {what: group and [x.shape for x in group] for what, group in named.items()})
        if ACTIVE.tallies:
            with count_apart() as tally:
                FUNCTIONS[name].table.composed(*known, **how)
            read = [x for group in known for x in group or ()]
            written = [x for k, group in enumerate(known) if k != 1 for x in group or ()]
            spend(name, tally.flops, tally.matmul_flops, [*read, *written])
        return arrays, *moments

    return update


MOMENTS = ("first moment", "second moment")
UPDATES = {
    "sgd_update": in_place("sgd_update", "velocity"),
    "adam_update": in_place("adam_update", *MOMENTS),
    "amsgrad_update": in_place("amsgrad_update", *MOMENTS, "largest second moment"),
    "adagrad_update": in_place("adagrad_update", "sum of squares"),
    "adadelta_update": in_place("adadelta_update", "second moment", "step"),
    "rmsprop_update": in_place("rmsprop_update", "second moment", "first moment", "velocity"),
    "adamax_update": in_place("adamax_update", "first moment", "largest gradient"),
    "nadam_update": in_place("nadam_update", *MOMENTS),
    "radam_update": in_place("radam_update", *MOMENTS),
    "rprop_update": in_place("rprop_update", "previous gradient", "step size"),
    "asgd_update": in_place("asgd_update", "average"),
    "lion_update": in_place("lion_update", "first moment"),
    "muon_update": in_place("muon_update", "first moment"),
    "adafactor_update": in_place("adafactor_update"),
}
