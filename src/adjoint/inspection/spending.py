"""What a network costs, as the report tells it: in three lines, and as numbers by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from adjoint.costs.units import scaled, seconds
from adjoint.inspection.row import UNKNOWN, Row
from adjoint.interop.weights import bytes_told
from adjoint.nn.module import Module

if TYPE_CHECKING:
    from adjoint.costs.counting import Cost
    from adjoint.costs.passes import Pass

UNCOUNTED = "it does not run on arrays that only have shapes"


def of(net: Any, x: Any = None, batch: int | None = None, seq: int | None = None) -> Cost | None:
    """The cost of a network at a sample x, or at a batch and a length; else of one example, where it tells what it is.

    None where the network is no module of this library, or what it is given is not known. Nothing is computed. Raises
    ValueError where a batch or a length is asked for that the network cannot have.

    >>> import adjoint as aj
    >>> of(aj.nn.MLP((3, 2))) is None, of(aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4)).inputs
    (True, ((1, 4),))
    """
    from adjoint.costs import cost

    asked = batch is not None or seq is not None
    if not isinstance(net, Module):
        if asked:
            raise ValueError("inspect: a batch and a length are given to a module of this library; here is none.")
        return None
    if x is not None and len(x.shape) == 2:
        with suppress(ValueError):  # of tokens the growth is known; what it is given may be something else
            found = cost(net, batch=int(x.shape[0]), seq=int(x.shape[1]))
            if found.inputs[0] == tuple(x.shape):
                return found
    if asked:
        return cost(net, batch=batch, seq=seq)
    with suppress(Exception):  # what it is given is not known, or it does with an array what needs numbers
        return cost(net) if x is None else cost(net, x)
    return None


def shared(rows: Sequence[Row], found: Cost | None) -> tuple[Row, ...]:
    """The rows with their share of the forward pass's FLOPs; NaN where a module's FLOPs are not of one weight alone.

    >>> import adjoint as aj
    >>> net = aj.nn.MLP((3, 4, 2), rng=0)
    >>> [round(row.share, 2) for row in shared(aj.inspect(net, cache=False).rows, aj.cost(net, (1, 3)))]
    [0.56, 0.36]
    """
    if found is None or not found.forward.flops:
        return tuple(rows)
    names = [name for row in rows for name in (row.name, *row.tied)]
    weights = Counter(name[:k] for name in names for k, c in enumerate(name) if c == ".")  # inside of each module
    spent: dict[str, int] = {}
    for layer in found.layers:
        spent[layer.name] = spent.get(layer.name, 0) + layer.forward.flops
    outer = {name[:k] for name in spent for k, c in enumerate(name) if c == "."}

    def share(row: Row) -> float:
        owners = {name.rpartition(".")[0] for name in (row.name, *row.tied)}
        known = [spent[name] for name in owners if name in spent and name not in outer and weights[name] == 1]
        return sum(known) / found.forward.flops if known else UNKNOWN

    return tuple(replace(row, share=share(row)) for row in rows)


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


def lines(found: Cost) -> list[str]:
    """Three to five for the screen.

    >>> import adjoint as aj
    >>> lines(aj.cost(aj.nn.Linear(3, 2), (5, 3)))[0]
    '60 FLOPs in products forward (30 multiply-adds), 60 backward, for 5×3'
    """
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
    return [told for told in (work, shares, moved, crossing(found), found.beyond) if told]


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
