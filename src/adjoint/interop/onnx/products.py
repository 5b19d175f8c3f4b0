"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.interop.onnx.operators import Node, hosted, operator, together
from adjoint.ops.define import plain


@operator("MatMul")
def matmul(node: Node, x: Any, y: Any) -> Any:
    """x y."""
    return xp.matmul(*together(x, y))


@operator("Gemm")
def gemm(node: Node, x: Any, y: Any, c: Any = None) -> Any:
    """alpha x y + beta c, x and y transposed where the node says so."""
    x, y, c = together(x, y, c)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    x = xp.permute(x, (1, 0)) if node.get("transA", 0) else x
    if node.get("transB", 0) and alpha == beta == 1.0 and c is not None and len(c.shape) == 1 < c.shape[0]:
        return xp.linear(x, y, c)
    z = xp.matmul(x, xp.permute(y, (1, 0)) if node.get("transB", 0) else y)
    z = z if alpha == 1.0 else scaled(alpha, z)
    return z if c is None else z + (c if beta == 1.0 else scaled(beta, c))


def scaled(factor: float, x: Any) -> Any:
    """factor · x in the dtype of x."""
    y = factor * x
    return y if y.dtype == x.dtype else xp.astype(y, x.dtype)


@operator("Einsum")
def einsum(node: Node, *xs: Any) -> Any:
    """Einstein summation."""
    spec = spelled(node.get("equation", "").replace(" ", ""), [len(x.shape) for x in xs])
    small = [getattr(plain(x), "dtype", None) for x in xs if hosted(plain(x))]
    if any(str(dtype) == "bfloat16" for dtype in small):  # NumPy's einsum knows it not
        return xp.astype(xp.einsum(spec, *[xp.astype(x, "float32") for x in xs]), xs[0].dtype)
    return xp.einsum(spec, *together(*xs))


def spelled(spec: str, ndims: list[int]) -> str:
    """The equation with its arrow, and with letters for the axes that dots stand for.

    >>> spelled("...ij,...jk", [3, 3])
    'zij,zjk->zik'
    """
    left, arrow, right = spec.partition("->")
    terms = left.split(",")
    hidden = [n - len(term.replace("...", "")) if "..." in term else 0 for term, n in zip(terms, ndims, strict=True)]
    free = [c for c in "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in spec]
    names = free[: max(hidden, default=0)][::-1]
    terms = [t.replace("...", "".join(names[len(names) - n :])) for t, n in zip(terms, hidden, strict=True)]
    if not arrow:
        letters = "".join(terms)
        single = sorted(c for c in set(letters) if letters.count(c) == 1 and c not in names)
        right = "..." + "".join(single)
    return f"{','.join(terms)}->{right.replace('...', ''.join(names))}"


@operator("Det")
def det(node: Node, x: Any) -> Any:
    """The determinant of the last two axes."""
    return xp.det(x)


@operator("MatMulInteger")
def matmul_integer(node: Node, x: Any, y: Any, x_zero: Any = None, y_zero: Any = None) -> Any:
    """(x - x_zero)(y - y_zero) in 32-bit integers."""
    x, y, x_zero, y_zero = together(x, y, x_zero, y_zero)
    x, y = xp.astype(x, "int32"), xp.astype(y, "int32")
    if x_zero is not None:
        zero = xp.astype(x_zero, "int32")
        x = x - (xp.expand_dims(zero, -1) if np.ndim(zero) == 1 and zero.shape[0] > 1 else zero)
    if y_zero is not None:
        y = y - xp.astype(y_zero, "int32")
    return xp.astype(xp.matmul(x, y), "int32")
