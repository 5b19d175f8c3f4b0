"""Padding layers against PyTorch's: values, gradients, crops, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import adjoint as aj
from adjoint.errors import ShapeError

KINDS = ("Zero", "Constant", "Reflection", "Replication", "Circular")
SIDES: dict[int, list[Any]] = {
    1: [1, (2, 0), (0, 3)],
    2: [2, (1, 0, 2, 3), (0, 1, 0, 0)],
    3: [1, (1, 2, 0, 1, 2, 0)],
}
CASES = [(kind, ndim, sides) for kind in KINDS for ndim in SIDES for sides in SIDES[ndim]]


@pytest.mark.parametrize(("kind", "ndim", "sides"), [*CASES, ("Zero", 2, (-1, 2, 1, -2)), ("Constant", 1, (-1, -1))])
def test_layer(kind: str, ndim: int, sides: Any) -> None:
    value = (0.5,) if kind == "Constant" else ()
    mine, theirs = (getattr(nn, f"{kind}Pad{ndim}d")(sides, *value) for nn in (aj.nn, torch.nn))
    for lead in ((2, 3), (3,)):
        x = np.random.default_rng(0).normal(size=(*lead, *(5, 4, 6)[:ndim]))
        leaf = torch.tensor(x, requires_grad=True)
        wanted = theirs(leaf)
        y, pullback = aj.vjp(mine, x)
        u = np.random.default_rng(1).normal(size=y.shape)
        np.testing.assert_array_equal(y, wanted.detach().numpy())
        gradient = torch.autograd.grad(wanted, leaf, torch.tensor(u))[0].numpy()
        np.testing.assert_allclose(pullback(u)[0], gradient, rtol=0, atol=1e-14)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pytorchs_function_of_traced_values(mode: str) -> None:
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    wanted = torch.autograd.grad((F.pad(leaf, (1, 2, 3, 0), mode) ** 2).sum(), leaf)[0]
    assert torch.allclose(aj.grad(lambda x: (F.pad(x, (1, 2, 3, 0), mode) ** 2).sum())(x), wanted)


def test_refused() -> None:
    with pytest.raises(ShapeError, match="at most 3 entries"):
        aj.nn.ReflectionPad1d(4)(np.ones((1, 4)))
    with pytest.raises(ShapeError, match="4 of them"):
        aj.nn.ZeroPad2d((1, 2))
    with pytest.raises(ShapeError, match="height, width"):
        aj.nn.CircularPad2d(1)(np.ones((4, 4)))
