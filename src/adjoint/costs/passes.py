"""What one pass through a network or a part of it does: counted on arrays that only have shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adjoint.arrays.shapes import Tally, count
from adjoint.transforms import vjp
from adjoint.trees import Structure

SLOPES = "slopes"  # what a pass that records does beside the values, whichever functions do it
UNCOUNTED = ("copy", "zeros")  # that keep gradients apart, or stand where none arrives


@dataclass(frozen=True)
class Pass:
    """What one pass does: `flops` in all, those in matrix products (2·n·k·m each), `bytes` read and written.

    >>> import adjoint as aj
    >>> found = aj.cost(aj.nn.Linear(3, 2), (5, 3)).forward
    >>> found
    Pass(flops=70, matmul_flops=60, bytes=132)
    >>> found.multiply_adds, round(found.intensity, 2)
    (30, 0.53)
    """

    flops: int
    matmul_flops: int
    bytes: int

    @property
    def multiply_adds(self) -> int:
        """Half of `matmul_flops`: what some sources call MACs, and others, wrongly, FLOPs."""
        return self.matmul_flops // 2

    @property
    def intensity(self) -> float:
        """FLOPs a byte: a machine with more FLOP/s for each byte/s of its memory waits for memory."""
        return self.flops / self.bytes if self.bytes else 0.0

    def __add__(self, other: Pass) -> Pass:
        return Pass(
            self.flops + other.flops, self.matmul_flops + other.matmul_flops, self.bytes + other.bytes
        )  # fmt: skip


class Spending:
    """FLOPs, those in products, and bytes by the name of the function: added, subtracted, taken apart.

    >>> (Spending({"add": 3}) - Spending({"add": 1})).total()
    Pass(flops=2, matmul_flops=0, bytes=0)
    """

    __slots__ = ("bytes", "flops", "products")

    def __init__(self, flops: Any = (), products: Any = (), moved: Any = ()) -> None:
        self.flops = Counter(flops)
        self.products = Counter(products)
        self.bytes = Counter(moved)

    @classmethod
    def of(cls, tally: Tally) -> Spending:
        """That of a tally."""
        spent = tally.by_function
        return cls({k: s.flops for k, s in spent.items()}, tally.products, {k: s.bytes for k, s in spent.items()})

    def add(self, other: Spending, sign: int = 1) -> Spending:
        """Enter another, or take it out with sign -1; returns this one."""
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            for name, x in theirs.items():
                mine[name] += sign * x
        return self

    def __sub__(self, other: Spending) -> Spending:
        return Spending(*self._parts()).add(other, -1)

    def only(self, wanted: Callable[[str], bool]) -> Spending:
        """That of the functions whose names are wanted."""
        return Spending(*({k: x for k, x in part.items() if wanted(k)} for part in self._parts()))

    def under(self, name: str) -> Spending:
        """All of it as that of one function."""
        return Spending(*({name: sum(part.values())} for part in self._parts()))

    def names(self) -> list[str]:
        """Of the functions that there are."""
        return list(dict.fromkeys((*self.flops, *self.bytes)))

    def total(self) -> Pass:
        """The sum over all functions."""
        return Pass(*(sum(part.values()) for part in self._parts()))

    def _parts(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        return self.flops, self.products, self.bytes


def forward_of(f: Callable[..., Any], args: Sequence[Any]) -> Spending:
    """What f(*args) costs.

    >>> import adjoint as aj
    >>> from adjoint.arrays.shapes import ShapeArray
    >>> forward_of(aj.nn.Linear(3, 2), [ShapeArray((5, 3))]).total().matmul_flops
    60
    """
    with count() as tally:
        f(*args)
    return Spending.of(tally)


def backward_of(f: Callable[..., Any], primals: Sequence[Any]) -> Spending:
    """What the gradient of f(*primals) in all of them costs; slopes computed beside the values belong to it.

    They stand under "slopes". What the bookkeeping copies, and zeros for what has no gradient, are no part of it.

    >>> import adjoint as aj
    >>> from adjoint.arrays.shapes import ShapeArray
    >>> backward_of(lambda x, y: x @ y, [ShapeArray((5, 3)), ShapeArray((3, 2))]).total().matmul_flops
    120
    """
    if not primals:
        return Spending()
    plain = forward_of(f, primals)
    with count() as recording:
        y, pull = vjp(f, *primals)
    with count() as backward:
        pull(y)

    def counts(name: str) -> bool:
        return name not in UNCOUNTED

    beside = (Spending.of(recording) - plain).only(counts)
    return Spending.of(backward).only(counts).add(beside.under(SLOPES))


def learns(net: Any) -> bool:
    """Whether a tree has anything that a gradient is wanted for.

    >>> import adjoint as aj
    >>> learns(aj.nn.Linear(3, 2)), learns(aj.nn.Linear(3, 2).freeze())
    (True, False)
    """
    return bool(Structure(net).own())


def variables(
    net: Any, args: Sequence[Any], wanted: Sequence[bool], call: Callable[..., Any] | None = None
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """(f, primals): a network's value as a function of its parameters, if any learn, and of the wanted arguments.

    >>> import adjoint as aj
    >>> f, primals = variables(aj.nn.Linear(3, 2), ["x"], [False])
    >>> len(primals)
    1
    """
    call = call or (lambda net, *args: net(*args))
    places = [k for k, want in enumerate(wanted) if want and learns(args[k])]
    own = learns(net)

    def f(*primals: Any) -> Any:
        given = list(args)
        for k, x in zip(places, primals[own:], strict=True):
            given[k] = x
        return call(primals[0] if own else net, *given)

    return f, (*((net,) if own else ()), *(args[k] for k in places))
