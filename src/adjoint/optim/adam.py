"""Adam and its kin: a step is a mean of gradients over the root of a mean of their squares."""

from __future__ import annotations

from typing import ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.optim.base import Optimizer, States


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient; `amsgrad` as Reddi et al. (2018), as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.Adam(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.9])
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    states = ("first", "second")
    rule = staticmethod(xp.adam_update)
    decoupled: ClassVar[bool] = False

    def begin(self, params: list[Array]) -> States:
        if self.amsgrad:
            self.__dict__.update(states=(*self.states, "largest"), rule=xp.amsgrad_update)
        return super().begin(params)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.AdamW(net, lr=0.1, weight_decay=0.5).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.85])
    """

    weight_decay: float = 1e-2

    decoupled = True


class Adamax(Optimizer):
    """Adam with the largest gradient so far, fading, for the root of the squares' mean (Kingma & Ba 2015).

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.Adamax(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.9])
    """

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    states = ("first", "largest")
    rule = staticmethod(xp.adamax_update)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016), its momentum rising by `momentum_decay`, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.NAdam(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(4)
    array([0.8944])
    """

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    states = ("first", "second", "product")
    rule = staticmethod(xp.nadam_update)

    def begin(self, params: list[Array]) -> States:
        return {**super().begin(params), "product": [xp.full(p, (), 1.0, p.dtype) for p in params[:1]]}


class RAdam(Optimizer):
    """Adam that leaves the squares' mean out until it is known well enough (Liu et al. 2020), as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.RAdam(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.8])
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False

    states = ("first", "second")
    rule = staticmethod(xp.radam_update)
