"""Products: linear in each operand with the others held."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.traced import Traced
from adjoint.maps.base import LinearMap
from adjoint.maps.elementary import Identity
from adjoint.maps.layout import Broadcast
from adjoint.maps.matrices import Dense, Einsum, LeftProduct, RightProduct, Weighting
from adjoint.ops.define import coarse, highest, operation, record, unwrapped
from adjoint.ops.layout import shape_of


def left_rule(z: Any, x: Any, y: Any) -> LinearMap:
    """x ↦ x @ y: yᵀ on every row of x."""
    if len(y.shape) == 2:
        return Dense(y.mT)
    if len(y.shape) == 1:
        return Einsum(
            f"{AXES[: len(x.shape)]},{AXES[len(x.shape) - 1]}->{AXES[: len(x.shape) - 1]}", [None, y], shape_of(x)
        )
    if len(x.shape) == 1:
        n = len(y.shape)
        return Einsum(f"{AXES[n - 2]},{AXES[:n]}->{AXES[: n - 2]}{AXES[n - 1]}", [None, y], shape_of(x))
    return RightProduct(y, shape_of(x))


def right_rule(z: Any, x: Any, y: Any) -> LinearMap:
    """y ↦ x @ y: x on every column of y."""
    if len(y.shape) == 1 and len(x.shape) == 2:
        return Dense(x)
    if len(y.shape) == 1:
        n = len(x.shape)
        return Einsum(f"{AXES[:n]},{AXES[n - 1]}->{AXES[: n - 1]}", [x, None], shape_of(y))
    if len(x.shape) == 1:
        n = len(y.shape)
        return Einsum(f"{AXES[n - 2]},{AXES[:n]}->{AXES[: n - 2]}{AXES[n - 1]}", [x, None], shape_of(y))
    return LeftProduct(x, shape_of(y))


AXES = "abcdefghijklmnopqrstuvwxyz"
matmul = operation(xp.matmul, left_rule, right_rule)


@coarse(xp.linear)
def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """The weight on every row of x; in the weight, x on every row of it; the bias repeated."""
    z = xp.linear(x, weight, bias)
    return z, (Dense(weight), in_weight(x, weight), None if bias is None else repeated(bias, z))


@coarse(xp.linear_sum)
def linear_sum(x: Any, weight: Any, y: Any, other: Any, bias: Any = None) -> Any:
    """The same of x and of y."""
    z = xp.linear_sum(x, weight, y, other, bias)
    of_x, of_y = (Dense(weight), in_weight(x, weight)), (Dense(other), in_weight(y, other))
    return z, (*of_x, *of_y, None if bias is None else repeated(bias, z))


def in_weight(x: Any, weight: Any) -> LinearMap:
    """The map W ↦ x Wᵀ."""
    return Weighting(x, shape_of(weight)) if len(x.shape) > 1 else Einsum("i,oi->o", [x, None], shape_of(weight))


def repeated(bias: Any, z: Any) -> LinearMap:
    """The map of a bias added to z."""
    small, big = shape_of(bias), shape_of(z)
    return Identity(small) if small == big else Broadcast(small, big)


def einsum_traced(arrays: Any, spec: str) -> Any:
    """In each array the einsum with the others held."""
    spec = explicit_spec(spec, arrays)
    inputs, _, output = spec.partition("->")
    terms = inputs.split(",")
    largest = {
        c: max(t.shape[term.index(c)] for t, term in zip(arrays, terms, strict=True) if c in term)
        for c in {*inputs} - {","}
    }
    reduced = [plain_term(x, term, largest) for x, term in zip(arrays, terms, strict=True)]
    if [term for _, term in reduced] != terms:
        return xp.einsum_apply([x for x, _ in reduced], f"{','.join(term for _, term in reduced)}->{output}")
    tape = highest(arrays)
    raw = unwrapped(arrays, tape, len(arrays))
    z = xp.einsum_apply(raw, spec)
    maps = [
        Einsum(spec, [None if k == i else x for k, x in enumerate(raw)], shape_of(raw[i]))
        if type(arrays[i]) is Traced and arrays[i].tape is tape
        else None
        for i in range(len(raw))
    ]
    return record(tape, z, arrays, maps)


def plain_term(x: Any, term: str, sizes: dict[str, int]) -> tuple[Any, str]:
    """x with every letter once (a repeated one is the diagonal) and without axes of size 1 that are broadcast."""
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            i = term.index(c)
            j = term.index(c, i + 1)
            rest = [a for a in range(len(term)) if a not in (i, j)]
            x, term = xp.diagonal(xp.permute(x, (*rest, i, j))), "".join(term[a] for a in rest) + c
    kept = [a for a, c in enumerate(term) if not x.shape[a] == 1 < sizes[c]]
    if len(kept) == len(term):
        return x, term
    return xp.reshape(x, tuple(x.shape[a] for a in kept)), "".join(term[a] for a in kept)


def explicit_spec(spec: str, arrays: Any) -> str:
    """The specification without spaces, with its output named and letters for its ellipses.

    >>> import numpy as np
    >>> explicit_spec("ij, jk", [np.ones((2, 3)), np.ones((3, 4))])
    'ij,jk->ik'
    """
    spec = spec.replace(" ", "")
    inputs, arrow, output = spec.partition("->")
    terms = inputs.split(",")
    spare = [c for c in AXES.upper() if c not in spec]
    hidden = 0
    for i, term in enumerate(terms):
        if "..." in term:
            n = len(arrays[i].shape) - len(term) + 3
            hidden = max(hidden, n)
            terms[i] = term.replace("...", "".join(spare[len(spare) - n :]))
    dots = "".join(spare[len(spare) - hidden :])
    if not arrow:
        joined = inputs.replace(",", "").replace("...", "")
        output = "..." * bool(hidden) + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return f"{','.join(terms)}->{output.replace('...', dots)}"


xp.einsum_apply.table[Traced] = einsum_traced  # type: ignore[attr-defined]
