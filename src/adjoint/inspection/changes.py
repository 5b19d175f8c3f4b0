"""`aj.diff`: what training changed in each weight, and whether an update of low rank would have done."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.errors import DtypeError
from adjoint.inspection.adapted import Beside, parted
from adjoint.inspection.tails import random_values
from adjoint.inspection.turning import Turning, turning
from adjoint.interop.entries import dtype_of
from adjoint.maps.spectra.gram import of_gram

if TYPE_CHECKING:
    from adjoint.inspection.sources import Source

WIDEST = 2048  # rows of the Gram matrix up to which singular vectors are computed
SINGLE = 2.0**-23  # the spacing that W is looked at with, where its dtype has a coarser one
CROWDED = 0.8  # share of an adapter's r in k₉₀ from which it uses nearly all of it
MUCH = 0.5  # share of a random change's k₉₀ from which a change is not of low rank


@dataclass(frozen=True)
class Change:
    """What became of one weight W: of W + ΔW, seen as the matrix (rows, columns).

    `norm` is ‖ΔW‖_F, `relative` that over ‖W‖_F, `sigma` σ₁(ΔW) with its error `bound`. `rank` counts the singular
    values of ΔW above `floor`, what rounding to the files' dtype leaves of nothing. `k50`, `k90`, `k99`: how many of
    them hold so much of its energy Σσ²; `random90`: how many of a random matrix's of this shape hold 90 %. `adapter` is
    the rank r of the adapters that made the change, None without any. `turning` has what became of W's rank, image and
    kernel, and new leading directions (`intruders`); None where the shorter side is over 2,048.

    >>> import numpy as np, adjoint as aj
    >>> W, u = np.random.default_rng(0).standard_normal((40, 30)), np.ones(40)
    >>> change = aj.diff({"w": W}, {"w": W + np.outer(u, W[0])}).changes[0]
    >>> change.rank, change.k90, change.low_rank
    (1, 1, True)
    """

    name: str
    matrix: tuple[int, int]
    norm: float
    relative: float
    sigma: float
    bound: float
    rank: int
    floor: float
    k50: int
    k90: int
    k99: int
    random90: int
    adapter: int | None = None
    turning: Turning | None = None

    @property
    def changed(self) -> bool:
        """Whether anything but rounding changed."""
        return self.rank > 0

    @property
    def intruders(self) -> int | None:
        """Leading directions of W + ΔW that W does not have; see `Turning`."""
        return 0 if not self.changed else None if self.turning is None else self.turning.intruders

    @property
    def turned(self) -> str:
        """What became of the rank, the image and the kernel of W, in words; nothing where they cannot differ."""
        if self.turning is None:
            return ""
        (a, b), (kernel, other) = self.turning.ranks, self.turning.nullities
        told = [f"rank {a:,} → {b:,}"] if a != b else []
        if kernel and other:
            told.append(f"its kernel of {kernel:,} dimensions turned by up to {self.turning.kernel:.3g}°")
        if 0 < a < self.matrix[0]:
            told.append(f"its image of {a:,} in {self.matrix[0]:,} turned by up to {self.turning.image:.3g}°")
        return ", ".join(told)

    @property
    def low_rank(self) -> bool:
        """Whether 90 % of the change's energy takes less than half the directions that it takes in a random one."""
        return self.k90 < MUCH * self.random90

    @property
    def told(self) -> str:
        """What that means, in words."""
        most = min(self.matrix)
        if not self.changed:
            return "unchanged" if not self.norm else "unchanged but for rounding"
        if self.rank <= most // 4:
            given = "" if self.adapter is None else f" (its adapters have r = {self.adapter})"
            return f"of rank {self.rank}{given}" + (f", {self.k90} hold 90 %" if self.k90 < self.rank else "")
        held = f"90 % of its energy takes {self.k90:,} of {most:,} directions, in a random change {self.random90:,}"
        return held if self.low_rank else f"an update of low rank would not do: {held}"


@dataclass(frozen=True)
class Changes:
    """What `diff` found: a `Change` for each weight that both models have, the others and why. Printed, a screen.

    >>> import numpy as np, adjoint as aj
    >>> print(aj.diff({"w": np.eye(3)}, {"w": np.eye(3)}).verdict)
    nothing changed in 1 weight
    """

    base: str
    tuned: str
    changes: tuple[Change, ...]
    skipped: Mapping[str, str]

    @property
    def moved(self) -> list[Change]:
        """The weights that changed, the relatively most first."""
        return sorted((x for x in self.changes if x.changed), key=lambda x: -x.relative)

    @property
    def verdict(self) -> str:
        """One sentence on all of them."""
        moved, all_of_them = self.moved, len(self.changes)
        weights = "weight" if all_of_them == 1 else "weights"
        if not moved:
            return f"nothing changed in {all_of_them} {weights}"
        full = [x for x in moved if not x.low_rank]
        told = f"{len(moved)} of {all_of_them} {weights} changed"
        if not full:
            ranks = sorted({x.adapter for x in moved if x.adapter is not None})
            by = f"adapters of r = {', '.join(map(str, ranks))}" if ranks else "updates of low rank"
            held = f"{told}, by {by}: {max(x.k90 for x in moved)} directions hold 90 % of each"
            crowded = sum(x.adapter is not None and x.k90 >= CROWDED * x.adapter for x in moved)
            return held + (f"; {crowded} of them use nearly all of their r, so that more may help" if crowded else "")
        which = full[0].name if len(full) == 1 else f"{len(full)} of them, {full[0].name} the most,"
        return f"{told}; for {which} an update of low rank would not do"

    def to_json(self, indent: int | None = 2) -> str:
        """Everything as JSON."""
        return json.dumps(
            {
                "base": self.base,
                "tuned": self.tuned,
                "verdict": self.verdict,
                "changes": [
                    {**asdict(x), "intruders": x.intruders, "low_rank": x.low_rank, "told": x.told, "turned": x.turned}
                    for x in self.changes
                ],
                "skipped": dict(self.skipped),
            },
            indent=indent,
        )

    def __rich__(self) -> Any:
        from adjoint.inspection.changes_screen import screen

        return screen(self)

    def __repr__(self) -> str:
        from adjoint.inspection.screen import text

        return text(self)


def diff(base: Any, tuned: Any = None, intruders: bool = True, trust_pickle: bool = False) -> Changes:
    """What training changed: ΔW of each weight that both models have, its energy curve beside a random matrix's.

    Each is whatever `aj.inspect` takes: a module, `adjoint.interop.Weights`, a mapping of arrays, or a path. Weights
    are paired by name; one that the other model lacks, or has in another shape, is told in `skipped`. A network with
    adapters counts as what it computes, W + s B A in float64; given alone, it is compared to itself without them.
    `intruders=False` leaves out the singular vectors, most of the time. Raises TypeError for what has no weights,
    ValueError where no weight is in both, and for one network without adapters.

    >>> import numpy as np, adjoint as aj
    >>> W = np.random.default_rng(0).standard_normal((2, 50, 40))
    >>> aj.diff({"w": W[0]}, {"w": W[0] + 0.01 * W[1]}).changes[0].low_rank
    False
    >>> aj.diff(aj.lora.add(aj.nn.MLP((30, 40), rng=0), 2, targets="0", init="gaussian")).verdict
    'nothing changed in 1 weight'
    """
    from adjoint.inspection.sources import sources

    first, mine = parted(sources(base, trust_pickle))
    second, theirs = (first, mine) if tuned is None else parted(sources(tuned, trust_pickle))
    if tuned is None and not mine:
        raise ValueError(f"diff: {first.name} has no adapters: give the model after training, too.")
    if tuned is None:
        mine = {}
    before, after = ({x.name: x for x in found.weights} for found in (first, second))
    skipped = {name: why for name, why in (first.skipped | second.skipped).items() if not why.startswith("tied")}
    shared = []
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after:
            skipped[name] = f"only in {second.name if name in after else first.name}"
        elif before[name].shape != after[name].shape:
            skipped[name] = f"of another shape: {before[name].shape} and {after[name].shape}"
        else:
            shared.append(name)
    if not shared:
        names = [next(iter(found), "none") for found in (before, after)]
        raise ValueError(f"diff: no weight is in both models by name and shape; they begin with {' and '.join(names)}.")
    changes, broken = [], {}
    for name in shared:
        found = _change(before[name], after[name], mine.get(name), theirs.get(name), intruders)
        if isinstance(found, str):
            broken[name] = found
        else:
            changes.append(found)
    told = (first.name, second.name) if tuned is not None else (f"{first.name} without its adapters", first.name)
    return Changes(*told, tuple(changes), skipped | broken)


def _change(base: Source, tuned: Source, mine: Beside | None, theirs: Beside | None, vectors: bool) -> Change | str:
    def matrix(source: Source, read: Callable[[], np.ndarray]) -> np.ndarray:
        return read().reshape(source.matrix).astype(np.float64)

    w = matrix(base, base.read)
    delta = matrix(tuned, tuned.read) - w
    added = [x for x in (mine, theirs) if x is not None]
    rounded = bool(delta.any()) or any(x.rounded for x in added)  # else nothing is between but exact adapters
    if mine is not None:
        own = matrix(base, mine.read)
        w, delta = w + own, delta - own
    if theirs is not None:
        delta = delta + matrix(base, theirs.read)
    after = w + delta
    if not (np.all(np.isfinite(w)) and np.all(np.isfinite(after))):
        return "it has numbers that are not finite"
    m, n = delta.shape
    values, bound = of_gram(delta.T @ delta if n <= m else delta @ delta.T, max(m, n))
    size = math.sqrt(float(np.mean(after**2)))
    spacing = _spacing(base, tuned)
    floor = float(bound[-1])
    if rounded:
        floor = max(0.5 * spacing * size * (math.sqrt(m) + math.sqrt(n)), floor)
    energy = np.cumsum(values**2)
    k50, k90, k99 = (int(np.searchsorted(energy, x * energy[-1])) + 1 if energy[-1] else 0 for x in (0.5, 0.9, 0.99))
    rank = int(np.sum(values > floor))
    noise = random_values((m, n)) ** 2
    whole = float(np.linalg.norm(w))
    norm = math.sqrt(float(energy[-1]))
    return Change(
        name=tuned.name,
        matrix=(m, n),
        norm=norm,
        relative=norm / whole if whole else math.inf,
        sigma=float(values[0]),
        bound=float(bound[0]),
        rank=rank,
        floor=floor,
        k50=k50,
        k90=k90,
        k99=k99,
        random90=int(np.searchsorted(np.cumsum(noise), 0.9 * np.sum(noise))) + 1,
        adapter=sum(x.rank for x in added) if added else None,
        turning=turning(w, after, min(spacing, SINGLE)) if rank and vectors and min(m, n) <= WIDEST else None,
    )


def _spacing(*both: Source) -> float:
    """The spacing at 1 of the coarser dtype in which the weights are kept; float32's where codes are kept."""
    import ml_dtypes

    finfo: Any = ml_dtypes.finfo
    coarsest = 0.0
    for x in both:
        try:
            coarsest = max(coarsest, float(finfo(dtype_of(x.dtype)).eps))
        except DtypeError:
            coarsest = max(coarsest, SINGLE)
    return coarsest
