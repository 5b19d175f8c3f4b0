"""Samples of rotations, whose peer is the rotary formula of Hugging Face, and complex numbers where interleaved."""

from __future__ import annotations

from typing import Any

import torch

from tests.ops.samples.operands import normal, s, strided, within


def rotate(x: Any, angles: Any, interleaved: bool = False) -> Any:
    if interleaved:
        turn = torch.polar(torch.ones_like(angles), angles)
        turned = torch.complex(x[..., ::2], x[..., 1::2]) * turn
        return torch.stack([turned.real, turned.imag], -1).reshape(x.shape)
    angles = angles.expand(*angles.shape[:-1], x.shape[-1] // 2)
    cos, sin = (torch.cat([f(angles)] * 2, -1) for f in (torch.cos, torch.sin))
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


SAMPLES = [
    (normal(2, 3, 4), within(-30.0, 30.0, 3, 2)),
    (strided(normal(3, 4)), within(-3.0, 3.0, 3, 2)),
    (normal(0, 3, 4), normal(3, 2)),
    (normal(4), normal(2)),
    (normal(3, 4), normal(3, 1)),
]
TABLE: dict[str, list[Any]] = {
    "rotate": [s(x, angles, interleaved=way) for x, angles in SAMPLES for way in (False, True)],
}
TORCH = {"rotate": rotate}
JAX: dict[str, Any] = {}
