"""Codes and scales of an array: what is stored in place of its numbers."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from adjoint.arrays.dispatch import is_floating
from adjoint.arrays.numpy.threads import parts
from adjoint.arrays.numpy.updates import COMPILED
from adjoint.arrays.quantized import NESTED, format_named
from adjoint.errors import DtypeError

BLOCKS = {"nf4": 64, "fp4": 64, "dynamic8": 256, "int4": 128, "int8": None}  # entries; None is the whole line
PIECE = 1 << 20  # entries that are coded at a time
GRAIN = 1 << 17  # entries from which another thread repays its waking
LEAST = np.float32(1e-38)


class Layout(NamedTuple):
    """How the entries of an array of some shape are cut: lines of `width` into blocks of `block`."""

    width: int
    block: int
    blocks: int


def layout(shape: tuple[int, ...], name: str, block: int | None) -> Layout:
    """Where blocks begin: anywhere in row-major order, of affine formats anew in every line of the last axis.

    >>> layout((3, 100), "nf4", None), layout((3, 100), "int4", 64)
    (Layout(width=300, block=64, blocks=5), Layout(width=100, block=64, blocks=6))
    """
    size = math.prod(shape)
    width = (shape[-1] if shape else 1) if format_named(name).affine else size
    block = BLOCKS[name] or max(width, 1) if block is None else block
    if type(block) is not int or block < 1:
        raise ValueError(f"quantize: a block is a positive number of entries, not {block!r}.")
    return Layout(width, block, size // width * -(-width // block) if width else 0)


class Codes(NamedTuple):
    """Codes as they are stored, the scale of each block, and its zero point, None for formats without."""

    codes: np.ndarray
    absmax: np.ndarray
    zeros: np.ndarray | None


def encoded(array: np.ndarray, name: str, cut: Layout) -> Codes:
    """An array's codes and scales, found piece by piece, so that little memory is taken beside both.

    Raises DtypeError for entries that are no floating numbers, ValueError where they are not finite.
    """
    if not is_floating(array.dtype):
        raise DtypeError(f"quantize: entries are {array.dtype}, floating ones are needed.")
    form, x = format_named(name), array.reshape(-1)
    line, each = (cut.width, -(-cut.width // cut.block)) if form.affine else (cut.block, 1)
    step = max(2, PIECE // max(1, line) // 2 * 2)  # an even number of lines has whole bytes
    codes = np.empty(-(-x.size * form.bits // 8), np.uint8)
    absmax = np.empty(cut.blocks, np.float32)
    zeros = np.empty(cut.blocks, np.uint8) if form.affine else None
    for start in range(0, -(-x.size // line) if line else 0, step):
        a, b, own = start * line, min((start + step) * line, x.size), slice(start * each, (start + step) * each)
        piece = single(x[a:b])
        if not np.isfinite(piece).all():
            raise ValueError(_not_finite(x, tuple(array.shape)))
        found, absmax[own], zero = _encoded(piece, name, cut)
        if zeros is not None and zero is not None:
            zeros[own] = zero
        codes[a * form.bits // 8 : -(-b * form.bits // 8)] = packed(found, name) if form.bits == 4 else found
    return Codes(codes, absmax, zeros)


def single(x: np.ndarray) -> np.ndarray:
    """Entries in float32, infinite ones where they are beyond it."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(x, np.float32)


def _not_finite(x: np.ndarray, shape: tuple[int, ...]) -> str:
    bad = sum(np.count_nonzero(~np.isfinite(single(x[k : k + PIECE]))) for k in range(0, x.size, PIECE))
    return (
        f"quantize: {bad} of {x.size} entries of an array {shape} are NaN, infinite or beyond float32: a scale could "
        "not tell the others apart. Find them with aj.inspect, and mend them first."
    )


def _encoded(x: np.ndarray, name: str, cut: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(codes, a byte each; scales; zero points) of some lines, or of some blocks of the only one."""
    form = format_named(name)
    if x.size < COMPILED:
        return _affine(x, form.bits, cut) if form.affine else _nearest(x, name, cut.block)
    from adjoint.arrays.numpy import quantized_kernels as kernels

    line, each = (cut.width, -(-cut.width // cut.block)) if form.affine else (cut.block, 1)
    lines = -(-x.size // line)
    codes, absmax = np.empty(x.size, np.uint8), np.empty(lines * each, np.float32)
    zeros = np.empty(absmax.size, np.uint8)

    def some(start: int, stop: int) -> None:
        part, own, scale = (
            x[start * line : stop * line],
            codes[start * line : stop * line],
            slice(start * each, stop * each),
        )
        if form.affine:
            kernels.affine(part, cut.width, cut.block, 2**form.bits - 1, own, absmax[scale], zeros[scale])
        elif name == "dynamic8":
            kernels.levels8(part, cut.block, table(), own, absmax[scale])
        else:
            bounds, order = between(name)
            kernels.levels4(part, cut.block, tuple(bounds), order, own, absmax[scale])

    parts(some, lines, max(1, GRAIN // line))
    return codes, absmax, zeros if form.affine else None


def packed(codes: np.ndarray, name: str) -> np.ndarray:
    """Codes of 4 bits, two to a byte, the first in the upper half; where one is left over, that of 0 beside it.

    >>> packed(np.array([1, 2, 15], "uint8"), "nf4")
    array([ 18, 247], dtype=uint8)
    """
    if codes.size % 2:
        codes = np.append(codes, np.uint8(7 if name == "nf4" else 0))
    if codes.size < COMPILED:
        return (codes[::2] << 4) | codes[1::2]
    from adjoint.arrays.numpy.quantized_kernels import pack

    out = np.empty(codes.size // 2, np.uint8)
    pack(codes, out)
    return out


@functools.cache
def between(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(midpoints between neighbouring levels, codes in the order of their levels) of a format of 16 levels."""
    levels = format_named(name).levels
    order = np.argsort(levels, kind="stable")
    ordered = levels[order]
    return (ordered[:-1] + ordered[1:]) / np.float32(2.0), order.astype(np.uint8)


@functools.cache
def table() -> np.ndarray:
    """The code of the dynamic level that is nearest to each of 65,536 numbers from -1 to 1.

    bitsandbytes looks codes up in such a table on the CPU, so an entry within 1.5e-5 of the middle between two levels
    may get the other one of them.
    """
    levels = format_named("dynamic8").levels
    grid = (np.arange(65536) / 65535 * 2 - 1).astype(np.float32)
    right = np.searchsorted(levels, grid)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(levels[right] - grid) < np.abs(grid - levels[left]), right, left).astype(np.uint8)


def nested(absmax: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes, scales of 256 of them, offset) of scales that are quantized themselves, less their mean.

    Dettmers et al. 2023 (arXiv 2305.14314), section 3: 32/64 bits an entry become 8/64 + 32/(64 · 256).
    """
    offset = np.asarray(absmax.mean(dtype=np.float64) if absmax.size else 0.0, np.float32)
    left = absmax - offset
    found = encoded(left, "dynamic8", layout(left.shape, "dynamic8", NESTED))
    return found.codes, found.absmax, offset


# Without kernels, for arrays that do not repay their loading


def _nearest(x: np.ndarray, name: str, block: int) -> tuple[np.ndarray, np.ndarray, None]:
    count, full = -(-x.size // block), x.size // block * block
    wide = np.zeros((count, block), np.float32)
    wide.reshape(-1)[: x.size] = x
    top = np.abs(wide).max(1, initial=0.0)
    if name == "dynamic8":
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            v = wide * (np.float32(1.0) / top)[:, None]
        v = np.clip(np.nan_to_num(v, nan=-1.0), -1.0, 1.0)  # 0 · ∞ in blocks of nothing: bitsandbytes has code 0 there
        found = table()[((v + np.float32(1)) * np.float32(0.5) * np.float32(65535) + np.float32(0.5)).astype(np.int32)]
        return found.reshape(-1)[: x.size], top, None
    held = np.maximum(top, LEAST)
    v = wide * (np.float32(1.0) / held)[:, None]
    if full < x.size:
        v[-1] = wide[-1] / held[-1]
        top[-1] = held[-1]
    bounds, order = between(name)
    return order[np.searchsorted(bounds, np.clip(v, -1.0, 1.0).reshape(-1)[: x.size])], top, None


def _affine(x: np.ndarray, bits: int, cut: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    most, lines = 2**bits - 1, x.size // cut.width if cut.width else 0
    each = -(-cut.width // cut.block)
    wide = np.zeros((lines, each * cut.block), np.float32)
    wide[:, : cut.width] = x.reshape(lines, cut.width)
    blocks = wide.reshape(-1, cut.block)
    low, high = blocks.min(1, initial=0.0), blocks.max(1, initial=0.0)
    scale = ((high.astype(np.float64) - low) / most).astype(np.float32)
    scale[scale == 0] = 1.0
    zeros = np.minimum(np.rint(-low / scale), np.float32(most))
    codes = np.clip(np.rint(blocks / scale[:, None]) + zeros[:, None], 0, most).astype(np.uint8)
    return codes.reshape(wide.shape)[:, : cut.width].reshape(-1), scale, zeros.astype(np.uint8)


def shapes(shape: tuple[int, ...], name: str, block: int | None, double: bool) -> dict[str, tuple[Any, Any]]:
    """(shape, dtype) of each array that is stored in place of one of some shape.

    >>> shapes((4096, 4096), "nf4", 64, True)["absmax"]
    ((262144,), 'uint8')
    """
    form, cut = format_named(name), layout(shape, name, block)
    size = math.prod(shape)
    found: dict[str, tuple[Any, Any]] = {
        "codes": ((-(-size // 2) if form.bits == 4 else size,), "uint8"),
        "absmax": ((cut.blocks,), "uint8" if double else "float32"),
    }
    if form.affine:
        found["zeros"] = ((cut.blocks,), "uint8")
    if double:
        found |= {"nested_absmax": ((-(-cut.blocks // NESTED),), "float32"), "offset": ((), "float32")}
    return found
