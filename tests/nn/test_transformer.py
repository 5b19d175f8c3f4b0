"""Transformers equal PyTorch's in value, all gradients and names; what their parts are as maps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.errors import ShapeError

nn, tn = aj.nn, torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:Support for mismatched")
RNG = np.random.default_rng(7)
D, H, F, S, T, N = 8, 2, 12, 5, 4, 3
SIZES: dict[str, Any] = {"d_model": D, "nhead": H, "dim_feedforward": F, "dropout": 0.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "pre-norm": {"norm_first": True, "batch_first": True, "activation": "gelu", "layer_norm_eps": 1e-3},
    "no-bias": {"bias": False, "batch_first": True},
    "function": {"activation": (aj.tanh, torch.tanh), "norm_first": True},
}


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    """Our module and PyTorch's of that name with the same random parameters, in float64."""
    ours, theirs = dict(options), dict(options)
    if "activation" in options and isinstance(options["activation"], tuple):
        ours["activation"], theirs["activation"] = options["activation"]
    net, peer = getattr(nn, name)(**SIZES, **ours), getattr(tn, name)(**SIZES, **theirs, dtype=torch.float64)
    return matched(net.to(dtype="float64"), peer)


def matched(net: Any, peer: Any) -> tuple[Any, Any]:
    """Random parameters in both, carried over by their names both ways."""
    with torch.no_grad():
        for p in peer.parameters():
            p.copy_(torch.tensor(RNG.normal(size=tuple(p.shape)) * 0.4 + 0.1))
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == {
        k: tuple(v.shape) for k, v in peer.state_dict().items()
    }
    net.load_state_dict(peer.state_dict())
    peer.load_state_dict({k: torch.tensor(v) for k, v in net.state_dict().items()})
    return net, peer


def assert_equal(net: Any, peer: Any, inputs: list[np.ndarray], masks: dict[str, Any], hints: dict[str, Any]) -> None:
    """Value, gradients of the inputs and of every parameter; hints are what PyTorch is told besides."""
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    there = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()}
    expected = peer(*tensors, **{**there, **hints})
    u = RNG.normal(size=tuple(expected.shape))
    peer.zero_grad()
    expected.backward(torch.tensor(u))
    y, pull = aj.vjp(lambda net, *xs: net(*xs, **masks), net, *inputs)
    of_net, *of_inputs = pull(u)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10, atol=1e-10)
    for g, x in zip(of_inputs, tensors, strict=True):
        np.testing.assert_allclose(g, x.grad, rtol=1e-10, atol=1e-10)
    grads = dict(of_net.named_parameters())
    for name, p in peer.named_parameters():
        np.testing.assert_allclose(grads[name], p.grad, rtol=1e-10, atol=1e-10, err_msg=name)


def sequence(length: int, options: dict[str, Any], batch: int | None = N) -> np.ndarray:
    shape = (length, D) if batch is None else (batch, length, D) if options.get("batch_first") else (length, batch, D)
    return RNG.normal(size=shape)


def causal(n: int) -> np.ndarray:
    return np.triu(np.ones((n, n), bool), 1)


def padding(n: int) -> np.ndarray:
    mask = np.zeros((N, n), bool)
    mask[0, n - 2 :], mask[1, 0] = True, True
    return mask


NUMBERS = RNG.normal(size=(S, S))
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"src_mask": causal(S)},
    "numbers": {"src_mask": NUMBERS},
    "padding": {"src_key_padding_mask": padding(S)},
    "both": {"src_mask": causal(S), "src_key_padding_mask": padding(S)[:, ::-1].copy()},
    "heads": {"src_mask": RNG.random((N * H, S, S)) < 0.3},
}


@pytest.mark.covers("A08", "A09")
@pytest.mark.parametrize("masks", MASKS, ids=str)
@pytest.mark.parametrize("how", OPTIONS, ids=str)
def test_encoder_layer_equals_torch(how: str, masks: str) -> None:
    if masks == "both":
        MASKS["both"]["src_key_padding_mask"][:, 0] = False  # the first query of a causal mask sees only this key
    net, peer = pair("TransformerEncoderLayer", **OPTIONS[how])
    assert_equal(net, peer, [sequence(S, OPTIONS[how])], MASKS[masks], {})


def test_encoder_layer_without_a_batch_an_empty_one_and_causal() -> None:
    net, peer = pair("TransformerEncoderLayer")
    for batch in (None, 0, 1):
        assert_equal(net, peer, [sequence(S, {}, batch)], {}, {})
    hint = {"src_mask": torch.tensor(causal(S))}
    assert_equal(net, peer, [sequence(S, {})], {"is_causal": True}, hint)
    assert_equal(net, peer, [np.asfortranarray(sequence(S, {}))], {"is_causal": True}, hint)


CROSS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"tgt_mask": causal(T), "memory_key_padding_mask": padding(S)},
    "all": {
        "tgt_mask": RNG.normal(size=(T, T)),
        "memory_mask": RNG.random((T, S)) < 0.3,
        "tgt_key_padding_mask": padding(T),
    },
}


@pytest.mark.covers("A09")
@pytest.mark.parametrize("masks", CROSS, ids=str)
@pytest.mark.parametrize("how", OPTIONS, ids=str)
def test_decoder_layer_equals_torch(how: str, masks: str) -> None:
    net, peer = pair("TransformerDecoderLayer", **OPTIONS[how])
    inputs = [sequence(T, OPTIONS[how]), sequence(S, OPTIONS[how])]
    assert_equal(net, peer, inputs, CROSS[masks], {})


def stacks(kind: str, options: dict[str, Any], norm: bool) -> tuple[Any, Any]:
    layer, peer_layer = pair(f"Transformer{kind}Layer", **options)
    ended = (nn.LayerNorm(D, dtype="float64"), tn.LayerNorm(D, dtype=torch.float64)) if norm else (None, None)
    extra = {"enable_nested_tensor": False} if kind == "Encoder" else {}
    net = getattr(nn, f"Transformer{kind}")(layer, 2, ended[0])
    return matched(net, getattr(tn, f"Transformer{kind}")(peer_layer, 2, ended[1], **extra))


@pytest.mark.covers("A09")
@pytest.mark.parametrize("norm", [True, False])
def test_stacks_equal_torch(norm: bool) -> None:
    options = OPTIONS["pre-norm"] if norm else {}
    net, peer = stacks("Encoder", options, norm)
    masks = {"mask": causal(S), "src_key_padding_mask": padding(S)[:, ::-1] & (np.arange(S) > 0)}
    assert_equal(net, peer, [sequence(S, options)], masks, {})
    net, peer = stacks("Decoder", options, norm)
    both = [sequence(T, options), sequence(S, options)]
    assert_equal(net, peer, both, {"tgt_is_causal": True}, {"tgt_mask": torch.tensor(causal(T))})


@pytest.mark.covers("A09")
@pytest.mark.parametrize("how", OPTIONS, ids=str)
def test_transformer_equals_torch(how: str) -> None:
    net, peer = pair("Transformer", num_encoder_layers=2, num_decoder_layers=1, **OPTIONS[how])
    masks = {"tgt_mask": causal(T), "src_key_padding_mask": padding(S), "memory_key_padding_mask": padding(S)}
    assert_equal(net, peer, [sequence(S, OPTIONS[how]), sequence(T, OPTIONS[how])], masks, {})


def test_transformer_starts_as_torch_does() -> None:
    torch.manual_seed(0)
    net, peer = nn.Transformer(64, 4, 1, 1, 128, rng=0), tn.Transformer(64, 4, 1, 1, 128)
    for name, p in net.named_parameters():
        theirs = dict(peer.named_parameters())[name].detach().numpy()
        bound = np.abs(theirs).max()
        assert np.abs(p).max() <= bound * 1.25 + 1e-9, name
        assert abs(p.std() - theirs.std()) <= 4.0 / p.size**0.5 * theirs.std() + 1e-9, name
    np.testing.assert_array_equal(
        nn.Transformer.generate_square_subsequent_mask(4), tn.Transformer.generate_square_subsequent_mask(4)
    )


def test_copies_share_weights_but_not_dropout() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, F, rng=0), 3)
    first, *others = (dict(layer.named_arrays()) for layer in encoder.layers)
    for other in others:
        for name, x in first.items():
            assert (x == other[name]).all() != name.endswith("key"), name


def test_dropout_in_a_compiled_step_and_under_checkpointing() -> None:
    """A fresh mask a step; a checkpointed layer gives the gradients of the layer itself."""
    layer = nn.TransformerEncoderLayer(D, H, F, dropout=0.5, batch_first=True, rng=0)
    x = RNG.normal(size=(N, S, D)).astype("float32")
    step = jax.jit(lambda net, x: (net(x), net))
    compiled, seen = layer.to("jax"), []
    for _ in range(3):
        y, compiled = step(compiled, x)
        seen.append(np.asarray(y).tobytes())
        np.testing.assert_allclose(np.asarray(y), layer(x), atol=1e-4)
    assert len(set(seen)) == 3
    other = copy.deepcopy(layer)
    straight = aj.grad(lambda net: aj.sum(net(x) ** 2))(layer)
    again = aj.grad(lambda net: aj.sum(aj.checkpoint(lambda net: net(x))(net) ** 2))(other)
    for g, h in zip(straight.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(g, h)


# Parts


@pytest.mark.covers("A08")
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "swiglu", "geglu", aj.tanh])
def test_feed_forward_equals_its_formula(activation: Any) -> None:
    net = nn.FeedForward(D, F, activation, rng=0).to(dtype="float64")
    weights = {k: torch.tensor(v, requires_grad=True) for k, v in net.state_dict().items()}
    value = RNG.normal(size=(N, S, D))
    x = torch.tensor(value, requires_grad=True)
    linear = lambda x, name: x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]  # noqa: E731
    phi = {"swiglu": "silu", "geglu": "gelu", aj.tanh: "tanh"}.get(activation, activation)
    function = torch.tanh if phi == "tanh" else getattr(tn.functional, phi)
    gated = activation in ("swiglu", "geglu")
    h = function(linear(x, "gate")) * linear(x, "linear1") if gated else function(linear(x, "linear1"))
    expected = linear(h, "linear2")
    np.testing.assert_allclose(net(value), expected.detach(), rtol=1e-10, atol=1e-12)
    (expected**2).sum().backward()
    grads, of_x = aj.grad(lambda net, x: aj.sum(net(x) ** 2), (0, 1))(net, value)
    np.testing.assert_allclose(of_x, x.grad, rtol=1e-10, atol=1e-12)
    for name, g in grads.named_parameters():
        np.testing.assert_allclose(g, weights[name].grad, rtol=1e-10, atol=1e-12)


@pytest.mark.covers("A08")
def test_residual_has_jacobian_identity_plus_inner() -> None:
    inner = nn.FeedForward(4, 6, "gelu", rng=0).to(dtype="float64")
    x = RNG.normal(size=(3, 4))
    J_f = aj.jacobian(inner, x).dense().reshape(12, 12)
    J = aj.jacobian(nn.Residual(inner), x).dense().reshape(12, 12)
    np.testing.assert_allclose(J, np.eye(12) + J_f, atol=1e-12)


@pytest.mark.covers("A08")
@pytest.mark.parametrize("norm_first", [True, False])
def test_residuals_make_pytorchs_layer(norm_first: bool) -> None:
    """An encoder layer is two residuals, of attention and of the feed-forward network, with their norms."""
    net, peer = pair("TransformerEncoderLayer", norm_first=norm_first)
    x = sequence(S, {})
    attended = nn.Residual(lambda x: net.self_attn(x, x, x, need_weights=False)[0], net.norm1, norm_first)
    fed = nn.Residual(lambda x: net.linear2(aj.relu(net.linear1(x))), net.norm2, norm_first)
    np.testing.assert_allclose(fed(attended(x)), peer(torch.tensor(x)).detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.covers("A14")
@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_a_feed_forward_network_is_the_same_map_at_every_position(activation: str) -> None:
    ffn = nn.FeedForward(3, 5, activation, rng=0).to(dtype="float64")
    x = RNG.normal(size=(4, 3))
    J = aj.jacobian(ffn, x).dense()
    for s in range(4):
        for t in range(4):
            alone = aj.jacobian(ffn, x[s]).dense() if s == t else np.zeros((3, 3))
            np.testing.assert_allclose(J[s, :, t], alone, atol=1e-12)
    np.testing.assert_allclose(ffn(x[::-1]), ffn(x)[::-1], atol=1e-12)
    same = np.broadcast_to(x[0], (4, 3))
    A = aj.jacobian(ffn, x[0])
    identity = aj.kron(aj.Identity((4,)), A)
    np.testing.assert_allclose(aj.jacobian(ffn, same).dense().reshape(12, 12), identity.matrix(), atol=1e-12)


LAYER: Callable[..., Any] = nn.TransformerEncoderLayer
X = np.ones((S, N, D), "float32")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: LAYER(D, 3), "num_heads 3 is to divide embed_dim 8"),
        (lambda: LAYER(D, H, activation="tahn"), "not 'tahn'"),
        (lambda: nn.FeedForward(D, F, activation="glu"), "'swiglu'"),
        (lambda: LAYER(D, H, F, dropout=1.5), "between 0 and 1"),
        (lambda: LAYER(D, H, F)(X, np.ones((2, 2), bool)), "attn_mask"),
        (lambda: LAYER(D, H, F)(X, None, np.ones((2, 2), bool)), "key_padding_mask"),
        (lambda: LAYER(D, H, F)(X[..., :5]), "8"),
        (lambda: nn.Transformer(D, H, 1, 1, F)(X, X[:, :2]), "different batches on axis 1"),
        (lambda: nn.Transformer(D, H, 1, 1, F)(X, X[..., :2]), "the last 8"),
    ],
)
def test_what_does_not_fit(call: Any, told: str) -> None:
    with pytest.raises((ShapeError, ValueError), match=told):
        call()
