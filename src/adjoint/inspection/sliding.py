"""How a kernel slides: what a module, a step of a graph, or only the weight's name and shape tell of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adjoint.interop.graph import Graph, Value

CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
MOST_AXES = 3  # that a kernel slides along
ATEN = re.compile(r"aten\.(conv\w*)\.\w+ in ")
ORDERS = {  # of the arguments behind input, weight and bias
    "conv": ("stride", "padding", "dilation", "groups"),
    "conv_transpose": ("stride", "padding", "output_padding", "groups", "dilation"),
    "convolution": ("stride", "padding", "dilation", "transposed", "output_padding", "groups"),
}


@dataclass(frozen=True)
class Sliding:
    """The steps of a kernel on each axis, and its groups; `known` is False where they are assumed.

    A `transposed` kernel is that of the convolution whose transpose the layer is. `sizes` are those of the input of the
    convolution, where a sample told them.
    """

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    known: bool = True
    sizes: tuple[int, ...] = ()

    def at(self, given: tuple[int, ...]) -> Sliding:
        """The same with the sizes of an input that the layer was given; as it is where they do not fit.

        >>> Sliding((2,), (1,), transposed=True).at((8,)).sizes
        (16,)
        """
        if len(given) != len(self.stride) or min(given) < 1:
            return self
        return replace(
            self, sizes=tuple(n * s if self.transposed else n for n, s in zip(given, self.stride, strict=True))
        )


def of_module(module: Any, shape: tuple[int, ...]) -> Sliding | None:
    """That of a convolution of this library's or PyTorch's; None for other modules.

    >>> import adjoint as aj
    >>> of_module(aj.nn.Conv2d(2, 4, 3, stride=(2, 1), groups=2), (4, 1, 3, 3))
    Sliding(stride=(2, 1), dilation=(1, 1), groups=2, transposed=False, known=True, sizes=())
    """
    stride, dilation, groups = (getattr(module, name, None) for name in ("stride", "dilation", "groups"))
    if "Conv" not in type(module).__name__ or stride is None or dilation is None or groups is None:
        return None
    return _made(shape, stride, dilation, groups, "Transpose" in type(module).__name__)


def of_weight(name: str, shape: tuple[int, ...]) -> Sliding | None:
    """Stride 1 and one group, assumed of what is called weight and has four or five axes, or is called convolution.

    >>> of_weight("experts.weight", (8, 4, 3)) is None, of_weight("pos_embed", (1, 14, 14, 8)) is None
    (True, True)
    >>> of_weight("conv1", (8, 4, 3))
    Sliding(stride=(1,), dilation=(1,), groups=1, transposed=False, known=False, sizes=())
    """
    n = len(shape) - 2
    called = CONVOLUTION.search(name) or (n > 1 and name.rpartition(".")[2] == "weight")
    if not 1 <= n <= MOST_AXES or not called:
        return None
    return Sliding((1,) * n, (1,) * n, known=False)


def of_graph(model: Any, stored: Mapping[str, Any]) -> dict[str, Sliding]:
    """Those of a graph's kernels, learned or `stored` as integers, by name; nothing for other modules."""
    found: dict[str, Sliding] = {}
    for step, _ in model.plan.steps if isinstance(model, Graph) else ():
        name = f"{step.outputs[0]}.weight"  # of what is stored as integers for a step alone
        if getattr(step.call, "op", "") != "QLinearConv":
            name = str(step.args[1]) if len(step.args) > 1 and isinstance(step.args[1], Value) else ""
        shape = tuple(getattr(stored.get(name, model.__dict__.get(name)), "shape", ()))
        made = _of_onnx(step.call, shape) or _of_aten(step, shape)
        if made is not None:
            found[name] = made
    return found


def _of_onnx(node: Any, shape: tuple[int, ...]) -> Sliding | None:
    if getattr(node, "op", "") not in ("Conv", "ConvTranspose", "QLinearConv"):
        return None
    told = (node.get("strides") or 1, node.get("dilations") or 1, node.get("group", 1))
    return _made(shape, *told, node.op == "ConvTranspose")


def _of_aten(step: Any, shape: tuple[int, ...]) -> Sliding | None:
    found = ATEN.match(step.where)
    order = ORDERS.get(found[1].rstrip("123d").lstrip("_")) if found else None
    if found is None or order is None:
        return None
    told = dict(zip(order, step.args[3:], strict=False)) | step.kwargs
    transposed = bool(told.get("transposed", "transpose" in found[1]))
    return _made(shape, told.get("stride", 1), told.get("dilation", 1), told.get("groups", 1), transposed)


def _made(shape: tuple[int, ...], stride: Any, dilation: Any, groups: Any, transposed: bool) -> Sliding | None:
    n = len(shape) - 2
    if not 1 <= n <= MOST_AXES or not isinstance(groups, int) or shape[0] % groups:
        return None
    steps = [_each(x, n) for x in (stride, dilation)]
    if any(len(x) != n or min(x) < 1 for x in steps):
        return None
    return Sliding(steps[0], steps[1], groups, transposed)


def _each(x: Any, n: int) -> tuple[int, ...]:
    told = tuple(x) if isinstance(x, Iterable) else (x,)
    return tuple(map(int, told * n if len(told) == 1 else told))
