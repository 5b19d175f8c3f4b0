"""Branches and loops: which way to go is known while the network runs, so that they unroll."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.errors import ShapeError
from adjoint.interop.graph import Plan
from adjoint.interop.onnx.operators import Node, known, operator, position, together

LIMIT = 1_000_000


class Block:
    """The graph inside a node: a plan, and the names of what it takes from outside."""

    __slots__ = ("captured", "plan")

    def __init__(self, plan: Plan, captured: Sequence[str]) -> None:
        self.plan = plan
        self.captured = tuple(captured)

    def __call__(self, inputs: Sequence[Any], captured: Mapping[str, Any]) -> list[Any]:
        """The values of its outputs."""
        values = {name: captured[name] for name in self.captured}
        if len(inputs) != len(self.plan.inputs):
            raise ShapeError(f"a graph inside a node takes {len(self.plan.inputs)} values, {len(inputs)} are given.")
        values.update(zip(self.plan.inputs, inputs, strict=True))
        return list(self.plan.run(values))


@operator("If", static=(0,))
def if_(node: Node, condition: Any, captured: Mapping[str, Any]) -> Any:
    """The values of one branch."""
    chosen = bool(np.reshape(condition, ()))
    return tuple(node.get("then_branch" if chosen else "else_branch")([], captured))


@operator("Loop", static=(0, 1))
def loop(node: Node, trips: Any, condition: Any, *carried: Any, captured: Mapping[str, Any]) -> Any:
    """(the last carried values, what every round gave, stacked), while the condition holds and for so many rounds."""
    body = node.get("body")
    most = LIMIT if trips is None else int(np.reshape(trips, ()))
    if trips is None and condition is None:
        raise ValueError("Loop: neither a number of rounds nor a condition ends it.")
    going = True if condition is None else bool(np.reshape(condition, ()))
    state, rounds = list(carried), []
    t = 0
    while going and t < most:
        again, *found = body([np.array(t, np.int64), np.array(True), *state], captured)
        state = found[: len(carried)]
        rounds.append(found[len(carried) :])
        t += 1
        going = (
            bool(np.reshape(known(again, "Loop: condition"), ())) if condition is not None or trips is None else True
        )
        if trips is None and t == LIMIT:
            raise ValueError(f"Loop: it did not end in {LIMIT} rounds.")
    if not rounds and node.count > len(carried):
        raise ShapeError("Loop: no round was made, so what every round would have given has no shape.")
    return (*state, *[xp.stack(list(together(*ys)), 0) for ys in zip(*rounds, strict=True)])


@operator("SequenceMap")
def sequence_map(node: Node, sequence: Any, *others: Any, captured: Mapping[str, Any]) -> Any:
    """Sequences of what the graph inside gives for every array, and for those beside it in other sequences."""
    body = node.get("body")
    found = [
        body([x, *[other[i] if isinstance(other, list) else other for other in others]], captured)
        for i, x in enumerate(sequence)
    ]
    return tuple([values[k] for values in found] for k in range(node.count))


@operator("Scan")
def scan(node: Node, *operands: Any, captured: Mapping[str, Any]) -> Any:
    """(the last states, what every step gave, stacked) along the sequences' axis."""
    if node.opset < 9:
        raise NotImplementedError(
            "Scan: version 8 of ONNX's operators has another Scan: convert the file to 9 or later."
        )
    body, count = node.get("body"), node.get("num_scan_inputs")
    first, sequences = list(operands[: len(operands) - count]), operands[len(operands) - count :]
    axes = node.get("scan_input_axes") or [0] * count
    back = node.get("scan_input_directions") or [0] * count
    along = [position(a, len(x.shape), "Scan") for a, x in zip(axes, sequences, strict=True)]
    lengths = {int(x.shape[a]) for a, x in zip(along, sequences, strict=True)}
    if len(lengths) != 1:
        raise ShapeError(f"Scan: the sequences have lengths {sorted(lengths)}: they must be one.")
    (steps,) = lengths
    state, found = first, []
    for t in range(steps):
        parts = [
            xp.getitem(x, (*(slice(None),) * a, steps - 1 - t if b else t))
            for x, a, b in zip(sequences, along, back, strict=True)
        ]
        values = body([*state, *parts], captured)
        state = values[: len(first)]
        found.append(values[len(first) :])
    outs = [list(together(*ys)) for ys in zip(*found, strict=True)]
    places = node.get("scan_output_axes") or [0] * len(outs)
    turned = node.get("scan_output_directions") or [0] * len(outs)
    return (*state, *[
        xp.stack(ys[::-1] if r else ys, position(a, len(ys[0].shape) + 1, "Scan"))
        for ys, a, r in zip(outs, places, turned, strict=True)
    ])  # fmt: skip
