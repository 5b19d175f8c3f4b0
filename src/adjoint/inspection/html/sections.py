"""The page's sections that not every report has: cost, its growth, gradient flow, attention circuits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adjoint.costs.components import Component, LayerCost
from adjoint.costs.counting import Cost
from adjoint.costs.growth import Growth
from adjoint.costs.units import scaled
from adjoint.inspection.html import figures as drawn
from adjoint.inspection.html.columns import Cell, Column, columns

FLOPS = "Additions and multiplications of the forward pass, one each."
PASSES = (
    Column("flops", "FLOPs", FLOPS),
    Column(
        "multiply_adds", "multiply-adds", "Of the forward pass, in matrix products: half of the FLOPs there (MACs)."
    ),
    Column("bytes", "bytes", "Read and written in the forward pass."),
    Column("intensity", "intensity", "FLOPs a byte: where the machine can do more, it waits for memory."),
    Column("backward", "backward", "FLOPs of the backward pass."),
)
COMPONENTS = (Column("name", "component", "What all parts of one kind do together."), *PASSES)
LAYERS = (
    Column("name", "layer", "The layer's name in the model."),
    Column("kind", "kind", "Its class."),
    Column("parameters", "parameters", "How many numbers it learns."),
    *PASSES,
)
BLOCKS = (
    Column("name", "block", "The block's name in the model, in order of computation."),
    Column("kind", "kind", "Its class."),
    Column("activation", "activation", "√(mean y²) of its output y."),
    Column("gradient_in", "gradient in", "Norm of the gradient at its input."),
    Column("gradient", "gradient out", "Norm of the gradient at its output."),
    Column("norm", "σ₁", "Norm of its Jacobian J: the most that a gradient can grow by on its way back."),
    Column("bound", "± σ₁", "How far σ₁ may be off."),
    Column("gain", "mean σ²", "‖J‖_F²/n, n the numbers of its input."),
    Column("gain_error", "± mean σ²", "Standard error of the mean σ², 0 where it is exact."),
    Column("growth", "growth", "‖J‖_F/√m: how much a gradient of random direction grows on its way back."),
    Column("product", "to here", "Product of the growths from the output back to the block's input."),
    Column("most", "at most", "Product of the σ₁ from the output back to the block's input."),
    Column("factor", "× typical", "Its growth over that of the typical block, their geometric mean."),
    Column("saturated", "saturated", "Share of the outputs of sigmoid and tanh where the slope is nearly zero."),
    Column("dead", "dead", "Share of the ReLUs that are zero at all examples."),
    Column("verdict", "verdict", "What is wrong with it."),
    Column("method", "method", "How σ₁ was found."),
    Column("examples", "examples", "For how many of the examples, the first, σ₁ and the mean σ² are."),
)
CIRCUITS = (
    Column("name", "attention", "The attention's name in the model."),
    Column("head", "head", "Which head of it, from 0."),
    Column("kind", "kind", "QK, W_Qᵀ W_K: what it looks for; OV, W_O W_V: what it moves."),
    Column("shape", "shape", "Of the map, from the stream to itself."),
    Column("rank", "rank", "Singular values above the tolerance; a head's size at most."),
    Column("sigma_max", "σ₁", "The largest singular value."),
    Column("stable_rank", "stable rank", "Σσ²/σ₁²."),
    Column("entropy_rank", "entropy rank", "exp H(σ/Σσ)."),
    Column("k90", "k₉₀", "The fewest singular values that hold 90 % of Σσ²."),
    Column("k99", "k₉₉", "The fewest singular values that hold 99 % of Σσ²."),
    Column(
        "positive", "positive", "Σ Re λ / Σ|λ| of the eigenvalues, from −1 to 1: an OV near 1 copies what it reads."
    ),
    Column("most", "width", "The head's width: the largest rank possible."),
    Column("tolerance", "tolerance", "Below it a singular value counts as zero."),
    Column("bound", "± σ₁", "How far σ₁ may be off."),
    Column("left_out", "left out", "What the head does besides: biases, a rotation by positions, a gain before it."),
    Column("method", "method", "How the singular values were found."),
)
MOST = 600  # circuits, and layers with a cost, that the page shows: a large model has thousands


@dataclass(frozen=True)
class Records:
    """A table: its columns, and a line of cells for each record."""

    columns: tuple[Column, ...]
    rows: list[tuple[Cell, ...]]


@dataclass(frozen=True)
class Section:
    """A figure, what is told beside it, and the records below it."""

    told: str
    figure: drawn.Figure | None
    records: Records
    more: Records | None = None


@dataclass(frozen=True)
class Spent:
    """A component or a layer with the figures of its forward pass."""

    name: str
    flops: int
    multiply_adds: int
    bytes: int
    intensity: float
    backward: int
    kind: str = ""
    parameters: int = 0

    @classmethod
    def of(cls, part: Component | LayerCost) -> Spent:
        """The figures of a component or a layer."""
        one = part.forward
        kind, own = (part.kind, part.parameters) if isinstance(part, LayerCost) else ("", 0)
        name, back = part.name or "the network", part.backward.flops
        return cls(name, one.flops, one.multiply_adds, one.bytes, one.intensity, back, kind, own)


def records(known: Sequence[Column], found: Sequence[Any], without: Sequence[str] = ()) -> Records:
    """The table of some records of one class; a field without a column of its own stands at the end."""
    heads = columns(known, type(found[0]), without) if found else tuple(known)
    return Records(heads, [tuple(column.cell(record) for column in heads) for record in found])


def cost(found: Cost) -> Section:
    """FLOPs, multiply-adds, bytes and intensity, by component and by layer.

    >>> import adjoint as aj
    >>> section = cost(aj.cost(aj.nn.MLP((3, 4, 2)), (1, 3)))
    >>> section.told[:63]
    'An input of 1×3 numbers takes 50 FLOPs forward (in matrix produ'
    """
    one, back = found.forward, found.backward
    shapes = " and ".join("×".join(map(str, shape)) for shape in found.inputs)
    told = (
        f"An input of {shapes or 'no'} numbers takes {scaled(one.flops)} FLOPs forward (in matrix products "
        f"{scaled(one.multiply_adds)} multiply-adds, two FLOPs each) and {scaled(back.flops)} backward. The forward "
        f"pass moves {scaled(one.bytes)} bytes: an intensity of {one.intensity:.3g} FLOPs a byte."
    )
    parts = records(COMPONENTS, [Spent.of(x) for x in found.components], ("kind", "parameters"))
    return Section(
        told, drawn.components(found.components), parts, records(LAYERS, [Spent.of(x) for x in costly(found.layers)])
    )


def costly(layers: Sequence[LayerCost]) -> list[LayerCost]:
    """The layers in their order; where they are too many for the page, those with the most FLOPs."""
    chosen = sorted(range(len(layers)), key=lambda i: -layers[i].forward.flops)[:MOST]
    return [layers[i] for i in sorted(chosen)]


def growing(found: Growth, longest: int = 1024) -> Section:
    """FLOPs against the length of the sequence, and where attention overtakes the feed-forward part."""
    meetings = {told: n for told, n in found.overtakes.items() if n is not None}
    crossing = ", ".join(f"{float(n):,.0f} tokens ({told})" for told, n in meetings.items())
    told = f"Attention overtakes the feed-forward part at {crossing}." if crossing else ""
    return Section(told, drawn.growing(found, longest), Records((), []))


def flow(found: Sequence[Any], cotangent: str) -> Section:
    """Gradients of a cotangent block by block (`adjoint.inspection.blocks.Block`), and those that the verdict names."""
    named = [block for block in found if block.verdict]
    told = "; ".join(f"{block.name} {block.verdict}" for block in named)
    told = f"{told}." if told else "No block makes gradients explode or vanish."
    told += f" Gradients are those of {cotangent}." if cotangent else ""
    figure = drawn.strip(
        [block.name for block in found], [block.norm for block in found], [block.factor for block in found],
        [bool(block.verdict) for block in found],
    )  # fmt: skip
    return Section(told, figure, records(BLOCKS, found))


def circuits(found: Sequence[Any]) -> Section:
    """The circuits of all heads; where they are too many for the page, those of the largest σ₁, and so it says."""
    if len(found) <= MOST:
        return Section("", None, records(CIRCUITS, found))
    chosen = sorted(found, key=lambda circuit: -circuit.sigma_max if circuit.sigma_max > 0 else 0.0)[:MOST]
    told = f"These are the {MOST} of {len(found):,} with the largest σ₁; to_json has all."
    return Section(told, None, records(CIRCUITS, chosen))
