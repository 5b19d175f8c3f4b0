"""Vectors of 64 numbers as pictures of 8×8 pixels, small enough to stand in the page itself."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup, escape
from matplotlib.image import imsave

SIDE = 8
POSITIVE, NEGATIVE = (226, 98, 34), (53, 116, 214)


def digit(x: np.ndarray, label: str) -> Markup:
    """Grey values in [0, 1] as ink on the page."""
    return picture(np.zeros((len(x), 3)), np.clip(x, 0.0, 1.0), "ink", label)


def signed(x: np.ndarray, label: str, scale: float | None = None) -> Markup:
    """Numbers of both signs: orange above zero, blue below, fullest at `scale` (the largest magnitude without it)."""
    scale = float(np.max(np.abs(x))) if scale is None else scale
    colours = np.where(x[:, None] > 0, POSITIVE, NEGATIVE)
    return picture(colours, np.clip(np.abs(x) / (scale or 1.0), 0.0, 1.0), "signed", label)


def picture(colours: np.ndarray, opacity: np.ndarray, kind: str, label: str) -> Markup:
    """An element with a PNG image inside it."""
    pixels = np.empty((SIDE, SIDE, 4), np.uint8)
    pixels[..., :3] = colours.reshape(SIDE, SIDE, 3)
    pixels[..., 3] = np.round(255 * opacity).reshape(SIDE, SIDE)
    file = io.BytesIO()
    imsave(file, pixels, format="png", metadata={"Software": "adjoint"})
    data = base64.b64encode(file.getvalue()).decode()
    return Markup(
        f'<img class="{kind}" width="{SIDE}" height="{SIDE}" alt="{escape(label)}" src="data:image/png;base64,{data}">'
    )
