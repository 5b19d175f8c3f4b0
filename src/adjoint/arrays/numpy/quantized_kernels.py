"""Numba kernels that find the codes of a block of entries, and that unpack a panel of them."""

from __future__ import annotations

import numba
import numpy as np

from adjoint.arrays.numpy.compiling import kernel, summing

LEAST = np.float32(1e-38)  # below it a scale's inverse would be infinite; bitsandbytes' own


@numba.njit(fastmath={"nnan", "nsz"}, error_model="numpy")
def ends(x):  # type: ignore[no-untyped-def]
    """The least and the largest of the entries and 0."""
    a = b = c = d = e = f = g = h = np.float32(0.0)  # one waits for the one before it: four of each take turns
    whole = x.size // 4 * 4
    for j in range(0, whole, 4):
        a, b, c, d = min(a, x[j]), min(b, x[j + 1]), min(c, x[j + 2]), min(d, x[j + 3])
        e, f, g, h = max(e, x[j]), max(f, x[j + 1]), max(g, x[j + 2]), max(h, x[j + 3])
    for j in range(whole, x.size):
        a, e = min(a, x[j]), max(e, x[j])
    return min(min(a, b), min(c, d)), max(max(e, f), max(g, h))


@kernel
def above(x, factor, bounds, codes):  # type: ignore[no-untyped-def]
    """How many of the 15 bounds each entry of x, times a factor, is above."""
    a, b, c, d, e, f, g, h, i, j, k, l, m, n, o = bounds  # one by one, for whole vectors of entries
    for t in range(x.size):
        v = x[t] * factor
        low = np.uint8(v > a) + np.uint8(v > b) + np.uint8(v > c) + np.uint8(v > d) + np.uint8(v > e)
        mid = np.uint8(v > f) + np.uint8(v > g) + np.uint8(v > h) + np.uint8(v > i) + np.uint8(v > j)
        codes[t] = low + mid + np.uint8(v > k) + np.uint8(v > l) + np.uint8(v > m) + np.uint8(v > n) + np.uint8(v > o)


@kernel
def levels4(x, block, bounds, order, codes, absmax):  # type: ignore[no-untyped-def]
    """The code of the nearest of 16 levels for each entry over the largest of its block, and these largest ones."""
    one = np.float32(1.0)
    for b in range(absmax.size):
        part, own = x[b * block : (b + 1) * block], codes[b * block : (b + 1) * block]
        low, high = ends(part)
        top = max(-low, high)
        held = max(top, LEAST)
        if part.size == block:
            absmax[b] = top
            above(part, one / held, bounds, own)
        else:
            absmax[b] = held
            above(part / held, one, bounds, own)
        for i in range(own.size):
            own[i] = order[own[i]]


@kernel
def levels8(x, block, table, codes, absmax):  # type: ignore[no-untyped-def]
    """The codes of `levels4` from a table of 65,536 for [-1, 1], and the largest entries."""
    one, half, last = np.float32(1.0), np.float32(0.5), np.float32(65535.0)
    for b in range(absmax.size):
        start, stop = b * block, min((b + 1) * block, x.size)
        low, high = ends(x[start:stop])
        top = max(-low, high)
        absmax[b] = top
        inverse = one / top
        for i in range(start, stop):
            v = x[i] * inverse
            v = -one if np.isnan(v) else min(max(v, -one), one)
            codes[i] = table[int((v + one) * half * last + half)]


@kernel
def affine(x, width, block, most, codes, scale, zeros):  # type: ignore[no-untyped-def]
    """Codes 0 to `most` of lines of x between the least and the largest entry of each block, and of 0."""
    each, least, largest = -(-width // block), np.float32(0.0), np.float32(most)
    for b in range(scale.size):
        start = b // each * width + b % each * block
        stop = min(start + block, (b // each + 1) * width)
        part, own = x[start:stop], codes[start:stop]
        low, high = ends(part)
        s = np.float32((np.float64(high) - np.float64(low)) / most)
        if s == 0.0:
            s = np.float32(1.0)
        zero = min(np.rint(-low / s), largest)
        scale[b], zeros[b] = s, np.uint8(zero)
        for i in range(part.size):
            own[i] = np.uint8(min(max(np.rint(part[i] / s) + zero, least), largest))


@kernel
def pack(codes, out):  # type: ignore[no-untyped-def]
    """Codes of 4 bits, two to a byte, the first in the upper half."""
    for i in range(out.size):
        out[i] = (codes[2 * i] << np.uint8(4)) | codes[2 * i + 1]


@kernel
def unpack4(codes, levels, zeros, scale, width, block, start, pitch, out):  # type: ignore[no-untyped-def]
    """Rows of entries, (levels[code] - zero) · scale: row r from start + r · pitch on; two codes to a byte."""
    each = -(-width // block)
    values = np.empty(16, np.float32)
    for r in range(out.shape[0]):
        row = out[r]
        first = start + r * pitch
        i, stop = first, first + row.size
        while i < stop:
            line = i // width
            b = (i - line * width) // block
            end = min(line * width + min((b + 1) * block, width), stop)
            for c in range(16):
                values[c] = (levels[c] - zeros[line * each + b]) * scale[line * each + b]
            if i % 2:
                row[i - first] = values[codes[i // 2] & 15]
                i += 1
            for k in range(i // 2, end // 2):
                row[2 * k - first] = values[codes[k] >> 4]
                row[2 * k + 1 - first] = values[codes[k] & 15]
            if end % 2 and end > i:
                row[end - 1 - first] = values[codes[end // 2] >> 4]
            i = end


@kernel
def unpack8(codes, levels, zeros, scale, width, block, start, pitch, out):  # type: ignore[no-untyped-def]
    """`unpack4` of codes of a byte each."""
    each = -(-width // block)
    for r in range(out.shape[0]):
        row = out[r]
        first = start + r * pitch
        i, stop = first, first + row.size
        while i < stop:
            line = i // width
            b = (i - line * width) // block
            end = min(line * width + min((b + 1) * block, width), stop)
            zero, s = zeros[line * each + b], scale[line * each + b]
            for j in range(i, end):
                row[j - first] = (levels[codes[j]] - zero) * s
            i = end


@summing
def apart(x, y):  # type: ignore[no-untyped-def]
    """(Σ (x - y)², Σ x²) in float64."""
    lost = total = 0.0
    for i in range(x.size):
        a = np.float64(x[i])
        lost += (a - y[i]) * (a - y[i])
        total += a * a
    return lost, total
