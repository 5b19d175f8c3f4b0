"""Variance through depth: whether activations and gradients keep their size on their way through a network."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.inspection.watching import Call, calls, main, replaced, watch
from adjoint.maps.flat import to_numpy
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.transforms import vjp


@dataclass(frozen=True)
class Variance:
    """The output of one module: its name and kind, its mean square there, and that of the gradient.

    Gradients are those of a random cotangent of the network's output, each entry N(0, 1).

    >>> import numpy as np, adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((100, 50), "float32")
    >>> row = aj.inspection.variance_through_depth(aj.nn.Sequential(aj.nn.ReLU()), x)[0]
    >>> row.name, row.kind, 0.4 < row.activation < 0.6, 0.9 < row.gradient < 1.1
    ('0', 'ReLU', True, True)
    """

    name: str
    kind: str
    activation: float
    gradient: float


class VarianceThroughDepth(tuple[Variance, ...]):
    """A `Variance` for the output of every module, in the order of computation. Printed, it is a table.

    >>> VarianceThroughDepth([Variance("0", "Linear", 1.5, 0.25)])[0].activation
    1.5
    """

    def __rich__(self) -> Any:
        from rich.table import Table

        from adjoint.inspection.table import figures

        table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
        table.add_column("layer", no_wrap=True)
        table.add_column("activation²", justify="right")
        table.add_column("gradient²", justify="right")
        for row in self:
            table.add_row(f"{row.name} {row.kind}", figures(row.activation), figures(row.gradient))
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100, color_system=None)
        console.print(self)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines())


def variance_through_depth(net: Module, x: Array, rng: init.Rng = None) -> VarianceThroughDepth:
    """The mean squares of activations and gradients at every module's output, at a batch x (n, *in_shape).

    With good initial values both stay of one size through any depth (Glorot & Bengio 2010, He et al. 2015). The network
    is in evaluation mode; one sweep forward and one backward.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((256,) * 3, rng=0)
    >>> for layer in (net[0], net[2]):
    ...     layer.weight = aj.nn.init.kaiming_normal((256, 256), nonlinearity="relu", rng=0)
    >>> x = np.random.default_rng(0).standard_normal((64, 256), "float32")
    >>> print(aj.inspection.variance_through_depth(net, x, rng=0))
    layer     activation²  gradient²
    0 Linear         1.98       1.00
    1 ReLU          0.969       2.00
    2 Linear         2.00      0.992
    """
    y, seen = calls(net, x)
    seen = sorted(seen, key=lambda call: call.finished)
    places = {(call.name, call.nth): k for k, call in enumerate(seen)}

    def shifted(shifts: list[Array]) -> Array:
        """The network with a number added to every output: the derivative in that is the gradient there."""
        met: dict[str, Iterator[int]] = {}

        def around(name: str, module: Module, call: Any, args: tuple[Any, ...]) -> Any:
            nth = next(met.setdefault(name, iter(range(len(seen)))))
            output = call(*args)
            place = places.get((name, nth))
            return output if place is None else replaced(output, main(output) + shifts[place])

        return watch(net, around)(x)

    _, pullback = vjp(shifted, [xp.zeros_like(call.output) for call in seen])
    cotangent = init.generator(rng).standard_normal(tuple(y.shape))
    (gradients,) = pullback(xp.asarray(y, cotangent, y.dtype))
    return VarianceThroughDepth(_row(call, gradient) for call, gradient in zip(seen, gradients, strict=True))


def _row(call: Call, gradient: Array) -> Variance:
    return Variance(call.name, call.kind, _mean_square(call.output), _mean_square(gradient))


def _mean_square(x: Array) -> float:
    return float(np.mean(np.square(to_numpy(x).astype(np.float64)))) if x.size else 0.0
