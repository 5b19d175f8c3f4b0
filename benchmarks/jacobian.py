"""Jacobians as arrays: of x ↦ A x, and of a chain diagonal, dense, diagonal, dense; 2000×2000."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Peer, contest, serve

N = 2000


def operands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two matrices and a point."""
    rng = np.random.default_rng(0)
    scale = np.float32(N**-0.5)
    a, b = (scale * rng.standard_normal((N, N), "float32") for _ in range(2))
    return a, b, rng.standard_normal(N, "float32")


def linear(xp: Any, a: Any, b: Any, x: Any) -> Any:
    """A x."""
    return a @ x


def chain(xp: Any, a: Any, b: Any, x: Any) -> Any:
    """tanh(A tanh(B x))."""
    return xp.tanh(a @ xp.tanh(b @ x))


def with_adjoint(f: Callable[..., Any]) -> Callable[[], object]:
    """The map, then its matrix."""
    import adjoint as aj

    a, b, x = operands()
    return lambda: aj.jacobian(lambda x: f(aj, a, b, x), x).dense()


def with_jax(f: Callable[..., Any]) -> Callable[[], object]:
    """jax.jacfwd under jit."""
    import jax
    import jax.numpy as jnp

    a, b, x = map(jnp.asarray, operands())
    compiled = jax.jit(jax.jacfwd(lambda x, a, b: f(jnp, a, b, x)))
    return lambda: compiled(x, a, b).block_until_ready()


WORKERS = {
    f"{name}-{f.__name__}": lambda make=make, f=f: make(f)
    for name, make in {"adjoint": with_adjoint, "jax": with_jax}.items()
    for f in (linear, chain)
}


def main(rounds: int = 9, repeats: int = 9) -> list[dict[str, float]]:
    """Print a table for each function."""
    titles = {"linear": f"Jacobian of A x, {N}×{N}, float32", "chain": f"Jacobian of tanh(A tanh(B x)), {N}×{N}"}
    return [
        contest(
            title,
            "benchmarks.jacobian",
            [Peer(f"adjoint-{f}", "adjoint"), Peer(f"jax-{f}", "jax.jacfwd, jit")],
            rounds,
            repeats,
        )
        for f, title in titles.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
