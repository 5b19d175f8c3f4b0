"""A training step of an MLP 784-256-256-10, batch 64, AdamW: forward, backward, update."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.harness import Peer, contest, serve

SIZES = (784, 256, 256, 10)


def batch() -> tuple[np.ndarray, np.ndarray]:
    """One batch of the size of MNIST's; the values do not matter for the time."""
    rng = np.random.default_rng(0)
    return rng.random((64, 784), "float32"), rng.integers(0, 10, 64)


def with_adjoint() -> Callable[[], object]:
    """This library on NumPy."""
    import adjoint as aj

    x, t = batch()
    net = aj.nn.MLP(SIZES, rng=0)
    state = [net, aj.optim.AdamW(net, lr=1e-3)]
    loss_and_grad = aj.value_and_grad(lambda net: aj.cross_entropy(net(x), t))

    def step() -> object:
        loss, grads = loss_and_grad(state[0])
        state[:] = state[1].step(state[0], grads)
        return loss

    return step


def with_torch() -> Callable[[], object]:
    """PyTorch eager with its fused AdamW."""
    import torch
    from torch import nn

    x, t = map(torch.from_numpy, batch())
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return step


def with_jax() -> Callable[[], object]:
    """JAX, the whole step under jit, the state's memory donated."""
    import jax
    import jax.numpy as jnp

    x, t = map(jnp.asarray, batch())
    rng = np.random.default_rng(0)
    params = [
        (jnp.asarray(rng.normal(0, n**-0.5, (n, m)), "float32"), jnp.zeros(m)) for n, m in itertools.pairwise(SIZES)
    ]
    zeros = jax.tree.map(jnp.zeros_like, params)

    def loss(params: list) -> jax.Array:
        h = x
        for i, (w, b) in enumerate(params):
            h = h @ w + b
            if i < len(params) - 1:
                h = jax.nn.relu(h)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), t[:, None], 1))

    def step(params, first, second, count):  # type: ignore[no-untyped-def]
        value, grads = jax.value_and_grad(loss)(params)
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        rate, scale = 1e-3 / (1 - 0.9**count), 1 / jnp.sqrt(1 - 0.999**count)
        params = jax.tree.map(
            lambda p, m, v: p * (1 - 1e-5) - rate * m / (jnp.sqrt(v) * scale + 1e-8), params, first, second
        )
        return value, params, first, second, count

    compiled = jax.jit(step, donate_argnums=(0, 1, 2))
    state = [params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0)]

    def run() -> object:
        value, *state[:] = compiled(*state)
        return value.block_until_ready()

    return run


WORKERS = {"adjoint": with_adjoint, "torch": with_torch, "jax": with_jax}
PEERS = [
    Peer("adjoint", "adjoint, BLAS kernels that fit the processor"),
    Peer("adjoint", "adjoint, the wheel's default kernels", {"ADJOINT_BLAS": "default"}),
    Peer("torch", "PyTorch eager, fused AdamW"),
    Peer("jax", "JAX jit"),
]


def main(rounds: int = 15, repeats: int = 100) -> dict[str, float]:
    """Print the table."""
    return contest("MLP 784-256-256-10, batch 64, AdamW: a step", "benchmarks.mlp_step", PEERS, rounds, repeats)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
