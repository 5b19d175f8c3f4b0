"""Checkpointing: a part of a program that keeps only its inputs and runs again when its maps are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.traced import Traced
from adjoint.errors import TraceError
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import Space, lead_of
from adjoint.ops.define import highest, record, unwrapped
from adjoint.tape import Edge, Tape, pull, push
from adjoint.trees import carry, flatten, roles


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with another balance of memory and time: its intermediate values are not kept for the backward pass but
    computed again, so that a forward pass is paid twice (Griewank & Walther 2000; Chen et al. 2016).

    f takes arrays and trees (modules too) as positional arguments and returns one array. Everything differentiable must
    be an argument: a traced value that f finds elsewhere raises `TraceError`.

    >>> import adjoint as aj
    >>> aj.grad(aj.checkpoint(lambda x: aj.exp(aj.sin(x))))(0.0)
    np.float64(1.0)
    """

    @functools.wraps(f)
    def checkpointed(*args: Any) -> Any:
        leaves, treedef = flatten(args)
        tape = highest(leaves)
        return f(*args) if tape is None else run(args, leaves, treedef, tape)

    def run(args: tuple[Any, ...], leaves: list[Any], treedef: Any, tape: Tape) -> Any:
        raw = unwrapped(leaves, tape, len(leaves))
        n = tape.n
        inside = treedef.unflatten(raw)
        z = checkpointed(*inside)
        if roles(treedef)[1]:
            carry(inside, args)
        if tape.n != n or not hasattr(z, "shape"):
            raise TraceError(
                "checkpoint: the function must return one array and take every traced value as an argument, so that it "
                "can run again; pass what it uses from outside (a module, a weight) as arguments."
            )
        again = Again(lambda values: f(*treedef.unflatten(values)), raw, tuple(z.shape))
        places = [k for k, x in enumerate(leaves) if isinstance(x, Traced) and x.tape is tape]
        again.places = places
        return record(tape, z, [leaves[k] for k in places], [Recomputed(again, k) for k in places])

    return checkpointed


class Again:
    """The function and its inputs, from which the maps are made again; one run serves all operands of one cotangent."""

    __slots__ = ("_cotangents", "_of", "f", "out_shape", "places", "raw")

    def __init__(self, f: Callable[[list[Any]], Any], raw: list[Any], out_shape: Space) -> None:
        self.f = f
        self.raw = raw
        self.out_shape = out_shape
        self.places: Sequence[int] = ()
        self._of: Any = None
        self._cotangents: dict[int, Any] = {}

    def run(self) -> tuple[list[Edge], dict[int, Traced], int | None]:
        """The edges of a fresh run, its leaves by place, the place of its output (None where that is constant)."""
        with Tape() as tape:
            values = list(self.raw)
            leaves = {k: tape.leaf(self.raw[k]) for k in self.places}
            for k, leaf in leaves.items():
                values[k] = leaf
            try:
                z = self.f(values)
                edges = tape.close()
            finally:
                tape.release()
        return edges, leaves, z.i if isinstance(z, Traced) and z.tape is tape else None

    def pull(self, u: Array, place: int) -> Array:
        """The cotangent of one operand; those of the others are kept until they have been asked for, too."""
        if self._of is not u or place not in self._cotangents:
            edges, leaves, end = self.run()
            found = {} if end is None else pull(edges, {end: u})
            self._of = u
            self._cotangents = {k: found.get(leaf.i) for k, leaf in leaves.items()}
        back = self._cotangents.pop(place)
        if not self._cotangents:
            self._of = None
        if back is None:
            return xp.zeros(u, (*lead_of(u, self.out_shape), *self.raw[place].shape))
        return back

    def push(self, v: Array, place: int) -> Array:
        """The tangent that a tangent of one operand makes."""
        edges, leaves, end = self.run()
        found = None if end is None else push(edges, {leaves[place].i: v}).get(end)
        lead = lead_of(v, tuple(self.raw[place].shape))
        return xp.zeros(v, (*lead, *self.out_shape)) if found is None else found


class Recomputed(LinearMap):
    """The derivative of a checkpointed function in one operand: made again at every use."""

    __slots__ = ("again", "place")

    def __init__(self, again: Again, place: int) -> None:
        self.again = again
        self.place = place

    @property
    def in_shape(self) -> Space:
        """The operand's shape."""
        return tuple(self.again.raw[self.place].shape)

    @property
    def out_shape(self) -> Space:
        """The result's shape."""
        return self.again.out_shape

    def apply(self, v: Any) -> Any:
        """The pushforward of a fresh run."""
        return self.again.push(v, self.place)

    def adjoint(self, u: Any) -> Any:
        """The pullback of a fresh run."""
        return self.again.pull(u, self.place)

    def array(self) -> Array | None:
        """The operand."""
        return self.again.raw[self.place]
