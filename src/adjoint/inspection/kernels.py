"""A kernel examined as the convolution that it makes: an operator on a torus, all its singular values by its symbol."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from adjoint.inspection.sliding import Sliding
from adjoint.inspection.weight import Measured, Stopped, figures, measured, spacing
from adjoint.maps.spectra import budget
from adjoint.maps.spectra.spectrum import Spectrum
from adjoint.maps.spectra.symbol import BLOCK, Symbol, phases

SIDES = {1: 256, 2: 32, 3: 12}  # of a torus, by its dimension; more where the stride or the kernel does not fit
WORK = 4e10  # floating-point operations that all symbols of a kernel may take, about two seconds of a core
MOST = 50.0 * WORK  # and where the kernel does not fit into a smaller torus


def symbol(shape: tuple[int, ...], sliding: Sliding) -> Symbol:
    """The symbol of a kernel on the torus that it is examined on.

    Its sides are 256 in one dimension, 32 in two, 12 in three, no more than the input's where a sample told them, or
    the next multiples of the stride. Where the symbols of so many frequencies would take more than about two seconds,
    they are shortened, by a quarter and a third in turn, but no further than the kernel fits.

    >>> [symbol((n, n, 3, 3), Sliding((1, 1), (1, 1))).positions for n in (64, 512)]
    [(32, 32), (6, 6)]
    """
    side = SIDES[len(sliding.stride)]
    sizes = sliding.sizes or (side,) * len(sliding.stride)
    spans = phases(shape[2:], sliding.stride, sliding.dilation)[1]
    while True:
        positions = [
            max(-(-min(side, n) // s), span + 1) for n, s, span in zip(sizes, sliding.stride, spans, strict=True)
        ]
        found = Symbol(shape, positions, sliding.stride, sliding.dilation, sliding.groups)
        if work(found) <= WORK or side == 1:
            return found
        side = side * 2 // 3 if side & (side - 1) else max(side * 3 // 4, 1)


def work(found: Symbol) -> float:
    """About how many floating-point operations it takes to form, its Gram matrices and their eigenvalues included."""
    a, b = sorted(found.shape)
    return found.count * (4.0 * found.overlap * a * b + 8.0 * a * a * b + 16.0 / 3.0 * a**3)


def working_bytes(shape: tuple[int, ...], sliding: Sliding) -> int:
    """About how much memory `operator` takes beside the weight itself."""
    a, b = sorted(symbol(shape, sliding).shape)
    return 16 * (2 * max(BLOCK, a * b) + 2 * a * a)


def measured_kernel(array: np.ndarray, sliding: Sliding, stop: Callable[[], bool] = lambda: False) -> Measured:
    """The fields of `Row` of a kernel (O, C/groups, *sizes).

    The spectrum is that of the operator; the exponent of the tail, likeness to a random matrix, repetitions, and what
    is called reshaped are those of its numbers as the matrix of the first axis by all others. That alone is examined,
    and so said, where all symbols would take more than a minute or two. Raises as `measured`.

    >>> found = measured_kernel(np.ones((1, 1, 3, 3)), Sliding((1, 1), (1, 1)))
    >>> found["sigma_max"], found["reshaped_norm"], found["method"]
    (9.0, 3.0, 'symbol, 32×32 torus')
    """
    told = measured(array, stop)
    if "sigma_max" not in told:
        return told
    if work(symbol(array.shape, sliding)) > MOST:
        return told | {"method": f"{told['method']} of the reshaped kernel: its symbols are too large"}
    reshaped = {"reshaped_norm": told["sigma_max"], "reshaped_k99": told["k99"]}
    return told | reshaped | operator(array, sliding, told["sigma_max"], stop)


def operator(
    array: np.ndarray, sliding: Sliding, reshaped: float, stop: Callable[[], bool] = lambda: False
) -> Measured:
    """What the operator on the torus is like; `reshaped` is the norm of the kernel as a matrix.

    With zeros around its input, in place of the torus, a convolution is a part of that of an infinite input, whose norm
    is the largest singular value of the symbol at any frequency. That is `padded_norm` at most: what the frequencies of
    the torus leave open between them (see `Symbol.between`), or √(taps of a phase) times the norm of the reshaped
    kernel (Tsuzuku et al. 2018), whichever is less.
    """
    found = symbol(array.shape, sliding)

    def stopped() -> None:
        if stop():
            raise Stopped

    eps = spacing(array.dtype)
    values, bound, counts = found.values(array, eps > budget.NARROW, stopped)
    positions, (a, b) = math.prod(found.positions), found.shape
    rows, columns = found.groups * a * positions, found.groups * b * positions
    torus = tuple(n * s for n, s in zip(found.positions, sliding.stride, strict=True))
    sides = "×".join(map(str, torus)) if len(torus) > 1 else f"{torus[0]}-point"
    method = f"symbol, {sides} torus" + ("" if sliding.known else ", stride 1 and one group assumed")
    each = np.repeat(counts, values.shape[-1])
    told = figures(Spectrum((rows, columns), eps, values.ravel(), bound.ravel(), method, each), found.shape)
    inputs = found.groups * array.shape[1] * math.prod(torus)
    beyond = min(found.between * told["sigma_max"], math.sqrt(found.overlap) * reshaped)
    return told | {
        "operator": (inputs, rows) if sliding.transposed else (rows, inputs),
        "allowed": min(rows, columns),
        "torus": torus,
        "padded_norm": beyond + told["bound"],
    }
