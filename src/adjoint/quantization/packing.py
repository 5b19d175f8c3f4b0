"""`Quantized`: an array stored as codes and scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, backend
from adjoint.arrays.numpy.updates import COMPILED
from adjoint.arrays.quantized import NESTED, format_named, scales, unpacked
from adjoint.errors import ShapeError
from adjoint.nn.module import Module
from adjoint.quantization import encoding

PANEL = 1 << 17  # entries that are compared at a time: a core's cache has room for them


class Quantized(Module):
    """An array of some shape stored as codes of 4 or 8 bits and a scale for each block of entries.

    Entry i is (levels[codes[i]] - zeros[b]) · absmax[b], b its block; what is stored are buffers, so that it has no
    gradient. `adjoint.quantize` makes one; `adjoint.arrays.quantized.Packed` tells what each array holds.

    >>> import numpy as np, adjoint as aj
    >>> W = aj.quantize(np.random.default_rng(0).normal(size=(256, 512)), "nf4")
    >>> W
    Quantized(nf4, (256, 512), block=64, double=True): 4.13 bits a parameter
    >>> W.dequantize().shape, W.nbytes
    ((256, 512), 67620)
    """

    codes: Array
    absmax: Array
    zeros: Array | None
    nested_absmax: Array | None
    offset: Array | None

    def __init__(self, format: str, shape: tuple[int, ...], block: int, **arrays: Any) -> None:
        self.format = format
        self.shape = shape
        self.block = block
        self.width = encoding.layout(shape, format, block).width
        for name in ("codes", "absmax", "zeros", "nested_absmax", "offset"):
            if (array := arrays.get(name)) is None:
                setattr(self, name, None)
            else:
                self.register_buffer(name, array)

    @property
    def double(self) -> bool:
        """Whether the scales are quantized themselves."""
        return self.nested_absmax is not None

    @property
    def dtype(self) -> str:
        """The format."""
        return self.format

    @property
    def size(self) -> int:
        """How many numbers it stands for."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def packed_parameters(self) -> int:  # type: ignore[override]
        """`size`."""
        return self.size

    @property
    def nbytes(self) -> int:
        """The bytes of all that is stored."""
        return sum(int(x.nbytes) for _, x in self.named_arrays())

    @property
    def bits(self) -> float:
        """Bits a parameter, scales included."""
        return 8.0 * self.nbytes / self.size if self.size else 0.0

    def dequantize(self, dtype: Any = "float32") -> Array:
        """The array that it stands for, in float32 and then in `dtype`, on the backend of the codes."""
        if not isinstance(self.codes, np.ndarray):
            if type(self.codes).__name__ == "ShapeArray":
                return xp.zeros(self.codes, self.shape, dtype)
            every = unpacked(self, 0, self.size, scales(self, self.codes))
            return xp.astype(xp.reshape(every, self.shape), dtype)
        out = np.empty(self.size, np.float32)
        self._unpacking()(0, out)
        return xp.astype(out.reshape(self.shape), dtype)

    def _unpacking(self) -> Callable[[int, np.ndarray], None]:
        """Writes entries from a place on into an array, whole lines or part of the only one; the codes in NumPy."""
        if self.size < COMPILED:
            known = scales(self, self.codes)

            def plain(start: int, out: np.ndarray) -> None:
                out[:] = unpacked(self, start, start + out.size, known)

            return plain
        from adjoint.arrays.numpy.quantized import unpacking

        unpack = unpacking(self)
        return lambda start, out: unpack(start, out[None])

    def bound(self) -> float:
        """The most that an entry may differ from the one it stands for: scale times half the widest gap of the levels.

        Where scales are quantized themselves, their error is in it.

        >>> import numpy as np, adjoint as aj
        >>> x = np.random.default_rng(0).normal(size=1000).astype("float32")
        >>> W = aj.quantize(x, "nf4")
        >>> bool(0.5 * W.bound() < abs(W.dequantize() - x).max() <= W.bound())
        True
        """
        if not self.size:
            return 0.0
        gap = _half_gap(self.format)
        scale = np.abs(_host(scales(self, self.codes)).astype(np.float64))
        off = np.zeros_like(scale)
        if self.nested_absmax is not None:
            largest = np.repeat(_host(self.nested_absmax).astype(np.float64), NESTED)[: len(scale)]
            # what float32 loses in the offset and in the sum is of the size of the scale's own rounding
            off = _half_gap("dynamic8") * largest + 2.0**-22 * (scale + largest)
        return float(np.max((gap + 2.0**-22) * (scale + off) + off))

    def error(self, array: Any) -> float:
        """‖x - x̂‖/‖x‖ over all entries, x̂ being what stands for the array x; raises ShapeError for another shape.

        >>> import numpy as np, adjoint as aj
        >>> x = np.random.default_rng(0).normal(size=(64, 64))
        >>> round(aj.quantize(x, "nf4").error(x), 3), round(aj.quantize(x, "int8").error(x), 4)
        (0.092, 0.0052)
        """
        x, own = _host(array), self if isinstance(self.codes, np.ndarray) else self.to("numpy")
        if x.shape != self.shape:
            raise ShapeError(f"error: the array is {x.shape}, what it is compared with {self.shape}.")
        line = self.width if format_named(self.format).affine else 1
        step = max(1, PANEL // max(1, line)) * line
        unpack, apart = own._unpacking(), _apart(self.size)
        lost = total = 0.0
        for start in range(0, self.size, max(1, step)):
            part = x.reshape(-1)[start : start + step]
            found = np.empty(part.size, np.float32)
            unpack(start, found)
            off, whole = apart(part, found)
            lost, total = lost + off, total + whole
        return (lost / total) ** 0.5 if total else 0.0

    def __repr__(self) -> str:
        told = f"{self.format}, {self.shape}, block={self.block}" + (", double=True" if self.double else "")
        return f"Quantized({told}): {self.bits:.3g} bits a parameter"


def array(x: Array, format: str = "nf4", block: int | None = None, double: bool | None = None) -> Quantized:
    """`adjoint.quantize` of an array."""
    form = format_named(format)
    if double and form.affine:
        raise ValueError(f"quantize: double is for scales without a zero point, which {format!r} has: leave it out.")
    double = form.bits == 4 and not form.affine if double is None else double
    shape = tuple(int(n) for n in x.shape)
    cut = encoding.layout(shape, format, block)
    if type(x).__name__ == "ShapeArray":
        found = {k: type(x)(*told) for k, told in encoding.shapes(shape, format, cut.block, double).items()}
        return Quantized(format, shape, cut.block, **found)
    arrays: dict[str, Any] = encoding.encoded(_host(x), format, cut)._asdict()
    if double:
        arrays["absmax"], arrays["nested_absmax"], arrays["offset"] = encoding.nested(arrays["absmax"])
    home = backend(type(x))
    if home.__name__ != "adjoint.arrays.numpy":
        arrays = {k: value if value is None else xp.asarray(x, value, value.dtype) for k, value in arrays.items()}
    return Quantized(format, shape, cut.block, **arrays)


def _apart(size: int) -> Callable[[np.ndarray, np.ndarray], tuple[float, float]]:
    """(x, y) to (Σ (x - y)², Σ x²), compiled for arrays that repay it."""
    if size < COMPILED:
        return lambda x, y: (float(np.sum((x.astype(np.float64) - y) ** 2)), float(np.sum(x.astype(np.float64) ** 2)))
    from adjoint.arrays.numpy.quantized_kernels import apart

    return lambda x, y: apart(x if x.dtype.char in "fd" else x.astype(np.float32), y)


def _half_gap(name: str) -> float:
    """Half the widest gap between neighbouring levels; a table of codes misses the middle by 1.5e-5 at most."""
    levels = np.sort(format_named(name).levels.astype(np.float64))
    return float(np.max(np.diff(levels))) / 2.0 + (2.0**-16 if name == "dynamic8" else 0.0)


def _host(x: Array) -> np.ndarray:
    return np.asarray(backend(type(x)).to_numpy(x))
