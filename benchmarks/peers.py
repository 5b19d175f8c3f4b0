"""A classifier's training step (forward, backward, AdamW): here, in PyTorch, in JAX, each in its best configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Peer

PEERS = [
    Peer("halves", "adjoint on NumPy, a half of the batch a core"),
    Peer("adjoint", "adjoint on NumPy, the batch as a whole"),
    Peer("torch", "PyTorch eager, fused AdamW"),
    Peer("compile", "PyTorch torch.compile"),
    Peer("jax", "JAX jit"),
]


def adjoint_step(
    net: Any, x: np.ndarray, t: np.ndarray, flat: bool = False, halves: bool = False
) -> Callable[[], object]:
    """This library's; `flat` puts all positions of a sequence in one axis for the loss, `halves` works on two parts."""
    import adjoint as aj

    state = [net, aj.optim.AdamW(net, lr=1e-3)]
    middle = len(x) // 2
    batches = [(x[:middle], t[:middle]), (x[middle:], t[middle:])]

    def loss(net: Any, x: Any, t: Any) -> Any:
        logits = net(x)
        return aj.cross_entropy(aj.reshape(logits, (-1, logits.shape[-1])) if flat else logits, t.reshape(-1))

    whole, parted = aj.value_and_grad(loss), aj.optim.accumulate(loss, workers=2)

    def step() -> object:
        value, grads = parted(state[0], batches) if halves else whole(state[0], x, t)
        state[:] = state[1].step(state[0], grads)
        return value

    return step


def torch_step(
    net: Any, x: np.ndarray, t: np.ndarray, compiled: bool = False, flat: bool = False
) -> Callable[[], object]:
    """PyTorch's with its fused AdamW."""
    import torch

    inputs, classes = torch.from_numpy(x), torch.from_numpy(t).reshape(-1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def loss() -> Any:
        logits = net(inputs)
        return torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]) if flat else logits, classes)

    chosen = torch.compile(loss) if compiled else loss

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        value = chosen()
        value.backward()
        optimizer.step()
        return value

    return step


def jax_step(logits: Callable[..., Any], params: Any, x: np.ndarray, t: np.ndarray) -> Callable[[], object]:
    """JAX's, the whole step under jit, the state's memory donated."""
    import jax
    import jax.numpy as jnp

    inputs, classes = jnp.asarray(x), jnp.asarray(t)

    def loss(params: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits(params, inputs)), classes[:, None], 1))

    def step(params: Any, first: Any, second: Any, count: Any) -> Any:
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
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = [params, zeros, jax.tree.map(jnp.copy, zeros), jnp.float32(0)]

    def run() -> object:
        value, *state[:] = compiled(*state)
        return value.block_until_ready()

    return run
