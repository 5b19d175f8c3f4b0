"""Arrays made of nothing but shapes and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.errors import ShapeError
from adjoint.interop.entries import dtype_of
from adjoint.interop.onnx.operators import Node, beside, dtype_name, integers, known, operator, together
from adjoint.ops.define import plain


@operator("Constant")
def constant(node: Node) -> Any:
    """The array that the file holds."""
    return node.get("value")


@operator("ConstantOfShape", static=(0,))
def constant_of_shape(node: Node, shape: Any) -> Any:
    """One number everywhere; it takes no memory before it is used."""
    value = node.get("value")
    value = np.zeros((), node.types.dtype(1)) if value is None else value.reshape(())
    sizes = tuple(integers(shape) or ())
    if min(sizes, default=0) < 0:
        raise ShapeError(f"ConstantOfShape: {sizes} has a negative size.")
    return np.broadcast_to(value, sizes)


@operator("Range", fixed=(0, 1, 2))
def range_(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    """Numbers from start to before limit in steps; how many there are is to be known."""
    first, end, step = (
        np.reshape(known(x, f"Range: {what}"), ()).astype("float64")
        for x, what in ((start, "start"), (limit, "limit"), (delta, "delta"))
    )
    count = max(int(np.ceil((end - first) / step)), 0) if step else 0
    start, delta = together(xp.reshape(start, ()), xp.reshape(delta, ()))
    steps = np.arange(count).astype(dtype_of(dtype_name(start)))
    return start + beside(plain(start), steps) * delta


@operator("EyeLike")
def eye_like(node: Node, x: Any) -> Any:
    """Ones on the k-th diagonal of zeros of x's shape."""
    if len(x.shape) != 2:
        raise ShapeError(f"EyeLike: x is a matrix, got {tuple(x.shape)}.")
    rows, cols = (int(n) for n in x.shape)
    dtype = node.dtype("dtype")
    return xp.asarray(plain(x), np.eye(rows, cols, node.get("k", 0)), plain(x).dtype if dtype is None else dtype)


WINDOWS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


@operator(*WINDOWS, static=(0,))
def window(node: Node, size: Any) -> Any:
    """a - b cos(2πi/N) + c cos(4πi/N), N one less where the window is symmetric."""
    n = int(np.reshape(size, ()))
    a, b, c = WINDOWS[node.op]
    angle = 2.0 * np.pi * np.arange(n) / (n if node.get("periodic", 1) else n - 1)
    return (a - b * np.cos(angle) + c * np.cos(2.0 * angle)).astype(node.dtype("output_datatype", 1))


@operator("MelWeightMatrix", static=(0, 1, 2, 3, 4))
def mel_weights(node: Node, bins: Any, length: Any, rate: Any, low: Any, high: Any) -> Any:
    """Triangles over the frequencies of a spectrum, evenly spaced in mel."""
    count, spectrum = int(np.reshape(bins, ())), int(np.reshape(length, ())) // 2 + 1
    lower, upper = (2595.0 * np.log10(1.0 + float(np.reshape(f, ())) / 700.0) for f in (low, high))
    mel = lower + np.arange(count + 2) * (upper - lower) / (count + 2)
    at = ((int(np.reshape(length, ())) + 1) * 700.0 * (10.0 ** (mel / 2595.0) - 1.0)) // float(np.reshape(rate, ()))
    out = np.zeros((spectrum, count))
    for i, (left, centre, right) in enumerate(zip(at, at[1:], at[2:], strict=False)):
        j = np.arange(spectrum)
        if centre == left:
            out[int(centre), i] = 1.0
        else:
            rising = (j >= left) & (j <= centre)
            out[rising, i] = ((j - left) / (centre - left))[rising]
        if right > centre:
            falling = (j >= centre) & (j < right)
            out[falling, i] = ((right - j) / (right - centre))[falling]
    return out.astype(node.dtype("output_datatype", 1))
