"""The ways to adapt a network to a task, ready for `aj.fit`: what learns, which optimizer, which penalty."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import backend
from adjoint.errors import BackendError
from adjoint.lora import initial
from adjoint.lora.adaptive import Allocator, orthogonality
from adjoint.lora.adding import add
from adjoint.lora.layers import adapted
from adjoint.lora.targets import Target, chosen, matches
from adjoint.nn.module import Module, apart, to
from adjoint.optim.adam import AdamW
from adjoint.trees import Structure

METHODS = ("full", "lora", "dora", "adalora", "qlora")


@dataclass(frozen=True)
class Prepared:
    """A network of which the right part learns, and what `aj.fit` takes with it.

    >>> import adjoint as aj
    >>> ready = aj.lora.prepare(aj.nn.MLP((64, 10)), "full")
    >>> ready.learning, ready.penalty
    (650, None)
    """

    net: Any
    optimizer: Callable[[Any], Any]
    penalty: Callable[[Any], Any] | None = None

    @property
    def learning(self) -> int:
        """How many numbers learn."""
        return sum(int(np.prod(x.shape)) for x in Structure(self.net).own())


def prepare(
    net: Module, method: str, *, rank: int = 8, alpha: float = 16.0, targets: Target | Iterable[Target] | None = None,
    also: Iterable[Target] = (), steps: int = 1000, lr: float = 1e-3, rng: Any = None,
) -> Prepared:  # fmt: skip
    """A copy of `net`, ready to be adapted by one of five methods; `net` stays as it is, and shares what is frozen.

    - "full": everything learns.
    - "lora", "dora": adapters of this rank beside the `targets`, see `lora.add`; unless named, those that it takes but
      what `also` names, which learns whole.
    - "adalora": adapters that begin with half as many ranks again, as far as the layers have them, and are brought down
      to `rank` on average by an `Allocator` in the middle of the `steps`; half of `orthogonality` is the penalty.
    - "qlora": "lora" beside weights in NF4 (`aj.quantize`).

    The optimizer is AdamW without weight decay. Raises ValueError for another method, BackendError for "adalora" on
    JAX, and what `lora.add` raises.

    >>> import adjoint as aj
    >>> train, test = aj.data.digits().split(seed=0)
    >>> ready = aj.lora.prepare(aj.nn.MLP((64, 32, 10), rng=0), "adalora", rank=4, steps=24 * 3, rng=0)
    >>> run = aj.fit(ready.net, train, optimizer=ready.optimizer, penalty=ready.penalty, epochs=3, progress=False)
    >>> run.history[-1].loss < run.history[0].loss
    True
    """
    if method not in METHODS:
        raise ValueError(f"lora.prepare: the method is {', '.join(METHODS)}, not {method!r}.")
    net = to(net).train()  # a tree of its own, of the same arrays
    optimizer = partial(AdamW, lr=lr, weight_decay=0.0)
    if method == "full":
        net.unfreeze()
        return Prepared(apart(net), optimizer)
    also = [also] if isinstance(also, (str, type)) else list(also)
    if targets is None and also:
        targets = _beside(net, also)
    options: dict[str, Any] = {"alpha": alpha, "targets": targets, "also": also, "rng": rng}
    if method == "adalora":
        if backend(type(next(net.parameters()))).name == "jax":
            raise BackendError("lora.prepare: adalora chooses ranks by values, which jax.jit hides: NumPy or PyTorch.")
        start = min(rank + -(-rank // 2), *_most(net, targets))
        net = add(net, max(start, rank), adalora=True, **options)
        return Prepared(apart(net), partial(_budgeted, optimizer, rank, steps), _half_orthogonality)
    if method == "qlora":
        net = _quantized(net, targets)
    return Prepared(apart(add(net, rank, dora=method == "dora", **options)), optimizer)


class Budgeted(Module):
    """An optimizer after each of whose steps an `Allocator` takes ranks away, as one that `aj.fit` can save."""

    def __init__(self, optimizer: Any, allocator: Allocator) -> None:
        self.optimizer = optimizer
        self.allocator = allocator

    @property
    def lr(self) -> Any:
        """The learning rate of the optimizer."""
        return self.optimizer.lr

    def step(self, net: Any, grads: Any, lr: Any = None) -> tuple[Any, Budgeted]:
        """(the network after the step, this)."""
        net, self.optimizer = self.optimizer.step(net, grads, lr)
        self.allocator.update(net, grads)
        return net, self

    def state_dict(self) -> dict[str, Any]:
        """The arrays of both."""
        mine = {f"optimizer.{name}": x for name, x in self.optimizer.state_dict().items()}
        return mine | {f"allocator.{name}": x for name, x in self.allocator.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, assign: bool = False) -> None:
        """Take over the arrays of both."""
        parts: dict[str, dict[str, Any]] = {"optimizer": {}, "allocator": {}}
        for name, x in state.items():
            part, _, inner = name.partition(".")
            parts[part][inner] = x
        self.optimizer.load_state_dict(parts["optimizer"], strict, assign)
        self.allocator.load_state_dict(parts["allocator"])

    def __repr__(self) -> str:
        return f"{self.optimizer!r}, then {self.allocator!r}"


def _budgeted(optimizer: Callable[[Any], Any], rank: int, steps: int, net: Any) -> Budgeted:
    every = max(1, steps // 100)
    return Budgeted(optimizer(net), Allocator(net, rank, steps, initial=steps // 6, final=steps // 3, every=every))


def _half_orthogonality(net: Any) -> Any:
    return 0.5 * orthogonality(net)


def _most(net: Any, targets: Any) -> Iterable[int]:
    """The rank that each layer can have."""
    for layer in chosen(net, targets).values():
        wrapped = adapted(layer)
        assert wrapped is not None
        first, second = initial.shapes(wrapped, 1)
        yield min(int(np.prod(first[1:])), second[0])


def _quantized(net: Any, targets: Any) -> Any:
    """The network with the weights of the targets in NF4."""
    from adjoint.quantization import quantize  # which stands on the targets of this folder

    return quantize(net, "nf4", targets=targets)


def _beside(net: Any, also: list[Target]) -> list[str]:
    """The layers that `lora.add` adapts unless told, without those that learn whole."""
    whole = [name for name, module in net.named_modules() if any(matches(target, name, module, net) for target in also)]
    return [name for name in chosen(net, None) if not f"{name}.".startswith(tuple(f"{n}." for n in whole))]
