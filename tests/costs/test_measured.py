"""What is counted against what is measured: all memory of training, and what a roofline is made of."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.costs import Roofline, measuring, roofline
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What was timed so far: each call is made, and is told to have taken a tenth of a second."""
    timed: list[Callable[[], object]] = []

    def seconds(work: Callable[[], object]) -> float:
        work()
        timed.append(work)
        return 0.1

    monkeypatch.setattr(measuring, "seconds", seconds)
    return timed


@pytest.mark.covers("E05")
def test_a_measured_roofline_is_work_over_time(clock: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """2n³ operations a product; five passes over an array a triad, as c · s, then a + b, read and write them."""
    monkeypatch.setattr(roofline, "ARRAY", 1 << 20)
    line = Roofline.measure()
    rate = 2 * 512**3 / 0.1
    assert line.flops == pytest.approx({"float32": rate, "float64": rate})
    assert line.bandwidth == pytest.approx(5 * (1 << 20) / 0.1)


def test_the_rate_is_that_of_the_product_given(clock: list[Any]) -> None:
    """One that takes a tenth of a second for 512 × 512 ends the search for a size; each size is warmed up first."""
    sizes: list[int] = []
    rate, n = measuring.matmul_gflops("float32", budget=0.2, matmul=lambda x, y: sizes.append(len(x)))
    assert n == 512
    assert sizes == [512] * 4
    assert len(clock) == 3
    assert rate == pytest.approx(2 * 512**3 / 0.1 / 1e9)
