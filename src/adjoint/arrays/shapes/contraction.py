"""An einsum as letters, sizes and pairwise steps."""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adjoint.arrays.dispatch import Shape
from adjoint.errors import ShapeError

_ELLIPSIS = "αβγδεζηθικλμνξοπρστυφχψω"


class Step(NamedTuple):
    """One contraction: the operands it takes (positions in the list at that time), the letters it keeps, its cost."""

    operands: tuple[int, ...]
    kept: str
    flops: int
    summed: bool


class Contraction:
    """`spec` on these shapes: `terms` and `result` in letters (Greek ones for an ellipsis), `sizes` by letter.

    >>> Contraction("ij,jk->ik", [(2, 3), (3, 4)]).steps()
    [Step(operands=(0, 1), kept='ik', flops=48, summed=True)]
    """

    def __init__(self, spec: str, shapes: Sequence[Shape]) -> None:
        self.spec, self.shapes = spec, shapes
        left, arrow, right = spec.replace(" ", "").partition("->")
        terms = left.split(",")
        if len(terms) != len(shapes):
            self._fail(f"{len(terms)} terms for {len(shapes)} arrays")
        self.terms = [self._letters(i, term) for i, term in enumerate(terms)]
        self.sizes = self._sizes()
        shared = "".join(c for c in _ELLIPSIS[::-1] if c in self.sizes)
        if arrow:
            self.result = right.replace("...", shared)
        else:
            once = [c for c in sorted(self.sizes) if c not in shared and "".join(terms).count(c) == 1]
            self.result = shared + "".join(once)
        for c in self.result:
            if c not in self.sizes:
                self._fail(f"index {c} of the result is in no operand")
            if self.result.count(c) > 1:
                self._fail(f"index {c} occurs twice in the result")

    def _fail(self, reason: str) -> None:
        raise ShapeError(f"einsum: {self.spec!r} with {', '.join(map(str, self.shapes))}: {reason}.")

    def _letters(self, i: int, term: str) -> str:
        n = len(self.shapes[i]) - len(term.replace("...", ""))
        if n < 0 or (n > 0 and "..." not in term):
            self._fail(f"{term!r} names {len(term.replace('...', ''))} axes, operand {i} has {len(self.shapes[i])}")
        return term.replace("...", _ELLIPSIS[:n][::-1])

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        owner: dict[str, int] = {}
        for i, (term, shape) in enumerate(zip(self.terms, self.shapes, strict=True)):
            for c, n in zip(term, shape, strict=True):
                if sizes.get(c, 1) == 1:
                    sizes[c], owner[c] = n, i
                elif n not in (1, sizes[c]):
                    what = "an axis of the ellipsis" if c in _ELLIPSIS else f"index {c}"
                    self._fail(f"{what} is {sizes[c]} in operand {owner[c]} but {n} in operand {i}")
        return sizes

    @property
    def shape(self) -> Shape:
        """The result's shape."""
        return self.shape_of(self.result)

    def shape_of(self, letters: str) -> Shape:
        """The sizes of these letters."""
        return tuple([self.sizes[c] for c in letters])

    def steps(self) -> list[Step]:
        """The contractions one after the other, by NumPy's optimal path (greedy from six operands on).

        One step multiplies its operands for every combination of their indices and, where an index goes away, adds:
        a product of two costs 2·∏ sizes, as a matrix product does.
        """
        terms, steps = list(self.terms), []
        for operands in self._path():
            taken = [terms[i] for i in operands]
            terms = [term for i, term in enumerate(terms) if i not in operands]
            letters = "".join(dict.fromkeys("".join(taken)))
            last = not terms
            kept = self.result if last else "".join(c for c in letters if c in self.result or c in "".join(terms))
            terms.append(kept)
            summed = len(kept) < len(letters)
            flops = math.prod(self.shape_of(letters)) * (len(taken) - 1 + summed)
            steps.append(Step(operands, kept, flops, summed))
        return steps

    def _path(self) -> list[tuple[int, ...]]:
        n = len(self.terms)
        if n < 3:
            return [tuple(range(n))]
        latin = dict(zip(self.sizes, string.ascii_letters, strict=False))
        spec = ",".join("".join(latin[c] for c in term) for term in self.terms)
        spec += "->" + "".join(latin[c] for c in self.result)
        dummies = [np.broadcast_to(np.int8(0), shape) for shape in self.shapes]
        path = np.einsum_path(spec, *dummies, optimize="optimal" if n < 6 else "greedy")[0]
        return list(path[1:])


@functools.lru_cache(maxsize=4096)
def contraction(spec: str, shapes: tuple[Shape, ...]) -> tuple[Contraction, list[Step]]:
    """The einsum and its steps; programs repeat the same ones."""
    it = Contraction(spec, shapes)
    return it, it.steps()
