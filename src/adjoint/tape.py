"""The tape: a program's edges (child, parent, map) in the order it ran, a block-triangular matrix.

The pushforward of a tangent is forward substitution on it, the pullback of a cotangent is back substitution.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_complex
from adjoint.arrays.traced import Traced
from adjoint.errors import DtypeError, TraceError
from adjoint.maps.base import LinearMap, added

Edge = tuple[int, int, LinearMap]
HOLD: Any = xp.hold.table  # type: ignore[attr-defined]
RELEASE: Any = xp.release.table  # type: ignore[attr-defined]


class _Depth(threading.local):
    level = 0


_depth = _Depth()


class Tape:
    """Records the maps of a program while it runs; used as a context, tapes nest and the innermost is the highest."""

    __slots__ = ("_grad_mode", "edges", "held", "level", "n", "watched")

    def __init__(self) -> None:
        self.n = -1
        self.edges: Any = []
        self.held: list[tuple[Array, Any]] = []
        self.watched = False  # whether something held can change all the same, and is to be verified at every use

    def __enter__(self) -> Tape:
        self._grad_mode: Any = None
        if _depth.level == 0 and "torch" in sys.modules:
            self._grad_mode = sys.modules["torch"].no_grad()
            self._grad_mode.__enter__()
        _depth.level += 1
        self.level = _depth.level
        return self

    def __exit__(self, *failure: Any) -> None:
        _depth.level -= 1
        if self._grad_mode is not None:
            self._grad_mode.__exit__(*failure)
        self.close()

    def close(self) -> Any:
        """Record no more: gives the edges so far; a traced value that is used from now on raises `TraceError`."""
        edges, self.edges = self.edges, Closed()
        return edges

    def leaf(self, value: Array) -> Traced:
        """A traced value with no parent: an input of the program."""
        self.n += 1
        return Traced(value, self.n, self)

    def hold(self, x: Array) -> None:
        """Keep an array that the maps refer to from being changed in place while the tape needs it."""
        kind: Any = getattr(x, "dtype", type(x))
        if is_complex(kind):
            raise DtypeError("complex numbers meet a traced value: only real floating numbers have a derivative here.")
        mark = HOLD[type(x)](x)
        if mark is not None:
            self.held.append((x, mark))
            self.watched |= type(mark) is int

    def verify(self) -> None:
        """Raise `InPlaceError` where something held was changed."""
        if self.watched:
            for x, mark in self.held:
                xp.verify(x, mark)

    def release(self) -> None:
        """Let go of what was held."""
        while self.held:
            x, mark = self.held.pop()
            RELEASE[type(x)](x, mark)


class Closed:
    """Stands for the edges of a tape whose transform has returned."""

    __slots__ = ()

    def append(self, edge: Edge) -> None:
        """Refuse: the traced value has left its transform."""
        raise TraceError(
            "a traced value was used after its transform had returned: return it from the function (or as aux) "
            "instead of keeping it in a variable outside."
        )


def pull(edges: list[Edge], cotangents: dict[int, Any]) -> dict[int, Any]:
    """Back substitution: cotangents of outputs in, cotangents of leaves out. Uses up the list of edges."""
    last, u = -1, None
    own: set[int] = set()  # places whose cotangents are new arrays, to which nothing else refers: sums go there
    while edges:
        child, parent, map = edges.pop()
        if child != last:
            last, u = child, cotangents.pop(child, None)
        if u is not None:
            w = cotangents.get(parent)
            if w is None:
                cotangents[parent] = map.adjoint(u)
                if map.fresh:
                    own.add(parent)
            elif parent in own:
                cotangents[parent] = map.adjoint_added(u, w)
            else:
                v = map.adjoint(u)
                cotangents[parent] = added(v, w) if map.fresh else w + v
                own.add(parent)
    return cotangents


def push(edges: list[Edge], tangents: dict[int, Any]) -> dict[int, Any]:
    """Forward substitution: tangents of leaves in, tangents of every value out."""
    for child, parent, map in edges:
        v = tangents.get(parent)
        if v is not None:
            w = tangents.get(child)
            tangents[child] = map.apply(v) if w is None else w + map.apply(v)
    return tangents
