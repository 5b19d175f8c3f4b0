"""`aj.check`: is the derivative of this function right?"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.checks.differences import Curve, Slope, Vector, noise, slope
from adjoint.checks.report import Entry, Report, Row
from adjoint.checks.subject import Local, Operand, Subject, name_of

ENTRYWISE = 32  # operands up to this many entries are varied entry by entry
DENSE = 4096  # Jacobians up to this many entries are formed
RAYS = 2  # random directions
SAFETY = 8.0  # how far beyond its estimate an error may lie
RESOLVED = 5e-4  # errors of this part of a derivative must be visible, or it is not checked
VISIBLE = 1e-8  # a derivative below this part of the value drowns in the value's rounding
AWAY = 2.0**-6  # how far from a kink to step, in parts of the operand's entries
ATTEMPTS = 6


def check(f: Callable[..., Any], *args: Any, wrt: int | Sequence[int] | None = None, seed: int = 0) -> Report:
    """Is f's derivative at the arguments right? Checks every floating array in them, in trees and modules too.

    The dot test ⟨J v, u⟩ = ⟨v, Jᵀ u⟩ compares the two directions with each other; central differences in float64
    compare J v with f itself, along random directions and, for small operands, every entry; a small J is compared as a
    dense matrix too. Tolerances come from the step, the value's size and what the extrapolation left uncertain. At a
    kink (relu at 0) there is no derivative to compare with: the check steps beside it and says so.

    A `LinearMap` is its own derivative: `check(A)` holds the two directions and the matrix that it was written with
    against each other, at a random element where none is given.

    `wrt` chooses arguments by position; without it all, and the parameters of f where f is a module. The report is true
    when all is right; printed, it names the operands and entries that disagree; `raise_if_wrong()` is for tests. NaN or
    infinity in an operand, the value or the derivative is a finding. Raises `DtypeError` where there is nothing to
    differentiate.

    >>> import numpy as np, adjoint as aj
    >>> aj.check(aj.matmul, np.ones((2, 3)), np.ones((3, 4))).ok
    True
    """
    with np.errstate(all="ignore"), doubles(args):
        subject = Subject(f, args, wrt)
        rng = np.random.default_rng(seed)
        try:
            local = subject.local(subject.points)
            rows = tuple(Examination(subject, k, rng).row(local) for k in range(len(subject.operands)))
        except (IndexError, RuntimeError, TypeError, ValueError):
            rows = misfits(subject)
            if all(row.ok for row in rows):
                raise
    cast = sorted({x.cast for x in subject.operands} - {"float64"})
    notes = [f"operands of {', '.join(cast)} were checked in float64"] if cast else []
    if subject.unit > np.finfo(np.float64).eps:
        notes.append(f"f rounds to {subject.unit:.1e} inside, so differences see less than they could")
    return Report(name_of(f), rows, tuple(notes))


def misfits(subject: Subject) -> tuple[Row, ...]:
    """The operands whose derivative does not act between their spaces, so that nothing can be compared."""
    found = [(operand, subject.misfit(k)) for k, operand in enumerate(subject.operands)]
    return tuple(Row(x.name, x.shape, findings=() if finding is None else (finding,)) for x, finding in found)


@contextlib.contextmanager
def doubles(args: Any) -> Iterator[None]:
    """float64 in JAX too, when JAX is there."""
    with sys.modules["jax"].enable_x64(True) if "jax" in sys.modules else contextlib.nullcontext():
        yield


@dataclass(slots=True)
class Ray:
    """A direction in an operand's space, what the map and the differences say along it, and how far they may differ."""

    v: Vector
    pushed: Vector
    slope: Slope
    tolerance: Vector

    @property
    def ratio(self) -> Vector:
        """The disagreement in parts of its tolerance."""
        gap = np.abs(self.pushed - self.slope.value)
        return np.divide(gap, self.tolerance, out=np.where(gap > 0, np.inf, 0.0), where=self.tolerance > 0)

    @property
    def size(self) -> float:
        """The largest entry of the derivative along the direction."""
        return float(max(np.abs(self.pushed).max(), np.abs(self.slope.value).max()))


class Examination:
    """One operand of a subject under examination."""

    def __init__(self, subject: Subject, k: int, rng: np.random.Generator) -> None:
        self.subject = subject
        self.k = k
        self.rng = rng
        self.operand: Operand = subject.operands[k]
        self.points = list(subject.points)
        self.n = len(self.operand.start)
        sizes = np.abs(self.operand.start)
        self.scale = np.maximum(sizes, 0.1 * np.median(sizes[sizes > 0]) if np.any(sizes > 0) else 1.0)
        self.findings: list[str] = []
        self.notes: list[str] = []
        self.kinks = 0
        self.noise: Vector = np.zeros(0)

    def row(self, local: Local) -> Row:
        """All that is found, starting from the derivative at the operands' own values."""
        name, shape = self.operand.name, self.operand.shape
        bad = np.flatnonzero(~np.isfinite(self.operand.start))
        if len(bad):
            entry, x = self.operand.entry(int(bad[0])), self.operand.start[bad[0]]
            return Row(name, shape, findings=(f"{entry} is {x}: {len(bad)} entries are not finite",))
        if not self.n or not len(local.value):
            return Row(name, shape, notes=(f"{name}: nothing to vary" if not self.n else "the value has no entries",))
        if not self._finite(local):
            return Row(name, shape, findings=tuple(self.findings))
        local, rays = self._beside_kinks(local)
        dot, dot_tolerance = self._dot_test(local)
        error, tolerance, worst = self._compare(local, rays)
        dense = self._dense(local, rays)
        kinks, findings, notes = self.kinks, tuple(self.findings), tuple(self.notes)
        return Row(name, shape, dot, dot_tolerance, error, tolerance, dense, worst, kinks, findings, notes)

    def _finite(self, local: Local) -> bool:
        """Whether value and derivative are finite; findings where not."""
        name, at = self.operand.name, self.subject.output_entry
        for i in np.flatnonzero(~np.isfinite(local.value))[:1]:
            self.findings.append(f"{name}: {at(int(i))} is {local.value[i]}, so there is nothing to differentiate")
            return False
        pulled = local.pull(self.k, np.ones(len(local.value)))[0]
        for j in np.flatnonzero(~np.isfinite(pulled))[:1]:
            self.findings.append(f"{self.operand.entry(int(j))}: the derivative (Jᵀ applied to ones) is {pulled[j]}")
            return False
        pushed = local.push(self.k, self.rng.normal(size=self.n))
        for i in np.flatnonzero(~np.isfinite(pushed))[:1]:
            self.findings.append(f"{name}: the derivative (J applied to a direction) is {pushed[i]} in {at(int(i))}")
        return not self.findings

    # Differences

    def curve(self, v: Vector) -> Curve:
        """f along a line through the point."""
        before, x, after = self.points[: self.k], self.points[self.k], self.points[self.k + 1 :]
        return lambda t: self.subject.value([*before, x + t * v, *after])

    def _beside_kinks(self, local: Local) -> tuple[Local, list[Ray]]:
        rays = self._rays(local)
        met = np.logical_or.reduce([ray.slope.kink for ray in rays])
        self.kinks = int(met.sum())
        where = ""
        for attempt in range(ATTEMPTS):
            if not met.any():
                break
            where = f"{self.operand.name}: {self.subject.output_entry(int(np.flatnonzero(met)[0]))}"
            step = AWAY * self.scale * self.rng.uniform(0.5, 1.0, self.n) * self.rng.choice([-1.0, 1.0], self.n)
            self.points[self.k] = self.operand.start + step * 2.0 ** (attempt // 2)
            beside = self.subject.local(self.points)
            if np.all(np.isfinite(beside.value)) and np.all(np.isfinite(beside.push(self.k, step))):
                local, rays = beside, self._rays(beside)
                met = np.logical_or.reduce([ray.slope.kink for ray in rays])
        if self.kinks and not met.any():
            self.notes.append(
                f"{where} has a kink or jump here; {self.kinks} kinks avoided by checking a little beside"
            )
        elif met.any():
            self.findings.append(f"{where} has a kink or jump here and at every point tried beside")
        return local, rays

    def _rays(self, local: Local) -> list[Ray]:
        spread = [self.scale * self.rng.normal(size=self.n) for _ in range(RAYS)]
        entries = list(np.diag(self.scale)) if self.n <= ENTRYWISE else []
        self.noise = np.maximum(noise(self.curve(spread[0])), 0.25 * self.subject.unit * np.abs(local.value))
        return [self._ray(local, v) for v in (*entries, *spread)]

    def _ray(self, local: Local, v: Vector) -> Ray:
        """Compare along v; the rounding of J v counts too."""
        ray = Ray(v, local.push(self.k, v), slope(self.curve(v), local.value, self.noise), np.zeros(0))
        error = ray.slope.error
        ray.tolerance = SAFETY * (error + np.median(error)) + 64 * self.subject.unit * ray.size
        return ray

    def _compare(self, local: Local, rays: list[Ray]) -> tuple[float, float, Entry | None]:
        """The largest error, its tolerance, and the entry where it is largest."""
        worst = shown = max(rays, key=worst_ratio)
        if self.n <= ENTRYWISE:
            shown = max(rays[: self.n], key=worst_ratio)
        if worst_ratio(worst) > 1 >= worst_ratio(shown) or self.n > ENTRYWISE:
            shown = self._located(local, worst) if worst_ratio(worst) > 1 else worst
        entry = self._entry(shown) if np.count_nonzero(shown.v) == 1 else None
        if worst_ratio(worst) > 1:
            self.findings.append(f"{self.operand.name}: {entry}")
        else:
            self._resolved(local, rays)
        i, size = int(np.argmax(worst.ratio)), self._size(local, worst)
        return float(abs(worst.pushed[i] - worst.slope.value[i]) / size), float(worst.tolerance[i] / size), entry

    def _size(self, local: Local, ray: Ray) -> float:
        """What errors are told in parts of: the largest derivative along a ray, or what can be seen beside a value."""
        return max(ray.size, VISIBLE * float(np.abs(local.value).max())) or 1.0

    def _entry(self, ray: Ray) -> Entry:
        (j,), i = np.flatnonzero(ray.v), int(np.argmax(ray.ratio))
        v = ray.v[j]
        operand, output = self.operand.entry(int(j)), self.subject.output_entry(i)
        return Entry(operand, output, float(ray.pushed[i] / v), float(ray.slope.value[i] / v))

    def _located(self, local: Local, ray: Ray) -> Ray:
        """The single entry at fault: the direction halved again and again, keeping the half that disagrees more."""
        support = np.flatnonzero(ray.v)
        while len(support) > 1:
            halves = np.array_split(support, 2)
            parts = [self._ray(local, np.where(np.isin(np.arange(self.n), half), ray.v, 0.0)) for half in halves]
            worse = int(worst_ratio(parts[1]) > worst_ratio(parts[0]))
            ray, support = parts[worse], halves[worse]
        return ray

    def _resolved(self, local: Local, rays: list[Ray]) -> None:
        """A finding where differences are too uncertain to see a wrong derivative."""
        floor = VISIBLE * max(np.abs(local.value).max(), *(ray.size for ray in rays))
        for ray in rays:
            size = np.maximum(np.abs(ray.pushed), 0.1 * ray.size)
            for i in np.flatnonzero((ray.tolerance > RESOLVED * size) & (ray.tolerance > floor))[:1]:
                entry, part = self.subject.output_entry(int(i)), ray.tolerance[i] / size[i]
                self.findings.append(
                    f"{self.operand.name}: not checked, differences of {entry} are uncertain by {part:.0e} of the "
                    "derivative (kinks close by, or rounding)"
                )
                return

    def _dense(self, local: Local, rays: list[Ray]) -> float | None:
        """The columns of J.dense() against the differences along single entries."""
        if self.n > ENTRYWISE or self.n * len(local.value) > DENSE:
            return None
        columns = local.dense(self.k)
        gaps = []
        for j, ray in enumerate(rays[: self.n]):
            dense = Ray(ray.v, columns[:, j] * ray.v[j], ray.slope, ray.tolerance)
            gaps.append(float(np.abs(dense.pushed - ray.slope.value).max()) / self._size(local, ray))
            if worst_ratio(dense) > 1 >= worst_ratio(ray):
                entry = self._entry(dense)
                self.findings.append(f"{self.operand.name}: J.dense() is wrong though J @ v is right: {entry}")
                break
        return max(gaps)

    # The dot test

    def _dot_test(self, local: Local) -> tuple[float, float]:
        found = [self._dot(local, *self._pair(local)) for _ in range(RAYS)]
        error, tolerance = max(found, key=lambda pair: pair[0] / (pair[1] or 1.0))
        if error > tolerance:
            self.findings.append(self._disagreement(local, *self._pair(local)))
        return error, tolerance

    def _pair(self, local: Local) -> tuple[Vector, Vector]:
        return self.scale * self.rng.normal(size=self.n), self.rng.normal(size=len(local.value))

    def _dot(self, local: Local, v: Vector, u: Vector) -> tuple[float, float]:
        """The error and its tolerance: the rounding of both directions, by which J(3v)/3 differs from J v."""
        pushed, pulls = local.push(self.k, v), local.pull(self.k, u)
        norms = np.linalg.norm
        size = float(max(norms(pushed), VISIBLE * norms(local.value)) * norms(u)) or 1.0
        defect = max(abs(pushed @ u - v @ pulled) for pulled in pulls)
        forward = norms(local.push(self.k, 3 * v) / 3 - pushed) * norms(u)
        backward = norms(local.pull(self.k, 3 * u)[0] / 3 - pulls[0]) * norms(v)
        rounding = self.subject.unit * np.sqrt(len(v) + len(u)) * (size + norms(v) * norms(pulls[0]))
        tolerance = 2 * SAFETY * (rounding + forward + backward)
        if forward > RESOLVED * size or backward > RESOLVED * size:
            self.findings.append(f"{self.operand.name}: the map is not linear, J(3v) ≠ 3 J v")
        return float(defect / size), float(tolerance / size)

    def _disagreement(self, local: Local, v: Vector, u: Vector) -> str:
        """The entry where the two directions differ most, found by halving v, then u; and which of them is wrong."""

        def defect(v: Vector, u: Vector) -> float:
            return max(abs(float(local.push(self.k, v) @ u - v @ pulled)) for pulled in local.pull(self.k, u))

        v = halved(v, lambda part: defect(part, u))
        u = halved(u, lambda part: defect(v, part))
        (j,), (i,) = np.flatnonzero(v), np.flatnonzero(u)
        forward = local.push(self.k, v)[i] / v[j]
        back = [pulled[j] / u[i] for pulled in local.pull(self.k, u)]
        backward = max(back, key=lambda b: abs(b - forward))
        ray = self._ray(local, v)
        true = ray.slope.value[i] / ray.v[j]
        margin = ray.tolerance[i] / abs(ray.v[j])
        wrong = [name for name, x in (("J", forward), ("Jᵀ", backward)) if abs(x - true) > margin]
        place = f"∂{self.subject.output_entry(int(i))}/∂{self.operand.entry(int(j))}"
        return (
            f"{self.operand.name}: J and Jᵀ disagree: {place} is {forward:.9g} in J, {backward:.9g} in Jᵀ and "
            f"{true:.9g} by differences, so {' and '.join(wrong) or 'one'} is wrong"
        )


def worst_ratio(ray: Ray) -> float:
    """The largest disagreement along a ray in parts of its tolerance."""
    return float(ray.ratio.max())


def halved(v: Vector, defect: Callable[[Vector], float]) -> Vector:
    """v with one entry left: its support halved again and again, keeping the half with the larger defect."""
    support = np.flatnonzero(v)
    while len(support) > 1:
        parts = [np.where(np.isin(np.arange(len(v)), half), v, 0.0) for half in np.array_split(support, 2)]
        v = max(parts, key=defect)
        support = np.flatnonzero(v)
    return v
