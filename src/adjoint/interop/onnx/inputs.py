"""What the inputs of a file declare, held against what is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.errors import CheckpointError, DtypeError, ShapeError
from adjoint.interop.onnx.types import WORKING, Types


def sizes_of(declared: Any) -> tuple[int | None, ...] | None:
    """The sizes that an input declares, None for those that it leaves open; None where it declares no shape."""
    kind = declared.type.tensor_type
    if declared.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
        return None
    return tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim)


def check_shape(declared: Any, array: np.ndarray) -> None:
    """Raise where an initializer has not the shape that is declared for it."""
    sizes = sizes_of(declared)
    if sizes is not None and not matches(tuple(array.shape), sizes):
        raise CheckpointError(f"the initializer {declared.name!r} has shape {array.shape}, declared is {sizes}.")


def matches(shape: tuple[int, ...], sizes: tuple[int | None, ...]) -> bool:
    """Whether a shape is the declared one."""
    return len(shape) == len(sizes) and all(m is None or n == m for n, m in zip(shape, sizes, strict=True))


class Input:
    """What an input declares: it is held against what is given."""

    __slots__ = ("floating", "name", "sizes")

    def __init__(self, declared: Any, types: Types) -> None:
        self.name = declared.name
        self.sizes = sizes_of(declared)
        kind = declared.type.tensor_type
        self.floating: bool | None = None
        if declared.type.WhichOneof("value") == "tensor_type" and kind.elem_type:
            try:
                dtype = types.dtype(kind.elem_type)
            except CheckpointError as error:
                raise CheckpointError(f"the input {self.name!r}: {error}") from None
            self.floating = True if dtype.name in WORKING else False if dtype.kind in "iub" else None

    def __call__(self, x: Any) -> Any:
        """x, if it has the declared shape and is floating where that is declared."""
        if x is None or (isinstance(x, (list, tuple)) and self.sizes is None):
            return x
        x = np.asarray(x) if isinstance(x, (bool, int, float, list, tuple)) else x
        shape = tuple(x.shape)
        if self.sizes is not None and not matches(shape, self.sizes):
            shown = ", ".join("…" if n is None else str(n) for n in self.sizes)
            raise ShapeError(f"the input {self.name!r} is ({shown}), got {shape}.")
        if self.floating is not None and self.floating != ("float" in str(x.dtype)):
            kind = "floating numbers" if self.floating else "integers or truth values"
            raise DtypeError(f"the input {self.name!r} is {kind}, got {x.dtype}: cast it with aj.astype.")
        return x
