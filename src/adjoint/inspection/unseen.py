"""What of a sample a layer cannot see: the energy that lies in its kernel, and the directions of it."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.inspection.layers import blocks, same
from adjoint.inspection.row import plain
from adjoint.inspection.sample import Sample
from adjoint.inspection.watching import Call, calls
from adjoint.inspection.weight import tolerance as usual
from adjoint.maps.algebra import Composition, Kronecker
from adjoint.maps.base import LinearMap
from adjoint.maps.convolution import Convolution
from adjoint.maps.elementary import Identity
from adjoint.maps.flat import epsilon, to_numpy
from adjoint.maps.layout import Reshape
from adjoint.maps.matrices import Dense, RightProduct
from adjoint.maps.spectra.spectrum import Spectrum
from adjoint.program import Door
from adjoint.transforms import jacobian

OPENED = 1 << 22  # numbers of a matrix that is formed for an example as a whole
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
    chosen = [call for call in seen if call.name in (name, name.removesuffix(".weight"))]
    if not chosen:
        known = list(dict.fromkeys(call.name for call in seen))
        near = ", ".join(difflib.get_close_matches(name, known, 3) or known[:3]) or "none"
        raise KeyError(f"unseen: no layer {name!r} maps floating numbers to others at this sample, only {near} …")
    found = [_multiplied(call) for call in chosen]
    (W, eps, of), X = found[0][:3], np.concatenate([rows for *_, rows in found])
    return _told(chosen[0], W, eps, of, X, tolerance)


def _told(call: Call, W: np.ndarray, eps: float, of: str, X: np.ndarray, tolerance: float | None) -> Unseen:
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
        call.name, call.kind, of, len(X), W.shape, len(reached), limit, norm, share if share > NOTHING else 0.0 * share,
        directions, energies, principal, spread, gains, np.maximum(hidden, 0.0),
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


def _multiplied(call: Call) -> tuple[np.ndarray, float, str, np.ndarray]:
    """(W, its spacing at 1, what a row is, the rows) of a call, in float64."""
    x = call.input
    whole = jacobian(call.function, x[:1] if call.alone else x)
    known = _by_structure(whole, x)
    if known is None:
        W, of, rows = _whole(call, whole), "example", xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    else:
        W, of, rows = known
    return to_numpy(W).astype(np.float64), epsilon(whole), of, to_numpy(rows).astype(np.float64)


def _by_structure(J: LinearMap, x: Array) -> tuple[Array, str, Array] | None:
    """The matrix that multiplies every position or patch, and these; None where the map is no such product."""
    if isinstance(J, Door):
        J = J.verified()
    parts = [part for part in (J.maps if isinstance(J, Composition) else (J,)) if not isinstance(part, Reshape)]
    if len(parts) != 1:
        return None
    inner = parts[0]
    if isinstance(inner, Kronecker) and isinstance(inner.left, Identity):
        inner = inner.right
    if isinstance(inner, Dense):
        return inner.weight, "position", xp.reshape(x, (-1, inner.in_shape[0]))
    if isinstance(inner, RightProduct):
        return inner.right.mT, "position", xp.reshape(x, (-1, inner.right.shape[0]))
    if isinstance(inner, Convolution):
        columns = inner.im2col(xp.reshape(x, (-1, *inner.in_shape)))
        return _kernel(inner), "patch", xp.reshape(xp.swapaxes(columns, -1, -2), (-1, columns.shape[-2]))
    return None


def _kernel(A: Convolution) -> Array:
    """The matrix (O, C·∏kernel) that multiplies a patch, with zeros where a group sees nothing."""
    weight = to_numpy(A.weight).reshape(A.weight.shape[0], -1)
    rows, columns = weight.shape[0] // A.groups, weight.shape[1]
    W = np.zeros((weight.shape[0], columns * A.groups), weight.dtype)
    for g in range(A.groups):
        W[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = weight[g * rows : (g + 1) * rows]
    return W


def _whole(call: Call, whole: LinearMap) -> Array:
    """The matrix of a layer that is the same at every example."""
    n = call.input.shape[0]
    lead = 1 if call.alone else n
    if whole.shape[0] // lead * (whole.shape[1] // lead) > OPENED:
        raise ValueError(f"unseen: {call.name} ({call.kind}) is no product with a matrix, and too large to form one.")
    if call.alone:
        maps: list[LinearMap] = [jacobian(call.function, call.input[i : i + 1]) for i in range(min(n, 3))]
    else:
        maps = [*blocks(whole, call.input)[:3]]
    if not same(maps):
        raise ValueError(
            f"unseen: {call.name} ({call.kind}) is another map at every example, so that it sees something else "
            "of each: ask for a layer with a weight; `layers` of the report tells what each hides."
        )
    return maps[0].matrix()
