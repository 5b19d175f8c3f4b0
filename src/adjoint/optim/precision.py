"""Mixed precision: half precision where it is computed, float32 where it is kept, and a loss scaled to fit between."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, backend
from adjoint.nn.module import Module, to
from adjoint.transforms import value_and_grad
from adjoint.trees import flatten
from adjoint.trees import map as tree_map


def autocast(f: Callable[..., Any], dtype: str = "bfloat16") -> Callable[..., Any]:
    """f computed in `dtype`: the floating arrays of its arguments (networks, batches) are cast, its results to float32.

    Gradients with respect to the arguments come in the arguments' own dtype: a float32 network is the master copy of
    the half-precision one. Compute losses outside, in float32. NumPy computes in "float16" only (Micikevicius 2018).

    >>> import numpy as np, adjoint as aj
    >>> net, x = aj.nn.Linear(3, 2, rng=0), np.ones((4, 3), "float32")
    >>> half = aj.optim.autocast(lambda net, x: net(x), "float16")
    >>> half(net, x).dtype, aj.grad(lambda net: aj.sum(half(net, x)))(net).weight.dtype
    (dtype('float32'), dtype('float32'))
    """

    @functools.wraps(f)
    def cast(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = to((args, kwargs), dtype=dtype)
        return to(f(*args, **kwargs), dtype="float32")

    return cast


class GradScaler(Module):
    """A factor on the loss that keeps half-precision gradients from vanishing, as PyTorch's torch.amp.GradScaler.

    Where a gradient overflows, the step is left out and the factor multiplied by `backoff_factor`; after
    `growth_interval` steps without, by `growth_factor`. A tree beside the network and the optimizer, given a `like`
    array or tree of their backend; nothing branches on values, so a whole step runs under `jax.jit`.

    >>> import numpy as np, adjoint as aj
    >>> net, x = aj.nn.Linear(3, 2, rng=0), np.full((4, 3), 30.0, "float32")
    >>> half = aj.optim.autocast(lambda net, x: net(x), "float16")
    >>> scaler, opt = aj.optim.GradScaler(net), aj.optim.SGD(net)
    >>> _, grads = scaler.value_and_grad(lambda net: aj.sum(half(net, x)))(net)  # 2¹⁶ · 4 · 30 is beyond float16
    >>> net, opt, scaler = scaler.step(opt, net, grads)
    >>> float(scaler.scale), int(opt.t)
    (32768.0, 0)
    """

    def __init__(
        self,
        like: Any,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not growth_factor > 1 or not 0 < backoff_factor < 1:
            raise ValueError(
                f"GradScaler: growth_factor={growth_factor} is above 1, backoff_factor={backoff_factor} in (0, 1)."
            )
        first = flatten(like)[0][0]
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.scale: Array = xp.full(first, (), init_scale, "float32")
        self.growth_tracker: Array = xp.zeros(first, (), "int32")

    def value_and_grad(self, f: Callable[..., Array]) -> Callable[..., tuple[Array, Any]]:
        """As `aj.value_and_grad`, with the loss multiplied by the scale on the way back; gradients not finite where it
        overflowed."""

        def scaled(*args: Any, **kwargs: Any) -> Any:
            value = f(*args, **kwargs)
            return value * xp.astype(self.scale, value.dtype), value

        def with_gradient(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
            with np.errstate(over="ignore", invalid="ignore"):
                (_, value), grads = value_and_grad(scaled, has_aux=True)(*args, **kwargs)
                return value, tree_map(lambda g: g * xp.astype(1.0 / self.scale, g.dtype), grads)

        return with_gradient

    def step(self, optimizer: Any, net: Any, grads: Any, lr: Any = None) -> tuple[Any, Any, Any]:
        """(net, optimizer, scaler) after the optimizer's step, or, where a gradient is not finite, without it."""
        leaves = flatten(grads)[0]
        finite = functools.reduce(xp.logical_and, [xp.all(xp.isfinite(g)) for g in leaves])
        return *self._stepped(finite, optimizer, net, grads, lr), self.update(finite)

    def update(self, finite: Array) -> Any:
        """The scaler after one step, `finite` telling whether all gradients were."""
        tracked = self.growth_tracker + 1
        grows = xp.equal(tracked, self.growth_interval)
        with np.errstate(over="ignore"):
            grown = self.scale * self.growth_factor
        grown = xp.where(xp.logical_and(grows, xp.isfinite(grown)), grown, self.scale)
        new: Any = object.__new__(type(self))
        none = xp.zeros_like(tracked)
        new.__dict__.update(
            self.__dict__,
            scale=xp.where(finite, grown, self.scale * self.backoff_factor),
            growth_tracker=xp.where(xp.logical_and(finite, xp.logical_not(grows)), tracked, none),
        )
        return new

    def _stepped(self, finite: Array, optimizer: Any, net: Any, grads: Any, lr: Any) -> tuple[Any, Any]:
        if backend(type(self.scale)).name == "numpy":  # values are known, so that nothing need be copied
            return optimizer.step(net, grads, lr) if finite else (net, optimizer)
        before, treedef = flatten(tree_map(xp.copy, (net, optimizer)))
        after = flatten(optimizer.step(net, grads, lr))[0]
        kept = {id(a): xp.where(finite, a, b) for a, b in zip(after, before, strict=True)}  # tied ones stay tied
        return treedef.unflatten([kept[id(a)] for a in after])
