"""How the cost grows: exact polynomials in the sequence length, found from counts and checked at one more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from adjoint.costs.components import FEED_FORWARD, PROJECTIONS, SCORES

FIGURES = ("matmul_flops", "flops", "bytes")
LETTERS = {"seq": "T", "batch": "N"}
POWERS = ("", "", "²")


@dataclass(frozen=True)
class Polynomial:
    """c₀ + c₁ T + c₂ T² with exact coefficients, the constant first.

    >>> p = Polynomial((Fraction(0), Fraction(3), Fraction(1, 2)))
    >>> print(p, "at 4:", p(4))
    1/2 T² + 3 T at 4: 20
    """

    coefficients: tuple[Fraction, ...]
    letter: str = "T"

    def __call__(self, n: int | Fraction) -> Fraction:
        """Its value."""
        return sum((c * n**k for k, c in enumerate(self.coefficients)), Fraction(0))

    def __add__(self, other: Polynomial) -> Polynomial:
        pairs = zip(self.coefficients, other.coefficients, strict=True)
        return Polynomial(tuple(a + b for a, b in pairs), self.letter)

    def __str__(self) -> str:
        terms = [f"{_told(c, k)}{self.letter if k else ''}{POWERS[k]}" for k, c in enumerate(self.coefficients) if c]
        return " + ".join(reversed(terms)).replace("+ -", "- ") or "0"


@dataclass(frozen=True)
class Growth:
    """One figure of a network's cost as polynomials in one size, from 2 on, checked at a size not used to find them.

    `forward` and `backward` are the passes, `components` the forward pass by component. `overtakes` tells, by two
    conventions, the sequence length from which attention costs more than the feed-forward part in the forward pass:
    "scores alone" compares the products of queries, keys and values, "with projections" those and the products with
    weights that make them; for a GPT of width d with 4d inside they meet at 4d and at 2d. None where they never meet.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=8)
    >>> print(aj.cost(net, seq=16).polynomial("seq").components["attention scores"])
    32 T²
    """

    variable: str
    forward: Polynomial
    backward: Polynomial
    components: Mapping[str, Polynomial]
    checked: int

    @property
    def overtakes(self) -> dict[str, Fraction | None]:
        """The sequence length where attention overtakes the feed-forward part, by convention."""
        if self.variable != "seq" or not {PROJECTIONS, SCORES, FEED_FORWARD} <= self.components.keys():
            return {"scores alone": None, "with projections": None}
        scores, inner = self.components[SCORES], self.components[FEED_FORWARD]
        both = scores + self.components[PROJECTIONS]
        return {"scores alone": _meeting(scores, inner), "with projections": _meeting(both, inner)}


def growth(count: Callable[..., Mapping[str, int]], variable: str, longest: int) -> Growth:
    """What `count(seq=…)` or `count(batch=…)` tells as polynomials; `longest` is the most that seq can be.

    Raises ValueError for another variable or figure, for a limit too low to count four lengths, and where a fourth
    count is not on the polynomial of three.

    >>> found = growth(lambda seq: {"forward": seq * (seq + 3), "backward": 2 * seq}, "seq", 100)
    >>> print(found.forward, "|", found.backward, "|", found.checked)
    T² + 3 T | 2 T | 50
    """
    if variable not in LETTERS:
        raise ValueError(f"polynomial: the variable is 'seq' or 'batch', not {variable!r}.")
    if variable == "seq" and longest < 5:
        raise ValueError(f"polynomial: four lengths are to be counted, of {longest} tokens at most.")
    # lengths far apart, so that a window of any size that bends the cost lies between some of them; at 1 bytes differ,
    # as an axis of one entry makes copies needless
    ends = (2, max(longest // 16, 3), longest) if variable == "seq" else (1, 2, 3)
    check = max(longest // 2, 4) if variable == "seq" else 5
    counts = [count(**{variable: n}) for n in ends]
    beyond = count(**{variable: check})
    found = {}
    for name, value in beyond.items():
        p = Polynomial(_through(ends, [c[name] for c in counts]), LETTERS[variable])
        if p(check) != value:
            raise ValueError(
                f"polynomial: {name} is no polynomial of degree 2 in {variable}: counts at {', '.join(map(str, ends))} "
                f"give {float(p(check)):.6g} at {check}, where it is {value:.6g}. A window of attention bends it so; "
                f"within the window, polynomial({variable!r}, upto=its length) finds one."
            )
        found[name] = p
    return Growth(variable, found.pop("forward"), found.pop("backward"), found, check)


def _through(at: Sequence[int], values: Sequence[int]) -> tuple[Fraction, ...]:
    """The coefficients of the parabola through three points, by Lagrange's formula."""
    result = [Fraction(0)] * 3
    for i, y in enumerate(values):
        a, b = (x for j, x in enumerate(at) if j != i)
        share = Fraction(y, (at[i] - a) * (at[i] - b))
        for k, c in enumerate((a * b, -(a + b), 1)):
            result[k] += share * c
    return tuple(result)


def _meeting(rising: Polynomial, flat: Polynomial) -> Fraction | None:
    """Where c₁T + c₂T² meets another for T > 0."""
    (zero, one, two), (zero2, one2, two2) = rising.coefficients, flat.coefficients
    if zero != zero2 or two <= two2 or one2 <= one:
        return None
    return (one2 - one) / (two - two2)


def _told(c: Fraction, power: int) -> str:
    """A coefficient, which stands before its power unless it is 1."""
    if power and c == 1:
        return ""
    return f"{c.numerator:,}" + (f"/{c.denominator:,}" if c.denominator != 1 else "") + (" " if power else "")
