"""Every differentiable function of the seam on every sample.

Both directions against each other and against differences, again for the second order; the backends against each other;
float32 against float64; values and gradients against peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import trees
from adjoint.arrays.dispatch import FUNCTIONS, backend
from adjoint.arrays.traced import Traced
from adjoint.ops.define import OPERATIONS
from tests.ops.samples import JAX, SAMPLES, TORCH, bound
from tests.ops.samples.operands import Sample, floating

EVERY = [sample for samples in SAMPLES.values() for sample in samples]
each = pytest.mark.parametrize("sample", EVERY, ids=str)

# Functions of the seam that no tape needs a sample for: guards, updates in place, and new arrays made like another one
APART = {"own", "owner", "hold", "release", "verify", "zeros_like", "ones_like", "full", "asarray"}
APART |= {"linear_added"}  # writes into its operand: tests/arrays/test_sums.py


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def is_constant(name: str) -> bool:
    return "constant" in getattr(FUNCTIONS[name].table.get(Traced), "__qualname__", "")


def test_every_differentiable_function_has_a_sample() -> None:
    wanted = {name for name in FUNCTIONS if not is_constant(name) and not name.endswith("_update")} - APART
    assert wanted | OPERATIONS.keys() == SAMPLES.keys()


def test_every_sample_has_a_peer() -> None:
    assert SAMPLES.keys() == TORCH.keys() | JAX.keys()


# The function of its floating operands alone, and the cotangents it is tried with


def of_floats(sample: Sample, operands: Sequence[Any]) -> tuple[Callable[..., Any], list[Any]]:
    function, places = bound(sample), [k for k, x in enumerate(operands) if is_float(x)]

    def of(*floats: Any) -> Any:
        full = list(operands)
        for k, x in zip(places, floats, strict=True):
            full[k] = x
        return function(*full)

    return of, [operands[k] for k in places]


def is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and "float" in str(x.dtype)


def cotangents(y: Any) -> Any:
    rng = np.random.default_rng(1)
    return trees.map(lambda part: rng.normal(size=np.shape(part)).astype("float32").astype("float64"), y)


def numpy_of(x: Any) -> Any:
    return backend(type(x)).to_numpy(x)


def results(sample: Sample, move: Callable[[Any], Any], dtype: str = "float64") -> tuple[list[Any], list[Any]]:
    """Value and gradients with the operands moved to a backend, as NumPy arrays."""
    of, floats = of_floats(sample, [move(x) if isinstance(x, np.ndarray) else x for x in sample.make(dtype)])
    y, pullback = aj.vjp(of, *floats)
    u = trees.map(lambda part, like: move(part.astype(numpy_of(like).dtype)), cotangents(y), y)
    values, gradients = trees.flatten(y)[0], pullback(u)
    assert {backend(type(x)) for x in (*values, *gradients)} == {backend(type(floats[0]))}
    return [numpy_of(x) for x in values], [numpy_of(x) for x in gradients]


def assert_alike(got: Sequence[Any], wanted: Sequence[Any], sample: Sample, unit: float = 2.0**-52) -> None:
    """Equal up to rounding: 32 units for what a library's exp or erf may lose, one for every term that is summed, and
    as much more as large operands lose in an exponent."""
    sizes = [np.asarray(x) for x in sample.make() if floating(x)]
    terms = 32 + sum(x.size for x in sizes)
    largest = max(float(np.abs(x).max(initial=1.0)) for x in sizes)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        atol = terms * largest * unit * float(np.abs(b).max(initial=1.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


# One definition, checked against differences


@pytest.mark.covers("F07", "F08")
@each
def test_derivative(sample: Sample) -> None:
    report = aj.check(bound(sample), *sample.make())
    report.raise_if_wrong()
    assert all(not row.error > 1e-8 for row in report.rows)
    assert not any(row.kinks for row in report.rows)


@each
def test_second_derivative(sample: Sample) -> None:
    of, floats = of_floats(sample, sample.make())
    u = cotangents(of(*floats))
    report = aj.check(lambda *xs: aj.vjp(of, *xs)[1](u), *floats)
    report.raise_if_wrong()
    assert all(not row.error > 1e-8 for row in report.rows)


@pytest.mark.covers("F05")
@each
def test_forward_and_backward_nest_in_any_order(sample: Sample) -> None:
    """vᵀ(∂/∂x)(Jᵀu) = (∂/∂x)⟨u, Jv⟩: the second derivative by a pushforward of the pullback, by a pullback of the
    pushforward, and the value's own pushforward by a program and by the map."""
    of, floats = of_floats(sample, sample.make())
    rng = np.random.default_rng(2)
    v = [rng.normal(size=x.shape) for x in floats]
    y, J = aj.linearize(lambda xs: of(*xs), tuple(floats))
    u = cotangents(y)
    value, pushed = aj.jvp(of, floats, v)
    assert_alike(trees.flatten(value)[0], trees.flatten(y)[0], sample)
    assert_alike(trees.flatten(pushed)[0], trees.flatten(J @ tuple(v))[0], sample)
    over_backward = aj.jvp(lambda *xs: aj.vjp(of, *xs)[1](u), floats, v)[1]
    over_forward = aj.vjp(lambda *xs: aj.jvp(of, xs, v)[1], *floats)[1](u)
    assert_alike(over_backward, over_forward, sample)


# One definition, all backends


@each
def test_torch_equals_numpy(sample: Sample) -> None:
    value, gradients = results(sample, lambda x: x)
    in_torch = results(sample, torch.tensor)
    assert_alike(in_torch[0], value, sample)
    assert_alike(in_torch[1], gradients, sample)


@pytest.mark.parametrize("sample", [x for x in EVERY if x.index < 2], ids=str)
def test_jax_under_jit_equals_numpy(sample: Sample) -> None:
    value, gradients = results(sample, lambda x: x)
    of, floats = of_floats(sample, [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in sample.make()])

    @jax.jit
    def forward_and_backward(*xs: Any) -> Any:
        y, pullback = aj.vjp(of, *xs)
        return y, pullback(trees.map(jnp.asarray, cotangents(y)))

    y, found = forward_and_backward(*floats)
    assert_alike([np.asarray(x) for x in trees.flatten(y)[0]], value, sample)
    assert_alike([np.asarray(x) for x in found], gradients, sample)


@pytest.mark.parametrize("sample", [x for x in EVERY if x.name != "astype"], ids=str)
def test_float32_stays_float32(sample: Sample) -> None:
    value, gradients = results(sample, lambda x: x)
    single = results(sample, lambda x: x, "float32")
    assert {x.dtype.name for part in single for x in part} == {"float32"}
    assert_alike(single[0], value, sample, 2.0**-23)
    assert_alike(single[1], gradients, sample, 2.0**-23)


# Independent peers


@pytest.mark.covers("F03")
@each
def test_peer(sample: Sample) -> None:
    value, gradients = results(sample, lambda x: x)
    peer = by_torch if sample.name in TORCH else by_jax
    peer_value, peer_gradients = peer(sample)
    assert_alike(value, peer_value, sample)
    assert_alike(gradients, peer_gradients, sample)


def by_torch(sample: Sample) -> tuple[list[Any], list[Any]]:
    operands = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in sample.make()]
    floats = [x.requires_grad_() for x in operands if is_float(x)]
    y = TORCH[sample.name](*operands, **sample.options)
    outputs = [y] if isinstance(y, torch.Tensor) else list(y)
    parts = [torch.tensor(u) for u in trees.flatten(cotangents([x.detach().numpy() for x in outputs]))[0]]
    pairs = [(x, u) for x, u in zip(outputs, parts, strict=True) if x.requires_grad]
    found = torch.autograd.grad(
        [x for x, _ in pairs], floats, [u for _, u in pairs], allow_unused=True, materialize_grads=True
    )
    return [x.detach().numpy() for x in outputs], [g.numpy() for g in found]


def by_jax(sample: Sample) -> tuple[list[Any], list[Any]]:
    y, pullback = jax.vjp(lambda *xs: JAX[sample.name](*xs, **sample.options), *sample.make())
    return [np.asarray(y)], [np.asarray(g) for g in pullback(cotangents(np.asarray(y)))]
