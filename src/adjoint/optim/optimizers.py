"""Optimizers: trees that hold the moments of a network's parameters; step gives the next network and optimizer."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.nn.module import Module
from adjoint.trees import Structure

_UNLIKE = (
    "the gradients are no tree like the network: take them of this very network, with the same parts frozen and in the "
    "same mode (train or eval)."
)


class Optimizer(Module):
    """What all optimizers share: the learning rate, the count of steps, how parameters and gradients are paired.

    Raises ValueError where lr or weight_decay is negative, or where the network has nothing to learn.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> opt = aj.optim.SGD(net, lr=0.1)
    >>> isinstance(opt, aj.optim.Optimizer), opt.step(net, {"w": np.array([2.0])}, lr=0.5)[0]
    (True, {'w': array([0.])})
    """

    def __init__(self, lr: float, weight_decay: float) -> None:
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"{type(self).__name__}: lr and weight_decay are at least 0, got {lr} and {weight_decay}.")
        self.lr = lr
        self.weight_decay = weight_decay

    def step(self, net: Any, grads: Any, lr: Any = None) -> tuple[Any, Any]:
        """(the network after the step, the optimizer after it); lr overrides the optimizer's own for this step.

        On NumPy and PyTorch the arrays are updated in place and `net` itself is returned; on JAX both are new. Either
        way, go on with what is returned.
        """
        structure = Structure(net)
        try:
            params, found = structure.own(), structure.leaves(grads)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}.step: {_UNLIKE}") from error
        if len(found) != len(params) or any(g is None for g in found):
            raise ValueError(f"{type(self).__name__}.step: {_UNLIKE}")
        new, moments = self._update(list(params), list(found), self.lr if lr is None else lr)
        if all(a is b for a, b in zip(new, params, strict=True)):
            return net, self._with(**moments)
        return structure.whole(new), self._with(**moments)

    def _learning(self, net: Any) -> tuple[Any, ...]:
        params = Structure(net).own()
        if not params:
            raise ValueError(f"{type(self).__name__}: the network has no trainable array; unfreeze a part of it.")
        return params

    def _update(self, params: list[Any], grads: list[Any], lr: Any) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError(f"{type(self).__name__}._update")

    def _with(self, **children: Any) -> Any:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, **children)
        return new


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, dampening, Nesterov's form and weight decay, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.SGD(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net
    {'w': array([0.8])}
    """

    def __init__(
        self,
        net: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay)
        if nesterov and (momentum <= 0 or dampening):
            raise ValueError("SGD: Nesterov's form needs momentum and no dampening.")
        self.momentum = momentum
        self.dampening = dampening
        self.nesterov = nesterov
        params = self._learning(net)
        self.velocity = [xp.zeros_like(p) for p in params] if momentum else None
        self.t = xp.zeros(params[0], (), "int32")

    def _update(self, params: list[Any], grads: list[Any], lr: Any) -> tuple[Any, dict[str, Any]]:
        dampening: Any = 0.0
        if self.dampening:  # not in the first step; in the widest dtype, for PyTorch's own would be float32
            later = xp.astype(xp.not_equal(self.t, 0), max((p.dtype for p in params), key=lambda dtype: dtype.itemsize))
            dampening = self.dampening * later
        new, velocity = xp.sgd_update(
            params,
            grads,
            self.velocity,
            lr=lr,
            momentum=self.momentum,
            dampening=dampening,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
        return new, {"velocity": velocity, "t": self.t + 1}


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.Adam(net, lr=0.1).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.9])
    """

    decoupled = False

    def __init__(
        self,
        net: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{type(self).__name__}: betas lie in [0, 1), got {betas}.")
        self.betas = betas
        self.eps = eps
        params = self._learning(net)
        self.first = [xp.zeros_like(p) for p in params]
        self.second = [xp.zeros_like(p) for p in params]
        self.t = xp.zeros(params[0], (), "int32")

    def _update(self, params: list[Any], grads: list[Any], lr: Any) -> tuple[Any, dict[str, Any]]:
        t = self.t + 1
        new, first, second = xp.adam_update(
            params,
            grads,
            self.first,
            self.second,
            t=t,
            lr=lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            decoupled=self.decoupled,
        )
        return new, {"first": first, "second": second, "t": t}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    >>> import numpy as np, adjoint as aj
    >>> net = {"w": np.array([1.0])}
    >>> net, opt = aj.optim.AdamW(net, lr=0.1, weight_decay=0.5).step(net, {"w": np.array([2.0])})
    >>> net["w"].round(6)
    array([0.85])
    """

    decoupled = True

    def __init__(
        self,
        net: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(net, lr, betas, eps, weight_decay)
