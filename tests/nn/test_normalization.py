"""Normalizations against PyTorch's modules and JAX's Jacobians: statistics, state, kernels, large arrays, errors.

The modules' values and gradients on PyTorch's own samples are compared in tests/pytorch.
"""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import arrays as xp
from adjoint.arrays.dispatch import backend
from adjoint.arrays.traced import Traced

nn, tn = aj.nn, torch.nn
EPS = float(np.finfo("float64").eps)
TRACKED: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "BatchNorm1d": (nn.BatchNorm1d, tn.BatchNorm1d, (5, 3)),
    "BatchNorm1d, positions": (nn.BatchNorm1d, tn.BatchNorm1d, (5, 3, 4)),
    "BatchNorm2d": (nn.BatchNorm2d, tn.BatchNorm2d, (2, 3, 4, 3)),
    "BatchNorm3d": (nn.BatchNorm3d, tn.BatchNorm3d, (2, 3, 2, 2, 2)),
    "InstanceNorm1d": (nn.InstanceNorm1d, tn.InstanceNorm1d, (2, 3, 4)),
    "InstanceNorm2d": (nn.InstanceNorm2d, tn.InstanceNorm2d, (2, 3, 4, 3)),
    "InstanceNorm2d, one example": (nn.InstanceNorm2d, tn.InstanceNorm2d, (3, 4, 3)),
}


def plain(x: Any) -> Any:
    return backend(type(x)).to_numpy(x)


def pair(name: str, **options: Any) -> tuple[Any, Any, tuple[int, ...]]:
    ours, theirs, shape = TRACKED[name]
    torch.manual_seed(0)
    there = theirs(3, affine=True, track_running_stats=True, dtype=torch.float64, **options)
    with torch.no_grad():
        for p in there.parameters():
            p.copy_(torch.randn_like(p))
    here = ours(3, affine=True, track_running_stats=True, dtype="float64", **options)
    here.load_state_dict(there.state_dict())
    return here, there, shape


def inputs(shape: tuple[int, ...], count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [3.0 * rng.standard_normal(shape) + 2.0 for _ in range(count)]


@pytest.mark.covers("N01")
@pytest.mark.parametrize(
    ("name", "momentum", "to"),
    [(name, momentum, to) for name in TRACKED for momentum in (0.1, None) for to in ("numpy", "torch")]
    + [("BatchNorm1d", None, "jax")],
)
def test_training_and_evaluation_as_pytorchs(name: str, momentum: float | None, to: str) -> None:
    """Values, gradients and running statistics over three steps, then by the running ones; the state goes back."""
    with jax.enable_x64(True):
        net, there, shape = pair(name, momentum=momentum)
        net = aj.to(net, to)
        for step, x in enumerate(inputs(shape, 5)):
            if step == 3:
                net.eval(), there.eval()
            expected = there(x_there := torch.tensor(x, requires_grad=True))
            there.zero_grad()
            c = np.random.default_rng(step).standard_normal(shape)
            (expected * torch.tensor(c)).sum().backward()
            x, c = aj.to((x, c), to)
            (_, value), (grads, gradient) = aj.value_and_grad(
                lambda net, x, c=c: (aj.sum((y := net(x)) * c), y), (0, 1), has_aux=True
            )(net, x)
            np.testing.assert_allclose(plain(value), expected.detach(), 0, 1e-12)
            np.testing.assert_allclose(plain(gradient), x_there.grad, 0, 1e-12)
            np.testing.assert_allclose(plain(grads.weight), there.weight.grad, 0, 1e-11)
            np.testing.assert_allclose(plain(grads.bias), there.bias.grad, 0, 1e-11)
            assert grads.running_mean is grads.running_var is grads.num_batches_tracked is None
            state = net.state_dict()
            assert state.keys() == there.state_dict().keys()
            for key, tensor in there.state_dict().items():
                np.testing.assert_allclose(plain(state[key]), tensor, 0, 1e-12, err_msg=key)
    again = type(there)(3, affine=True, track_running_stats=True, dtype=torch.float64)
    again.load_state_dict({key: torch.as_tensor(plain(x)) for key, x in state.items()})
    with torch.no_grad():
        np.testing.assert_allclose(plain(value), again.eval()(torch.tensor(plain(x))), 0, 1e-12)


@pytest.mark.parametrize("options", [{"track_running_stats": False}, {"affine": False}, {"bias": False}])
def test_batch_norm_without_parts(options: dict[str, bool]) -> None:
    net, there = nn.BatchNorm1d(3, dtype="float64", **options), tn.BatchNorm1d(3, dtype=torch.float64, **options)
    assert net.state_dict().keys() == there.state_dict().keys()
    for x in inputs((4, 3), 2):
        np.testing.assert_allclose(net(x), there(torch.tensor(x)).detach(), 0, 1e-12)
        net.eval(), there.eval()


def test_a_step_under_jit_returns_the_statistics() -> None:
    """Two compiled steps of a network with batch normalization equal two on NumPy; nothing is left of the tracing."""
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((2, 8, 3)).astype("float32")
    start = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1, rng=1))

    def step(net: Any, x: Any) -> Any:
        grads = aj.grad(lambda net: aj.mean(aj.square(net(x))))(net)
        net[0].weight = net[0].weight - 0.1 * grads[0].weight
        return net

    eager, compiled = aj.to(start, "numpy"), aj.to(start, "jax")
    jitted = jax.jit(step)
    for x in xs:
        eager, compiled = step(eager, x), jitted(compiled, jnp.asarray(x))
    assert int(compiled[1].num_batches_tracked) == 2
    for name, x in eager.named_arrays():
        found = dict(compiled.named_arrays())[name]
        assert isinstance(found, jax.Array)
        assert not isinstance(found, (Traced, jax.core.Tracer))
        np.testing.assert_allclose(found, x, 1e-5, 1e-6, err_msg=name)


# What a normalization cannot see


def functions(w: Any) -> dict[str, Any]:
    """Each normalization of x (4, 6, 5) with next to no eps, and over which axes its statistics go."""
    tiny = 1e-300
    return {
        "layer": (lambda x: aj.layer_norm(x, w, eps=tiny), (-1,), True),
        "layer of two axes": (lambda x: aj.layer_norm(x, ndim=2, eps=tiny), (-2, -1), True),
        "rms": (lambda x: aj.rms_norm(x, w, eps=tiny), (-1,), False),
        "batch": (lambda x: aj.batch_norm(x, training=True, eps=tiny), (-3, -1), True),
        "instance": (lambda x: aj.instance_norm(x, eps=tiny), (-1,), True),
    }


@pytest.mark.covers("N02")
@pytest.mark.parametrize("name", functions(None))
def test_jacobian_is_a_scaled_projection_with_known_kernel(name: str) -> None:
    """The Jacobian equals JAX's; its kernel is spanned by the constant and by the normalized x of every group."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 6, 5)), rng.uniform(0.5, 2.0, 5)
    f, axes, centred = functions(w)[name]
    J = aj.jacobian(f, x)
    with jax.enable_x64(True):
        np.testing.assert_allclose(J.dense(), jax.jacobian(lambda x: f(x))(jnp.asarray(x)), 0, 1e-11)
    groups = x.size // int(np.prod([x.shape[a] for a in axes]))
    assert J.nullity() == groups * (2 if centred else 1)
    hat = x - centred * x.mean(axes, keepdims=True)
    kernel = J.kernel()
    for v in [hat, *([np.ones_like(x)] if centred else [])]:
        np.testing.assert_allclose(J @ v, 0.0, 0, 1e-12)
        assert abs(float(aj.norm(kernel.T @ v)) - float(aj.norm(v))) < 1e-10
    sigma = np.sqrt(np.mean(hat**2, axes, keepdims=True)) / (w if name in ("layer", "rms") else 1.0)
    P = np.broadcast_to(sigma, x.shape).reshape(-1, 1) * J.matrix()
    np.testing.assert_allclose(P @ P, P, 0, 1e-12)
    np.testing.assert_allclose(P, P.T, 0, 1e-12)


@pytest.mark.covers("N02")
def test_in_evaluation_the_jacobian_is_diagonal() -> None:
    net = nn.BatchNorm2d(3, dtype="float64").eval()
    net.running_mean, net.running_var = np.array([1.0, -2.0, 0.5]), np.array([0.5, 2.0, 4.0])
    net.weight = np.array([1.0, -3.0, 2.0])
    J = aj.jacobian(net, np.random.default_rng(0).standard_normal((2, 3, 2, 2)))
    assert isinstance(J, aj.Diagonal)
    slopes = np.broadcast_to((net.weight / np.sqrt(net.running_var + 1e-5)).reshape(3, 1, 1), (2, 3, 2, 2))
    np.testing.assert_allclose(J.d, slopes, 1e-14)


def test_singular_values_of_a_large_batch_need_no_matrix() -> None:
    x = np.random.default_rng(0).standard_normal((50, 4, 20, 20))
    J = aj.jacobian(lambda x: aj.batch_norm(x, training=True, eps=1e-30), x)
    rank, norm = J.rank(), J.norm()
    assert (rank, rank.method) == (x.size - 8, "closed form")
    np.testing.assert_allclose(float(norm), (1.0 / x.std((0, 2, 3))).max(), 1e-12)


# Kernels


LARGE: dict[str, tuple[Any, Any, tuple[int, ...], tuple[int, ...]]] = {
    "layer_norm": (aj.layer_norm, lambda x, w, b: torch.layer_norm(x, w.shape, w, b), (300, 96), (96,)),
    "rms_norm": (
        lambda x, w, b: aj.rms_norm(x, w, eps=1e-5),
        lambda x, w, b: torch.rms_norm(x, w.shape, w, 1e-5) + 0.0 * b,
        (300, 96),
        (96,),
    ),
    "batch_norm": (
        lambda x, w, b: aj.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, True),
        (16, 6, 16, 18),
        (6,),
    ),
    "group_norm": (
        lambda x, w, b: aj.group_norm(x, w, b, num_groups=2),
        lambda x, w, b: torch.nn.functional.group_norm(x, 2, w, b),
        (8, 6, 24, 24),
        (6,),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LARGE)
def test_kernels_on_large_arrays(name: str, dtype: str) -> None:
    """Values, gradients and a Hessian-vector product where NumPy runs compiled kernels, far from zero."""
    f, there, shape, of = LARGE[name]
    rng = np.random.default_rng(0)
    x, w, b, u, v = (rng.standard_normal(s).astype(dtype) for s in (shape, of, of, shape, shape))
    x = x + np.asarray(20.0, dtype)  # a mean that an uncentred variance would drown in
    near = 2e-4 if dtype == "float32" else 1e-11
    y, pullback = aj.vjp(f, x, w, b)
    tensors = [torch.tensor(p.astype("float64"), requires_grad=True) for p in (x, w, b)]
    expected = there(*tensors)
    with torch.no_grad():
        np.testing.assert_allclose(y, expected, 0, near * float(expected.abs().max()))
    wanted = torch.autograd.grad(expected, tensors, torch.tensor(u).double(), create_graph=True)
    for g, h in zip(pullback(u), wanted, strict=True):
        assert g.dtype == dtype
        np.testing.assert_allclose(g, h.detach(), 0, near * float(h.detach().abs().max()))
    second = aj.grad(lambda x: aj.sum(aj.vjp(lambda x: f(x, w, b), x)[1](u)[0] * v))(x)
    (beyond,) = torch.autograd.grad((wanted[0] * torch.tensor(v)).sum(), tensors[0])
    np.testing.assert_allclose(second, beyond, 0, 5.0 * near * float(beyond.abs().max()))


def test_kernels_and_plain_forms_meet_where_they_take_over() -> None:
    """Strided, short-rowed and single-precision arrays, broadcast cotangents and batches of them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 300))
    w = rng.standard_normal(300)
    _, mu, scale = xp.normalize_rows(x, w, w)
    batch = rng.standard_normal((2, 64, 300))
    for args in [
        (np.broadcast_to(w, x.shape), x, mu, scale, w, (-1,)),
        (batch, x, mu, scale, w, (-1,)),
        (x, np.asfortranarray(x), mu, scale, None, (-1,)),
        (x, x, None, scale, w, (-1,)),
    ]:
        product = xp.normalization_product
        np.testing.assert_allclose(product(*args), product.table.composed(*args), 0, 1e-13)  # type: ignore[attr-defined]
    short = rng.standard_normal((2000, 10))
    for a, b in zip(xp.normalize_rows(short), xp.normalize_rows.table.composed(short), strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(a, b)


def test_constant_rows_and_half_precision() -> None:
    assert np.all(aj.layer_norm(np.full((100, 300), 3.0, "float32")) == 0.0)
    assert np.all(aj.batch_norm(np.full((100, 4, 60), 3.0), training=True) == 0.0)
    x = (500.0 * np.random.default_rng(0).standard_normal((4, 300))).astype("float16")  # whose squares overflow
    for f in (aj.layer_norm, aj.rms_norm):
        y = f(x)
        assert y.dtype == "float16"
        np.testing.assert_allclose(y, f(x.astype("float64")), 0, 2e-3)
        assert aj.grad(lambda x, f=f: aj.sum(f(x)))(x).dtype == "float16"


# Errors


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), "batch_norm: one value per channel in an input (1, 3)"),
        (lambda: nn.InstanceNorm1d(3)(np.ones((2, 3, 1))), "instance_norm: one value per channel"),
        (lambda: aj.group_norm(np.ones((1, 3)), num_groups=3), "group_norm: one value per group"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 3))), "BatchNorm2d: x has 4 axes"),
        (lambda: nn.InstanceNorm1d(3)(np.ones(3)), "InstanceNorm1d: x has 2 or 3 axes"),
        (lambda: nn.BatchNorm1d(4)(np.ones((2, 3))), "has 3 channels on axis 1, so weight is (3,), not (4,)"),
        (lambda: aj.batch_norm(np.ones((2, 3)), np.ones(4), np.ones(3)), "so running_mean is (3,), not (4,)"),
        (lambda: aj.batch_norm(np.ones((2, 3))), "running_mean and running_var must be given"),
        (lambda: aj.batch_norm(np.ones((2, 3)), training=True, eps=0.0), "eps keeps a constant channel's scale finite"),
        (lambda: aj.batch_norm(np.ones(3), training=True), "channels on axis 1, got (3,); add a batch axis"),
        (lambda: aj.group_norm(np.ones((2, 3)), num_groups=2), "2 groups of the 3 channels"),
        (lambda: nn.GroupNorm(2, 3), "3 channels cannot be divided into 2 groups"),
        (lambda: aj.local_response_norm(np.ones((2, 3)), 2), "local_response_norm: x is (n, C, …)"),
        (lambda: aj.layer_norm(np.ones((2, 3)), np.ones(4)), "layer_norm: weight (4,) does not fit the input (2, 3)"),
        (
            lambda: aj.grad(lambda x: aj.sum(aj.rms_norm(x, np.ones(4))))(np.ones((2, 3))),
            "rms_norm: weight (4,) does not fit the input (2, 3)",
        ),
    ],
)
def test_errors(f: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        f()
