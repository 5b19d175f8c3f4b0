"""Which layers become pairs and of which rank: by a rank, by a share of energy, or by a budget of parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adjoint.slim.candidates import Candidate

STEPS = 200  # of the bisection, which halves an interval of the logarithm


class Choice(NamedTuple):
    """A candidate and its rank; None where the layer stays as it is."""

    candidate: Candidate | None
    rank: int = 0

    def parameters(self, dense: int) -> int:
        """Those of the weights."""
        return dense if self.candidate is None else self.rank * self.candidate.cost


def by_rank(found: list[Candidate], dense: int, rank: int) -> Choice:
    """The first candidate at a rank, or another with no more parameters that loses less."""
    first = found[0]
    allowed = min(rank, len(first.values)) * first.cost
    if allowed >= dense:
        return Choice(None)
    options = [Choice(c, min(allowed // c.cost, len(c.values))) for c in found if c.cost <= allowed]
    return min(options, key=lambda x: float(x.candidate.lost[x.rank - 1]))  # type: ignore[union-attr]


def by_energy(found: list[Candidate], dense: int, energy: float) -> Choice:
    """The candidate that keeps a share of the energy with the fewest parameters, where they are fewer."""
    options = [Choice(c, int(np.argmax(c.lost <= 1.0 - energy)) + 1) for c in found]
    best = min(options, key=lambda x: x.parameters(dense))
    return best if best.parameters(dense) < dense else Choice(None)


def by_budget(layers: list[list[Candidate]], dense: list[int], budget: int) -> list[Choice]:
    """The choices that lose the least energy, in shares of each layer's, with no more than `budget` parameters.

    Each layer minimizes lost + τ · parameters with one τ for all (a Lagrangian), the smallest that fits; what the
    steps of the ranks leave is given to the layers that gain the most a parameter. Raises ValueError where even ranks
    of 1 are too many.
    """
    tables = [_options(found, size) for found, size in zip(layers, dense, strict=True)]
    least = sum(int(costs.min()) for costs, _, _ in tables)
    if budget < least:
        raise ValueError(f"the layers take {least:,} parameters at least, with a rank of 1 each")

    def chosen(tau: float) -> list[int]:
        return [int(np.lexsort((costs, lost + tau * costs))[0]) for costs, lost, _ in tables]

    def total(at: list[int]) -> int:
        return sum(int(costs[i]) for (costs, _, _), i in zip(tables, at, strict=True))

    low, high = -60.0, 10.0  # log τ
    if total(at := chosen(0.0)) > budget:
        for _ in range(STEPS):
            middle = 0.5 * (low + high)
            if total(chosen(np.exp(middle))) > budget:
                low = middle
            else:
                high = middle
        at = chosen(np.exp(high))
    _fill(tables, at, budget - total(at))
    return [options[i] for (_, _, options), i in zip(tables, at, strict=True)]


Table = tuple[np.ndarray, np.ndarray, list[Choice]]


def _options(found: list[Candidate], dense: int) -> Table:
    """(parameters, lost shares, choices) of all that take fewer parameters than the layer, and of the layer itself."""
    options = [Choice(c, r) for c in found for r in range(1, len(c.values) + 1) if r * c.cost < dense]
    lost = [float(x.candidate.lost[x.rank - 1]) for x in options if x.candidate is not None]
    return np.array([*(x.parameters(dense) for x in options), dense]), np.array([*lost, 0.0]), [*options, Choice(None)]


def _fill(tables: list[Table], at: list[int], room: int) -> None:
    """Spend what is left, each time where a parameter gains the most."""
    while True:
        best = (0.0, -1, -1)
        for k, (costs, lost, _) in enumerate(tables):
            more, gain = costs - costs[at[k]], lost[at[k]] - lost
            rate = np.where((more > 0) & (more <= room) & (gain > 0.0), gain / np.maximum(more, 1), 0.0)
            i = int(np.argmax(rate))
            best = max(best, (float(rate[i]), k, i))
        rate_of, k, i = best
        if rate_of <= 0.0:
            return
        room -= int(tables[k][0][i] - tables[k][0][at[k]])
        at[k] = i
