"""A PyTorch module beside its translation: outputs and the gradients of all parameters from one cotangent."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

import adjoint as aj
from adjoint.arrays.dispatch import is_floating
from adjoint.interop.torch_export import from_torch

LIMITS = {"float32": 1e-5, "float64": 1e-10}


def randomized(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module with every parameter and floating buffer drawn: none stays at 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in [*module.named_parameters(), *module.named_buffers()]:
            if not x.is_floating_point() or "inv_freq" in name:
                continue
            draw = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            positive = "running_var" in name
            spread = 0.5 if x.ndim < 2 else (x.numel() / x.shape[0]) ** -0.5
            x.copy_(0.5 + draw.abs() if positive else (1.0 if x.ndim < 2 and "weight" in name else 0.0) + spread * draw)
    return module.eval()


def leaves(x: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, array) of the arrays in a result; numbers and None as they are."""
    if dataclasses.is_dataclass(x) and not isinstance(x, Mapping):
        x = {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}
    if isinstance(x, Mapping):
        for k, v in x.items():
            yield from leaves(v, f"{prefix}.{k}")
    elif isinstance(x, (list, tuple)):
        for k, v in enumerate(x):
            yield from leaves(v, f"{prefix}.{k}")
    else:
        yield prefix, x


def close(got: Any, expected: Any, limit: float, what: str) -> None:
    """Equal in parts of the largest entry."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    assert np.isfinite(expected).all(), f"{what}: the reference is not finite"
    error = np.abs(got - expected).max(initial=0.0)
    assert error <= limit * max(np.abs(expected).max(initial=0.0), 1e-3), f"{what}: off by {error:.2e}"


def moved(x: Any, dtype: str) -> Any:
    """Inputs with their floating tensors in a dtype."""
    if isinstance(x, torch.Tensor):
        return x.to(getattr(torch, dtype)) if x.is_floating_point() else x
    if isinstance(x, (list, tuple)):
        return type(x)(moved(part, dtype) for part in x)
    return {k: moved(part, dtype) for k, part in x.items()} if isinstance(x, dict) else x


def arrays(x: Any) -> Any:
    """Inputs as NumPy's arrays."""
    if isinstance(x, torch.Tensor):
        return x.detach().numpy().copy()
    if isinstance(x, (list, tuple)):
        return type(x)(arrays(part) for part in x)
    return {k: arrays(part) for k, part in x.items()} if isinstance(x, dict) else x


def floating(result: Any) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in leaves(result) if hasattr(v, "dtype") and is_floating(v.dtype)]


def compare(
    module: torch.nn.Module, *args: Any, dtype: str = "float32", limit: float | None = None, **kwargs: Any
) -> Any:
    """Export, run and differentiate; assert equality with PyTorch; returns the translation."""
    limit = limit or LIMITS[dtype]
    module = copy.deepcopy(module).to(getattr(torch, dtype)).eval()
    args, kwargs = moved(args, dtype), moved(kwargs, dtype)
    net = from_torch(module, *copy.deepcopy(args), **copy.deepcopy(kwargs))
    expected = module(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    got = net(*arrays(args), **arrays(kwargs))
    wanted = {k: v for k, v in leaves(expected) if v is not None}
    found = {k: v for k, v in leaves(got) if v is not None}
    assert wanted.keys() == found.keys()
    for k, v in wanted.items():
        if isinstance(v, torch.Tensor):
            close(found[k], v.detach().numpy(), limit, f"output{k}")
            assert str(found[k].dtype) == str(v.dtype).removeprefix("torch."), (k, found[k].dtype, v.dtype)
        else:
            assert found[k] == v
    gradients(module, net, expected, args, kwargs, limit)
    return net


def gradients(module: Any, net: Any, expected: Any, args: Any, kwargs: Any, limit: float) -> None:
    rng = np.random.default_rng(7)
    cotangents = {k: rng.standard_normal(tuple(v.shape)) for k, v in floating(expected) if v.requires_grad}
    if not cotangents:
        return
    scalar = sum((v * torch.tensor(cotangents[k]).to(v)).sum() for k, v in floating(expected) if k in cotangents)
    module.zero_grad()
    scalar.backward()
    peers = {k: p.grad for k, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}

    def loss(net: Any) -> Any:
        parts = dict(floating(net(*arrays(args), **arrays(kwargs))))
        total = 0.0
        for k, c in cotangents.items():
            total = total + aj.sum(parts[k] * c.astype(str(parts[k].dtype)))
        return total

    if not peers:
        return
    ours = dict(aj.grad(loss)(net).named_arrays())
    scale = max(float(g.abs().max()) for g in peers.values() if g is not None and g.numel())
    for k, peer in peers.items():
        peer = np.zeros(ours[k].shape) if peer is None else peer.numpy()
        error = np.abs(np.asarray(ours[k]) - peer).max(initial=0.0)
        assert error <= limit * max(np.abs(peer).max(initial=0.0), 0.1 * scale), f"gradient of {k}: off by {error:.2e}"
