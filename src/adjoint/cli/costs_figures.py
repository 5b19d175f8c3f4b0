"""`adjoint cost --json`: everything as numbers by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from adjoint.cli import layouts
from adjoint.cli.costs import counted
from adjoint.cli.times import PASSES, predicted, timed
from adjoint.costs import Cost, Growth, Measured, Pass, Polynomial, Predicted


def figures(
    source: str, batch: Sequence[int] = (1,), seq: Sequence[int] | None = None, dtype: str | None = None,
    devices: layouts.Devices | None = None, measured: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Everything as numbers by name, for JSON; of several sizes, under "sizes", all but layers and polynomial."""
    found = counted(source, batch, seq, dtype, devices, measured)
    one = found[0]
    about = {"parameters": one.parameters, "dtype": one.dtype}
    if len(found) > 1:
        return {**about, "sizes": [_size(x) for x in found]}
    growth: Growth | str | None = None
    if len(one.inputs[0]) == 2:
        try:
            growth = one.polynomial("seq")
        except ValueError as error:
            growth = str(error)
    told = {
        **about,
        **_size(one),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "level": layer.level,
                "parameters": layer.parameters,
                "forward": _pass(layer.forward),
                "backward": _pass(layer.backward),
            }
            for layer in one.layers
        ],
        "polynomial": _growth(growth) if isinstance(growth, Growth) else growth,
    }
    if measured:
        took, least = timed(Console(stderr=True), source, one)
        told |= {"predicted_seconds": _seconds(least), "measured_seconds": {**_seconds(took), "rounds": took.rounds}}
    if devices is not None:
        told["layouts"] = layouts.figures(one, *devices)
    return told


def _size(found: Cost) -> dict[str, Any]:
    """What one size costs."""
    own, time = found.memory, predicted(found)
    return {
        "inputs": [list(shape) for shape in found.inputs],
        "forward": _pass(found.forward),
        "backward": _pass(found.backward),
        "optimizer_step": _pass(found.step),
        "memory": {
            "weights": own.weights,
            "gradients": own.gradients,
            "optimizer": own.optimizer,
            "activations": own.passes.kept,
            "inference_peak": found.inference_bytes,
            "training_peak": own.training,
            "activations_checkpointed": own.checkpointed and own.checkpointed.kept,
            "training_peak_checkpointed": own.training_checkpointed,
        },
        "components": {p.name: {"forward": _pass(p.forward), "backward": _pass(p.backward)} for p in found.components},
        "predicted_seconds": None if isinstance(time, str) else _seconds(time),
        "bound_by_memory": None if isinstance(time, str) else _waiting(time),
    }


def _waiting(found: Predicted) -> list[list[str]]:
    """(component, function) of all that memory bounds in the forward pass."""
    return [list(names) for names, bound in found.bounds.items() if bound == "memory"]


def _seconds(found: Predicted | Measured) -> dict[str, float]:
    return {name: getattr(found, name) for name in PASSES}


def _pass(found: Pass) -> dict[str, Any]:
    return {
        "flops": found.flops,
        "flops_in_products": found.matmul_flops,
        "multiply_adds": found.multiply_adds,
        "bytes": found.bytes,
        "flops_a_byte": found.intensity,
    }


def _growth(found: Growth) -> dict[str, Any]:
    return {
        "of": "flops_in_products",
        "in": found.variable,
        "forward": _coefficients(found.forward),
        "backward": _coefficients(found.backward),
        "checked_at": found.checked,
        "attention_overtakes": {k: None if at is None else float(at) for k, at in found.overtakes.items()},
    }


def _coefficients(p: Polynomial) -> list[int | str]:
    """Of 1, T, T²: integers, or fractions as text."""
    return [int(c) if c.denominator == 1 else str(c) for c in p.coefficients]
