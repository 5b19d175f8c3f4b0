"""Parameters that are functions of others, against torch.nn.utils.parametrizations: values, gradients, state."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations, parametrize

import adjoint as aj

nn, tn = aj.nn, torch.nn
LAYERS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(5, 3, dtype="float64"), lambda: tn.Linear(5, 3), (4, 5)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3, dtype="float64"), lambda: tn.Conv2d(2, 3, 3), (2, 2, 5, 5)),
    "ConvTranspose1d": (
        lambda: nn.ConvTranspose1d(2, 3, 3, dtype="float64"),
        lambda: tn.ConvTranspose1d(2, 3, 3),
        (2, 2, 5),
    ),
}
HOW: dict[str, tuple[Any, Any]] = {
    "spectral": (nn.spectral_norm, parametrizations.spectral_norm),
    "spectral, 3 iterations": (
        lambda m: nn.spectral_norm(m, n_power_iterations=3),
        lambda m: parametrizations.spectral_norm(m, n_power_iterations=3),
    ),
    "weight": (nn.weight_norm, parametrizations.weight_norm),
    "weight, dim 1": (lambda m: nn.weight_norm(m, dim=1), lambda m: parametrizations.weight_norm(m, dim=1)),
    "weight, whole": (lambda m: nn.weight_norm(m, dim=None), lambda m: parametrizations.weight_norm(m, dim=None)),
    "both": (
        lambda m: nn.spectral_norm(nn.weight_norm(m)),
        lambda m: parametrizations.spectral_norm(parametrizations.weight_norm(m)),
    ),
}  # fmt: skip


def pair(layer: str, how: str) -> tuple[Any, Any, np.ndarray]:
    ours, theirs, shape = LAYERS[layer]
    torch.manual_seed(0)
    here, there = HOW[how][0](ours()), HOW[how][1](theirs().double())
    here.load_state_dict(there.state_dict())
    return here, there, np.random.default_rng(0).standard_normal(shape)


@pytest.mark.covers("M16")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("layer", LAYERS)
def test_as_pytorchs(layer: str, how: str) -> None:
    """Two steps of training and one of evaluation: values, gradients, power iterations; then the state goes back."""
    here, there, x = pair(layer, how)
    assert here.state_dict().keys() == there.state_dict().keys()
    assert [n for n, _ in here.named_buffers()] == [n for n, _ in there.named_buffers()]
    for step in range(3):
        if step == 2:
            here.eval(), there.eval()
        expected = there(torch.tensor(x))
        there.zero_grad()
        torch.sum(expected**2).backward()
        (_, y), grads = aj.value_and_grad(lambda net: (aj.sum((y := net(x)) ** 2), y), has_aux=True)(here)
        np.testing.assert_allclose(y, expected.detach(), 0, 1e-12)
        found = dict(grads.named_parameters())
        for name, p in there.named_parameters():
            np.testing.assert_allclose(found[name], p.grad, 0, 1e-11, err_msg=name)
        for name, buffer in there.named_buffers():
            np.testing.assert_allclose(dict(here.named_buffers())[name], buffer, 0, 1e-12, err_msg=name)
    again = HOW[how][1](LAYERS[layer][1]().double()).eval()
    again.load_state_dict({name: torch.tensor(value) for name, value in here.state_dict().items()})
    with torch.no_grad():
        np.testing.assert_allclose(again(torch.tensor(x)), y, 0, 1e-12)


@pytest.mark.covers("M16")
def test_spectral_norm_comes_to_one_by_iterations_and_at_once_when_exact() -> None:
    x = np.ones((1, 30), "float64")
    layer = nn.spectral_norm(nn.Linear(30, 20, dtype="float64", rng=0), rng=1)
    for _ in range(300):
        layer(x)
    exact = nn.spectral_norm(nn.Linear(30, 20, dtype="float64", rng=0), n_power_iterations=None)
    for each in (layer.eval(), exact):
        np.testing.assert_allclose(np.linalg.svd(each.weight)[1][0], 1.0, 0, 1e-9)
    assert sorted(exact.state_dict()) == ["bias", "parametrizations.weight.original"]


@pytest.mark.covers("M16")
@pytest.mark.parametrize("iterations", [1, None])
def test_true_norm_of_a_convolution(iterations: int | None) -> None:
    """With its map the convolution's own norm is 1; that of the reshaped kernel is another number."""

    def map(w: Any) -> aj.LinearMap:
        return aj.Convolution(w, (2, 7, 6), padding=1, stride=2)

    conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, dtype="float64", rng=0)
    conv = nn.spectral_norm(conv, n_power_iterations=iterations, map=map, rng=0)
    for _ in range(200 if iterations else 1):
        conv(np.ones((1, 2, 7, 6)))
    weight = conv.eval().weight
    np.testing.assert_allclose(float(map(weight).norm()), 1.0, 0, 1e-6)
    assert abs(float(aj.Dense(weight.reshape(4, -1)).norm()) - 1.0) > 0.05
    y = conv(x := np.random.default_rng(1).standard_normal((3, 2, 7, 6)))
    bias = np.reshape(conv.bias, (-1, 1, 1))
    assert np.all(np.sum((y - bias) ** 2, (1, 2, 3)) <= np.sum(x**2, (1, 2, 3)) * (1 + 1e-6))


def test_exact_norm_has_its_derivative() -> None:
    layer = nn.spectral_norm(nn.Linear(4, 3, bias=False, dtype="float64", rng=0), n_power_iterations=None)
    x = np.random.default_rng(0).standard_normal((2, 4))
    aj.check(lambda net: aj.sum(net(x) ** 3), layer).raise_if_wrong()


def test_second_derivatives_as_pytorchs() -> None:
    here, there, x = pair("Linear", "spectral")
    here.eval(), there.eval()
    grads = aj.grad(lambda net: aj.sum(aj.grad(lambda x: aj.sum(net(x) ** 3))(x) ** 2))(here)
    there_x = torch.tensor(x, requires_grad=True)
    (first,) = torch.autograd.grad(torch.sum(there(there_x) ** 3), there_x, create_graph=True)
    torch.sum(first**2).backward()
    for name, p in there.named_parameters():
        np.testing.assert_allclose(dict(grads.named_parameters())[name], p.grad, 1e-11, 1e-11)


@pytest.mark.parametrize("iterations", [1, None])
def test_under_jit(iterations: int | None) -> None:
    layer = nn.spectral_norm(nn.Linear(4, 3, rng=0), n_power_iterations=iterations, rng=0)
    x = np.ones((2, 4), "float32")

    @jax.jit
    def step(net: Any, x: Any) -> Any:
        grads = aj.grad(lambda net: aj.sum(net(x) ** 2))(net)
        return net, grads.parametrizations["weight"].original

    there, found = step(aj.to(layer, "jax"), jnp.asarray(x))
    grads = aj.grad(lambda net: aj.sum(net(x) ** 2))(layer)
    np.testing.assert_allclose(found, grads.parametrizations["weight"].original, 1e-4, 1e-5)
    for name, value in layer.state_dict().items():
        np.testing.assert_allclose(there.state_dict()[name], value, 1e-5, 1e-6)


def test_vectors_of_weights() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.weight = np.array([3.0, 4.0])

        def __call__(self, x: Any) -> Any:
            return self.weight * x

    np.testing.assert_allclose(nn.spectral_norm(Scale()).weight, [0.6, 0.8])


def test_assigned_removed_moved_frozen() -> None:
    layer = nn.weight_norm(nn.Linear(3, 2, dtype="float64", rng=0))
    new = np.arange(6.0).reshape(2, 3) + 1.0
    layer.weight = new
    np.testing.assert_allclose(layer.weight, new, 1e-15)
    np.testing.assert_allclose(layer.parametrizations["weight"].original0[:, 0], np.linalg.norm(new, axis=1))
    moved = aj.to(layer, "torch")
    np.testing.assert_allclose(moved.weight, new, 1e-15)
    assert nn.count_parameters(layer) == 2 + 6 + 2
    layer.parametrizations["weight"].freeze("original0")
    assert aj.grad(lambda net: aj.sum(net.weight))(layer).parametrizations["weight"].original0 is None
    assert nn.remove_reparametrization(layer, "weight") is layer
    np.testing.assert_allclose(layer.weight, new, 1e-15)
    assert sorted(layer.state_dict()) == ["bias", "weight"]


def test_one_function_after_another_as_pytorchs() -> None:
    class Doubled(nn.Module):
        def __call__(self, x: Any) -> Any:
            return 2.0 * x

    class There(tn.Module):
        def forward(self, x: Any) -> Any:
            return 2.0 * x

    here, there, _ = pair("Linear", "weight")
    here = nn.reparametrize(here, "weight", Doubled())
    parametrize.register_parametrization(there, "weight", There())
    assert here.state_dict().keys() == there.state_dict().keys()
    here.load_state_dict(there.state_dict())
    np.testing.assert_allclose(here.weight, there.weight.detach(), 1e-14)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda m: nn.spectral_norm(m, "wieght"), KeyError, "Linear has no array 'wieght'"),
        (lambda m: nn.weight_norm(m, "in_features"), KeyError, "Linear has no array 'in_features'"),
        (lambda m: nn.spectral_norm(m, n_power_iterations=0), ValueError, "n_power_iterations is positive, or None"),
        (lambda m: nn.spectral_norm(m, dim=2), IndexError, "dim 2 is out of range for a weight (2, 3)"),
        (lambda m: nn.remove_reparametrization(m, "weight"), KeyError, "has no reparametrized 'weight'"),
        (lambda m: nn.weight_norm(m).wieght, AttributeError, "Linear has no attribute 'wieght'"),
    ],
)
def test_errors(f: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        f(nn.Linear(3, 2))
    assert message in str(raised.value)
