"""What of a sample a layer cannot see: the energy that lies in its kernel, and the directions of it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from adjoint.inspection.multiplied import Rows, parts, product
from adjoint.inspection.row import plain
from adjoint.inspection.sample import Sample
from adjoint.inspection.watching import Call, calls
from adjoint.inspection.weight import tolerance as usual
from adjoint.maps.spectra.spectrum import Spectrum

NOTHING = 1e-13  # share of the energy below which a direction is rounding


@dataclass(frozen=True)
class Unseen:
    """What the matrix W (out, in) of a layer cannot see of the rows x (in,) that it multiplies at the sample.

    `of` says what a row is: a position, a patch under a convolution's kernel, or an example. `rows` counts them, `rank`
    is W's, where singular values up to `tolerance` count as zero, `norm` its σ₁. `share` is Σ‖P x‖²/Σ‖x‖², P projecting
    on the kernel. `directions` (k, in) are the principal directions of P x, orthonormal and in the kernel, those that
    lose most first; `energies` their shares of Σ‖x‖², which add up to `share`. `principal` (p, in) are the principal
    directions v of x itself, `spread` their shares, `gains` ‖W v‖/σ₁ and `hidden` ‖P v‖²: how much of each is seen.

    >>> import adjoint as aj
    >>> net, x = aj.nn.Linear(3, 1, bias=False), np.array([[3.0, 0.0, 4.0]])
    >>> net.weight = np.array([[0.0, 0.0, 2.0]])
    >>> found = aj.inspect(aj.nn.Sequential(net), x, cache=False).unseen("0")
    >>> round(found.share, 3), found.directions.tolist(), found.gains.round(3).tolist(), found.hidden.round(3).tolist()
    (0.36, [[1.0, 0.0, 0.0]], [0.8], [0.36])
    """

    name: str
    kind: str
    of: str
    rows: int
    shape: tuple[int, int]
    rank: int
    tolerance: float
    norm: float
    share: float
    directions: np.ndarray = field(repr=False)
    energies: np.ndarray = field(repr=False)
    principal: np.ndarray = field(repr=False)
    spread: np.ndarray = field(repr=False)
    gains: np.ndarray = field(repr=False)
    hidden: np.ndarray = field(repr=False)

    @property
    def nullity(self) -> int:
        """Dimensions of the kernel."""
        return self.shape[1] - self.rank

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        told = {k: plain(x.tolist() if isinstance(x, np.ndarray) else x) for k, x in values.items()}
        return told | {"nullity": self.nullity}

    def __rich__(self) -> Any:
        from adjoint.inspection.unseen_screen import screen

        return screen(self)

    def __str__(self) -> str:
        from adjoint.inspection.screen import text

        return text(self)


def unseen(sample: Sample, name: str, tolerance: float | None = None) -> Unseen:
    """What a layer, in all its calls, cannot see of a sample: see `adjoint.inspection.Report.unseen`."""
    if tolerance is not None and not tolerance >= 0.0:
        raise ValueError(f"unseen: the tolerance is a singular value up to which nothing is seen, not {tolerance}.")
    seen = calls(sample.net, sample.x)[1]
    whole = full(name, [call.name for call in seen])
    if whole is None:
        raise KeyError(missing(name, [call.name for call in seen]))
    chosen = [call for call in seen if call.name == whole]
    W, eps, of, _ = product(chosen[0])
    rows = Rows(W.shape[1])
    for call in chosen:
        for part in parts(call, product(call)):
            rows.add(part)
    return _told(chosen[0], W, eps, of, rows, tolerance)


def full(name: str, known: Collection[str]) -> str | None:
    """The one of the known names that is meant: itself, that of its weight, or its end where no other ends so.

    >>> full("fc", ["h.0.fc", "h.0.ln"]), full("h.0.ln.weight", ["h.0.fc", "h.0.ln"]), full("fc", ["h.0.fc", "h.1.fc"])
    ('h.0.fc', 'h.0.ln', None)
    """
    name = name if name in known else name.removesuffix(".weight")
    found = {name} & {*known} or {x for x in known if x.endswith(f".{name}")}
    return found.pop() if len(found) == 1 else None


def missing(name: str, known: Collection[str]) -> str:
    """What to say of a name that is none of those known, or the end of several."""
    known = list(dict.fromkeys(known))
    ends = [x for x in known if x.endswith(f".{name.removesuffix('.weight')}")]
    near = ends or difflib.get_close_matches(name, known, 3) or known
    told = ", ".join(near[:3]) + (" and the like" if len(near) > 3 or not ends else "")
    if ends:
        return f"unseen: {name!r} may be {len(ends)} layers: {told}."
    return (
        f"unseen: no layer {name!r} maps floating numbers to others at this sample, only {told if known else 'none'}."
    )


def _told(call: Call, W: np.ndarray, eps: float, of: str, rows: Rows, tolerance: float | None) -> Unseen:
    X = rows.folded()
    _, s, vh = np.linalg.svd(W, full_matrices=False)
    limit = usual(Spectrum(W.shape, eps, s)) if tolerance is None else tolerance
    reached = vh[s > limit]
    lost = X - (X @ reached.T) @ reached
    energy, norm = float(np.sum(X**2)), float(s[0]) if len(s) else 0.0
    energies, directions = _principal(lost, energy, W.shape[1] - len(reached))
    spread, principal = _principal(X, energy, W.shape[1])
    gains = np.linalg.norm(principal @ W.T, axis=1) / (norm or 1.0)
    hidden = 1.0 - np.sum((principal @ reached.T) ** 2, axis=1)
    share = float(np.sum(lost**2)) / energy if energy else math.nan
    return Unseen(
        call.name, call.kind, of, rows.count, W.shape, len(reached), limit, norm,
        share if share > NOTHING else 0.0 * share, directions, energies, principal, spread, gains,
        np.maximum(hidden, 0.0),
    )  # fmt: skip


def _principal(X: np.ndarray, energy: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(shares of the energy, directions) of rows, the largest first, without what is rounding."""
    if len(X) < X.shape[1]:
        _, s, directions = np.linalg.svd(X, full_matrices=False)
        shares = s**2
    else:
        shares, columns = np.linalg.eigh(X.T @ X)
        shares, directions = shares[::-1], columns.T[::-1]
    shares = np.maximum(shares, 0.0) / (energy or 1.0)
    kept = min(int(np.sum(shares > NOTHING)), most)
    signs = np.sign(directions[np.arange(kept), np.argmax(np.abs(directions[:kept]), axis=1)]) if kept else np.ones(0)
    return shares[:kept], directions[:kept] * signs[:, None]
