"""Rotary positions as Llama's kin have them: frequencies stretched for longer texts than those that were trained on."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.config import Fields
from adjoint.nn.positions import frequencies


@dataclass(frozen=True)
class Rotary:
    """Queries or keys turned by position (Su et al. 2021), pair (xᵢ, xᵢ₊dim/₂) of position t by the angle ωᵢt.

    ωᵢ = theta^(-2i/dim) in the kind "default" (and in "dynamic", up to the trained length). "linear" divides them by
    `factor`, "llama3" only the slow ones, whose wavelength is beyond original/low, none below original/high, and those
    between by degrees (Llama 3.1); "yarn" by degrees between `high` and `low` turns in the trained length `original`,
    the result scaled by `scale` (Peng et al. 2023).

    >>> Rotary(4).omega().tolist(), Rotary(4, kind="linear", factor=2.0).omega().tolist()
    ([1.0, 0.01], [0.5, 0.005])
    """

    dim: int
    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 0
    truncate: bool = True
    scale: float = 1.0

    def omega(self) -> np.ndarray:
        """The frequencies, (dim/2,)."""
        return _omega(self)

    def __call__(self, x: Array, positions: Array) -> Array:
        """x (N, heads, T, dim) turned by positions (T,) or (N, T)."""
        wide = "float64" if "float64" in str(x.dtype) else "float32"
        if isinstance(positions, np.ndarray):
            angles = xp.asarray(x, positions[..., None] * self.omega(), wide)
        else:
            angles = xp.expand_dims(xp.astype(positions, wide), -1) * xp.asarray(x, self.omega(), wide)
        if len(angles.shape) == 3:
            angles = xp.expand_dims(angles, 1)
        y = xp.rotate(x, angles)
        return y if self.scale == 1.0 else xp.multiply(y, self.scale)


@functools.lru_cache(64)
def _omega(of: Rotary) -> np.ndarray:
    omega = frequencies(of.dim, of.theta)
    if of.kind == "linear":
        return omega / of.factor
    if of.kind == "llama3":
        turns = of.original * omega / (2.0 * math.pi)
        kept = np.clip((turns - of.low) / (of.high - of.low), 0.0, 1.0)
        return omega * (kept + (1.0 - kept) / of.factor)
    if of.kind == "yarn":
        first, last = (
            of.dim * math.log(of.original / (turns * 2.0 * math.pi)) / (2.0 * math.log(of.theta))
            for turns in (of.high, of.low)
        )
        if of.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, of.dim - 1)
        width = last - first or 0.001
        kept = 1.0 - np.clip((np.arange(of.dim // 2) - first) / width, 0.0, 1.0)
        return omega * (kept + (1.0 - kept) / of.factor)
    return omega


def rotary(fields: Fields, dim: int, positions: int) -> tuple[Rotary, int | None]:
    """(the rotation, the most positions it serves; None where there is no end) that a configuration describes.

    Both ways of writing it are read: `rope_parameters`, and `rope_theta` with `rope_scaling`.

    >>> rotary(Fields({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}), 4, 2048)[0].omega()[0]
    np.float64(0.5)
    """
    fields.only("partial_rotary_factor", 1.0)
    theta = fields.number("rope_theta", 10000.0, 1.0)
    original = fields.integer("original_max_position_embeddings", positions)
    given: Any = {}
    for name in ("rope_scaling", "rope_parameters"):
        given = fields.get(name) or given
    if not isinstance(given, Mapping):
        raise fields.error(f"rope_parameters is to be an object with named fields, not {given!r}")
    told = Fields({k: v for k, v in given.items() if k not in ("type", "rope_type")})
    told.source = f"{fields.source}, rope_parameters"
    told.only("partial_rotary_factor", 1.0)
    kind = given.get("rope_type", given.get("type", "default"))
    made: dict[str, Any] = {"dim": dim, "theta": told.number("rope_theta", theta, 1.0), "kind": kind}
    if kind not in ("default", "dynamic", "linear", "llama3", "yarn"):
        raise fields.error(f"rope type {kind!r} is not supported, only default, dynamic, linear, llama3, yarn")
    if kind != "default":
        made["factor"] = told.number("factor", None, 1e-6)
    made["original"] = told.integer("original_max_position_embeddings", original)
    if kind == "llama3":
        made["low"], made["high"] = told.number("low_freq_factor"), told.number("high_freq_factor")
        if not made["low"] < made["high"]:
            raise told.error(f"low_freq_factor {made['low']} is to be less than high_freq_factor {made['high']}")
    if kind == "yarn":
        made["low"], made["high"] = told.number("beta_slow", 1.0, 1e-6), told.number("beta_fast", 32.0, 1e-6)
        made["truncate"] = told.flag("truncate", True)
        made["scale"] = told.number("attention_factor", _yarn_scale(told, made["factor"]))
    told.finish()
    return Rotary(**made), positions if kind == "dynamic" else None


def _yarn_scale(told: Fields, factor: float) -> float:
    whole, each = told.number("mscale", 0.0), told.number("mscale_all_dim", 0.0)

    def scale(m: float) -> float:
        return 1.0 if factor <= 1.0 else 0.1 * m * math.log(factor) + 1.0

    return scale(whole) / scale(each) if whole and each else scale(1.0)
