"""Resampling is linear: its derivative is itself as a map. Shuffles of channels are made of operations."""

from __future__ import annotations

from adjoint import arrays as xp
from adjoint.maps.resampling import Resampling
from adjoint.ops.define import operation
from adjoint.ops.layout import shape_of

resample = operation(xp.resample, lambda z, x, taps: Resampling(taps, shape_of(x)))
