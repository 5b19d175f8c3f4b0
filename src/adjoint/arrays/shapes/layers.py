"""Coarse functions: a look at the shapes, then the FLOPs of the composition they stand for in one pass over memory."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint.arrays import activations, elementwise
from adjoint.arrays.dispatch import FUNCTIONS, Shape
from adjoint.arrays.shapes import layer_rules, layout_rules, rules
from adjoint.arrays.shapes.array import ShapeArray, bare, operand, shape_of, spend
from adjoint.arrays.shapes.layout import taken
from adjoint.arrays.shapes.tally import count_apart
from adjoint.errors import DtypeError

Function = Callable[..., Any]


class Spec(NamedTuple):
    """Shape and dtype of an array, as a key."""

    shape: Shape
    dtype: np.dtype[Any]


def _spec(x: Any) -> Any:
    if hasattr(x, "dtype"):
        x = operand(x)
        return Spec(x.shape, x.dtype)
    return tuple(x) if isinstance(x, list) else x


def _array(x: Any) -> Any:
    return bare(*x) if type(x) is Spec else x


def _composition(name: str) -> Function:
    return FUNCTIONS[name].table.composed


def _fused(name: str, check: Function) -> Function:
    """`name` as a backend with a kernel for it has it."""

    @functools.lru_cache(maxsize=1024, typed=True)
    def plan(*operands: Any, **options: Any) -> tuple[list[Spec | None], bool, int, int]:
        with count_apart() as tally:
            result = _composition(name)(*map(_array, operands), **{key: _array(x) for key, x in options.items()})
        several = isinstance(result, tuple)
        specs = [_spec(x) for x in (result if several else (result,))]
        return specs, several, tally.flops, tally.matmul_flops

    def call(*operands: Any, **options: Any) -> Any:
        known = [operand(x) if hasattr(x, "dtype") else x for x in operands]
        check(name, *known, **options)
        specs, several, flops, products = plan(*map(_spec, known), **{key: _spec(x) for key, x in options.items()})
        results = [None if spec is None else ShapeArray(*spec) for spec in specs]
        spend(name, flops, products, [*known, *results])
        return tuple(results) if several else results[0]

    return call


def _checked(name: str, check: Function) -> Function:
    """The composition itself, after its operands were looked at."""

    def call(*operands: Any, **options: Any) -> Any:
        check(name, *operands, **options)
        return _composition(name)(*operands, **options)

    return call


# What is looked at


def _anything(name: str, x: Any, *args: Any, **options: Any) -> None:
    pass


def _floating(name: str, x: Any, *args: Any, **options: Any) -> None:
    if x.dtype.kind in "biu":
        raise DtypeError(
            f"{name}: entries are {x.dtype.name}, floating ones are needed: cast with aj.astype(x, 'float32')."
        )


def _along(name: str, x: Any, axis: Any = -1, *args: Any, **options: Any) -> None:
    rules.axes_in(name, axis, x.shape)
    _floating(name, x)


def _over(name: str, x: Any, axis: Any = None, *args: Any, **options: Any) -> None:
    rules.reduced(name, x.shape, axis)


def _layer_norm(name: str, x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 0.0) -> None:
    layer_rules.normalized(name, x.shape, ndim, weight=shape_of(weight, None), bias=shape_of(bias, None))
    _floating(name, x)


def _rms_norm(name: str, x: Any, weight: Any = None, ndim: int = 1, eps: float = 0.0) -> None:
    _layer_norm(name, x, weight, None, ndim)


def _rows(
    name: str, x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 0.0, centre: bool = True
) -> None:
    _layer_norm("layer_norm" if centre else "rms_norm", x, weight, bias, ndim)


def _linear(name: str, x: Any, weight: Any, bias: Any = None) -> None:
    layer_rules.linear(name, shape_of(x), shape_of(weight), shape_of(bias, None))


def _stack(name: str, arrays: Sequence[Any], axis: int = 0) -> None:
    layout_rules.stack([shape_of(x) for x in arrays], axis)


def _split(name: str, x: Any, sections: Any, axis: int = 0) -> None:
    layout_rules.split(x.shape, sections, axis)


def _expand_dims(name: str, x: Any, axis: int) -> None:
    rules.axis_in(name, axis, x.shape, x.ndim + 1)


def _classes(name: str, scores: Any, target: Any, *args: Any, **options: Any) -> None:
    layer_rules.classes(name, shape_of(scores), shape_of(target))


def _named(name: str, *axes: str) -> Function:
    """A check of the parameters that name axes of x."""
    signature = inspect.signature(_composition(name))

    def check(name: str, x: Any, *args: Any, **options: Any) -> None:
        given = signature.bind(x, *args, **options).arguments
        for axis in [given[a] for a in axes if given.get(a) is not None]:
            rules.axes_in(name, axis, x.shape)

    return check


def embedding(indices: Any, weight: Any) -> Any:
    """A copy of the rows that are picked."""
    weight = operand(weight)
    layer_rules.embedding(weight.shape)
    return taken("embedding", weight, indices, 0)


ELEMENTWISE = {activations.__name__, elementwise.__name__}
COMPOSED = [name for name, f in FUNCTIONS.items() if f.__module__ in ELEMENTWISE and f.table.composed]
FUSED: dict[str, Function] = {
    **dict.fromkeys(COMPOSED, _floating),
    **dict.fromkeys(("clip", "hardtanh", "relu6", "rsqrt"), _anything),
    "layer_norm": _layer_norm,
    "linear": _linear,
    "log_softmax": _along,
    "logsumexp": _over,
    "normalization_gain": _anything,
    "normalization_product": _anything,
    "normalize_channels": _floating,
    "normalize_rows": _rows,
    "rms_norm": _rms_norm,
    "softmax": _along,
}
CHECKED: dict[str, Function] = {
    "affine": _linear,
    "cross_entropy": _classes,
    "expand_dims": _expand_dims,
    "flatten": _named("flatten", "start_dim", "end_dim"),
    "moveaxis": _named("moveaxis", "source", "destination"),
    "nll_loss": _classes,
    "repeat": _named("repeat", "axis"),
    "split": _split,
    "squeeze": _named("squeeze", "axis"),
    "stack": _stack,
    "swapaxes": _named("swapaxes", "axis1", "axis2"),
}
LAYERS = {
    **{name: _fused(name, check) for name, check in FUSED.items()},
    **{name: _checked(name, check) for name, check in CHECKED.items()},
    "embedding": embedding,
}
