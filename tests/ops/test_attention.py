"""Attention in all its forms: PyTorch's values and gradients, the block-wise kernel, sparse and linear attention."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray, Tally, count

attention = aj.scaled_dot_product_attention


def normal(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng([len(shape), *shape]).standard_normal(shape).astype(dtype)


def operands(n: int, m: int, e: int, d: int, *lead: int, dtype: str = "float64") -> list[np.ndarray]:
    rng = np.random.default_rng(n + m)
    return [rng.standard_normal((*lead, *s)).astype(dtype) for s in ((n, e), (m, e), (m, d))]


def assert_equals_torch(ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[Any], eps: float) -> None:
    """Value and all gradients, to eps of their size."""
    tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
    expected = theirs(*tensors)
    u = normal(*expected.shape, dtype=arrays[0].dtype.name)
    value, pullback = aj.vjp(ours, *arrays)
    gradients = torch.autograd.grad(expected, tensors, torch.tensor(u))
    for got, wanted in zip((value, *pullback(u)), (expected, *gradients), strict=True):
        wanted = wanted.detach().numpy()
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=0, atol=eps * max(1.0, np.abs(wanted).max(initial=0.0)))


# PyTorch's function


def opinfo() -> list[Any]:
    """PyTorch's own samples but those with dropout, whose random numbers are its own."""
    from torch.testing._internal.common_methods_invocations import op_db

    (op,) = [o for o in op_db if o.name == "nn.functional.scaled_dot_product_attention"]
    samples = op.sample_inputs("cpu", torch.float64, requires_grad=False)
    return [s for s in samples if not s.kwargs.get("dropout_p")]


@pytest.mark.covers("A01")
@pytest.mark.parametrize("sample", opinfo())
def test_on_pytorchs_own_samples(sample: Any) -> None:
    mask = sample.kwargs.pop("attn_mask", None)
    ours = {**sample.kwargs, "attn_mask": None if mask is None else mask.numpy().copy()}
    arrays = [x.numpy().copy() for x in (sample.input, *sample.args)]
    theirs = {**sample.kwargs, "attn_mask": mask}
    assert_equals_torch(
        lambda *xs: attention(*xs, **ours), lambda *xs: F.scaled_dot_product_attention(*xs, **theirs), arrays, 1e-10
    )


MASKS: dict[str, Any] = {
    "none": lambda n, m: None,
    "boolean": lambda n, m: np.random.default_rng(3).random((2, 1, n, m)) < 0.7,
    "a row hidden": lambda n, m: np.arange(n)[:, None] != 1,
    "numbers": lambda n, m: np.where(np.random.default_rng(4).random((n, m)) < 0.2, -np.inf, normal(n, m)),
    "keys": lambda n, m: normal(1, m),
}


@pytest.mark.covers("A01", "A06")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("n", [7, 120])  # the plain form, and the kernel's blocks
def test_masks_as_pytorch_means_them(n: int, mask: str, causal: bool) -> None:
    m = n + 5
    hidden = MASKS[mask](n, m)
    given = None if hidden is None else torch.tensor(hidden)
    if causal and mask != "none":  # both at once: PyTorch has it as one mask
        triangle = np.tri(n, m, dtype=bool)
        given = torch.tensor(hidden & triangle if hidden.dtype == bool else np.where(triangle, hidden, -np.inf))
    assert_equals_torch(
        lambda *xs: attention(*xs, hidden, is_causal=causal),
        lambda *xs: F.scaled_dot_product_attention(*xs, given, is_causal=causal and mask == "none"),
        operands(n, m, 6, 6, 2, 3),
        1e-10,
    )
    p = aj.attention_weights(*operands(n, m, 6, 6, 2, 3)[:2], hidden, causal)
    whole = np.array([0.0, 1.0])[(p > 0).any(-1).astype(int)]
    np.testing.assert_allclose(p.sum(-1), whole, atol=1e-14)
    assert (p[..., 1, :] == 0).all() == (mask == "a row hidden")


@pytest.mark.parametrize("n", [5, 70])
def test_grouped_queries_share_keys(n: int) -> None:
    q, _, _ = operands(n, n, 4, 4, 2, 6)
    _, k, v = operands(n, n, 4, 4, 2, 2)
    mask = np.random.default_rng(0).random((2, 6, n, n)) < 0.8
    for m in (None, mask, mask[:1, :1], mask[0, 0]):
        given = None if m is None else torch.tensor(m)
        assert_equals_torch(
            lambda *xs, m=m: attention(*xs, m, enable_gqa=True),
            lambda *xs, given=given: F.scaled_dot_product_attention(*xs, given, enable_gqa=True),
            [q, k, v],
            1e-10,
        )


def test_learned_additive_masks_have_gradients() -> None:
    q, k, v = operands(40, 50, 4, 4, 2, 3)
    bias = normal(3, 40, 50)
    assert_equals_torch(
        lambda q, b: attention(q, k, v, b),
        lambda q, b: F.scaled_dot_product_attention(q, torch.tensor(k), torch.tensor(v), b),
        [q, bias],
        1e-10,
    )


@pytest.mark.parametrize(("n", "dtype", "eps"), [(6, "float64", 1e-10), (90, "float64", 1e-10), (90, "float32", 1e-5)])
@pytest.mark.parametrize("heads_inside", [False, True])
def test_soft_cap_scale_and_window(n: int, dtype: str, eps: float, heads_inside: bool) -> None:
    """c tanh(s/c) as FlexAttention's samples and Gemma 2 have it; a window is its mask; heads may lie inside rows."""

    def theirs(q: Any, k: Any, v: Any) -> Any:
        s = 3.0 * torch.tanh(0.4 * (q @ k.mT) / 3.0)
        seen = torch.tensor(aj.local_mask(n, n + 3, 4, 2))
        return torch.softmax(torch.where(seen, s, -torch.inf), -1) @ v

    arrays = operands(n, n + 3, 5, 8, 2, 2, dtype=dtype)
    if heads_inside:
        arrays = [x.swapaxes(1, 2).copy().swapaxes(1, 2) for x in arrays]
    assert_equals_torch(lambda *xs: attention(*xs, scale=0.4, window=(4, 2), softcap=3.0), theirs, arrays, eps)


def test_dropout_by_a_key() -> None:
    q, k, v = operands(30, 30, 4, 4, 2)
    first, again = (attention(q, k, v, dropout_p=0.5, dropout_key=1) for _ in range(2))
    p = aj.attention_weights(q, k)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, aj.dropout(p, 0.5, 1) @ v, atol=1e-14)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_masks_of_numpy_serve_every_backend(backend: str) -> None:
    q, k, v = operands(5, 6, 4, 4, 2)
    mask = aj.causal_mask(5, 6)
    move = torch.tensor if backend == "torch" else jnp.asarray
    on = lambda *xs: attention(*xs, mask, window=(3, None))  # noqa: E731
    run = jax.jit(on) if backend == "jax" else on
    with jax.enable_x64(True):
        np.testing.assert_allclose(np.asarray(run(*map(move, (q, k, v)))), on(q, k, v), atol=1e-14)


# Derivatives, and what they are made of


@pytest.mark.covers("A07")
def test_softmax_and_attention_have_jaxs_jacobians() -> None:
    q, k, v = operands(4, 5, 3, 2)
    with jax.enable_x64(True):
        row = normal(6)
        expected = jax.jit(jax.jacobian(jax.nn.softmax))(row)
        np.testing.assert_allclose(aj.jacobian(aj.softmax, row).dense(), expected, atol=1e-14)
        plain = lambda q, k, v: jax.nn.softmax(q @ k.T / math.sqrt(3)) @ v  # noqa: E731
        theirs = jax.jit(jax.jacobian(plain, (0, 1, 2)))(q, k, v)
        ours = aj.jacobian(attention, q, k, v).dense()
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-13)
    p = aj.softmax(row)
    np.testing.assert_allclose(aj.jacobian(aj.softmax, row).dense(), np.diag(p) - np.outer(p, p), atol=1e-15)


@pytest.mark.covers("A07")
def test_hessian_products_are_jaxs() -> None:
    q, k, v = operands(4, 5, 3, 2)
    v_q = normal(4, 3)

    def loss(xp: Any) -> Callable[[Any], Any]:
        return lambda q: xp.sum(xp.tanh(attention(q, k, v, is_causal=True) if xp is aj else plain(q)))

    def plain(q: Any) -> Any:
        return jax.nn.softmax(jnp.where(np.tri(4, 5, dtype=bool), q @ k.T / math.sqrt(3), -jnp.inf)) @ v

    with jax.enable_x64(True):
        expected = jax.jit(lambda q, dq: jax.jvp(jax.grad(loss(jnp)), (q,), (dq,))[1])(q, v_q)
        np.testing.assert_allclose(aj.hvp(loss(aj), q, v_q), expected, atol=1e-13)


@pytest.mark.covers("A13")
@given(st.permutations(range(6)), st.permutations(range(5)))
def test_without_positions_it_is_permutation_equivariant(rows: list[int], cols: list[int]) -> None:
    """Queries in another order give results in that order; keys with their values in any order give the same."""
    q, k, v = operands(6, 5, 4, 3)
    y = attention(q, k, v)
    np.testing.assert_allclose(attention(q[rows], k, v), y[rows], atol=1e-14)
    np.testing.assert_allclose(attention(q, k[cols], v[cols]), y, atol=1e-14)
    assert np.abs(attention(q, k, v, is_causal=True) - y).max() > 1e-3


@pytest.mark.covers("M15")
@given(st.integers(1, 4), st.integers(5, 9), st.integers(5, 9))
def test_scores_have_at_most_the_rank_of_the_head(d: int, n: int, m: int) -> None:
    """Rank of Q Kᵀ ≤ d_k, so a head's pattern of log-weights has at most d_k + 1: one more for the rows' sums."""
    q, k, _ = operands(n, m, d, 1)
    assert aj.Dense(q @ k.T).rank() == d
    log_weights = np.log(aj.attention_weights(q, k))
    assert aj.Dense(log_weights).rank() <= d + 1
    assert aj.LowRank(q, k.T).rank() == d


@pytest.mark.covers("A02")
def test_scores_have_variance_d_and_saturate_without_the_scale() -> None:
    """q·k of independent standard normal entries: mean 0, variance d, fourth moment 3d² + 6d (of q·k)."""
    n = 20_000
    for d in (4, 64):
        rng = np.random.default_rng(d)
        dots = np.sum(rng.standard_normal((n, d)) * rng.standard_normal((n, d)), -1)
        assert abs(dots.mean()) < 4.0 * math.sqrt(d / n)
        assert abs(dots.var() - d) < 4.0 * math.sqrt((2 * d * d + 6 * d) / n)
    q, k = (np.random.default_rng(i).standard_normal((200, 256)) for i in (0, 1))
    scaled, raw = (aj.attention_weights(q, k, scale=s).max(-1).mean() for s in (1 / 16, 1.0))
    assert scaled < 0.15
    assert raw > 0.8
    slope = lambda p: np.linalg.norm(np.diag(p) - np.outer(p, p))  # noqa: E731
    scaled, raw = (np.mean([slope(p) for p in aj.attention_weights(q, k, scale=s)]) for s in (1 / 16, 1.0))
    assert raw > scaled  # a few rows are undecided between two keys
    raw = np.median([slope(p) for p in aj.attention_weights(q, k, scale=1.0)])
    assert raw < 0.5 * scaled or raw < 0.1


# Memory and cost


@pytest.mark.covers("A04")
def test_memory_grows_with_the_length_not_its_square() -> None:
    """Forward and backward of 4096 positions in a few times their operands, where the weights alone are 64 MiB."""
    q, k, v, u = (normal(1, 4096, 16, dtype="float32") for _ in range(4))
    grad = aj.grad(lambda *xs: aj.sum(u * attention(*xs, is_causal=True)), argnums=(0, 1, 2))
    few = [x[:, :256] for x in (q, k, v)]
    aj.vjp(lambda *xs: attention(*xs, is_causal=True), *few)[1](u[:, :256])  # the kernels are loaded
    tracemalloc.start()
    try:
        grad(q, k, v)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * q.nbytes
    assert peak * 10 < 4096 * 4096 * 4


@pytest.mark.covers("A04", "A05")
def test_costs() -> None:
    """4 n² d FLOPs in products forward, memory linear in n; with a window the FLOPs grow with n alone."""

    def cost(n: int, **options: Any) -> Tally:
        x = ShapeArray((8, n, 64), "float32")
        with count() as tally:
            attention(x, x, x, **options)
        return tally

    for n in (128, 1024):
        assert cost(n).matmul_flops == 4 * 8 * n * n * 64
        assert cost(n).peak_bytes == 8 * n * 65 * 4
        assert cost(n, window=(16, 0)).matmul_flops == 4 * 8 * n * 17 * 64


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"window": (3, 5), "softcap": 2.0}])
def test_blocks_change_nothing(options: dict[str, Any]) -> None:
    """Whole against blocks of 16 rows, in PyTorch; one form of them compiled by JAX."""
    arrays = operands(50, 50, 4, 4, 2)
    u = normal(2, 50, 4)

    def found(block: int | None, u: Any, *xs: Any) -> Any:
        y, pullback = aj.vjp(lambda *xs: attention(*xs, block_size=block, **options), *xs)
        return y, *pullback(u)

    whole, blocks = (found(n, *map(torch.tensor, (u, *arrays))) for n in (None, 16))
    for a, b in zip(whole, blocks, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)
    if "window" in options:
        with jax.enable_x64(True):
            for a, b in zip(jax.jit(lambda *xs: found(30, *xs))(u, *arrays), whole, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-13)


# Sparse and linear attention


@pytest.mark.covers("A05")
@pytest.mark.parametrize("n", [9, 200])
def test_local_attention_is_that_of_its_mask(n: int) -> None:
    q, k, v = operands(n, n, 4, 4, 4)
    for left, right in ((3, 0), (0, 2), (2, 2), (None, 1), (70, 70)):
        mask = aj.local_mask(n, left=left, right=right)
        i, j = np.indices((n, n))
        assert (mask == ((left is None or i - j <= left) & (j - i <= right))).all()
        expected = F.scaled_dot_product_attention(*map(torch.tensor, (q, k, v, mask)))
        np.testing.assert_allclose(attention(q, k, v, window=(left, right)), expected, atol=1e-13)


@pytest.mark.covers("A05")
def test_strided_attention_reaches_everything_in_two_layers() -> None:
    mask = aj.strided_mask(25, 5)
    i, j = np.indices((25, 25))
    assert (mask == ((j <= i) & ((i - j < 5) | ((i - j) % 5 == 0)))).all()
    assert (mask.sum(-1) <= 2 * 5).all()
    assert ((mask.astype(int) @ mask > 0) == aj.causal_mask(25)).all()
    q, k, v = operands(25, 25, 4, 4)
    expected = F.scaled_dot_product_attention(*map(torch.tensor, (q, k, v, mask)))
    np.testing.assert_allclose(attention(q, k, v, mask), expected, atol=1e-13)


def by_loops(q: Any, k: Any, v: Any, causal: bool) -> Any:
    phi = lambda x: torch.where(x > 0, x + 1, torch.exp(x))  # noqa: E731
    a = phi(q) @ phi(k).mT
    a = torch.tril(a) if causal else a
    return a / a.sum(-1, keepdim=True) @ v


@pytest.mark.covers("A05")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [1, 5, 64, 130])
def test_linear_attention_is_its_closed_form(n: int, causal: bool) -> None:
    assert_equals_torch(
        lambda *xs: aj.linear_attention(*xs, causal), lambda *xs: by_loops(*xs, causal),
        operands(n, n, 3, 2, 2), 1e-10,
    )  # fmt: skip


def test_linear_attention_costs_the_length() -> None:
    def flops(n: int) -> int:
        x = ShapeArray((n, 32), "float32")
        with count() as tally:
            aj.linear_attention(x, x, x, is_causal=True)
        return tally.flops

    assert flops(4096) == 4 * flops(1024)


def test_padding_mask() -> None:
    lengths = np.array([1, 3])
    mask = aj.padding_mask(lengths, 4)
    q, k, v = operands(2, 4, 3, 3, 2, 1)
    y = attention(q, k, v, mask[:, None, None, :])
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(y[b], attention(q[b], k[b, :, :n], v[b, :, :n]), atol=1e-14)
    assert (np.asarray(jax.jit(lambda n: aj.padding_mask(n, 4))(jnp.asarray(lengths))) == mask).all()


# What does not fit, and what is empty


def test_errors_name_the_shapes_and_the_remedy() -> None:
    q, k, v = operands(3, 4, 2, 2, 2, 6)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ((q, k[..., :1], v), {}, r"equally many features, 2 is not 1"),
        ((q, k, v[..., :3, :]), {}, r"every key has one value, 4 is not 3"),
        ((q, k[:, :2], v[:, :2]), {}, r"do not broadcast; .* enable_gqa=True"),
        ((q, k[:, :4], v[:, :4]), {"enable_gqa": True}, r"a multiple of key's and value's"),
        (
            (q, k, v, np.ones((2, 4), bool)),
            {},
            r"a mask of shape \(2, 4\) does not broadcast to the scores' \(2, 6, 3, 4\)",
        ),
        ((q, k, v, np.ones((1, 2, 6, 3, 4), bool)), {}, r"a mask of shape"),
        ((q[0, 0, 0], k, v), {}, r"two axes at least"),
    ]
    for given_, options, message in cases:
        with pytest.raises(aj.ShapeError, match=message):
            attention(*given_, **options)
    with pytest.raises(aj.ShapeError, match="as many queries as keys"):
        aj.linear_attention(q, k, v, is_causal=True)


@pytest.mark.parametrize("shapes", [((0, 3, 2), (0, 4, 2)), ((2, 0, 2), (2, 4, 2)), ((2, 3, 2), (2, 0, 2))])
def test_nothing_at_all(shapes: Any) -> None:
    q, k = (np.ones(s) for s in shapes)
    expected = F.scaled_dot_product_attention(*map(torch.tensor, (q, k, k)))
    np.testing.assert_array_equal(attention(q, k, k), expected)


@pytest.mark.parametrize("n", [4, 130])
def test_what_is_not_a_number_stays_so(n: int) -> None:
    q, k, v = operands(n, n, 3, 3, dtype="float32")
    q[1] = np.nan
    y = attention(q, k, v, is_causal=True)
    assert (np.isnan(y).any(-1) == (np.arange(n) == 1)).all()


def test_pytorchs_function_of_traced_values() -> None:
    q, k, v = map(torch.tensor, operands(3, 3, 2, 2, 1, 2))
    y, J = aj.linearize(lambda q: F.scaled_dot_product_attention(q, k, v, is_causal=True), q)
    torch.testing.assert_close(y, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    assert "Attention in query" in repr(J)
