"""Optimizers that divide by what gradients have been: Adagrad, Adadelta, RMSprop, Adafactor."""

from __future__ import annotations

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.optim.base import Optimizer, States


class Adagrad(Optimizer):
    """p ← p - lr g/√(Σ g²) (Duchi et al. 2011), as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.Adagrad(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.9])
    """

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    states = ("total",)
    rule = staticmethod(xp.adagrad_update)

    def begin(self, params: list[Array]) -> States:
        first = self.initial_accumulator_value
        return {"total": [xp.full(p, tuple(p.shape), first, p.dtype) for p in params]}


class Adadelta(Optimizer):
    """Steps in the units of the parameters themselves (Zeiler 2012), as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.Adadelta(net).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(4)
    array([0.9968])
    """

    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    states = ("second", "steps")
    rule = staticmethod(xp.adadelta_update)

    def check(self, params: dict[str, Array]) -> None:
        super().check(params)
        if not 0 <= self.rho <= 1:
            raise ValueError(f"Adadelta: rho lies in [0, 1], got {self.rho}.")


class RMSprop(Optimizer):
    """p ← p - lr g/√(mean g²) (Hinton 2012), with the variance for the mean of squares where `centered`, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.RMSprop(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.])
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    states = ("second", "first", "velocity")
    rule = staticmethod(xp.rmsprop_update)

    def begin(self, params: list[Array]) -> States:
        used = {"second": True, "first": self.centered, "velocity": bool(self.momentum)}
        return {name: zeros if used[name] else None for name, zeros in super().begin(params).items()}


class Adafactor(Optimizer):
    """Adam's divisor in the memory of a row and a column for each matrix (Shazeer & Stern 2018), as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.ones((2, 3))}
    >>> opt = aj.optim.Adafactor(net)
    >>> opt.rows[0].shape, opt.columns[0].shape
    ((2, 1), (1, 3))
    """

    lr: float = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    weight_decay: float = 0.0

    states = ("rows", "columns")
    rule = staticmethod(xp.adafactor_update)

    def check(self, params: dict[str, Array]) -> None:
        super().check(params)
        if self.beta2_decay > 0 or self.d < 1 or any(x is not None and x < 0 for x in self.eps):
            raise ValueError(
                f"Adafactor: beta2_decay={self.beta2_decay} is at most 0, d={self.d} at least 1, eps={self.eps} at "
                "least 0."
            )

    def begin(self, params: list[Array]) -> States:
        shapes = [tuple(p.shape) for p in params]
        rows = [(*s[:-1], 1) if len(s) > 1 else s for s in shapes]
        columns = [(*s[:-2], 1, s[-1]) if len(s) > 1 else (0,) for s in shapes]
        return {
            name: [xp.zeros(p, s, p.dtype) for p, s in zip(params, form, strict=True)]
            for name, form in (("rows", rows), ("columns", columns))
        }
