"""Random numbers in JAX: the same hash, which XLA fuses into what uses it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjoint.arrays.random import MULTIPLIERS

FIRST, SECOND = np.uint32(MULTIPLIERS[0]), np.uint32(MULTIPLIERS[1])


def mix(h: Any) -> Any:
    h = (h ^ (h >> 16)) * FIRST
    h = (h ^ (h >> 15)) * SECOND
    return h ^ (h >> 16)


def random_bits(key: Any, shape: tuple[int, ...], count: int = 32, start: Any = 0) -> Any:
    key = jnp.asarray(key, jnp.uint32)
    i = jax.lax.iota(jnp.uint32, math.prod(shape)) + jnp.asarray(start).astype(jnp.uint32)
    h = mix(mix(i ^ key[0]) ^ key[1])
    return (h >> (32 - count)).reshape(shape)
