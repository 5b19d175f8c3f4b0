"""Samples of products with packed matrices, whose peer multiplies with the numbers that bitsandbytes unpacks.

Odd sizes, so that blocks go on over the ends of rows and codes of two rows share a byte.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch

import adjoint as aj
from tests.ops.samples.operands import normal, s, strided


def packed(n_out: int, n_in: int, *how: Any) -> Any:
    return aj.quantize(np.random.default_rng(n_out).normal(size=(n_out, n_in)).astype("float32"), *how)


def quantized_linear(x: Any, weight: Any, transposed: bool = False) -> Any:
    return x @ (numbers(weight) if transposed else numbers(weight).T).to(x.dtype)


def numbers(weight: Any) -> Any:
    """What each code stands for, read entry by entry."""
    codes = np.asarray(weight.codes)
    if weight.format in ("nf4", "fp4", "int4"):
        codes = np.array([[c >> 4, c & 15] for c in codes]).ravel()[: weight.size]
    if weight.zeros is not None:
        each = -(-weight.shape[1] // weight.block)
        at = [i // weight.shape[1] * each + i % weight.shape[1] // weight.block for i in range(weight.size)]
        levels = codes.astype("float32") - weight.zeros[at]
        return torch.tensor((levels * weight.absmax[at]).reshape(weight.shape))
    functional: Any = import_module("bitsandbytes.functional")
    levels = functional.create_dynamic_map() if weight.format == "dynamic8" else None
    if levels is None:
        levels = functional.get_4bit_type(weight.format, "cpu")
    scale = torch.tensor(weight.absmax)
    if weight.double:
        nested = torch.tensor(weight.nested_absmax)[torch.arange(len(scale)) // 256]
        scale = functional.create_dynamic_map()[scale.int()] * nested + torch.tensor(weight.offset)
    return (levels[torch.tensor(codes).int()] * scale[torch.arange(weight.size) // weight.block]).reshape(weight.shape)


WEIGHTS = [
    packed(5, 7),
    packed(3, 64, "fp4", 32),
    packed(4, 9, "int8"),
    packed(7, 5, "int4", 3),
    packed(2, 3, "dynamic8"),
    packed(150, 131, "nf4"),
    packed(140, 151, "int4", 50),
]
TABLE: dict[str, list[Any]] = {
    "quantized_linear": [
        *[s(normal(2, w.shape[1]), weight=w) for w in WEIGHTS],
        *[s(normal(2, w.shape[0]), weight=w, transposed=True) for w in WEIGHTS],
        s(normal(7), weight=WEIGHTS[0]),
        s(normal(2, 1, 5), weight=WEIGHTS[0], transposed=True),
        s(normal(0, 7), weight=WEIGHTS[0]),
        s(strided(normal(3, 7)), weight=WEIGHTS[0]),
    ],
}
TORCH = {"quantized_linear": quantized_linear}
JAX: dict[str, Any] = {}
