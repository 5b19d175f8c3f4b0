"""What initial values do to a deep network: kept, faded, blown up; and the gradients against PyTorch's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.inspection import variance_through_depth

DEPTH, WIDTH = 30, 256
init = aj.nn.init


def stack(activation: Callable[[], Any], weight: Callable[..., Any]) -> Any:
    """30 linear layers with one activation and one way to draw the weights."""
    net, rng = aj.nn.MLP((WIDTH,) * (DEPTH + 1), activation, bias=False, rng=0), np.random.default_rng(0)
    for _, module in net.named_modules():
        if isinstance(module, aj.nn.Linear):
            module.weight = weight(module.weight.shape, rng=rng)
    return net


def ends(net: Any) -> tuple[float, float]:
    """By what the activations' size has changed after the last linear layer, and the gradients' after the first."""
    x = np.random.default_rng(1).standard_normal((64, WIDTH), "float32")
    rows = [row for row in variance_through_depth(net, x, rng=0) if row.kind == "Linear"]
    assert len(rows) == DEPTH
    return rows[-1].activation / rows[0].activation, rows[0].gradient / rows[-1].gradient


@pytest.mark.covers("N04")
def test_he_keeps_the_variance_of_a_rectifier() -> None:
    for draw in (init.kaiming_normal, init.kaiming_uniform):
        forth, back = ends(stack(aj.nn.ReLU, functools.partial(draw, nonlinearity="relu")))
        assert 0.1 < forth < 10.0  # its logarithm has a variance of about 5 · depth/width
        assert 0.1 < back < 10.0


@pytest.mark.covers("N04")
def test_xavier_keeps_the_variance_of_tanh_and_loses_a_rectifiers() -> None:
    gain = init.calculate_gain("tanh")
    forth, back = ends(stack(aj.nn.Tanh, lambda shape, rng: init.xavier_normal(shape, gain, rng)))
    assert 0.2 < forth < 2.0
    assert 1.0 < back ** (1.0 / (DEPTH - 1)) < 1.25  # the price: gain² E tanh'² is a little above 1
    forth, back = ends(stack(aj.nn.Tanh, init.xavier_normal))
    assert min(forth, back) > 1e-3  # without the gain it fades no faster than 1/depth
    forth, back = ends(stack(aj.nn.ReLU, init.xavier_normal))  # half a variance every layer
    np.testing.assert_allclose(np.log2([forth, back]), -(DEPTH - 1), 0.1)


def test_too_small_fades_and_too_large_blows_up() -> None:
    forth, back = ends(stack(aj.nn.Tanh, lambda shape, rng: init.normal(shape, 0.01, rng)))
    assert max(forth, back) < 1e-30**0.5
    forth, back = ends(stack(aj.nn.ReLU, lambda shape, rng: init.normal(shape, 0.5, rng)))
    assert min(forth, back) > 1e30


def test_orthogonal_keeps_a_linear_network_exactly() -> None:
    forth, back = ends(stack(aj.nn.Identity, init.orthogonal))
    np.testing.assert_allclose([forth, back], 1.0, 1e-5)


def test_gradients_are_pytorchs() -> None:
    net = aj.nn.Sequential(
        aj.nn.Linear(5, 4, rng=0), aj.nn.Residual(aj.nn.Sequential(aj.nn.Tanh(), aj.nn.Linear(4, 4, rng=1)))
    )
    x = np.random.default_rng(0).standard_normal((6, 5), "float32")
    rows = variance_through_depth(net, x, rng=0)
    assert [(row.name, row.kind) for row in rows] == [
        ("0", "Linear"), ("1.inner.0", "Tanh"), ("1.inner.1", "Linear"), ("1", "Residual"),
    ]  # fmt: skip
    w = {name: torch.tensor(p) for name, p in net.named_parameters()}
    a = torch.nn.functional.linear(torch.tensor(x), w["0.weight"], w["0.bias"]).requires_grad_()
    b = torch.tanh(a)
    c = torch.nn.functional.linear(b, w["1.inner.1.weight"], w["1.inner.1.bias"])
    y = a + c
    u = torch.tensor(np.random.default_rng(0).standard_normal((6, 4)), dtype=torch.float32)
    for row, z in zip(rows, (a, b, c, y), strict=True):
        (g,) = torch.autograd.grad(y, z, u, retain_graph=True)
        np.testing.assert_allclose(
            [row.activation, row.gradient], [float((z.detach() ** 2).mean()), float((g**2).mean())], 1e-5
        )
    text = str(rows)
    assert text.splitlines()[0].split() == ["layer", "activation²", "gradient²"]
    assert len(text.splitlines()) == 5
