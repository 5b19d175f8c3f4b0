"""Numba kernels of pooling and resampling, for the images from `start` to `stop`: each is one stretch of memory.

Choices between entries are arithmetic (a comparison is 0 or 1), for a processor cannot guess them; the rare image with
a NaN in it is done again by comparisons.
"""

from __future__ import annotations

import numpy as np

from adjoint.arrays.numpy.compiling import kernel

Index = np.uint64  # unsigned: no index counts from the end


@kernel
def _largest_or_nan(image, entries, y, found):  # type: ignore[no-untyped-def]
    for q in range(len(entries)):
        best, place = image[entries[q, 0]], entries[q, 0]
        for at in entries[q]:
            v = image[at]
            if v > best or (v != v and best == best):
                best, place = v, at
        y[q], found[q] = best, place


@kernel
def largest(x, entries, y, found, start, stop):  # type: ignore[no-untyped-def]
    count, k = entries.shape
    for p in range(start, stop):
        image = x[p]
        odd = False
        for q in range(count):
            at = entries[q]
            place = at[0]
            best = image[Index(place)]
            for t in range(k):
                v = image[Index(at[t])]
                place += np.int32(v > best) * (at[t] - place)
                best = v if v > best else best
                odd |= v != v
            y[p, q] = best
            found[p, q] = place
        if odd:
            _largest_or_nan(image, entries, y[p], found[p])


@kernel
def largest_of_four(x, entries, y, found, start, stop):  # type: ignore[no-untyped-def]
    width, (_, rows, columns) = x.shape[2], y.shape
    down = np.int32(width)
    for p in range(start, stop):
        odd = False
        for i in range(rows):
            upper, lower, row, places = x[p, 2 * i], x[p, 2 * i + 1], y[p, i], found[p, i]
            first = np.int32(2 * i * width)
            for j in range(Index(columns)):
                left = Index(2) * Index(j)
                right = left + Index(1)
                a, b, c, d = upper[left], upper[right], lower[left], lower[right]
                above = b if b > a else a
                below = d if d > c else c
                high, low = np.int32(b > a), np.int32(d > c)
                row[j] = below if below > above else above
                places[j] = first + np.int32(left) + high + np.int32(below > above) * (down + low - high)
                odd |= (a != a) | (b != b) | (c != c) | (d != d)
        if odd:
            _largest_or_nan(x[p].reshape(-1), entries, y[p].reshape(-1), found[p].reshape(-1))


@kernel
def pick(x, indices, y, start, stop):  # type: ignore[no-untyped-def]
    size, fit = Index(x.shape[1]), True
    for p in range(start, stop):
        image, at = x[p], indices[p % len(indices)]
        for q in range(len(at)):
            i = Index(at[q])
            if i < size:
                y[p, q] = image[i]
            else:
                fit = False
    return fit


@kernel
def place(u, indices, x, start, stop):  # type: ignore[no-untyped-def]
    size, fit = Index(x.shape[1]), True
    for p in range(start, stop):
        image, at, row = x[p], indices[p % len(indices)], u[p]
        image[:] = 0
        for q in range(len(at)):
            i = Index(at[q])
            if i < size:
                image[i] += row[q]
            else:
                fit = False
    return fit


@kernel
def blend_rows(x, indices, weights, y, start, stop):  # type: ignore[no-untyped-def]
    size = x.shape[1]
    for p in range(start, stop):
        for i in range(len(indices)):
            out = y[p, i]
            out[:] = 0
            for t in range(indices.shape[1]):
                if indices[i, t] < size:
                    w, row = weights[i, t], x[p, indices[i, t]]
                    for j in range(len(out)):
                        out[j] += w * row[j]


@kernel
def blend_entries(x, indices, weights, y, start, stop):  # type: ignore[no-untyped-def]
    size = x.shape[1]
    for p in range(start, stop):
        row, out = x[p], y[p]
        for i in range(len(indices)):
            total = weights[i, 0] * 0
            for t in range(indices.shape[1]):
                if indices[i, t] < size:
                    total += weights[i, t] * row[Index(indices[i, t])]
            out[i] = total
