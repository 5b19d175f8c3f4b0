"""How an operation is defined: a function of the seam, and for each operand the map that is its derivative there.

    multiply = elementwise(xp.multiply, lambda z, x, y: Diagonal(y), lambda z, x, y: Diagonal(x))

Outside a transform the maps are not built; inside, only those of traced operands. A rule may meet operands that are
traced themselves, by the transform outside: then its map is made of operations, and can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from adjoint.arrays.dispatch import Array, is_array
from adjoint.arrays.traced import Traced
from adjoint.errors import TraceError
from adjoint.maps.base import LinearMap
from adjoint.maps.layout import Broadcast

F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[..., LinearMap] | LinearMap | None
OPERATIONS: dict[str, Callable[..., Any]] = {}
NUMBERS = frozenset({int, float, bool, type(None)})


OPERATORS = {
    "add": "__add__", "subtract": "__sub__", "multiply": "__mul__", "divide": "__truediv__", "pow": "__pow__",
    "matmul": "__matmul__", "negative": "__neg__", "abs": "__abs__",
}  # fmt: skip


def _register(fn: F, traced: Callable[..., Any]) -> F:
    name = fn.__name__
    fn.table[Traced] = traced  # type: ignore[attr-defined]
    OPERATIONS[name] = fn
    if name in OPERATORS:
        setattr(Traced, OPERATORS[name], traced)
        if fn.arity == 2:  # type: ignore[attr-defined]
            setattr(Traced, OPERATORS[name].replace("__", "__r", 1), lambda y, x: traced(x, y))
    return fn


def operation(fn: F, *rules: Rule) -> F:
    """An operation with one rule an array operand: rule(z, *operands, *options) -> map; None where it is constant.

    A rule may also be the map itself when it is the same everywhere.
    """
    if fn.arity == 1:  # type: ignore[attr-defined]
        return _register(fn, _unary(fn, rules[0]))
    return _register(fn, _general(fn, rules))


def elementwise(fn: F, *rules: Rule) -> F:
    """An operation that acts entry by entry; operands are broadcast first, once and for all operations here."""
    if len(rules) == 1:
        return operation(fn, *rules)
    if len(rules) == 2:
        return _register(fn, _binary(fn, *rules))
    return _register(fn, _broadcasting(fn, rules))


def coarse(fn: F) -> Callable[[Callable[..., tuple[Any, Sequence[Any]]]], F]:
    """An operation whose operands share residuals: decorates trace(*operands, **options) -> (z, one map an operand).

    An operation with several values gives a tuple of them, and a tuple of the maps of each.
    """

    def with_trace(trace: Callable[..., tuple[Any, Sequence[Any]]]) -> F:
        arity = fn.arity  # type: ignore[attr-defined]

        def traced(*operands: Any, **options: Any) -> Any:
            tape = highest(operands[:arity])
            more = options or len(operands) > arity
            if more and varying(fn, tape, (*operands[arity:], *options.values())):
                return fn.table.composed(*operands, **options)  # type: ignore[attr-defined]
            raw = unwrapped(operands, tape, arity)
            z, maps = trace(*raw, **options)
            if type(z) is tuple:
                return tuple([record(tape, part, operands, own) for part, own in zip(z, maps, strict=True)])
            return record(tape, z, operands, maps)

        return _register(fn, traced)

    return with_trace


def constant(fn: F) -> F:
    """A function without derivative (comparisons, positions, rounding): traced operands count as plain values."""

    def traced(*operands: Any, **options: Any) -> Any:
        return fn(*[plain(x) for x in operands], **{k: plain(v) for k, v in options.items()})

    fn.table[Traced] = traced  # type: ignore[attr-defined]
    return fn


def plain(x: Any) -> Any:
    """The array inside a traced value, through all levels; other things as they are."""
    while type(x) is Traced:
        x = x.value
    return [plain(part) for part in x] if isinstance(x, list) else x


def highest(operands: Sequence[Any]) -> Any:
    """The innermost tape among the operands'."""
    tape = None
    for x in operands:
        if type(x) is Traced and (tape is None or x.tape.level > tape.level):
            tape = x.tape
    return tape


def unwrapped(operands: Sequence[Any], tape: Any, arity: int) -> list[Any]:
    """The operands with the values of that tape laid open, the other arrays held constant."""
    raw = list(operands)
    for k, x in enumerate(operands[:arity]):
        if type(x) is Traced:
            if x.tape is tape:
                raw[k] = x.value
        elif type(x) not in NUMBERS:
            raw[k] = held(tape, x)
    return raw


def held(tape: Any, x: Any) -> Any:
    """A constant operand, lists as arrays, guarded against changes in place."""
    if type(x) is list or type(x) is tuple:
        x = np.asarray(x)
    tape.hold(x)
    return x


def varying(fn: Any, tape: Any, options: Sequence[Any]) -> bool:
    """Whether an option (a bound, a slope) is traced itself: then fn's composition has its derivative.

    Arrays among the options (indices) are guarded. Raises `TraceError` where there is no composition.
    """
    traced = False
    for option in options:
        if type(option) is Traced:
            traced = True
        elif type(option) not in NUMBERS and is_array(option):
            tape.hold(option)
    if traced and fn.table.composed is None:
        raise TraceError(
            f"{fn.__name__}: one of its options is a traced value, and its derivative in that is not known: pass a "
            "number, or aj.stop_gradient(x) where no derivative is wanted."
        )
    return traced


def record(tape: Any, z: Array, operands: Sequence[Any], maps: Sequence[LinearMap | None]) -> Traced:
    """z as a traced value, an edge to every operand on this tape."""
    tape.n = n = tape.n + 1
    for x, map in zip(operands, maps, strict=False):
        if type(x) is Traced and x.tape is tape and map is not None:
            tape.edges.append((n, x.i, map))
    return Traced(z, n, tape)


def _unary(fn: Any, rule: Any) -> Callable[..., Any]:
    table = fn.table

    def fixed(x):  # type: ignore[no-untyped-def]
        value = x.value
        z = table[type(value)](value)
        tape = x.tape
        tape.n = n = tape.n + 1
        tape.edges.append((n, x.i, rule))
        return Traced(z, n, tape)

    def bare(x):  # type: ignore[no-untyped-def]
        value = x.value
        z = table[type(value)](value)
        tape = x.tape
        tape.n = n = tape.n + 1
        tape.edges.append((n, x.i, rule(z, value)))
        return Traced(z, n, tape)

    def traced(x, *args, **options):  # type: ignore[no-untyped-def]
        value = x.value
        tape = x.tape
        if varying(fn, tape, (*args, *options.values())):
            return table.composed(x, *args, **options)
        z = table[type(value)](value, *args, **options)
        tape.n = n = tape.n + 1
        tape.edges.append((n, x.i, rule(z, value, *args, **options)))
        return Traced(z, n, tape)

    return fixed if isinstance(rule, LinearMap) else bare if fn.bare else traced


def _general(fn: Any, rules: Sequence[Any]) -> Callable[..., Any]:
    arity = fn.arity

    def traced(*operands: Any, **options: Any) -> Any:
        tape = highest(operands[:arity])
        more = options or len(operands) > arity
        if more and varying(fn, tape, (*operands[arity:], *options.values())):
            return fn.table.composed(*operands, **options)
        raw = unwrapped(operands, tape, arity)
        z = fn(*raw, **options)
        maps = [
            rule(z, *raw, **options) if rule is not None and type(x) is Traced and x.tape is tape else None
            for rule, x in zip(rules, operands, strict=False)
        ]
        return record(tape, z, operands, maps)

    return traced


def fitted(tape: Any, x: Traced, shape: tuple[int, ...]) -> int:
    """The place of x on the tape, broadcast to `shape` first when it is smaller."""
    small = tuple(x.value.shape)
    if small == shape:
        return x.i
    tape.n = n = tape.n + 1
    tape.edges.append((n, x.i, Broadcast(small, shape)))
    return n


def _binary(fn: Any, rule_x: Any, rule_y: Any) -> Callable[..., Any]:
    fixed_x, fixed_y = isinstance(rule_x, LinearMap), isinstance(rule_y, LinearMap)

    def traced(x, y):  # type: ignore[no-untyped-def]
        if type(x) is not Traced:
            tape, a, b, left, right = y.tape, x, y.value, False, True
            if type(x) not in NUMBERS:
                a = held(tape, x)
        elif type(y) is not Traced:
            tape, a, b, left, right = x.tape, x.value, y, True, False
            if type(y) not in NUMBERS:
                if isinstance(y, LinearMap):
                    return NotImplemented
                b = held(tape, y)
        else:
            tape = x.tape if x.tape.level >= y.tape.level else y.tape
            left, right = x.tape is tape, y.tape is tape
            a, b = x.value if left else x, y.value if right else y
        z = fn(a, b)
        shape = tuple(z.shape)
        edges = tape.edges
        i = fitted(tape, x, shape) if left else 0
        j = fitted(tape, y, shape) if right else 0
        tape.n = n = tape.n + 1
        if left:
            edges.append((n, i, rule_x if fixed_x else rule_x(z, a, b)))
        if right:
            edges.append((n, j, rule_y if fixed_y else rule_y(z, a, b)))
        return Traced(z, n, tape)

    return traced


def _broadcasting(fn: Any, rules: Sequence[Any]) -> Callable[..., Any]:
    def traced(*operands: Any) -> Any:
        tape = highest(operands)
        raw = unwrapped(operands, tape, len(operands))
        z = fn(*raw)
        shape = tuple(z.shape)
        places = [fitted(tape, x, shape) if type(x) is Traced and x.tape is tape else None for x in operands]
        tape.n = n = tape.n + 1
        for place, rule in zip(places, rules, strict=True):
            if place is not None and rule is not None:
                tape.edges.append((n, place, rule(z, *raw)))
        return Traced(z, n, tape)

    return traced
