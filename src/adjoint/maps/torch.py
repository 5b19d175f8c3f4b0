"""To PyTorch: a map as a function of tensors that autograd, forward mode and `torch.func` differentiate by the map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    raise ImportError("to_torch needs PyTorch: pip install 'adjoint[torch]'.") from None

from adjoint.maps.base import LinearMap
from adjoint.maps.moving import moved
from adjoint.maps.spaces import factors, is_product, lead_of


class Product(torch.autograd.Function):
    """x ↦ A x: backward is x ↦ Aᵀ x, itself such a product, so that every derivative has one."""

    @staticmethod
    def forward(map: LinearMap, *parts: Any) -> Any:
        """A x, of a batch of x."""
        return map.apply(parts if is_product(map.in_shape) else parts[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Backward needs the map alone."""
        ctx.map = inputs[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        """Aᵀ u."""
        back = product(ctx.map.T, *cotangents)
        return (None, *back) if is_product(ctx.map.in_shape) else (None, back)

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Any) -> Any:
        """A v."""
        spaces = factors(ctx.map.in_shape)
        like, shape = next((v, s) for v, s in zip(tangents, spaces, strict=True) if v is not None)
        zeros = [like.new_zeros((*lead_of(like, shape), *s)) for s in spaces]
        return product(ctx.map, *[z if v is None else v for v, z in zip(tangents, zeros, strict=True)])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], map: LinearMap, *parts: Any) -> Any:
        """One more leading axis."""
        front = [
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(parts, in_dims[1:], strict=True)
        ]
        out = product(map, *front)
        return out, (0,) * len(out) if isinstance(out, tuple) else 0


product: Callable[..., Any] = Product.apply


def to_torch(map: LinearMap) -> Callable[[Any], Any]:
    """x ↦ A x for tensors: see `LinearMap.to_torch`."""
    here: LinearMap = moved(map, "torch")

    def bound(x: Any) -> Any:
        return product(here, *(x if is_product(here.in_shape) else (x,)))

    def apply(x: Any) -> Any:
        return here.through(bound, x)

    return apply
