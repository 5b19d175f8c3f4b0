"""A float32 matrix product by tiles of bfloat16 numbers, as exact as float32's own: a crew's job.

    x = x₁ + x₂ + x₃,  y = y₁ + y₂ + y₃;  x y = x₁y₁ + x₁y₂ + x₁y₃ + x₂y₁ + x₂y₂ + x₃y₁ + rest,  |rest| < 2⁻²⁴ |x| |y|

Each of the six is exact and added in float32; the rest is 2⁻²⁶ |x| |y| on average, a rounding of float32 at most. What
is below 2⁻¹²⁶ counts as 0, of numbers (so that those below 2⁻¹⁰⁹ lose low bits), products and sums: at most
2⁻¹²⁵ (Σ|x| + Σ|y|) + 2⁻¹²² K for a sum of K. Where the result has numbers that are not finite BLAS is to make it: the
parts of infinity are not those of a number.

A panel is 32 rows of x, or 32 columns of y; for every 32 numbers along the sum it has a group of 2×3 tiles.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.np.numpy_support import carray

from adjoint.arrays.numpy import tiles
from adjoint.arrays.numpy.atoms import address, words_at
from adjoint.arrays.numpy.compiling import OPTIONS, job, kept
from adjoint.arrays.numpy.crew import perform
from adjoint.arrays.numpy.gemm_kernels import PLAIN, TRANSPOSED, layout
from adjoint.arrays.numpy.tiles import (
    PARTS,
    TILE,
    add_rows,
    clear,
    configure,
    fetch,
    move,
    multiply,
    release,
    split,
    turn,
)

load4, load5, load6, load7 = [tiles.load(i) for i in range(4, 8)]
store0, store1, store2, store3 = [tiles.store(i) for i in range(4)]

SIDE, GROUP = 32, 2 * PARTS * TILE  # rows of a panel, and numbers along the sum of a group; a group's bytes
HIGH = 8  # panels of x at a time
LONG = 1, 24  # panels of y at a time, and their groups, where numbers lie along the sum: both fit the second cache
BROAD = 4, 16  # where they lie across it, and more panels are more of memory at a stretch
BLOCK, FOUND, RIGHT_PANELS, LEFT_PANELS = 2 * TILE, 4 * TILE, BROAD[0] * BROAD[1] * GROUP, HIGH * LONG[1] * GROUP
PAGE = 4096
ROOM = (BLOCK + FOUND + RIGHT_PANELS + LEFT_PANELS) // PAGE * PAGE + PAGE  # bytes that a thread needs, in this order
FORM = np.zeros(64 + 4 * SIDE, np.uint8)  # what a thread tells its processor, and behind it the bias that is none:
FORM[0], FORM[16:32:2], FORM[48:56] = 1, 64, 16  # all eight tiles have 16 rows of 64 bytes
NOT_FINITE = 0x7F800000
MANY = 2  # times as many rows as columns are many
N, M, K, X, LDX, LEFT, Y, LDY, RIGHT, OUT, LDO, BIAS, SETTING, PLACE, BAD, ARGS = range(16)


@numba.njit(inline="always")
def place(x, apart, along, i, k):  # type: ignore[no-untyped-def]
    """Where a matrix has number k of row i: rows lie `apart` if numbers lie along them, else numbers do."""
    return x + i * apart + 4 * k if along else x + k * apart + 4 * i


@numba.njit(error_model="numpy")
def block(x, apart, along, turned, rows, deep, out, room):  # type: ignore[no-untyped-def]
    """Three tiles of 16 rows and 32 numbers along the sum, or as many of both as there are.

    A tile's rows are rows of x, its columns numbers along the sum; or, in y, the other way.
    """
    first, second, step = x, x + (64 if along else 16 * apart), apart
    some = rows < 16 or deep < 32
    if some or turned:
        for half in range(2):
            start, to, step = second if half else first, room + TILE * half, apart
            if some:
                there = min(16, deep - 16 * half)
                down, lanes = (rows, there) if along else (there, rows)
                for i in range(16):
                    move(start + i * apart, lanes if i < down else 0, to + 64 * i)
                start, step = to, 64
            if turned:
                turn(start, step, to)
        first, second, step = room, room + TILE, 64
    for i in range(16):
        split(first + i * step, second + i * step, out + 64 * i)


@numba.njit(error_model="numpy")
def pack(x, apart, along, turned, rows, k, deep, out, room):  # type: ignore[no-untyped-def]
    """Panels of `rows` rows of x, numbers k to k + deep of their sums; memory is read in the order in which it lies."""
    groups, halves = (deep + SIDE - 1) // SIDE, (rows + SIDE - 1) // SIDE * 2
    for step in range(groups * halves):
        group, half = (step % groups, step // groups) if along else (step // halves, step % halves)
        start = place(x, apart, along, 16 * half, k + SIDE * group)
        to = out + (half // 2 * groups + group) * GROUP + half % 2 * PARTS * TILE
        block(start, apart, along, turned, min(16, rows - 16 * half), min(SIDE, deep - SIDE * group), to, room)


@numba.njit(error_model="numpy")
def multiply_panels(x, y, groups, out, soon, apart, along, rows, lines):  # type: ignore[no-untyped-def]
    """The 2×2 tiles of a panel of x times one of y, in an order in which every product takes one new pair of tiles.

    Meanwhile some rows of what comes after y are fetched, so many lines of the cache of each for a group.
    """
    clear()
    for _ in range(groups):
        load4(x)
        load5(x + 3 * TILE)
        load6(y + 2 * TILE)
        load7(y + 5 * TILE)
        multiply()  # x₁ y₃
        load6(y + TILE)
        load7(y + 4 * TILE)
        multiply()  # x₁ y₂
        load4(x + TILE)
        load5(x + 4 * TILE)
        multiply()  # x₂ y₂
        load6(y)
        load7(y + 3 * TILE)
        multiply()  # x₂ y₁
        load4(x + 2 * TILE)
        load5(x + 5 * TILE)
        multiply()  # x₃ y₁
        load4(x)
        load5(x + 3 * TILE)
        multiply()  # x₁ y₁
        for i in range(rows):
            for j in range(lines):
                fetch(soon + i * apart + 64 * j)
        soon += 128 if along else SIDE * apart
        x += GROUP
        y += GROUP
    store0(out, 128)
    store1(out + 64, 128)
    store2(out + 16 * 128, 128)
    store3(out + 16 * 128 + 64, 128)


@numba.njit(error_model="numpy")
def settle(found, rows, columns, bias, first, out, apart):  # type: ignore[no-untyped-def]
    """out = found + bias, or += found if it is not the first; whether all numbers are finite."""
    y, step = (bias, 0) if first else (out, apart)
    return add_rows(found, y, step, out, apart, rows, columns) < NOT_FINITE


@numba.njit(inline="always")
def cut(n, part, parts):  # type: ignore[no-untyped-def]
    """Where a part of n rows begins: where a panel does."""
    return min(n, (n + SIDE - 1) // SIDE * part // parts * SIDE)


@job
def tiles_of_product(args, part, parts):  # type: ignore[no-untyped-def]
    """Rows of the result where the left matrix is a transpose, else columns: where a weight's own rows are.

    Rows, too, where they are many more than columns: then panels of x, not of y, are what takes time.
    """
    a = carray(words_at(args), ARGS)
    n, m, k, x, y, out, ldo, bias = a[N], a[M], a[K], a[X], a[Y], a[OUT], a[LDO], a[BIAS]
    ldx, ldy, across, down = a[LDX], a[LDY], a[LEFT] == PLAIN, a[RIGHT] == TRANSPOSED
    top, bottom, start, stop = 0, n, 0, m
    if ((a[LEFT] == TRANSPOSED or n > MANY * m) and n >= SIDE * parts) or m < SIDE * parts:
        top, bottom = cut(n, part, parts), cut(n, part + 1, parts)
    else:
        start, stop = cut(m, part, parts), cut(m, part + 1, parts)
    if top == bottom or start == stop:
        return
    room = a[PLACE] + part * ROOM
    found = room + BLOCK
    right = found + FOUND
    left = right + RIGHT_PANELS
    nothing = a[SETTING] + 64
    wide, most = LONG if down else BROAD
    groups = (k + SIDE - 1) // SIDE
    deep = SIDE * ((groups - 1) // ((groups + most - 1) // most) + 1)
    fine = True
    configure(a[SETTING])
    for i in range(top, bottom, SIDE * HIGH):
        rows = min(bottom - i, SIDE * HIGH)
        for begin in range(0, k, deep):
            size = min(deep, k - begin)
            pack(place(x, ldx, across, i, 0), ldx, across, not across, rows, begin, size, left, room)
            panels, groups = (rows + SIDE - 1) // SIDE, (size + SIDE - 1) // SIDE
            for j in range(start, stop, SIDE * wide):
                columns = min(stop - j, SIDE * wide)
                pack(place(y, ldy, down, j, 0), ldy, down, down, columns, begin, size, right, room)
                steps = (columns + SIDE - 1) // SIDE * panels
                for step in range(steps):
                    q, p = step // panels, step % panels
                    first, last = SIDE * step // steps, SIDE * (step + 1) // steps if j + columns < stop else 0
                    soon = place(y, ldy, down, j + columns, begin) + first * ldy
                    lines = 2 if down else 2 * wide
                    one, other = left + p * groups * GROUP, right + q * groups * GROUP
                    multiply_panels(one, other, groups, found, soon, ldy, down, last - first, lines)
                    row, column = i + SIDE * p, j + SIDE * q
                    added = bias + 4 * column if bias else nothing
                    to = out + row * ldo + 4 * column
                    good = settle(found, min(SIDE, bottom - row), min(SIDE, stop - column), added, begin == 0, to, ldo)
                    fine = fine and good
    release()
    if not fine:
        a[BAD] = 1


def _signature() -> Any:
    whole, number = numba.types.int64, numba.types.float32
    given = numba.types.Array(number, 2, "A", readonly=True)
    row = numba.types.Array(number, 1, "C", readonly=True)
    byte = numba.types.uint8[::1]
    return numba.types.boolean(whole[::1], whole, whole, byte, byte, given, given, row, number[:, ::1])


@kept(numba.njit, _signature(), **OPTIONS)
def multiply_in_tiles(board, parts, function, setting, room, x, y, bias, out):  # type: ignore[no-untyped-def]
    """out = x @ y + bias by the job, whether it could be: see `layout`; an empty bias is none."""
    a = np.empty(ARGS, np.int64)
    a[N], a[M], a[K], a[BAD] = x.shape[0], y.shape[1], x.shape[1], 0
    a[LEFT], ldx = layout(x)
    a[RIGHT], ldy = layout(y)
    if not (a[LEFT] and a[RIGHT]):
        return False
    a[LDX], a[LDY], a[LDO] = 4 * ldx, 4 * ldy, 4 * out.shape[1]
    a[X], a[Y], a[OUT] = address(x), address(y), address(out)
    a[BIAS] = address(bias) if bias.size else 0
    a[SETTING], a[PLACE] = address(setting), address(room)
    perform(board, parts, function, a)  # who is called keeps nothing: `a` is to live until all have read it
    return a[BAD] == 0
