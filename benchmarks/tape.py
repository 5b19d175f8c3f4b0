"""The tape's overhead: a chain of 100 negations of a one-element array under value_and_grad, per operation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Peer, contest, serve

LENGTH = 100


def chain(x: Any) -> Any:
    """x negated LENGTH times."""
    for _ in range(LENGTH):
        x = -x
    return x


def with_adjoint() -> Callable[[], object]:
    """This library on NumPy."""
    import adjoint as aj

    x = np.ones(1)
    f = aj.value_and_grad(lambda x: aj.sum(chain(x)))
    return lambda: f(x)


def with_autograd() -> Callable[[], object]:
    """HIPS autograd."""
    import autograd
    import autograd.numpy as anp

    x = np.ones(1)
    f = autograd.value_and_grad(lambda x: anp.sum(chain(x)))
    return lambda: f(x)


def with_torch() -> Callable[[], object]:
    """PyTorch eager."""
    import torch

    x = torch.ones(1, requires_grad=True)

    def run() -> object:
        x.grad = None
        chain(x).sum().backward()
        return x.grad

    return run


def with_numpy() -> Callable[[], object]:
    """NumPy alone: twice the chain, as forward and backward need."""
    x = np.ones(1)
    return lambda: chain(chain(x))


WORKERS = {"adjoint": with_adjoint, "autograd": with_autograd, "torch": with_torch, "numpy": with_numpy}
PEERS = [
    Peer("adjoint", "adjoint"),
    Peer("torch", "PyTorch eager"),
    Peer("autograd", "HIPS autograd"),
    Peer("numpy", "the negations alone, in NumPy"),
]


def main(rounds: int = 15, repeats: int = 200) -> dict[str, float]:
    """Print the table and the time of one operation."""
    found = contest("100 negations of one number, forward and backward", "benchmarks.tape", PEERS, rounds, repeats, 1e6)
    print(f"one operation, forward and backward: {found['adjoint'] / LENGTH * 1e6:.2f} µs\n")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
