"""`adjoint doctor --curves`: four comparisons, each measured in one run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product as pairs
from typing import Any

import numpy as np

from adjoint.costs import Roofline, cost, measure
from adjoint.costs.measuring import seconds
from adjoint.models import GPT
from adjoint.nn import MLP, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from adjoint.nn.module import Module, to

from .machine import gpus

LOOPS = (16, 32, 64, 128)
BATCHES = tuple(2**k for k in range(10))
WIDTH = 8192  # of the layer whose batch grows: 256 MiB of weights, more than usual caches hold
CLAIMED = 256  # "a batch of 256 takes roughly the time of 1"


@dataclass(frozen=True)
class Product:
    """Seconds of a product of two n×n matrices of float64: by three nested loops of Python, and by NumPy."""

    n: int
    loop: float
    product: float

    @property
    def ratio(self) -> float:
        """How many times longer the loops take."""
        return self.loop / self.product


@dataclass(frozen=True)
class Batch:
    """Seconds of one linear layer on so many examples at once, and the least by the roofline and what bounds it."""

    batch: int
    seconds: float
    least: float
    bound: str


@dataclass(frozen=True)
class Passes:
    """Seconds of a network's forward and backward pass, and their ratio by FLOPs."""

    network: str
    forward: float
    backward: float
    counted: float

    @property
    def ratio(self) -> float:
        """How many times longer the backward pass takes."""
        return self.backward / self.forward


@dataclass(frozen=True)
class Devices:
    """Seconds of a training step by PyTorch's arrays on the processor and on the GPU."""

    network: str
    cpu: float
    gpu: float

    @property
    def ratio(self) -> float:
        """How many times longer the processor takes."""
        return self.cpu / self.gpu


@dataclass(frozen=True)
class Speeds:
    """The four comparisons; `devices` is empty where there is no GPU that PyTorch can use, and `gpu` its name or ""."""

    products: tuple[Product, ...]
    batches: tuple[Batch, ...]
    passes: tuple[Passes, ...]
    devices: tuple[Devices, ...]
    gpu: str

    @property
    def free(self) -> int:
        """The largest batch that takes less than twice the time of the smallest, all before it too."""
        found = self.batches[0].batch
        for x in self.batches:
            if x.seconds >= 2 * self.batches[0].seconds:
                break
            found = x.batch
        return found

    @property
    def crossing(self) -> int | None:
        """The first batch that computing bounds, by the roofline; None where memory bounds all."""
        return next((x.batch for x in self.batches if x.bound == "compute"), None)


def speeds(
    line: Roofline, tell: Callable[[str], object] = lambda step: None, loops: Sequence[int] = LOOPS,
    batches: Sequence[int] = BATCHES, width: int = WIDTH, budget: float = 1.0,
) -> Speeds:  # fmt: skip
    """Measure the four: products and layers by their fastest call, networks by medians (`adjoint.costs.measure`).

    `tell` hears the name of each before it starts; `budget` is the seconds for one network.
    """
    tell("loops against products")
    products = tuple(_product(n) for n in loops)
    tell("the batch of one layer")
    grown = tuple(_batches(line, batches, width))
    nets = networks()
    found = []
    for name, (net, given) in nets.items():
        tell(f"forward and backward pass of {name}")
        took, counted = measure(net, **given, budget=budget), cost(net, **given)
        found.append(Passes(name, took.forward, took.backward, counted.backward.flops / counted.forward.flops))
    device, called = gpu()
    sides = []
    for name, (net, given) in nets.items() if device is not None else ():
        tell(f"{name} on processor and GPU")
        times = [measure(to(net, "torch", device=at), **given, budget=budget).training for at in ("cpu", device)]
        sides.append(Devices(name, *times))
    return Speeds(products, grown, tuple(found), tuple(sides), called)


def as_dict(found: Speeds) -> dict[str, Any]:
    """All of it as numbers by name, for JSON, ratios too."""

    def told(parts: Sequence[Any]) -> list[dict[str, Any]]:
        return [asdict(x) | ({"ratio": x.ratio} if hasattr(x, "ratio") else {}) for x in parts]

    parts = {name: told(getattr(found, name)) for name in ("products", "batches", "passes", "devices")}
    return {**parts, "gpu": found.gpu, "free_batch": found.free, "compute_bound_from": found.crossing}


def networks() -> dict[str, tuple[Module, dict[str, Any]]]:
    """An MLP, a convolutional network and a GPT, small, each with what it is given."""
    cnn = Sequential(
        Conv2d(1, 16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU(), MaxPool2d(2),
        Flatten(), Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    return {
        "MLP 784-512-512-10, batch 128": (MLP((784, 512, 512, 10), rng=0), {"x": (128, 784)}),
        "CNN 28×28, batch 64": (cnn, {"x": (64, 1, 28, 28)}),
        "GPT 2×128, 64 tokens, batch 8": (
            GPT(256, 64, n_layer=2, n_head=4, n_embd=128, rng=0), {"batch": 8, "seq": 64},
        ),
    }  # fmt: skip


def gpu() -> tuple[str | None, str]:
    """(the device by PyTorch's name, its own name); None where there is none that PyTorch can use."""
    if not gpus():
        return None, ""
    try:
        import torch
    except ImportError:
        return None, ""
    return ("cuda", str(torch.cuda.get_device_name())) if torch.cuda.is_available() else (None, "")


def loop(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> list[list[float]]:
    """The product of two matrices as its definition says it, entry by entry.

    >>> loop([[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]])
    [[2.0, 1.0], [4.0, 3.0]]
    """
    c = [[0.0] * len(b[0]) for _ in a]
    for i, j in pairs(range(len(a)), range(len(b[0]))):
        for k in range(len(b)):
            c[i][j] += a[i][k] * b[k][j]
    return c


def _product(n: int) -> Product:
    a, b = np.random.default_rng(0).random((2, n, n))
    left, right = a.tolist(), b.tolist()
    slow = _fastest(lambda: loop(left, right), 3)
    many = 1 + 200_000 // n**2  # calls together, as one is shorter than the clock tells
    fast = _fastest(lambda: [a @ b for _ in range(many)], 5) / many
    return Product(n, slow, fast)


def _batches(line: Roofline, batches: Sequence[int], width: int) -> list[Batch]:
    layer, rng = Linear(width, width, rng=0), np.random.default_rng(0)
    found = []
    for n in batches:
        x = rng.standard_normal((n, width), "float32")
        spent = cost(layer, (n, width)).forward
        found.append(Batch(n, _fastest(partial(layer, x), 3), line.seconds(spent), line.bound(spent)))
    return found


def _fastest(work: Callable[[], object], repeats: int) -> float:
    """The shortest of some calls, which other programs disturb least, after one that is not counted."""
    work()
    return min(seconds(work) for _ in range(repeats))
