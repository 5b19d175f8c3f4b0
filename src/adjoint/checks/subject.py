"""What a check looks at: a function from flat float64 vectors, one an operand, to one flat vector; and its Jacobian."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Shape, backend, is_array
from adjoint.checks.differences import Vector
from adjoint.errors import DtypeError
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import factors, is_product, shapes_of
from adjoint.transforms import jacobian, linearize, vjp
from adjoint.trees import Structure, differentiable, flatten


class Operand:
    """A differentiated array among the arguments: its name, its shape, its numbers in float64."""

    __slots__ = ("array", "cast", "name", "shape", "start")

    def __init__(self, name: str, x: Any) -> None:
        self.name = name
        self.shape: Shape = tuple(np.shape(x))
        self.array = xp.astype(x if is_array(x) else np.asarray(x), "float64")
        self.cast = str(getattr(x, "dtype", "float64")).removeprefix("torch.")
        self.start = numbers(self.array)

    def at(self, point: Vector) -> Any:
        """The point as an array of this shape, beside the operand's own."""
        return xp.asarray(self.array, point.reshape(self.shape).copy(), "float64")

    def entry(self, j: int) -> str:
        """The name of entry j, counted in row-major order."""
        return entry_name(self.name, self.shape, j)


class Subject:
    """A function with all its arguments; what is not a checked operand is held."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], wrt: int | Sequence[int] | None) -> None:
        if isinstance(f, LinearMap) and not args:
            args = (element(f),)
        self.f = f
        self.args = args
        chosen = range(len(args)) if wrt is None else (wrt,) if isinstance(wrt, int) else wrt
        roots = argument_names(f, len(args))
        trees = {i: (roots[i], args[i]) for i in chosen}
        if wrt is None and not flatten(f)[1].is_leaf():
            trees[-1] = (type(f).__name__, f)
        self.structures = {i: Structure(tree) for i, (_, tree) in trees.items()}
        self.operands = [
            Operand(name, x)
            for i, (root, tree) in trees.items()
            for name, x in zip(self._paths(i, root), self.structures[i].leaves(tree), strict=True)
        ]
        if not self.operands:
            raise DtypeError(
                f"check: no argument of {name_of(f)} holds a floating array to differentiate"
                f"{'' if args else ': give the arguments at which to check it, check(f, x, …)'}."
            )
        self.points = [operand.start for operand in self.operands]
        self.outputs, self.unit = self._outputs()

    def _paths(self, i: int, root: str) -> list[str]:
        structure = self.structures[i]
        names: dict[int, str] = {}
        for path, place in zip(structure.treedef.accessors(), structure.places, strict=True):
            if place is not None:
                names.setdefault(place, path_name(root, path))
        return list(names.values())

    def _outputs(self) -> tuple[list[tuple[str, Any]], float]:
        try:
            y = self.result([x.at(point) for x, point in zip(self.operands, self.points, strict=True)])
        except (TypeError, ValueError, RuntimeError) as error:
            cast = {x.cast for x in self.operands} - {"float64"}
            if not cast:
                raise
            raise DtypeError(
                f"check: operands of {', '.join(sorted(cast))} are checked in float64, where {name_of(self.f)} failed "
                f"({error}): pass the arrays that it refers to as arguments too, or cast them."
            ) from error
        leaves, treedef = flatten(y)
        outputs = [
            (path_name("value", path), part)
            for path, part in zip(treedef.accessors(), leaves, strict=True)
            if differentiable(part)
        ]
        if not outputs:
            raise DtypeError(f"check: {name_of(self.f)} returned no floating array, but {type(y).__name__}.")
        return outputs, max(rounding_unit(part) for _, part in outputs)

    def result(self, leaves: Sequence[Any]) -> Any:
        """f's value with other arrays in the operands' places."""
        trees, start = {}, 0
        for i, structure in self.structures.items():
            stop = start + len({*structure.places} - {None})
            trees[i] = structure.whole(leaves[start:stop])
            start = stop
        return trees.get(-1, self.f)(*[trees.get(i, x) for i, x in enumerate(self.args)])

    def floats(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The floating arrays in that value."""
        return tuple(part for part in flatten(self.result(leaves))[0] if differentiable(part))

    def arrays(self, points: Sequence[Vector]) -> tuple[Any, ...]:
        """The points as the operands' arrays."""
        return tuple(x.at(point) for x, point in zip(self.operands, points, strict=True))

    def value(self, points: Sequence[Vector]) -> Vector:
        """f's value there, its outputs joined."""
        return joined(self.floats(self.arrays(points)))

    def local(self, points: Sequence[Vector]) -> Local:
        """Value and Jacobian at a point."""
        return (LocalMap if isinstance(self.f, LinearMap) else Local)(self, points)

    def jacobian(self, arrays: tuple[Any, ...], k: int) -> LinearMap:
        """The Jacobian in operand k alone."""
        if isinstance(self.f, LinearMap):
            return self.f if is_product(self.f.in_shape) else self.f.bind(tuple(np.shape(arrays[k])))

        def of_operand(x: Any) -> Any:
            y = self.floats((*arrays[:k], x, *arrays[k + 1 :]))
            return y[0] if len(y) == 1 else y

        return jacobian(of_operand, arrays[k])

    def misfit(self, k: int) -> str | None:
        """What is wrong with the spaces between which the derivative in operand k acts; None where nothing is."""
        what, arrays = "the Jacobian", self.arrays(self.points)
        try:
            J = self.jacobian(arrays, k)
            x = arrays if is_product(J.in_shape) else arrays[k]
            y = tuple(part for _, part in self.outputs) if is_product(J.out_shape) else self.outputs[0][1]
            for what, direction, given, like in (("Jᵀ u", J.adjoint, y, x), ("J v", J.apply, x, y)):
                found, wanted = shapes_of(direction(given)), shapes_of(like)
                if found != wanted:
                    return f"{self.operands[k].name}: {what} has shape {found}, not {wanted}"
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            return f"{self.operands[k].name}: {what} fails: {error}"
        return None

    def output_entry(self, i: int) -> str:
        """The name of entry i of the joined outputs."""
        return output_entry(self.outputs, i)


def element(map: LinearMap) -> Any:
    """An element of the map's input space, drawn at random."""
    rng = np.random.default_rng(0)
    parts = tuple(xp.asarray(map.eye(0), rng.normal(size=shape), map.dtype) for shape in factors(map.in_shape))
    return parts if is_product(map.in_shape) else parts[0]


class Local:
    """Value and Jacobian of a subject at a point: as the map of `linearize`, and the pullback of `vjp`."""

    def __init__(self, subject: Subject, points: Sequence[Vector]) -> None:
        self.subject = subject
        self.arrays = subject.arrays(points)
        y, self.J = linearize(subject.floats, self.arrays)
        self.pullback = vjp(lambda *leaves: subject.floats(leaves), *self.arrays)[1]
        self.value = joined(y)

    def push(self, k: int, v: Vector) -> Vector:
        """J v for a tangent of operand k."""
        return joined(self.J.apply(self._tangent(k, v)))

    def _tangent(self, k: int, v: Vector) -> tuple[Any, ...]:
        return tuple(x.at(v if i == k else 0.0 * x.start) for i, x in enumerate(self.subject.operands))

    def pull(self, k: int, u: Vector) -> tuple[Vector, Vector]:
        """Operand k's part of Jᵀ u, by the map and by the pullback."""
        cotangent = self._cotangent(u)
        return numbers(self.J.adjoint(cotangent)[k]), numbers(self.pullback(cotangent)[k])

    def _cotangent(self, u: Vector) -> tuple[Any, ...]:
        parts, start = [], 0
        for _, like in self.subject.outputs:
            stop = start + int(np.prod(np.shape(like)))
            part = u[start:stop].reshape(np.shape(like))
            parts.append(xp.asarray(like, part, getattr(like, "dtype", None)))
            start = stop
        return tuple(parts)

    def dense(self, k: int) -> Vector:
        """The columns of J that belong to operand k, as the dense form of the Jacobian in that operand alone."""
        dense = self.subject.jacobian(self.arrays, k).dense()
        blocks = dense if isinstance(dense, tuple) else (dense,)
        return np.concatenate([numbers(block).reshape(-1, len(self.subject.points[k])) for block in blocks])


class LocalMap(Local):
    """The same of a map, which is its own Jacobian: its two directions and its matrix, as they were written."""

    def __init__(self, subject: Subject, points: Sequence[Vector]) -> None:
        self.subject = subject
        self.arrays = subject.arrays(points)
        self.map: LinearMap = subject.f  # type: ignore[assignment]
        self.value = subject.value(points)

    def push(self, k: int, v: Vector) -> Vector:
        """A v for a tangent of operand k."""
        return joined(self.subject.floats(self._tangent(k, v)))

    def pull(self, k: int, u: Vector) -> tuple[Vector, Vector]:
        """Operand k's part of Aᵀ u."""
        cotangent = self._cotangent(u)
        pulled = self.map.adjoint(cotangent if is_product(self.map.out_shape) else cotangent[0])
        part = numbers(pulled[k] if is_product(self.map.in_shape) else pulled)
        return part, part

    def dense(self, k: int) -> Vector:
        """The columns of the map's matrix that belong to operand k."""
        map = self.subject.jacobian(self.arrays, k)
        start = sum(len(operand.start) for operand in self.subject.operands[:k])
        matrix = numbers(map.matrix()).reshape(map.shape)
        return matrix[:, start : start + len(self.subject.operands[k].start)]


def numbers(x: Any) -> Vector:
    """An array of any backend as a flat vector of float64."""
    x = backend(type(x)).to_numpy(x) if is_array(x) else x
    return np.array(x, np.float64).reshape(-1)


def joined(parts: Sequence[Any]) -> Vector:
    """Arrays as one flat vector."""
    return np.concatenate([numbers(part) for part in parts])


def rounding_unit(x: Any) -> float:
    """The distance from 1 to the next number in x's dtype, 0 for integers."""
    name = str(getattr(x, "dtype", "float64")).removeprefix("torch.")
    if "float" not in name:
        return 0.0
    return 2.0**-7 if name == "bfloat16" else float(np.finfo(name).eps)


def name_of(f: Any) -> str:
    """A name for f in messages."""
    return getattr(f, "__name__", type(f).__name__)


def argument_names(f: Any, count: int) -> list[str]:
    """The names of f's first positional parameters, numbered where f does not tell them."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(count - len(names))]
        elif p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD:
            names.append(p.name)
    return [*names, *(f"argument {i}" for i in range(len(names), count))][:count]


def path_name(root: str, path: Any) -> str:
    """A leaf's place in a tree as Python writes it: net.layers[0].weight."""
    for entry in path:
        root += f".{entry.entry}" if type(entry) is optree.FlattenedEntry else entry.codify("")
    return root


def entry_name(name: str, shape: Shape, j: int) -> str:
    """An entry of an array as Python writes it: x[0, 2]; a scalar's is its name."""
    return f"{name}[{', '.join(str(i) for i in np.unravel_index(j, shape))}]" if shape else name


def output_entry(outputs: Sequence[tuple[str, Any]], i: int) -> str:
    """The name of entry i of named arrays joined."""
    for name, part in outputs[:-1]:
        size = int(np.prod(np.shape(part)))
        if i < size:
            return entry_name(name, tuple(np.shape(part)), i)
        i -= size
    name, part = outputs[-1]
    return entry_name(name, tuple(np.shape(part)), i)
