"""What a network costs, as the report tells it: in three lines, and as numbers by name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from adjoint.costs.units import scaled, seconds
from adjoint.interop.weights import bytes_told
from adjoint.nn.module import Module

if TYPE_CHECKING:
    from adjoint.costs.counting import Cost
    from adjoint.costs.passes import Pass


def of(net: Any) -> Cost | None:
    """The cost of a network that tells what it is given; None for others. Nothing is computed.

    >>> import adjoint as aj
    >>> of(aj.nn.MLP((3, 2))) is None, of(aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4)).inputs
    (True, ((1, 4),))
    """
    from adjoint.costs import cost

    if not isinstance(net, Module):
        return None
    with suppress(ValueError, TypeError):  # what it is given is not known, or its arrays are not floating
        return cost(net)
    return None


def crossing(found: Cost) -> str:
    """Where attention overtakes the feed-forward part, in words; nothing where there is no such length.

    >>> import adjoint as aj
    >>> crossing(aj.cost(aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=8), seq=16))
    'attention overtakes the feed-forward part at 16 tokens, its scores alone at 32'
    """
    try:
        met = found.polynomial("seq").overtakes
    except ValueError:
        return ""
    both, scores = met["with projections"], met["scores alone"]
    if both is None or scores is None:
        return ""
    whole, part = f"{float(both):,.0f}", f"{float(scores):,.0f}"
    return f"attention overtakes the feed-forward part at {whole} tokens, its scores alone at {part}"


def bound(found: Cost) -> str:
    """What the forward pass waits for on this machine, and how long it takes at least.

    >>> import adjoint as aj
    >>> bool(bound(aj.cost(aj.nn.Linear(3, 2), (5, 3))))
    True
    """
    from adjoint.costs import Roofline

    line = Roofline.remembered()
    if line is None:
        return "bound by memory or compute? `adjoint doctor` measures this machine"
    try:
        told, ridge = found.predicted(line), line.ridge(found.dtype)
    except ValueError as error:
        return str(error)
    side = "compute" if found.forward.intensity >= ridge else "memory"
    return f"bound by {side} here, {seconds(told.forward)} forward and {seconds(told.backward)} backward at least"


def section(found: Cost) -> Table:
    """Three or four lines for the screen."""
    grid = Table.grid(padding=(0, 2))
    one, back = found.forward, found.backward
    given = "×".join(map(str, found.inputs[0]))
    work = (
        f"{scaled(one.matmul_flops)} FLOPs in products forward ({scaled(one.multiply_adds)} multiply-adds), "
        f"{scaled(back.matmul_flops)} backward, for {given}"
    )
    products = [x for x in found.components if x.forward.matmul_flops]
    products.sort(key=lambda x: -x.forward.matmul_flops)
    shares = ", ".join(f"{x.name} {x.forward.matmul_flops / one.matmul_flops:.0%}" for x in products)
    moved = f"{bytes_told(one.bytes)} read and written forward, {one.intensity:.3g} FLOPs a byte; {bound(found)}"
    for k, told in enumerate(x for x in (work, shares, moved, crossing(found)) if x):
        grid.add_row(Text("" if k else "cost", "dim"), Text(told))
    return grid


def as_dict(found: Cost) -> dict[str, Any]:
    """The passes, the components and the layers as numbers by name."""

    def told(spent: Pass) -> dict[str, Any]:
        return {**asdict(spent), "multiply_adds": spent.multiply_adds, "flops_a_byte": spent.intensity}

    def both(x: Any) -> dict[str, Any]:
        return {"forward": told(x.forward), "backward": told(x.backward)}

    return {
        "inputs": [list(shape) for shape in found.inputs],
        **both(found),
        "components": {x.name: both(x) for x in found.components},
        "layers": [{"name": x.name, "kind": x.kind, **both(x)} for x in found.layers],
        "overtakes": crossing(found) or None,
    }
