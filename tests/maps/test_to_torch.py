"""Maps as PyTorch's functions: values, every derivative in both modes, batches, for every kind of map."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.maps import LinearMap
from adjoint.maps.moving import moved
from adjoint.maps.spaces import factors, is_product, ravel
from tests.maps.examples import EXAMPLES, Example, name, plain

# PyTorch's forward mode compiles its decompositions with it, at its first use
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

MOVABLE = [e for e in EXAMPLES if e.kind.__name__ != "Recomputed"]
every_example = pytest.mark.parametrize("example", MOVABLE, ids=name)


def tensors(space: Any, seed: int, lead: tuple[int, ...] = ()) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.standard_normal((*lead, *s)), requires_grad=True) for s in factors(space)]


def flat(A: LinearMap) -> Any:
    """The map as a function of the parts of its input that gives the parts of its output."""
    function = A.to_torch()

    def call(*parts: torch.Tensor) -> Any:
        x = parts if is_product(A.in_shape) else parts[0]
        y = function(x if A.in_tree is None else A.in_tree.tree(x))
        return y if A.out_tree is None else A.out_tree.leaves(y)

    return call


@every_example
def test_value_and_gradients(example: Example) -> None:
    """A NumPy map on tensors: its value; first and second derivatives in both modes by PyTorch's own checks."""
    A = example.build(*example.arrays())
    f, parts = flat(A), tensors(A.in_shape, 1, (2,))
    x = tuple(plain(p) for p in parts) if is_product(A.in_shape) else plain(parts[0])
    y = f(*parts)
    found, expected = ravel(y, A.out_shape).detach().numpy(), ravel(A.apply(x), A.out_shape)
    np.testing.assert_allclose(found, expected, 1e-12, 1e-12 * (1.0 + np.abs(expected).max(initial=0.0)))
    if example.kind is aj.Cast:
        return  # its float32 is too coarse for differences
    parts = tensors(A.in_shape, 1)
    few = {"fast_mode": True}  # along random directions
    assert torch.autograd.gradcheck(f, parts, check_forward_ad=True, **few)
    assert torch.autograd.gradgradcheck(f, parts, **few)


@every_example
def test_vmap_and_jacobian(example: Example) -> None:
    A = example.build(*example.arrays())
    if is_product(A.in_shape) or is_product(A.out_shape):
        return
    f, batch = flat(A), tensors(A.in_shape, 2, (3,))[0].detach()
    near = {"rtol": 1e-5, "atol": 1e-5} if example.kind is aj.Cast else {}
    torch.testing.assert_close(torch.func.vmap(f)(batch), f(batch))
    last = batch.movedim(0, -1)
    torch.testing.assert_close(torch.func.vmap(f, -1)(last), f(batch))
    expected = torch.tensor(np.asarray(A.dense()), dtype=f(batch).dtype)
    torch.testing.assert_close(torch.func.jacrev(f)(batch[0]), expected.to(batch.dtype), **near)
    torch.testing.assert_close(torch.func.jacfwd(f)(batch[0]), expected, **near)


def test_maps_of_any_backend() -> None:
    weight = np.random.default_rng(0).standard_normal((2, 3))
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    for backend in ("numpy", "torch", "jax"):
        f = aj.Dense(aj.to(weight, backend)).to_torch()
        torch.testing.assert_close(torch.autograd.grad(f(x).sum(), x)[0], torch.tensor(weight.sum(0)))


def test_a_jacobian_moves_with_what_it_computes_later() -> None:
    net = aj.nn.Sequential(aj.nn.Linear(3, 5, rng=0), aj.nn.GELU(), aj.nn.LayerNorm(5), aj.nn.Softmax()).to(
        dtype="float64"
    )
    J = aj.jacobian(net, np.array([0.3, -1.0, 2.0]))
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(J.to_torch(), (x,))
    np.testing.assert_allclose(J.to_torch()(x).detach().numpy(), J @ np.ones(3), 1e-12)
    tensor = aj.to(net, "torch")
    in_torch = aj.jacobian(tensor, torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64))
    np.testing.assert_allclose(in_torch.to_jax()(np.ones(3)), J @ np.ones(3), 1e-12)


def test_trees_are_kept() -> None:
    J = aj.jacobian(lambda p: {"sum": p["a"] + p["b"]}, {"a": np.ones(2), "b": np.ones(2)})
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    y = J.to_torch()({"a": a, "b": 2.0 * a})
    torch.testing.assert_close(torch.autograd.grad(y["sum"].sum(), a)[0], torch.full((2,), 3.0, dtype=torch.float64))


def test_clear_errors() -> None:
    f = aj.Dense(np.ones((2, 3))).to_torch()
    with pytest.raises(aj.ShapeError, match=r"Dense: the input's trailing axes must be \(3,\), got \(2,\)"):
        f(torch.ones(2))
    with aj.nn.init.only_shapes():
        layout = aj.Dense(aj.nn.Linear(3, 2).weight)
    with pytest.raises(aj.BackendError, match="only has a shape"):
        layout.to_torch()
    with pytest.raises(aj.TraceError, match="holds a traced value"):
        aj.grad(lambda w: aj.sum(aj.Dense(w).to_torch()(torch.ones(3))))(np.ones((2, 3)))
    J = aj.jacobian(aj.checkpoint(lambda x: x * x), np.ones(2))
    with pytest.raises(aj.BackendError, match="checkpointed program cannot be moved"):
        J.to_torch()
    with pytest.raises(aj.TraceError, match="JAX is tracing an array of this map"):
        jax.jit(lambda w: aj.Dense(w).to_jax()(np.ones(3)))(np.ones((2, 3)))
    assert moved(moved(aj.Dense(np.ones(1, dtype="float16")[None]), "torch"), "numpy").weight.dtype == "float16"
