"""Averages of a network's parameters over the steps."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.nn.module import Module
from adjoint.trees import Structure, carry, flatten


class AveragedModel(Module):
    """The mean of the parameters at each `update` (Polyak & Juditsky 1992), or, with a decay β, their moving average.

    average ← β average + (1 - β) parameters, the first update copying; PyTorch's AveragedModel. Buffers are the last
    network's. `module` is the averaged network; frozen parts are as they are in the first network.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.Linear(2, 1)
    >>> mean = aj.optim.AveragedModel(net)
    >>> for w in (1.0, 3.0):
    ...     net.bias = np.array([w])
    ...     mean = mean.update(net)
    >>> mean.module.bias, int(mean.n_averaged)
    (array([2.], dtype=float32), 2)
    """

    def __init__(self, module: Any, decay: float | None = None) -> None:
        if decay is not None and not 0 <= decay <= 1:
            raise ValueError(f"AveragedModel: decay lies in [0, 1], got {decay}.")
        leaves, treedef = flatten(module)
        self.module = treedef.unflatten([xp.copy(x) for x in leaves])
        self.decay = decay
        self.n_averaged: Any
        self.register_buffer("n_averaged", xp.zeros(leaves[0], (), "int32"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged network's value."""
        return self.module(*args, **kwargs)

    def update(self, module: Any) -> Any:
        """The average after one more network; on NumPy and PyTorch its arrays change in place: go on with what is
        returned."""
        mine = Structure(self.module)
        averages, n = list(mine.own()), self.n_averaged + 1
        widest = max((x.dtype for x in averages), key=lambda dtype: dtype.itemsize)
        first = xp.astype(xp.equal(n, 1), widest)
        rate = 1.0 / xp.astype(n, widest) if self.decay is None else 1.0 - self.decay + self.decay * first
        (averages,) = xp.average_update(averages, list(mine.leaves(module)), rate=rate)
        new: Any = object.__new__(type(self))
        new.__dict__.update(self.__dict__, module=mine.whole(averages), n_averaged=n)
        carry(module, new.module)
        return new
