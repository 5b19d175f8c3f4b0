"""Networks of transformers as evidence: made offline, every parameter random, and compared by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

import adjoint as aj

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
# PyTorch's own float32 gradients are up to 1e-5 off its float64 ones in networks as small as these.
GRADIENTS = TOLERANCE | {"float32": 3e-5}


def randomized(module: torch.nn.Module, dtype: str = "float64", seed: int = 0) -> torch.nn.Module:
    """The module in evaluation mode with all parameters and running statistics random; a weight of 1 stays near 1."""
    rng = np.random.default_rng(seed)
    module = module.to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if not p.is_floating_point():
                continue
            scale = 0.5 if p.ndim == 1 else min(0.3, (2 / p[0].numel()) ** 0.5)
            noise = torch.tensor(scale * rng.standard_normal(p.shape))
            if "running_var" in name:
                p.copy_(0.5 + noise.abs())
            else:
                p.copy_(p.round().clamp(-1, 1) + noise if p.ndim == 1 else noise)
    return module


def state(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Its arrays by name."""
    return {name: p.detach().numpy() for name, p in module.state_dict().items()}


def close(found: Any, expected: Any, dtype: str, told: str = "", slack: float = 1.0) -> None:
    """Equal up to a share of the largest entry, `slack` times the usual one."""
    found, expected = np.asarray(found), expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    assert found.shape == expected.shape, (told, found.shape, expected.shape)
    assert found.dtype == dtype, (told, found.dtype)
    if dtype not in TOLERANCE:
        np.testing.assert_array_equal(found, expected, err_msg=told)
        return
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    worst = float(np.abs(found - expected).max(initial=0.0))
    assert worst <= slack * TOLERANCE[dtype] * scale, f"{told}: off by {worst / scale:.1e} of the largest entry"


def tuple_of(y: Any) -> tuple[Any, ...]:
    """A network's results, one or several of which some may be None."""
    return tuple(part for part in y if part is not None) if isinstance(y, tuple) else (y,)


def agree(
    net: Any, outputs: Callable[[Any], tuple[Any, ...]], expected: tuple[torch.Tensor, ...],
    parameters: Mapping[str, torch.Tensor], dtype: str, vanishing: str = r"(?!)",
    slack: float = 1.0,
) -> None:  # fmt: skip
    """Outputs are equal, and so is every gradient of one random linear function of them all.

    `parameters` are the reference's under the names that `net` gives them. Each gradient is compared with its own
    largest entry; `vanishing` is the pattern of those that are zero but for rounding, compared with the largest of all.
    `slack` widens the tolerance.
    """
    rng = np.random.default_rng(7)
    directions = [rng.standard_normal(tuple(y.shape)) for y in expected]
    for i, (found, y) in enumerate(zip(outputs(net), expected, strict=True)):
        close(found, y, dtype, f"output {i}", slack)
    terms = [(y * torch.tensor(d, dtype=y.dtype)).sum() for y, d in zip(expected, directions, strict=True)]
    loss = torch.stack(terms).sum()
    slopes = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))

    def functional(net: Any) -> Any:
        terms = [aj.sum(y * d.astype(dtype)) for y, d in zip(outputs(net), directions, strict=True)]
        return sum(terms[1:], terms[0])

    grads = dict(aj.grad(functional)(net).named_parameters())
    assert not parameters.keys() - grads.keys()
    assert all(any(g is grads[n] for n in parameters) for g in grads.values()), "a parameter without its peer"
    largest = max(float(g.abs().max()) for g in slopes.values())
    for name, g in slopes.items():
        found = np.asarray(grads[name])
        scale = largest if re.search(vanishing, name) else max(float(g.abs().max()), 1e-30)
        worst = float(np.abs(found - g.numpy()).max())
        assert worst <= slack * GRADIENTS[dtype] * scale, f"{name}: off by {worst / scale:.1e} of the largest entry"
