"""What is counted against what is measured: all memory of training, and what products and sums reach."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
import threadpoolctl

import adjoint as aj
from adjoint.costs import Pass, Roofline
from adjoint.costs.measuring import matmul_gflops, seconds
from adjoint.costs.memory import checkpointed

NETS: dict[str, Any] = {
    "MLP": (lambda: aj.nn.MLP((784, 512, 512, 10), rng=0), (256, 784)),
    "CNN": (
        lambda: aj.nn.Sequential(
            aj.nn.Conv2d(3, 16, 3, padding=1), aj.nn.ReLU(), aj.nn.Conv2d(16, 16, 3, padding=1), aj.nn.ReLU(),
            aj.nn.Flatten(), aj.nn.Linear(16 * 24 * 24, 10),
        ),
        (96, 3, 24, 24),
    ),
    "GPT": (lambda: aj.models.GPT(300, 128, n_layer=6, n_head=4, n_embd=64, rng=0), None),
}  # fmt: skip


@pytest.mark.covers("E06")
@pytest.mark.parametrize(("name", "again"), [("MLP", False), ("CNN", False), ("GPT", False), ("GPT", True)])
def test_all_memory_of_a_training_step(name: str, again: bool) -> None:
    """Weights, moments, gradients and activations, by Python's own account of NumPy's memory; with checkpoints, too."""
    make, shape = NETS[name]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 300, (8, 128)) if shape is None else rng.standard_normal(shape, "float32")
    found = aj.cost(make(), batch=8, seq=128) if shape is None else aj.cost(make(), shape)

    def train() -> None:
        net: Any = make().eval()
        net = checkpointed(net) if again else net
        optimizer = aj.optim.AdamW(net)
        for _ in range(2):
            _, grads = aj.value_and_grad(lambda net: aj.sum(net(x)))(net)
            net, optimizer = optimizer.step(net, grads)
            del grads

    train()  # what is loaded and compiled on the way is no part of it
    tracemalloc.start()
    try:
        train()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    expected = found.memory.training_checkpointed if again else found.memory.training
    assert expected is not None
    assert 0.9 * expected < peak < 1.1 * expected  # the workspace of a kernel for convolutions is not counted


@pytest.mark.covers("E05")
def test_products_reach_what_sums_cannot() -> None:
    """One thread: a product of large intensity does many more FLOPs a second than a sum, which waits for memory."""
    n, size = 512, 1 << 23
    product, total = Pass(2 * n**3, 2 * n**3, 12 * n * n), Pass(size, 0, 12 * size)
    a, b = np.random.default_rng(0).random((2, n, n), "float32")
    x, y = np.ones((2, size), "float32")
    out = np.empty_like(x)
    with threadpoolctl.threadpool_limits(1):
        rates = [
            spent.flops / min(seconds(work) for _ in range(5))
            for spent, work in ((product, lambda: a @ b), (total, lambda: np.add(x, y, out=out)))
        ]
    assert product.intensity > 40 > 1 > total.intensity
    assert rates[0] > 3 * rates[1]
    line = Roofline("here", {"float32": rates[0]}, rates[1] / total.intensity)  # as measured just now
    assert (line.bound(product), line.bound(total)) == ("compute", "memory")


def test_the_rate_is_that_of_the_product_given() -> None:
    """One that takes a tenth of a second for 512 × 512 ends the search for a size; each size is warmed up first."""
    sizes: list[int] = []

    def slow(x: Any, y: Any) -> None:
        sizes.append(len(x))
        time.sleep(0.1)

    rate, n = matmul_gflops("float32", budget=0.2, matmul=slow)
    assert n == 512
    assert sizes == [512] * 4
    assert 0.5 < rate / (2 * 512**3 / 0.1 / 1e9) <= 1
