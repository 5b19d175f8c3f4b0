"""What `factorize` did, layer by layer and in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factorized:
    """One layer: what it became, its rank, its error, and what it has and does before and after.

    `kind` is "linear", "channels", "separable", or "" for one that stays. `error` is ‖W - W'‖_F over ‖W‖_F, or of the
    outputs on the sample, ‖X(W - W')ᵀ‖ over ‖XWᵀ‖. `parameters` are of the weights, (before, after); `flops` in
    products of one call on the sample, of one row without; None for convolutions without a sample.

    >>> import adjoint as aj
    >>> aj.factorize(aj.nn.Linear(32, 32), rank=4)[1].layers[0].parameters
    (1024, 256)
    """

    name: str
    kind: str
    rank: int
    most: int
    error: float
    parameters: tuple[int, int]
    flops: tuple[int, int] | None


@dataclass(frozen=True)
class Standing:
    """A whole network: its parameters, what `evaluate` said of it, and how many seconds that took.

    >>> Standing(1024, score=0.98).score
    0.98
    """

    parameters: int
    score: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Factorization:
    """What `factorize` did: a row a layer, the network before and after, and whether a sample told what counts.

    >>> import adjoint as aj
    >>> _, found = aj.factorize(aj.nn.MLP((32, 32, 10), rng=0), energy=0.5)
    >>> [(x.name, x.rank) for x in found.layers], found.after.parameters < found.before.parameters
    ([('0', 6), ('2', 4)], True)
    """

    layers: tuple[Factorized, ...]
    before: Standing
    after: Standing
    sampled: bool

    @property
    def replaced(self) -> tuple[Factorized, ...]:
        """The layers that became pairs."""
        return tuple(x for x in self.layers if x.kind)

    def __rich__(self) -> Any:
        from adjoint.slim.screen import screen

        return screen(self)

    def __repr__(self) -> str:
        from adjoint.inspection.screen import text

        return text(self)
