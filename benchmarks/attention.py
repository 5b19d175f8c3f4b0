"""Attention: a training step's forward and backward pass, and what 16,384 positions need in memory."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Peer, contest, serve

STEP = (8, 8, 128, 32)  # batch, heads, positions, features of a head: of a GPT step with d = 256
LONG, HEADS, WIDTH = 16_384, 8, 64
GIB = 2**30


def operands(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Query, key, value and the result's cotangent."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, "float32") for _ in range(4)]


def with_adjoint() -> Callable[[], object]:
    """`scaled_dot_product_attention` and its pullback on NumPy."""
    import adjoint as aj

    q, k, v, u = operands(STEP)
    loss = lambda q, k, v: aj.sum(u * aj.scaled_dot_product_attention(q, k, v, is_causal=True))  # noqa: E731
    grad = aj.grad(loss, argnums=(0, 1, 2))
    return lambda: grad(q, k, v)


def with_torch() -> Callable[[], object]:
    """PyTorch's fused kernel and its backward."""
    import torch

    q, k, v, u = (torch.tensor(x) for x in operands(STEP))
    leaves = [x.requires_grad_() for x in (q, k, v)]

    def step() -> object:
        y = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=True)
        return torch.autograd.grad((u * y).sum(), leaves)

    return step


def with_jax() -> Callable[[], object]:
    """jax.nn.dot_product_attention and its gradient under jit."""
    import jax
    import jax.numpy as jnp

    q, k, v, u = (jnp.asarray(x.swapaxes(1, 2)) for x in operands(STEP))
    loss = lambda q, k, v: jnp.sum(u * jax.nn.dot_product_attention(q, k, v, is_causal=True))  # noqa: E731
    grad = jax.jit(jax.grad(loss, (0, 1, 2)))
    return lambda: jax.block_until_ready(grad(q, k, v))


WORKERS = {"adjoint": with_adjoint, "torch": with_torch, "jax": with_jax}


class Watch:
    """The most resident memory of this process while it is entered, above what there was before."""

    def __enter__(self) -> Watch:
        self.before = self.most = resident()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self) -> None:
        while not self.done.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *failure: object) -> None:
        self.done.set()
        self.thread.join()

    @property
    def peak(self) -> int:
        """Bytes above the start."""
        return self.most - self.before


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def passes(n: int, causal: bool) -> tuple[float, float, int]:
    """(seconds forward, seconds backward, peak bytes above the operands) of n positions."""
    import adjoint as aj

    q, k, v, u = operands((HEADS, n, WIDTH))
    attend = lambda q, k, v: aj.scaled_dot_product_attention(q, k, v, is_causal=causal)  # noqa: E731
    with Watch() as watch:
        start = time.perf_counter()
        attend(q, k, v)
        forward = time.perf_counter() - start
        aj.grad(lambda *xs: aj.sum(u * attend(*xs)), argnums=(0, 1, 2))(q, k, v)
        backward = time.perf_counter() - start - 2 * forward
    return forward, backward, watch.peak


def plain_need(n: int) -> int:
    """Bytes that a form with whole scores needs above its operands, forward and backward, counted on shapes."""
    from adjoint import arrays as xp
    from adjoint import vjp
    from adjoint.arrays.shapes import ShapeArray, count

    def plain(q: Any, k: Any, v: Any) -> Any:
        return xp.matmul(xp.softmax(xp.matmul(q, xp.swapaxes(k, -1, -2)) * WIDTH**-0.5), v)

    x = ShapeArray((HEADS, n, WIDTH))
    with count() as tally:
        y, pull = vjp(plain, x, x, x)
        pull(y)
    return int(tally.peak_bytes)


def memory(n: int = LONG) -> list[tuple[float, float, int]]:
    """Print what attention of n positions needs, and the plain form beside it."""
    passes(512, True)  # the kernels are loaded
    table = Table(title=f"Attention, {n:,} positions, {HEADS} heads of {WIDTH}, float32", title_justify="left")
    for heading in ("", "forward s", "backward s", "memory above its inputs", "plain form's"):
        table.add_column(heading, justify="left" if not heading else "right")
    found = []
    for name, causal in (("all to all", False), ("causal", True)):
        forward, backward, peak = passes(n, causal)
        found.append((forward, backward, peak))
        needs = (f"{size / GIB:.2f} GiB" for size in (peak, plain_need(n)))
        table.add_row(name, f"{forward:.1f}", f"{backward:.1f}", *needs)
    Console().print(table)
    return found


def main(rounds: int = 9, repeats: int = 20) -> Any:
    """Print both tables."""
    title = "Causal attention forward and backward, {}×{}×{}×{}, float32".format(*STEP)
    peers = [Peer("adjoint", "adjoint"), Peer("torch", "PyTorch"), Peer("jax", "JAX jit")]
    return contest(title, "benchmarks.attention", peers, rounds, repeats), memory()


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
