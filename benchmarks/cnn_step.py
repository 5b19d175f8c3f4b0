"""A training step of a small CNN on 64 images of 28×28: two convolutions with max-pooling, two linear layers, AdamW."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import contest, serve


def batch() -> tuple[np.ndarray, np.ndarray]:
    """One batch of the size of MNIST's; the values do not matter for the time."""
    rng = np.random.default_rng(0)
    return rng.random((64, 1, 28, 28), "float32"), rng.integers(0, 10, 64)


def with_adjoint(halves: bool = False) -> Callable[[], object]:
    """This library on NumPy, on the batch as a whole or on a half of it in each of two threads."""
    from adjoint import nn

    x, t = batch()
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, rng=0), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, rng=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128, rng=2), nn.ReLU(), nn.Linear(128, 10, rng=3),
    )  # fmt: skip
    return peers.adjoint_step(net, x, t, halves=halves)


def torch_net() -> Any:
    """The network in PyTorch."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def with_torch() -> Callable[[], object]:
    """PyTorch eager with its fused AdamW."""
    return peers.torch_step(torch_net(), *batch())


def with_torch_compile() -> Callable[[], object]:
    """The same through torch.compile."""
    return peers.torch_step(torch_net(), *batch(), compiled=True)


def with_jax() -> Callable[[], object]:
    """JAX, the whole step under jit."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    shapes = [(32, 1, 3, 3), (64, 32, 3, 3), (3136, 128), (128, 10)]
    weights = [jnp.asarray(rng.normal(0, 0.05, shape), "float32") for shape in shapes]
    biases = [jnp.zeros(n) for n in (32, 64, 128, 10)]

    def logits(params: Any, x: Any) -> Any:
        (k1, k2, w1, w2), (c1, c2, b1, b2) = params
        for k, c in ((k1, c1), (k2, c2)):
            x = jax.lax.conv_general_dilated(x, k, (1, 1), ((1, 1), (1, 1))) + c[:, None, None]
            window = (1, 1, 2, 2)
            x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, window, window, "VALID")
        return jax.nn.relu(x.reshape(len(x), -1) @ w1 + b1) @ w2 + b2

    return peers.jax_step(logits, (weights, biases), *batch())


WORKERS = {
    "halves": lambda: with_adjoint(halves=True),
    "adjoint": with_adjoint,
    "torch": with_torch,
    "compile": with_torch_compile,
    "jax": with_jax,
}


def main(rounds: int = 9, repeats: int = 12) -> dict[str, float]:
    """Print the table."""
    return contest("CNN, 64 images of 28×28, AdamW: a step", "benchmarks.cnn_step", peers.PEERS, rounds, repeats)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
