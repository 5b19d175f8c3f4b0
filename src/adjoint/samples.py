"""Gradients of every example at once, from one backward sweep: the maps know the batch.

A program on a batch of n has values that hold one part an example and values that all share, parameters above all.
Cotangents of the first pass backwards through their maps as ever, since no example touches another's part. Where such a
value was made of a shared one, the map is asked for every example's adjoint apart (`maps.examples.each`), and shared
values from there on carry n cotangents. Which values are which is found by running the program on arrays that only
have shapes, with n examples and with n + 1.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape, backend, is_array
from adjoint.errors import ShapeError, TraceError
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition
from adjoint.maps.examples import Examples, each
from adjoint.maps.layout import Reshape
from adjoint.ops.define import plain
from adjoint.recording import Function, Recording, name_of, separated
from adjoint.tape import pull, push
from adjoint.trees import flatten

Node = Any  # a place on the tape, or one inside a composition
Edges = list[tuple[Node, Node, LinearMap]]
Course = list[tuple[Node, Node, type]]
Place = Examples | str | None  # where a value holds the examples; why it has no such place; None for a shared value


def per_sample_grad(f: Function) -> Function:
    """The gradient of every example's loss by itself: a tree like the first argument with a leading axis n.

    f(net, *batch) gives one loss an example, shape (n,); every array in the batch has the n examples on its first axis
    (what they share goes into keyword arguments). The result's leaf i is the gradient of loss i, as
    `torch.func.vmap(torch.func.grad(…))` gives it, from one sweep.

    Raises `ShapeError` for losses of another shape and `TraceError` where examples mix, so that one example's loss is
    not its own (batch normalization in training mode). That is found out at the first call for each set of shapes,
    from values: not inside `jax.jit`.

    >>> import numpy as np, adjoint as aj
    >>> def losses(w, x, t):
    ...     return aj.square(x @ w - t)
    >>> x, t = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), np.array([0.0, 1.0, 2.0])
    >>> aj.per_sample_grad(losses)(np.array([1.0, 1.0]), x, t).tolist()
    [[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]]
    """
    plans: dict[Hashable, Plan] = {}

    @functools.wraps(f)
    def gradients(net: Any, *batch: Any, **shared: Any) -> Any:
        n = examples_in(f, batch)
        with Recording(f, (net, *batch), (0,), kwargs=shared) as run:
            y, place, (argument,) = run.value(run.result), run.place(run.result), run.arguments
            if getattr(y, "shape", None) is None or tuple(y.shape) != (n,):
                raise ShapeError(
                    f"per_sample_grad: {name_of(f)} is to return one loss an example, shape ({n},), not a value "
                    f"{'of shape ' + str(tuple(y.shape)) if hasattr(y, 'shape') else 'of type ' + type(y).__name__}: "
                    "with a loss of the library pass reduction='none'."
                )
            edges, found = laid_out(run.edges), {}
            if place is not None and n > 1:
                key = signature((net, batch, shared))
                plan = plans.get(key)
                if plan is None or plan.course != course(edges):
                    plan = plans[key] = Plan(f, net, batch, shared, n, edges)
                found = plan.pull(edges, place, xp.ones_like(y))
            elif place is not None and n == 1:
                found = alone(edges, place, xp.ones_like(y))
            leaves = [_leaf(x.value, found.get(x.i), n) for x in argument.traced]
            distinct = list(separated(dict(enumerate(leaves))).values())
            return distinct[0] if argument.structure is None else argument.structure.tree(distinct)

    return gradients


def _leaf(value: Array, u: Any, n: int) -> Array:
    if u is None:
        return xp.zeros(value, (n, *value.shape))
    return xp.own(u) if u.dtype == value.dtype else xp.astype(u, value.dtype)


def alone(edges: Edges, place: Node, u: Array) -> dict[Node, Array]:
    """The gradients of a batch of one."""
    return {node: xp.expand_dims(g, 0) for node, g in pull(edges, {place: u}).items()}


def _add(cotangents: dict[Node, Array], node: Node, u: Array) -> None:
    cotangents[node] = cotangents[node] + u if node in cotangents else u


def examples_in(f: Function, batch: Sequence[Any]) -> int:
    """How many examples the batch has; raises `ShapeError` unless all its arrays agree."""
    shapes = [tuple(x.shape) for x in flatten(batch)[0] if is_array(x)]
    if not shapes or len({shape[:1] for shape in shapes}) > 1 or not shapes[0]:
        raise ShapeError(
            f"per_sample_grad: after its first argument {name_of(f)} takes arrays with the examples on their first "
            f"axis, as many in each, got {', '.join(map(str, shapes)) or 'none'}: pass what the examples share as "
            "keyword arguments."
        )
    return shapes[0][0]


def signature(tree: Any) -> Hashable:
    """What a program's course depends on: structure, shapes, dtypes, and all that is no array."""
    leaves, treedef = flatten(tree)
    return treedef, tuple([(tuple(x.shape), str(x.dtype)) if hasattr(x, "shape") else _known(x) for x in leaves])


def _known(x: Any) -> Hashable:
    return (type(x), x) if isinstance(x, Hashable) else id(x)


# The tape, compositions taken apart


def laid_out(edges: Iterable[tuple[int, int, LinearMap]]) -> Edges:
    """The edges with every composition as a chain of its own nodes, the edges of one child still side by side."""
    found: Edges = []
    for child, group in itertools.groupby(edges, lambda edge: edge[0]):
        last: Edges = []
        for k, (_, parent, map) in enumerate(group):
            node: Node = parent
            factors = factors_of(map)
            for j, factor in enumerate(factors[:-1]):
                found.append(((child, k, j), node, factor))
                node = (child, k, j)
            last.append((child, node, factors[-1]))
        found += last
    return found


def factors_of(map: LinearMap) -> list[LinearMap]:
    """The maps of a composition in the order in which they are applied."""
    if type(map) is not Composition:
        return [map]
    return [factor for part in reversed(map.maps) for factor in factors_of(part)]


def course(edges: Edges) -> Course:
    """What the same program gives again on other numbers."""
    return [(child, parent, type(map)) for child, parent, map in edges]


# Where the examples are


class Plan:
    """For one program and its shapes: where every value holds the examples, and whether the maps keep them apart."""

    __slots__ = ("checked", "course", "n", "name", "places")

    def __init__(self, f: Function, net: Any, batch: Any, shared: Any, n: int, edges: Edges) -> None:
        self.n, self.name, self.checked = n, name_of(f), False
        self.course = course(edges)
        try:
            small, large = (shapes_of_run(f, net, batch, shared, m) for m in (n, n + 1))
        except Exception as failure:
            raise TraceError(
                f"per_sample_grad: {self.name} runs on arrays that only have shapes, with {n} and {n + 1} examples, to "
                f"find where the examples are, and fails there ({failure}): give it all arrays of the batch as "
                "arguments, and use functions of the library in it."
            ) from failure
        if not small[0] == large[0] == self.course:
            raise TraceError(
                f"per_sample_grad: {self.name} takes different steps for {n} examples and for {n + 1}, so that there "
                "is no telling which of its values are whose."
            )
        self.places = {node: placed(shape, large[1][node], n) for node, shape in small[1].items()}
        settle(self.places, small[1], edges)

    def pull(self, edges: Edges, place: Node, u: Array) -> dict[Node, Array]:
        """The cotangents of shared values, n of each, from the losses' own."""
        places, cotangents = self.places, {place: u}
        check = not self.checked and has_values(u)
        last: Node = None
        while edges:
            child, parent, map = edges.pop()
            if child != last:
                last, u = child, cotangents.pop(child, None)
            if u is None:
                continue
            here, there = places[child], places[parent]
            for at, node in ((here, child), (there, parent)):
                if isinstance(at, str):
                    raise self.mixed(map, f"the value of step {node} {at}")
            if isinstance(here, Examples) and isinstance(there, Examples):
                if check and not separates(map, u, here, there):
                    raise self.mixed(map, "what it gives for one example depends on others")
                _add(cotangents, parent, map.adjoint(u))
            elif isinstance(here, Examples):
                _add(cotangents, parent, each(map, u, here))
            elif there is None:
                _add(cotangents, parent, map.adjoint(u))
            else:
                raise self.mixed(map, "it makes one value of all examples, on which every loss depends")
        self.checked = self.checked or check
        return cotangents

    def mixed(self, map: LinearMap, why: str) -> TraceError:
        """The error where examples are not apart."""
        return TraceError(
            f"per_sample_grad: {self.name} mixes examples in {map!r}: {why}. Gradients of single examples are those of "
            "losses that each depend on one example: batch statistics, for instance, have none (net.eval() uses the "
            "running ones); otherwise take aj.jacobian of the losses."
        )


def shapes_of_run(f: Function, net: Any, batch: Any, shared: Any, m: int) -> tuple[Course, dict[Node, Shape]]:
    """The course of f for m examples and the shape of every value in it, from arrays that only have shapes."""
    from adjoint.arrays import shapes
    from adjoint.arrays.shapes.tally import count_apart

    seen: dict[int, Any] = {}

    def like(x: Any) -> Any:
        return seen.setdefault(id(x), shapes.like(x))

    def resized(x: Any) -> Any:
        return shapes.ShapeArray((m, *x.shape[1:]), x.dtype) if is_array(x) else x

    net, shared = mapped(like, net), mapped(like, shared)
    with count_apart(), Recording(f, (net, *mapped(resized, batch)), (0,), kwargs=shared) as run:
        edges = laid_out(run.edges)
        tangents = push(edges, {x.i: plain(x) for argument in run.arguments for x in argument.traced})
    return course(edges), {node: tuple(x.shape) for node, x in tangents.items()}


def mapped(function: Any, tree: Any) -> Any:
    """The tree with function(leaf) for its leaves."""
    leaves, treedef = flatten(tree)
    return treedef.unflatten([function(x) for x in leaves])


def placed(small: Shape, large: Shape, n: int) -> Place:
    """Where a value holds the examples: its shapes with n of them and with n + 1; inner is 0 while it is not known."""
    grown = [a - len(small) for a, (i, j) in enumerate(zip(small, large, strict=True)) if i != j]
    if not grown:
        return None
    (axis, *more), size = grown, small[grown[0]]
    if more or size % n or large[axis] - size != size // n:
        return f"has {small} entries for {n} examples and {large} for {n + 1}"
    return Examples(axis, n, int(size == n))


def settle(places: dict[Node, Place], shapes: dict[Node, Shape], edges: Edges) -> None:
    """Find the order within axes that hold several entries of each example, from their neighbours."""
    known = -1
    while (open := sum(isinstance(p, Examples) and not p.inner for p in places.values())) and open != known:
        known = open
        for child, parent, map in (*edges, *reversed(edges)):
            if child in places and parent in places:
                _learn(places, shapes, child, parent, map)
                _learn(places, shapes, parent, child, map)
    for node, place in places.items():
        if isinstance(place, Examples) and not place.inner:
            places[node] = (
                f"{shapes[node]} holds several entries of every example on axis {place.axis}, in no clear order"
            )


def _learn(places: dict[Node, Place], shapes: dict[Node, Shape], node: Node, neighbour: Node, map: LinearMap) -> None:
    mine, theirs = places[node], places[neighbour]
    if not isinstance(mine, Examples) or mine.inner or not isinstance(theirs, Examples) or not theirs.inner:
        return
    a, b = shapes[node], shapes[neighbour]
    if type(map) is Reshape:
        after = math.prod(a[len(a) + mine.axis + 1 :])
        run = theirs.inner * math.prod(b[len(b) + theirs.axis + 1 :])
        if after and run % after == 0:
            places[node] = mine._replace(inner=run // after)
    elif a[mine.axis] == b[theirs.axis]:
        places[node] = mine._replace(inner=theirs.inner)


# Whether a map keeps them apart


def has_values(u: Array) -> bool:
    """Whether numbers can be looked at: not inside a program that is being compiled, nor on shapes."""
    kind = type(plain(u))
    return (kind.__module__.partition(".")[0], kind.__name__) in {
        ("numpy", "ndarray"), ("torch", "Tensor"), ("jaxlib", "ArrayImpl"), ("jaxlib", "Array"),
    }  # fmt: skip


def separates(map: LinearMap, u: Array, here: Examples, there: Examples) -> bool:
    """Whether Aᵀ keeps examples apart, so that it commutes with a factor for each; any two differ in one round."""
    draw = np.random.default_rng(0)
    u = plain(xp.asarray(u, draw.normal(size=tuple(u.shape)), u.dtype))
    v = values(map.adjoint(u))
    tolerance = 1e3 * float(np.finfo(v.dtype).eps) * np.abs(v).max(initial=0.0, where=np.isfinite(v))
    for k in range(max(1, math.ceil(math.log(here.n, 8)))):
        factors = 2.0 ** (np.arange(here.n) // 8**k % 8)
        w = values(map.adjoint(here.scaled(u, factors)))
        back = there.scaled(w, 1.0 / factors)
        if not np.all(np.isclose(back, v, rtol=0.0, atol=tolerance) | ~np.isfinite(v)):
            return False
    return True


def values(x: Array) -> Any:
    """Its numbers in NumPy."""
    x = plain(x)
    array = np.asarray(backend(type(x)).to_numpy(x))
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
