"""Memory of training: weights, optimizer state, and the most that activations and gradients take together."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adjoint.arrays import sum as total
from adjoint.arrays.dispatch import Array
from adjoint.arrays.shapes import count
from adjoint.costs.components import blocks
from adjoint.nn.module import Module
from adjoint.ops.checkpoint import checkpoint
from adjoint.recording import Recording
from adjoint.transforms import value_and_grad
from adjoint.trees import differentiable, flatten


@dataclass(frozen=True)
class Alive:
    """Bytes alive in forward and backward pass, weights and input apart.

    `kept` are the activations that the forward pass leaves for the backward pass, with its value; `peak` is the most
    that activations and gradients take together at any moment of both.

    >>> import adjoint as aj
    >>> from adjoint.arrays.shapes import ShapeArray
    >>> alive(lambda x: aj.exp(x), [ShapeArray((1000,))])
    Alive(kept=4000, peak=8008)
    """

    kept: int
    peak: int


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes.

    `weights` has parameters and buffers, `gradients` one array a parameter that learns, `optimizer` AdamW's two moments
    of each, in its dtype. `passes` are forward and backward pass as they are, `checkpointed` where each block keeps
    only its input and runs again (None: there are no blocks, or they do not give one array each). Optimizer updates
    work in place, so that the peak of training is the sum of weights, optimizer and the passes' peak, in which the
    gradients are. Counted in evaluation mode, with attention that keeps no scores: masks of dropout, what a kernel
    takes while it works, and what an allocator wastes, are not in it.

    >>> import adjoint as aj
    >>> memory = aj.cost(aj.models.GPT(11, 8, n_layer=3, n_head=2, n_embd=4), seq=8).memory
    >>> memory.gradients == memory.optimizer // 2, memory.checkpointed.kept < memory.passes.kept
    (True, True)
    """

    weights: int
    gradients: int
    optimizer: int
    passes: Alive
    checkpointed: Alive | None

    @property
    def training(self) -> int:
        """The peak of training."""
        return self.weights + self.optimizer + self.passes.peak

    @property
    def training_checkpointed(self) -> int | None:
        """The peak of training with each block checkpointed."""
        return None if self.checkpointed is None else self.weights + self.optimizer + self.checkpointed.peak


class Checkpointed(Module):
    """A block that keeps only its input for the backward pass, in which it runs again."""

    def __init__(self, block: Module) -> None:
        self.block = block

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The block's value."""
        return checkpoint(lambda block, *args: block(*args, **options))(self.block, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["block"], name)


def checkpointed(net: Module) -> Module | None:
    """A copy of the network with each of its blocks checkpointed; None where it has no blocks.

    >>> import adjoint as aj
    >>> net = checkpointed(aj.models.GPT(5, 4, n_layer=2, n_head=1, n_embd=4))
    >>> [type(block).__name__ for block in net.h], checkpointed(aj.nn.MLP((3, 4, 2)))
    (['Checkpointed', 'Checkpointed'], None)
    """
    copy: Module = net.to()
    found = blocks(copy)
    for owner, name in found:
        child = owner.__dict__[name]
        wrapped = Checkpointed(child) if isinstance(child, Module) else type(child)(Checkpointed(x) for x in child)
        setattr(owner, name, wrapped)
    return copy if found else None


def alive(f: Callable[..., Any], primals: Sequence[Any]) -> Alive:
    """What is alive in forward and backward pass of f, the primals not counted.

    >>> import adjoint as aj
    >>> from adjoint.arrays.shapes import ShapeArray
    >>> alive(lambda x: aj.sin(aj.exp(x)), [ShapeArray((1000,))]).kept
    8000
    """
    if not primals:
        return Alive(0, 0)
    with count() as tally:
        with Recording(f, primals, range(len(primals))) as run:
            kept = tally.live_bytes
        del run
    with count() as tally:
        value_and_grad(lambda *given: summed(f(*given)), tuple(range(len(primals))))(*primals)
    return Alive(kept, tally.peak_bytes)


def summed(y: Any) -> Array:
    """A number that depends on every floating array of a network's value.

    >>> import numpy as np
    >>> summed({"logits": np.ones((2, 3)), "tokens": np.array([7])})
    np.float64(6.0)
    """
    first, *others = [total(part) for part in flatten(y)[0] if differentiable(part)]
    return functools.reduce(operator.add, others, first)
