"""Language models of transformers as evidence: tiny ones from a configuration, every parameter random."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import adjoint as aj
from adjoint.models.checkpoint import sources
from tests.models.peers import GRADIENTS, TOLERANCE, close, randomized, state


@contextlib.contextmanager
def wide() -> Iterator[None]:
    """Keep float64 where transformers computes norms, softmax and rotations in float32 whatever the model's dtype."""
    to, as_float, softmax = torch.Tensor.to, torch.Tensor.float, torch.nn.functional.softmax

    def wider(x: Any, *args: Any, **kwargs: Any) -> Any:
        down = torch.float32 in args or kwargs.get("dtype") == torch.float32
        return x if down and x.dtype == torch.float64 else to(x, *args, **kwargs)

    def soft(x: Any, dim: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
        return softmax(x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype, **kwargs)

    torch.Tensor.to = wider  # type: ignore[method-assign,assignment]
    torch.Tensor.float = lambda x: x if x.dtype == torch.float64 else as_float(x)  # type: ignore[method-assign,assignment]
    torch.nn.functional.softmax = soft
    try:
        yield
    finally:
        torch.Tensor.to, torch.Tensor.float, torch.nn.functional.softmax = to, as_float, softmax  # type: ignore[method-assign]


def made(cls: Any, config: Any, dtype: str, untied: bool = False, gain: float = 1.0) -> Any:
    """The network of transformers from a configuration, every parameter random; rotations as the formula has them.

    `gain` scales the matrices: with a large one what is generated does not soon repeat itself.
    """
    config._attn_implementation = "eager"
    net = cls(config)
    if untied:
        net.lm_head.weight = torch.nn.Parameter(torch.empty_like(net.lm_head.weight))
    net = randomized(net, dtype)
    with torch.no_grad():
        for p in net.parameters():
            p *= gain if p.ndim > 1 else 1.0
    if hasattr(net, "model") and hasattr(net.model, "rotary_emb"):
        exact = 1.0 / 10000.0 ** (torch.arange(0, config.head_dim_, 2, dtype=torch.float64) / config.head_dim_)
        net.model.rotary_emb.inv_freq = exact.to(getattr(torch, dtype))
    return net


def opened(reference: Any, dtype: str, **changes: Any) -> Any:
    """This library's network from the other's own configuration and arrays."""
    config = {k: v for k, v in reference.config.to_dict().items() if k != "head_dim_"}
    net = aj.models.from_config({**config, **changes}, dtype=dtype, rng=1)
    aj.models.load_checkpoint(net, state(reference))
    return net


def agree(net: Any, reference: Any, ours: Callable[[Any], Any], theirs: Callable[[], torch.Tensor], dtype: str) -> None:
    """Outputs are equal, and so is the gradient of a random linear function of them in every parameter."""
    with wide():
        expected = theirs()
        close(ours(net), expected, dtype, "output")
        direction = np.random.default_rng(5).standard_normal(tuple(expected.shape))
        reference.zero_grad()
        (expected * torch.tensor(direction, dtype=expected.dtype)).sum().backward()
    grads = dict(aj.grad(lambda net: aj.sum(ours(net) * direction.astype(dtype)))(net).named_parameters())
    parameters = dict(reference.named_parameters(remove_duplicate=False))
    where = sources(net, parameters).found
    assert {x.name for x in where.values()} >= {n for n, _ in reference.named_parameters()}
    assert where.keys() == grads.keys()
    for own, source in where.items():
        slope = source.taken(parameters[source.name].grad.numpy())
        # a key's bias moves all scores of a row alike: its true slope is 0, so the scale is the largest slope of all
        scale = max(np.abs(slope).max(), TOLERANCE["float32"] * max(np.abs(g).max() for g in grads.values()))
        worst = np.abs(grads[own] - slope).max()
        assert worst <= GRADIENTS[dtype] * scale, f"{own}: off by {worst / scale:.1e} of the largest entry"
