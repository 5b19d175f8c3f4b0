"""Numbers stored in 4 or 8 bits: a code for each entry, a scale for each block, and products that unpack as they go."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, NamedTuple, Protocol

import numpy as np

from adjoint.arrays.dispatch import Array, Shape, composition
from adjoint.arrays.elementwise import add, multiply, subtract
from adjoint.arrays.layout import asarray, astype, broadcast_to, concatenate, reshape, stack, take
from adjoint.arrays.products import matmul, rows
from adjoint.errors import ShapeError

PANEL = 1 << 20  # entries that are unpacked at a time
NESTED = 256  # scales that share a scale of their own

# Quantiles of N(0, 1) with an exact zero: QLoRA (arXiv 2305.14314), appendix E
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
# A sign, two bits of exponent, one of mantissa, in the order of the bit patterns (bitsandbytes); the largest is 12
FP4 = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0, 0.0, -0.0625, -8.0, -12.0, -4.0, -6.0, -2.0, -3.0)


class Format(NamedTuple):
    """How entries are coded: `bits` a code, the value `levels[code]`, and whether a block has a zero point."""

    bits: int
    levels: np.ndarray
    affine: bool = False


class Packed(Protocol):
    """What a packed array is: codes of all its entries in row-major order, and what belongs to each block.

    Lines of `width` entries are cut into blocks of `block`, the last of a line perhaps shorter. Entry i is
    (levels[codes[i]] - zeros[b]) · absmax[b] with b its block; two 4-bit codes share a byte, the first in the upper
    half. Where `nested_absmax` is not None, `absmax` holds codes itself: the scale of block b is
    offset + dynamic[absmax[b]] · nested_absmax[b // 256].
    """

    format: str
    shape: Shape
    width: int
    block: int
    codes: Array
    absmax: Array
    zeros: Array | None
    nested_absmax: Array | None
    offset: Array | None


@functools.cache
def format_named(name: str) -> Format:
    """The format "nf4", "fp4", "dynamic8", "int8" or "int4"; ValueError for another name.

    >>> format_named("nf4").levels[7], format_named("fp4").levels[3]
    (np.float32(0.0), np.float32(1.0))
    """
    made = {
        "nf4": lambda: Format(4, np.array(NF4, "float32")),
        "fp4": lambda: Format(4, np.array(FP4, "float32") / np.float32(12.0)),
        "dynamic8": lambda: Format(8, dynamic_levels()),
        "int8": lambda: Format(8, np.arange(256, dtype="float32"), affine=True),
        "int4": lambda: Format(4, np.arange(16, dtype="float32"), affine=True),
    }
    if name not in made:
        raise ValueError(f"quantize: the format is {', '.join(map(repr, made))}, not {name!r}.")
    return made[name]()


def dynamic_levels() -> np.ndarray:
    """256 signed levels, a decade for each of 7 exponents, more of them the larger it is (arXiv 1511.04561).

    >>> levels = dynamic_levels()
    >>> levels.size, float(levels[127]), float(levels[255])
    (256, 0.0, 1.0)
    """
    low, high, two = np.float32(0.1), np.float32(1.0), np.float32(2.0)
    found: list[np.ndarray] = []
    for i in range(7):
        n = 2**i + 1
        k, step = np.arange(n), np.float64((high - low) / np.float32(n - 1))
        # a float32 step, from both ends and rounded once, as PyTorch's linspace: bitsandbytes' levels to the bit
        ends = np.where(k < n // 2, low + step * k, high - step * (n - 1 - k)).astype("float32")
        means = np.float32(10.0 ** (i - 6)) * ((ends[:-1] + ends[1:]) / two)
        found += [means, -means]
    return np.sort(np.concatenate([*found, np.array([0.0, 1.0], "float32")]))


def scales(packed: Packed, like: Array) -> Array:
    """The scale of every block in float32, beside `like`; unpacked where the scales are quantized themselves."""
    absmax = packed.absmax
    if packed.nested_absmax is None:
        return _beside(like, absmax)
    levels = asarray(absmax, format_named("dynamic8").levels, "float32")
    values = take(levels, astype(absmax, "int32"), 0)
    wide = _repeated(packed.nested_absmax, NESTED)[: int(absmax.shape[0])]
    return _beside(like, add(multiply(values, wide), packed.offset))


def unpacked(packed: Packed, start: int, stop: int, scale: Array) -> Array:
    """The entries from start to stop in float32, on the backend of `scale`: whole lines, or part of the only one."""
    form = format_named(packed.format)
    codes = _beside(scale, packed.codes)
    if form.bits == 4:
        both = codes[start // 2 : -(-stop // 2)]
        codes = reshape(stack([both >> 4, both & 15], -1), (2 * int(both.shape[0]),))
        codes = codes[start % 2 : start % 2 + stop - start]
    else:
        codes = codes[start:stop]
    if form.affine:
        zeros = astype(_beside(scale, packed.zeros), "float32")
        values = subtract(astype(codes, "float32"), _spread(packed, zeros, start, stop))
    else:
        values = take(asarray(scale, form.levels, "float32"), astype(codes, "int32"), 0)
    return multiply(values, _spread(packed, scale, start, stop))


def _beside(like: Array, x: Any) -> Array:
    """x on the backend of `like`, if it is NumPy's."""
    return asarray(like, x, x.dtype) if isinstance(x, np.ndarray) and not isinstance(like, np.ndarray) else x


def _repeated(x: Array, times: int) -> Array:
    """Each entry of x so many times."""
    n = int(x.shape[0])
    return reshape(broadcast_to(reshape(x, (n, 1)), (n, times)), (n * times,))


def _spread(packed: Packed, values: Array, start: int, stop: int) -> Array:
    """What belongs to each block, for each of the entries from start to stop."""
    width, block = packed.width, packed.block
    if math.prod(packed.shape) <= width:
        first = start // block
        wide = _repeated(values[first : -(-stop // block)], block)
        return wide[start - first * block : stop - first * block]
    each = -(-width // block)
    lines = (stop - start) // width
    wide = _repeated(values[start // width * each : stop // width * each], block)
    return reshape(reshape(wide, (lines, each * block))[:, :width], (stop - start,))


@composition
def quantized_linear(x: Array, /, weight: Packed, transposed: bool = False) -> Array:
    """x Wᵀ with W (out, in) packed in 4 or 8 bits: x (…, in) gives (…, out); transposed it is x W, (…, out) to (…, in).

    W is unpacked a panel at a time, in float32, and multiplied in the dtype of x; each of the two is the
    adjoint of the other, and there is no derivative in W. A W in NumPy serves x of every backend. Raises `ShapeError`
    where x does not fit.

    >>> import numpy as np, adjoint as aj
    >>> W = aj.quantize(np.diag([1.0, -1.0, 0.0]), "nf4", double=False)
    >>> aj.quantized_linear(np.array([[1.0, 2.0, 3.0]]), W).tolist()
    [[1.0, -2.0, 0.0]]
    """
    n_out, n_in = fitting(x, weight, transposed)
    step = max(1, PANEL // max(1, n_in))
    ends = [(a, min(a + step, n_out)) for a in range(0, n_out, step)]
    lead, flat, scale = tuple(x.shape[:-1]), rows(x), scales(weight, x)
    made = []
    for a, b in ends or [(0, 0)]:
        panel = astype(reshape(unpacked(weight, a * n_in, b * n_in, scale), (b - a, n_in)), x.dtype)
        made.append(matmul(flat[:, a:b], panel) if transposed else matmul(flat, panel.T))
    y = functools.reduce(operator.add, made) if transposed else made[0] if len(made) == 1 else concatenate(made, -1)
    return reshape(y, (*lead, n_in if transposed else n_out))


def fitting(x: Array, weight: Packed, transposed: bool) -> tuple[int, int]:
    """(out, in) of a packed matrix that x fits; raises `ShapeError` where it does not."""
    if len(weight.shape) != 2:
        raise ShapeError(f"quantized_linear: the weight is a matrix (out, in), not {tuple(weight.shape)}.")
    n_out, n_in = weight.shape
    if not len(x.shape) or x.shape[-1] != (n_out if transposed else n_in):
        told, side = ("transposed ", "out") if transposed else ("", "in")
        raise ShapeError(
            f"quantized_linear: x {tuple(x.shape)} does not fit the {told}weight {tuple(weight.shape)}, (out, in): its "
            f"last axis must be {side} = {n_out if transposed else n_in}."
        )
    return n_out, n_in
