"""The module of PyTorch that is the same layer: its class, with the arguments that this library's was made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from adjoint import arrays as xp
from adjoint import nn
from adjoint.arrays.dispatch import is_array
from adjoint.nn.module import Module

FUNCTIONS = {xp.relu: F.relu, xp.gelu: F.gelu, xp.silu: F.silu} | {f: f for f in (F.relu, F.gelu, F.silu)}
RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")


class Differs(Exception):
    """There is no module of PyTorch that computes the same."""


def namesake(module: Module, home_of: Callable[[Any], Any]) -> Any:
    """PyTorch's module without values, its parts made by `home_of`; raises `Differs` where there is none."""
    name = type(module).__name__
    kind: Any = getattr(torch.nn, name, None)
    if getattr(nn, name, None) is not type(module) or kind is None or "parametrizations" in module.__dict__:
        raise Differs
    try:
        home = kind(**arguments(module, kind, home_of))
    except (TypeError, ValueError, AssertionError) as error:
        raise Differs from error
    for part in () if name == "MultiheadAttention" else module.form().names:
        value = module.__dict__[part]
        if isinstance(value, Module) and part in home._modules:
            home._modules[part] = alike(value, home_of)
    if shapes(home) != shapes(module):
        raise Differs
    return home


def alike(module: Module, home_of: Callable[[Any], Any]) -> Any:
    """The part of a namesake: itself of the kind that PyTorch has there."""
    home = home_of(module)
    if type(home) is not getattr(torch.nn, type(module).__name__, None):
        raise Differs
    return home


def arguments(module: Any, kind: Any, home_of: Callable[[Any], Any]) -> dict[str, Any]:
    """The constructor's arguments; those that this library does not have stay at PyTorch's defaults."""
    name = type(module).__name__
    special = SPECIAL.get(name)
    if special is not None:
        return special(module, home_of)
    found: dict[str, Any] = {}
    for parameter in inspect.signature(kind).parameters:
        value: Any = getattr(module, parameter, None)
        if parameter == "bias":
            bias = module.in_proj_bias if name == "MultiheadAttention" else value
            found["bias"] = bias if isinstance(bias, bool) else bias is not None
        elif parameter in ("affine", "elementwise_affine"):
            found[parameter] = module.weight is not None
        elif parameter == "add_bias_kv":
            found[parameter] = module.bias_k is not None
        elif is_array(value):
            found[parameter] = torch.empty(tuple(value.shape))
        elif callable(value):
            raise Differs
        elif hasattr(module, parameter):
            found[parameter] = value
    return found


def recurrent(module: Any, home_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Those of RNN, LSTM and GRU, whose signatures in PyTorch say nothing."""
    found = {name: getattr(module, name) for name in RECURRENT}
    if isinstance(module, nn.RNN):
        found["nonlinearity"] = module.nonlinearity
    if module.proj_size:
        found["proj_size"] = module.proj_size
    return found


def layer(module: Any, home_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Those of the layers of transformers, which are in their parts here."""
    if module.activation not in FUNCTIONS:
        raise Differs
    if any(type(module.__dict__[part]) is not nn.LayerNorm for part in ("norm1", "norm2")):
        raise Differs
    return {
        "d_model": module.self_attn.embed_dim,
        "nhead": module.self_attn.num_heads,
        "dim_feedforward": module.linear1.out_features,
        "dropout": module.dropout.p,
        "activation": FUNCTIONS[module.activation],
        "layer_norm_eps": module.norm1.eps,
        "batch_first": module.self_attn.batch_first,
        "norm_first": module.norm_first,
        "bias": module.linear1.bias is not None,
    }


def stack(module: Any, home_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Those of a transformer's encoder or decoder, with a layer that is then copied."""
    if not module.layers:
        raise Differs
    kind = type(module).__name__.removeprefix("Transformer").lower()
    found = {f"{kind}_layer": alike(module.layers[0], home_of), "num_layers": len(module.layers)}
    if kind == "encoder":
        found["enable_nested_tensor"] = False  # it would leave padding out of the result's shape
    return found | {"norm": None if module.norm is None else home_of(module.norm)}


def transformer(module: Any, home_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Those of a whole transformer, with its two parts."""
    return {
        "d_model": module.d_model,
        "nhead": module.nhead,
        "custom_encoder": alike(module.encoder, home_of),
        "custom_decoder": alike(module.decoder, home_of),
        "batch_first": module.batch_first,
    }


SPECIAL: dict[str, Callable[[Any, Callable[[Any], Any]], dict[str, Any]]] = {
    "RNN": recurrent,
    "LSTM": recurrent,
    "GRU": recurrent,
    "TransformerEncoderLayer": layer,
    "TransformerDecoderLayer": layer,
    "TransformerEncoder": stack,
    "TransformerDecoder": stack,
    "Transformer": transformer,
}


def shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all that a module's state has, by name."""
    return {name: tuple(x.shape) for name, x in module.state_dict().items()}
