"""JAX's loops over time: `lax.scan`, compiled once whatever the length."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames=("step", "held", "reverse"))
def scan_apply(arrays: Sequence[Any], step: Callable[..., Any], held: int = 0, reverse: bool = False) -> Any:
    carry, *rest = arrays
    sequences, constants = rest[: len(rest) - held], rest[len(rest) - held :]

    def body(carry: Any, xs: Any) -> Any:
        carry, *ys = step(carry, *xs, *constants)
        return carry, ys

    dtype = jnp.result_type(*[x for x in arrays if x is not None and x.dtype != bool])
    carry, found = jax.lax.scan(body, jnp.asarray(carry, dtype), sequences, reverse=reverse)
    return (carry, *found)
