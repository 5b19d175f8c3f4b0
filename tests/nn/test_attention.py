"""nn.MultiheadAttention against PyTorch's: values, weights, gradients, state both ways, masks, a cache."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn as tn

import adjoint as aj
from adjoint import nn

N, L, S, E, H = 2, 3, 4, 8, 2


def pair(**options: Any) -> tuple[Any, Any]:
    """PyTorch's module and ours with its numbers; the state goes back as well."""
    theirs = tn.MultiheadAttention(E, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for x in theirs.parameters():
            x.add_(torch.randn_like(x) * 0.1)
    ours = nn.MultiheadAttention(E, H, dtype="float64", rng=0, **options)
    ours.load_state_dict(theirs.state_dict())
    again = tn.MultiheadAttention(E, H, dtype=torch.float64, **options)
    again.load_state_dict({name: torch.tensor(x) for name, x in ours.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return ours, again


def inputs(module: Any, single: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    first = lambda n, d: (n, d) if single else (N, n, d) if module.batch_first else (n, N, d)  # noqa: E731
    return [rng.standard_normal(first(n, d)) for n, d in ((L, E), (S, module.kdim), (S, module.vdim))]


def masks(module: Any, kind: str, single: bool) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    padding = rng.random((S,) if single else (N, S)) < 0.4
    hidden = rng.random((L, S)) < 0.4
    padding[..., 0] = hidden[:, 0] = False  # every query sees something
    bias = rng.standard_normal(((1 if single else N) * H, L, S))
    return {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "pattern": {"attn_mask": hidden},
        "both": {"key_padding_mask": padding, "attn_mask": hidden},
        "numbers": {"key_padding_mask": np.where(padding, -1.0, 0.5), "attn_mask": bias},
    }[kind]


def tensors(options: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.tensor(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"kdim": 5, "vdim": 7},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True, "bias": False, "kdim": 3},
]


@pytest.mark.covers("A03", "A06")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_pytorch(options: dict[str, Any]) -> None:
    ours, theirs = pair(**options)
    for kind, single, need, average in itertools.product(
        ("none", "padding", "pattern", "both", "numbers"), (False, True), (False, True), (False, True)
    ):
        if average and not need:
            continue
        xs, given = inputs(ours, single), masks(ours, kind, single)
        how: dict[str, Any] = {"need_weights": need, "average_attn_weights": average}
        y, weights = ours(*xs, **given, **how)
        expected, their_weights = theirs(*map(torch.tensor, xs), **tensors(given), **how)
        np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-12)
        assert (weights is None) == (their_weights is None)
        if weights is not None:
            np.testing.assert_allclose(weights, their_weights.detach(), rtol=0, atol=1e-12)
            np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-12)


@pytest.mark.covers("A03")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("need", [False, True])
def test_all_gradients_are_pytorchs(options: dict[str, Any], need: bool) -> None:
    ours, theirs = pair(**options)
    xs, given = inputs(ours), masks(ours, "both", False)
    leaves = [torch.tensor(x, requires_grad=True) for x in xs]
    expected, _ = theirs(*leaves, **tensors(given), need_weights=need)
    expected.pow(3).sum().backward()
    loss = lambda net, *xs: aj.sum(net(*xs, **given, need_weights=need)[0] ** 3)  # noqa: E731
    net, *grads = aj.grad(loss, argnums=(0, 1, 2, 3))(ours, *xs)
    for got, leaf in zip(grads, leaves, strict=True):
        np.testing.assert_allclose(got, leaf.grad, rtol=0, atol=1e-10)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(net.state_dict()[name], parameter.grad, rtol=0, atol=1e-10)


def test_self_attention_causal_hint() -> None:
    ours, theirs = pair(batch_first=True)
    x = inputs(ours)[0]
    mask = ~aj.causal_mask(L)
    expected, _ = theirs(*[torch.tensor(x)] * 3, attn_mask=torch.tensor(mask), is_causal=True, need_weights=False)
    for options in ({"is_causal": True}, {"attn_mask": mask}, {"attn_mask": mask, "is_causal": True}):
        np.testing.assert_allclose(ours(x, x, x, **options)[0], expected.detach(), rtol=0, atol=1e-12)


def test_rows_that_see_nothing_are_pytorchs_and_zero_on_request() -> None:
    ours, theirs = pair(batch_first=True)
    xs = inputs(ours)
    padding = np.array([[True] * S, [False] * S])
    for need in (False, True):
        y, weights = ours(*xs, padding, need)
        expected, their_weights = theirs(*map(torch.tensor, xs), torch.tensor(padding), need)
        np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-12)
        if need:
            np.testing.assert_allclose(weights, their_weights.detach(), rtol=0, atol=1e-12)
            assert np.isnan(y[0]).all()
    y, weights = ours(*xs, padding, zero_masked_rows=True)
    np.testing.assert_allclose(y[0], np.broadcast_to(ours.out_proj.bias, (L, E)))
    assert (weights[0] == 0).all()


@pytest.mark.covers("A06")
@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_with_a_cache_are_the_whole(batch_first: bool) -> None:
    ours, _ = pair(batch_first=batch_first)
    x = np.random.default_rng(2).standard_normal((N, 7, E))
    at = (lambda x: x) if batch_first else (lambda x: x.swapaxes(0, 1))
    whole, _ = ours(*[at(x)] * 3, is_causal=True)
    parts, cache = [], None
    for start, stop in ((0, 3), (3, 4), (4, 5), (5, 7)):
        part, cache = ours.step(at(x[:, start:stop]), cache)
        parts.append(at(part))
        assert isinstance(cache, nn.Cache)
        assert cache.length == stop
        assert cache.key.shape == (N, H, stop, E // H)
    np.testing.assert_allclose(np.concatenate(parts, 1), at(whole), rtol=0, atol=1e-13)


@pytest.mark.covers("A03")
def test_heads_are_subspaces_that_the_output_mixes() -> None:
    """Σₕ W_Oₕ softmax(Qₕ Kₕᵀ/√d) Vₕ by hand, with the shapes of the parameters."""
    ours, _ = pair(batch_first=True)
    x = inputs(ours)[0]
    assert ours.in_proj_weight.shape == (3 * E, E)
    assert ours.out_proj.weight.shape == (E, E)
    q, k, v = np.split(x @ ours.in_proj_weight.T + ours.in_proj_bias, 3, -1)
    total, d = ours.out_proj.bias, E // H
    for h in range(H):
        own = slice(h * d, (h + 1) * d)
        p = aj.softmax(q[..., own] @ k[..., own].swapaxes(1, 2) / math.sqrt(d))
        total = total + p @ v[..., own] @ ours.out_proj.weight[:, own].T
    np.testing.assert_allclose(ours(x, x, x)[0], total, rtol=0, atol=1e-12)


def test_initial_distributions_are_pytorchs() -> None:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    for options in ({"add_bias_kv": True}, {"kdim": 24, "vdim": 40}):
        ours = [nn.MultiheadAttention(32, 4, rng=rng, **options).state_dict() for _ in range(20)]
        theirs = [tn.MultiheadAttention(32, 4, **options).state_dict() for _ in range(20)]
        for name in theirs[0]:
            a, b = (np.concatenate([np.ravel(state[name]) for state in states]) for states in (ours, theirs))
            assert a.dtype == b.dtype
            assert stats.ks_2samp(a, b).pvalue > 0.01, name


def test_dropout_while_training_by_a_key() -> None:
    mha = nn.MultiheadAttention(E, H, dropout=0.5, rng=0)
    x = np.ones((L, N, E), "float32")
    for need in (False, True):
        first, again, other = (mha(x, x, x, need_weights=need, dropout_key=key)[0] for key in (1, 1, 2))
        assert (first == again).all()
        assert (first != other).any()
        assert (mha(x, x, x, need_weights=need)[0] != mha(x, x, x, need_weights=need)[0]).any()
    mha.eval()
    assert (mha(x, x, x)[0] == mha(x, x, x)[0]).all()
    assert set(mha.state_dict()) == set(tn.MultiheadAttention(E, H, dropout=0.5).state_dict())


@pytest.mark.parametrize(("n", "length"), [(0, 3), (1, 1), (2, 0)])
def test_odd_sizes(n: int, length: int) -> None:
    ours, theirs = pair(batch_first=True)
    x = np.ones((n, length, E))
    y, _ = ours(x, x, x, need_weights=False)
    expected, _ = theirs(*[torch.tensor(x)] * 3, need_weights=False)
    np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-13)


def test_on_torch_and_under_jit() -> None:
    ours, _ = pair()
    x = inputs(ours)[0]
    mask = ~aj.causal_mask(L)
    expected, weights = ours(x, x, x, attn_mask=mask)
    there = ours.to("torch")(*[torch.tensor(x)] * 3, attn_mask=mask)
    np.testing.assert_allclose(there[0], expected, rtol=0, atol=1e-13)
    with jax.enable_x64(True):
        y, p = jax.jit(lambda net, x: net(x, x, x, attn_mask=mask))(ours.to("jax"), jnp.asarray(x))
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(p, weights, rtol=0, atol=1e-13)


def test_errors() -> None:
    with pytest.raises(ValueError, match="num_heads 3 is to divide embed_dim 8"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(ValueError, match="num_heads 0"):
        nn.MultiheadAttention(8, 0)
    mha = nn.MultiheadAttention(E, H, rng=0)
    q, k, v = (x.astype("float32") for x in inputs(mha))
    for given, options, message in (
        ((q, k, v[:1]), {}, "equally many keys and values"),
        ((q[..., :5], k, v), {}, r"with \(8, 8, 8\) features"),
        ((q[:, :1], k, v), {}, "one batch N.*batch_first=True"),
        (
            (q, k, v),
            {"attn_mask": np.ones((L, L), bool)},
            r"attn_mask is \(queries, keys\) = \(3, 4\) or .* \(4, 3, 4\)",
        ),
        ((q, k, v), {"key_padding_mask": np.ones((S, N), bool)}, r"an entry for every key, \(2, 4\), not \(4, 2\)"),
    ):
        with pytest.raises(aj.ShapeError, match=message):
            mha(*given, **options)
    with pytest.raises(ValueError, match="add_bias_kv"):
        nn.MultiheadAttention(E, H, add_bias_kv=True).step(q)
