"""Which shapes fit whole layers, losses and updates, and what to say where they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from adjoint.arrays.dispatch import Shape
from adjoint.arrays.shapes.rules import count_of
from adjoint.errors import ShapeError


def linear(name: str, x: Shape, weight: Shape, bias: Shape | None) -> None:
    """Raise unless x (…, in), weight and bias (out,) fit; the weight is (out, in) for linear, (in, out) for affine."""
    form, other, other_form = ("out, in", "affine", "in, out") if name == "linear" else ("in, out", "linear", "out, in")
    if len(weight) != 2:
        raise ShapeError(f"{name}: weight is ({form}), two axes, got {weight}.")
    n_out, n_in = weight if name == "linear" else weight[::-1]
    if not x:
        raise ShapeError(f"{name}: the input is a scalar; its last axis holds the {n_in} features of weight {weight}.")
    if x[-1] != n_in:
        remedy = ""
        if x[-1] == n_out:
            remedy = f" Transpose the weight: {weight[::-1]}, or use {other}, whose weight is ({other_form})."
        elif len(x) > 1 and x[-2] == n_in:
            remedy = f" Transpose the input: {(*x[:-2], x[-1], x[-2])}."
        elif math.prod(x[1:]) == n_in:
            remedy = f" Flatten the input: {(x[0], n_in)}."
        raise ShapeError(
            f"{name}: input {x} by weight {weight}: weight is ({form}) = {weight} but axis -1 of the input has "
            f"{count_of(x[-1], 'feature')}, not {n_in}.{remedy}"
        )
    if bias is not None and bias != (n_out,):
        raise ShapeError(
            f"{name}: bias {bias} does not fit weight ({form}) = {weight}: its shape is (out,) = ({n_out},)."
        )


def normalized(name: str, x: Shape, ndim: int, **parameters: Shape | None) -> None:
    """Raise unless x has `ndim` axes and the parameters have the shape of its last `ndim`."""
    over = count_of(ndim, "axis", "axes")
    if not 1 <= ndim <= len(x):
        raise ShapeError(f"{name}: normalizes over the last {over}, but the input {x} has {len(x)}.")
    expected = x[len(x) - ndim :]
    for what, shape in parameters.items():
        if shape is not None and shape != expected:
            remedy = (
                f" Normalize over the last {len(shape)}: ndim={len(shape)}."
                if shape and x[-len(shape) :] == shape
                else ""
            )
            raise ShapeError(
                f"{name}: {what} {shape} does not fit the input {x}: it normalizes over the last {over}, so {what} is "
                f"{expected}.{remedy}"
            )


def embedding(weight: Shape) -> None:
    """Raise unless the weight is a matrix."""
    if len(weight) != 2:
        raise ShapeError(f"embedding: weight is (n, d), one row an index, got {weight}. The indices come first.")


def classes(name: str, scores: Shape, target: Shape) -> None:
    """Raise unless the target has the scores' shape without the class axis (or, for cross-entropy, with it)."""
    axis = 1 if len(scores) > 1 else 0
    if not scores:
        raise ShapeError(f"{name}: the scores are a scalar; classes are on axis 1, or on axis 0 of a single example.")
    expected = (*scores[:axis], *scores[axis + 1 :])
    if target == expected or (name == "cross_entropy" and target == scores):
        return
    if target == scores[:-1]:
        remedy = f" The classes seem to be last: aj.moveaxis(scores, -1, {axis})."
    elif target and math.prod(target) == math.prod(expected):
        remedy = f" Reshape the target: {expected}."
    elif target == scores:
        remedy = " For probabilities as target use cross_entropy."
    else:
        remedy = ""
    soft = f", or probabilities {scores}" if name == "cross_entropy" else ""
    raise ShapeError(
        f"{name}: scores {scores} have their classes on axis {axis}, so the target is {expected}{soft}, not {target}."
        f"{remedy}"
    )


def updates(name: str, groups: dict[str, Sequence[Shape] | None]) -> None:
    """Raise unless every gradient and moment has its parameter's shape."""
    parameters = groups["parameter"] or ()
    for what, shapes in groups.items():
        if shapes is None:
            continue
        if len(shapes) != len(parameters):
            raise ShapeError(f"{name}: {len(parameters)} parameters but {count_of(len(shapes), what)}: give one each.")
        for i, (p, shape) in enumerate(zip(parameters, shapes, strict=True)):
            if p != shape:
                raise ShapeError(f"{name}: parameter {i} is {p}, its {what} {shape}: both must have one shape.")
