"""A tape as a linear map: the Jacobian of a program, reduced to an expression of maps as far as that goes."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.algebra import factors_of, terms_of
from adjoint.maps.base import NONE, LinearMap
from adjoint.maps.combinations import Composition, Sum, first_array
from adjoint.maps.elementary import Identity, Zero
from adjoint.maps.spaces import Space, factors, is_product, lead_of
from adjoint.maps.tables import Block
from adjoint.tape import Edge, Tape, pull, push
from adjoint.trees import Structure


class Program(LinearMap):
    """The Jacobian that a tape is: `apply` is forward substitution on its edges, `adjoint` back substitution.

    `leaves` are the places of the inputs, `outputs` those of the outputs (None for a constant one).

    >>> import numpy as np, adjoint as aj
    >>> A, B, C = np.random.default_rng(0).random((3, 2, 2))
    >>> def wheatstone(x):
    ...     u, v = A @ x, B @ x
    ...     w = v + C @ u
    ...     return u * w
    >>> aj.jacobian(wheatstone, np.ones(2))
    Program(5 maps): (2,) → (2,)
    """

    __slots__ = ("edges", "in_shape", "leaves", "out_shape", "outputs")

    def __init__(
        self,
        edges: Sequence[Edge],
        leaves: Sequence[int],
        outputs: Sequence[int | None],
        in_shape: Space,
        out_shape: Space,
    ) -> None:
        self.edges = list(edges)
        self.leaves = tuple(leaves)
        self.outputs = tuple(outputs)
        self.in_shape = in_shape
        self.out_shape = out_shape

    def apply(self, v: Any) -> Any:
        """Forward substitution."""
        parts = v if is_product(self.in_shape) else (v,)
        values: dict[Any, Any] = push(self.edges, dict(zip(self.leaves, parts, strict=True)))
        out = self._gathered(values, self.outputs, self.out_shape, parts[0], factors(self.in_shape)[0])
        return out if is_product(self.out_shape) else out[0]

    def adjoint(self, u: Any) -> Any:
        """Back substitution."""
        parts = u if is_product(self.out_shape) else (u,)
        cotangents: dict[Any, Any] = {}
        for i, part in zip(self.outputs, parts, strict=True):
            if i is not None:
                cotangents[i] = cotangents[i] + part if i in cotangents else part
        values = pull(list(self.edges), cotangents)
        back = self._gathered(values, self.leaves, self.in_shape, parts[0], factors(self.out_shape)[0])
        return back if is_product(self.in_shape) else back[0]

    def _gathered(self, values: dict[Any, Any], places: Any, space: Space, like: Array, shape: Shape) -> Any:
        lead = lead_of(like, shape)
        return tuple(
            values[i] if i in values else xp.zeros(like, (*lead, *shape))
            for i, shape in zip(places, factors(space), strict=True)
        )

    def array(self) -> Array | None:
        """An array of one of the maps."""
        return first_array([m for _, _, m in self.edges])

    def describe(self) -> str:
        """How many maps it has."""
        return f"Program({len(self.edges)} maps)"


NESTED = 50  # sums within sums from which an expression would be deeper than Python's stack likes


def jacobian_of(
    edges: Sequence[Edge], leaves: dict[int, Shape], outputs: Sequence[int | None], in_shape: Space, out_shape: Space
) -> LinearMap:
    """The map from the leaves (place: shape) to the outputs (places; None for constants), reduced as far as it goes."""
    reduction = Reduction(edges, leaves, [o for o in outputs if o is not None])
    bound = reduction.edges()
    reduction.run()
    if reduction.depth() > NESTED:
        return Program(bound, list(leaves), outputs, in_shape, out_shape)
    rest = reduction.edges()
    if any(parent not in leaves for _, parent, _ in rest):
        return Program(rest, list(leaves), outputs, in_shape, out_shape)
    table = [
        [reduction.direct(output, leaf, shape, out) for leaf, shape in leaves.items()]
        for output, out in zip(outputs, factors(out_shape), strict=True)
    ]
    if is_product(in_shape) or is_product(out_shape):
        return Block(table, is_product(in_shape), is_product(out_shape))
    return table[0][0]


class Reduction:
    """Series-parallel reduction: parallel edges add, nodes with one way in and one out compose, dead ends vanish."""

    def __init__(self, edges: Sequence[Edge], leaves: dict[int, Shape], outputs: Sequence[int]) -> None:
        self.ends = {*leaves, *outputs}
        self.shapes: dict[int, Space] = dict(leaves)
        self.ins: dict[int, dict[int, LinearMap]] = {}
        self.outs: dict[int, set[int]] = {}
        self.depths: dict[tuple[int, int], int] = {}
        wanted = set(outputs)
        used = []
        for child, parent, m in reversed(edges):
            if child in wanted:
                wanted.add(parent)
                used.append((child, parent, m))
        for child, parent, m in reversed(used):
            if parent in self.shapes:
                bound = m.bind(self.shapes[parent])
                bound.array()  # slopes that wait are computed now, not later under somebody's jit
                self.shapes[child] = bound.out_shape
                self.connect(child, parent, bound)

    def connect(self, child: int, parent: int, m: LinearMap, depth: int = 0) -> None:
        """Put an edge, added to the one that is there; `depth` counts the sums that are nested in it."""
        ways = self.ins.setdefault(child, {})
        if parent in ways:
            depth = max(self.depths[child, parent] + (type(ways[parent]) is not Sum), depth + (type(m) is not Sum))
            m = parallel(ways[parent], m)
        ways[parent] = m
        self.depths[child, parent] = depth
        self.outs.setdefault(parent, set()).add(child)

    def passes(self, node: int) -> bool:
        """Whether an interior node has one way in and one way out."""
        return node not in self.ends and len(self.ins.get(node, ())) == 1 == len(self.outs.get(node, ()))

    def depth(self) -> int:
        """How deep sums are nested in what is left."""
        return max((self.depths[child, parent] for child in self.ins for parent in self.ins[child]), default=0)

    def run(self) -> None:
        """Reduce until no interior node has one way in and one way out, a whole chain of them at a time."""
        waiting = deque(self.ins)
        while waiting:
            node = waiting.popleft()
            if not self.passes(node):
                continue
            (child,) = self.outs[node]
            while self.passes(child):
                node, (child,) = child, self.outs[child]
            last = node
            maps, depth = [self.ins[child].pop(node)], self.depths[child, node]
            while self.passes(node):
                ((parent, before),) = self.ins.pop(node).items()
                del self.outs[node]
                maps.append(before)
                depth = max(depth, self.depths[node, parent])
                last, node = node, parent
            self.outs[node].discard(last)
            self.connect(child, node, series(maps), depth)
            waiting += [child, node]

    def direct(self, output: int | None, leaf: int, shape: Shape, out: Shape) -> LinearMap:
        """The map from a leaf to an output when everything between them is reduced."""
        if output == leaf:
            return Identity(shape)
        found = self.ins.get(output, {}).get(leaf) if output is not None else None
        return Zero(shape, out) if found is None else found

    def edges(self) -> list[Edge]:
        """What is left, in the order of the program."""
        return [(child, parent, m) for child in sorted(self.ins) for parent, m in self.ins[child].items()]


def series(maps: Sequence[LinearMap]) -> LinearMap:
    """The maps one after the other, the last first, kept as the chain it is."""
    parts = [m for each in maps for m in factors_of(each) if not isinstance(m, Identity)]
    return parts[0] if len(parts) == 1 else Composition(parts) if parts else maps[-1]


def parallel(a: LinearMap, b: LinearMap) -> LinearMap:
    """a + b, kept as the sum it is."""
    return Sum((*terms_of(a), *terms_of(b)))


class Door(LinearMap):
    """A Jacobian as people meet it: takes and gives trees of a known structure (modules, dicts, tuples), and refuses
    when a PyTorch tensor that it refers to was changed in place (NumPy's are read-only meanwhile).

    Of a map without numbers `like`, an array, tells of which kind its matrix is.

    >>> import numpy as np, adjoint as aj
    >>> y, J = aj.linearize(lambda p: p["a"] * p["b"], {"a": np.array([2.0]), "b": np.array([3.0])})
    >>> J.T @ np.array([1.0])
    {'a': array([3.]), 'b': array([2.])}
    """

    __slots__ = ("_turned", "in_tree", "like", "map", "out_tree", "properties", "tape")

    def __init__(
        self,
        map: LinearMap,
        in_tree: Structure | None = None,
        out_tree: Structure | None = None,
        tape: Tape | None = None,
        properties: frozenset[str] = NONE,
        like: Array | None = None,
    ) -> None:
        self.map = map
        self.like = like
        self.in_tree = in_tree
        self.out_tree = out_tree
        self.tape = tape
        self.properties = map.properties | properties
        self._turned: Any = None  # of the adjoint: itself on the way there, weakly on the way back, so that both can go

    def __getattr__(self, name: str) -> Any:
        """What the map behind has besides, such as the factors of a Kronecker product."""
        if name.startswith("_") or name in Door.__slots__:
            raise AttributeError(name)
        return getattr(self.verified(), name)

    def verified(self) -> LinearMap:
        """The map behind, after a look at what it refers to."""
        if self.tape is not None:
            self.tape.verify()
        return self.map

    @property
    def in_shape(self) -> Space:
        """The shapes of the leaves."""
        return self.map.in_shape

    @property
    def out_shape(self) -> Space:
        """The shapes of the leaves."""
        return self.map.out_shape

    def apply(self, v: Any) -> Any:
        """The map on leaves."""
        return self.verified().apply(v)

    def adjoint(self, u: Any) -> Any:
        """The adjoint on leaves."""
        return self.verified().adjoint(u)

    @property
    def T(self) -> LinearMap:
        """The adjoint, its trees exchanged."""
        found = self._turned() if isinstance(self._turned, weakref.ref) else self._turned
        if found is None:
            found = Door(self.map.T, self.out_tree, self.in_tree, self.tape, self.properties, self.like)
            found._turned = self
            self._turned = weakref.ref(found)
        return found

    def array(self) -> Array | None:
        """An array of the map, or one of the kind that it is applied to."""
        return self.map.array() if self.like is None else self.like

    def matrix(self) -> Array:
        """The map's matrix; a copy where what the map refers to can change."""
        if self.like is not None:
            return super().matrix()
        found = self.verified().matrix()
        return found if self.tape is None else xp.copy(found)

    def describe(self) -> str:
        """The map's word."""
        return self.map.describe()
