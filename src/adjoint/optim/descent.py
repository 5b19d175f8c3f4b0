"""Optimizers that follow the gradient itself, or its sign."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.optim.base import Optimizer, States


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, dampening, Nesterov's form and weight decay, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.SGD(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net
    {'w': array([0.8])}
    """

    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    states = ("velocity",)
    rule = staticmethod(xp.sgd_update)

    def check(self, params: dict[str, Array]) -> None:
        super().check(params)
        if self.nesterov and (self.momentum <= 0 or self.dampening):
            raise ValueError("SGD: Nesterov's form needs momentum and no dampening.")

    def begin(self, params: list[Array]) -> States:
        return super().begin(params) if self.momentum else {"velocity": None}

    def asked(self, t: Any, lr: Any) -> dict[str, Any]:
        known = super().asked(t, lr)
        if self.dampening and self.momentum:  # not in the first step; in the widest dtype, PyTorch's would be float32
            widest = max((v.dtype for v in self.__dict__["velocity"]), key=lambda dtype: dtype.itemsize)
            known["dampening"] = self.dampening * xp.astype(xp.greater(t, 1), widest)
        return known


class ASGD(Optimizer):
    """Averaged descent (Polyak & Juditsky 1992): `average` is the mean of the iterates after `t0` steps, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.ASGD(net, lr=0.1, lambd=0.0).step(net, {"w": np.array([2.0])})
    >>> net["w"], opt.average[0]
    (array([0.8]), array([0.8]))
    """

    lr: float = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    weight_decay: float = 0.0

    states = ("average",)
    rule = staticmethod(xp.asgd_update)


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller & Braun 1993), for whole data sets: every entry has a step of its own.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> opt = aj.optim.Rprop(net, lr=0.1)
    >>> for _ in range(2):
    ...     net, opt = opt.step(net, {"w": np.array([2.0])})
    >>> net, opt.size[0]
    ({'w': array([0.78])}, array([0.12]))
    """

    lr: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    states = ("previous", "size")
    rule = staticmethod(xp.rprop_update)

    def check(self, params: dict[str, Array]) -> None:
        super().check(params)
        if not 0 < self.etas[0] < 1 < self.etas[1]:
            raise ValueError(f"Rprop: etas lie in (0, 1) and above 1, got {self.etas}.")

    def begin(self, params: list[Array]) -> States:
        return {**super().begin(params), "size": [xp.full(p, tuple(p.shape), self.lr, p.dtype) for p in params]}


class Lion(Optimizer):
    """Evolved sign momentum (Chen et al. 2023, arXiv:2302.06675): p ← p - lr (sign(β₁m + (1 - β₁)g) + λp).

    Its steps are larger than Adam's: take a third to a tenth of that learning rate, and as much more weight decay.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.Lion(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net
    {'w': array([0.9])}
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    states = ("first",)
    rule = staticmethod(xp.lion_update)
