"""Transformers with PyTorch's names: encoder and decoder layers, their stacks, both together (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.random import fold_in
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.attention import MultiheadAttention, xavier
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm

Activation = str | Callable[[Array], Array]
ACTIVATIONS = {"relu": xp.relu, "gelu": xp.gelu, "silu": xp.silu}
GATED = {"swiglu": xp.silu, "geglu": xp.gelu}


def activation_of(name: str, activation: Activation, known: dict[str, Any]) -> Callable[[Array], Array]:
    """The function that is named; raises ValueError for an unknown name."""
    if callable(activation):
        return activation
    if activation not in known:
        raise ValueError(f"{name}: activation is {', '.join(map(repr, known))} or a function, not {activation!r}.")
    function: Callable[[Array], Array] = known[activation]
    return function


class FeedForward(Module):
    """Position by position W₂ φ(W₁ x); gated ("swiglu", "geglu") W₂ (φ(W_g x) · W₁ x) (Shazeer 2020).

    x (…, d_model), the hidden width is dim_feedforward; `activation` is "relu", "gelu", "silu", "swiglu", "geglu" or a
    function. On a sequence its Jacobian is block diagonal: one block a position.

    >>> import numpy as np, adjoint as aj
    >>> ffn = aj.nn.FeedForward(4, 8, "swiglu", bias=False, rng=0)
    >>> ffn(np.ones((2, 3, 4), "float32")).shape, [name for name, _ in ffn.named_parameters()]
    ((2, 3, 4), ['linear1.weight', 'gate.weight', 'linear2.weight'])
    """

    def __init__(
        self, d_model: int, dim_feedforward: int = 2048, activation: Activation = "relu", dropout: float = 0.0,
        bias: bool = True, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.activation = activation_of("FeedForward", activation, ACTIVATIONS | GATED)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype, rng)
        self.gate = Linear(d_model, dim_feedforward, bias, dtype, rng) if activation in GATED else None
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype, rng)

    def __call__(self, x: Array) -> Array:
        """x through the hidden layer."""
        h = self.linear1(x)
        h = self.activation(h) if self.gate is None else self.activation(self.gate(x)) * h
        return self.linear2(self.dropout(h))


class TransformerEncoderLayer(Module):
    """Self-attention, then a feed-forward network, each in a residual connection with a norm, as PyTorch's.

    src (S, N, d_model); with `batch_first` N comes first, without a batch it is left out. With `norm_first` each part
    is x + f(norm(x)), else norm(x + f(x)). `activation` is "relu", "gelu" or a function.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, rng=0).eval()
    >>> layer(np.ones((5, 3, 8), "float32")).shape
    (5, 3, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.norm_first = norm_first
        self.activation = activation_of(type(self).__name__, activation, ACTIVATIONS)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype, rng=rng
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype, rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype, rng)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)

    def __call__(
        self, src: Array, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Array:
        """The layer's value; masks as for `MultiheadAttention` (True is left out), `is_causal` hides later ones."""
        mask = (src_key_padding_mask, src_mask, is_causal)
        if self.norm_first:
            x = src + self._attended(self.norm1(src), *mask)
            return x + self._fed(self.norm2(x))
        x = self.norm1(src + self._attended(src, *mask))
        return self.norm2(x + self._fed(x))

    def _attended(self, x: Array, padding: Any, mask: Any, is_causal: bool) -> Array:
        return self.dropout1(self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)[0])

    def _fed(self, x: Array) -> Array:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerDecoderLayer(Module):
    """Self-attention, attention to the encoder's result, then a feed-forward network, as PyTorch's.

    tgt (T, N, d_model), memory (S, N, d_model), the result like tgt; options as for `TransformerEncoderLayer`.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, rng=0).eval()
    >>> layer(np.ones((5, 3, 8), "float32"), np.ones((5, 4, 8), "float32"), tgt_is_causal=True).shape
    (5, 3, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.norm_first = norm_first
        self.activation = activation_of(type(self).__name__, activation, ACTIVATIONS)
        attention: dict[str, Any] = {"batch_first": batch_first, "dtype": dtype, "rng": rng}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, **attention)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, **attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype, rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype, rng)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, rng=rng)
        self.dropout2 = Dropout(dropout, rng=rng)
        self.dropout3 = Dropout(dropout, rng=rng)

    def __call__(
        self, tgt: Array, memory: Array, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Array:  # fmt: skip
        """The layer's value; masks as for `MultiheadAttention` (True is left out)."""
        own = (tgt_key_padding_mask, tgt_mask, tgt_is_causal)
        other = (memory, memory_key_padding_mask, memory_mask, memory_is_causal)
        if self.norm_first:
            x = tgt + self._attended(self.norm1(tgt), *own)
            x = x + self._crossed(self.norm2(x), *other)
            return x + self._fed(self.norm3(x))
        x = self.norm1(tgt + self._attended(tgt, *own))
        x = self.norm2(x + self._crossed(x, *other))
        return self.norm3(x + self._fed(x))

    def _attended(self, x: Array, padding: Any, mask: Any, is_causal: bool) -> Array:
        return self.dropout1(self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)[0])

    def _crossed(self, x: Array, memory: Array, padding: Any, mask: Any, is_causal: bool) -> Array:
        return self.dropout2(self.multihead_attn(x, memory, memory, padding, False, mask, is_causal=is_causal)[0])

    def _fed(self, x: Array) -> Array:
        return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))


def copies(layer: Module, n: int) -> list[Any]:
    """n layers with the weights of one, as PyTorch makes them, but each with dropout of its own."""
    layers = [copy.deepcopy(layer) for _ in range(n)]
    for i, each in enumerate(layers):
        for _, part in each.named_modules():
            if isinstance(part, Dropout):
                part.key = fold_in(part.key, i)
    return layers


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer one after the other, then a norm where one is given, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> encoder = aj.nn.TransformerEncoder(aj.nn.TransformerEncoderLayer(8, 2, 16), num_layers=2).eval()
    >>> encoder(np.ones((5, 1, 8), "float32"), is_causal=True).shape
    (5, 1, 8)
    """

    def __init__(self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Any = None) -> None:
        self.layers: list[Any] = copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def __call__(
        self, src: Array, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Array:
        """src through all layers; masks as for `TransformerEncoderLayer`."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """`num_layers` copies of a decoder layer one after the other, then a norm where one is given, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> decoder = aj.nn.TransformerDecoder(aj.nn.TransformerDecoderLayer(8, 2, 16), num_layers=2).eval()
    >>> decoder(np.ones((5, 1, 8), "float32"), np.ones((3, 1, 8), "float32")).shape
    (5, 1, 8)
    """

    def __init__(self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Any = None) -> None:
        self.layers: list[Any] = copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def __call__(
        self, tgt: Array, memory: Array, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Array:  # fmt: skip
        """tgt through all layers, each of which attends to memory; masks as for `TransformerDecoderLayer`."""
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal, memory_is_causal)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder, each with a norm at its end, their matrices initialized by Xavier, as PyTorch's.

    src (S, N, d_model), tgt (T, N, d_model), result like tgt; with `batch_first` N comes first, without a batch it is
    left out. A custom encoder or decoder is taken as it is. Raises ShapeError where src and tgt do not fit.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.Transformer(8, 2, 1, 1, 16, rng=0).eval()
    >>> net(np.ones((5, 1, 8), "float32"), np.ones((3, 1, 8), "float32")).shape
    (3, 1, 8)
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = "relu",
        custom_encoder: Any = None, custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
        batch_first: bool = False, norm_first: bool = False, bias: bool = True, dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        ends = [LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype) for _ in range(2)]
        self.encoder = custom_encoder
        if custom_encoder is None:
            layer = TransformerEncoderLayer(*sizes, dtype, rng)
            self.encoder = drawn(TransformerEncoder(layer, num_encoder_layers, ends[0]), rng)
        self.decoder = custom_decoder
        if custom_decoder is None:
            second = TransformerDecoderLayer(*sizes, dtype, rng)
            self.decoder = drawn(TransformerDecoder(second, num_decoder_layers, ends[1]), rng)

    def __call__(
        self, src: Array, tgt: Array, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool = False, tgt_is_causal: bool = False, memory_is_causal: bool = False,
    ) -> Array:  # fmt: skip
        """The decoder's value on tgt and the encoder's on src; masks as for their layers."""
        self._check(tuple(src.shape), tuple(tgt.shape))
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        own = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, *own, tgt_is_causal, memory_is_causal)

    def _check(self, src: tuple[int, ...], tgt: tuple[int, ...]) -> None:
        batch = 0 if self.batch_first else 1
        if len(src) != len(tgt) or len(src) not in (2, 3) or {src[-1], tgt[-1]} != {self.d_model}:
            raise ShapeError(f"Transformer: src {src} and tgt {tgt} both need 2 or 3 axes, the last {self.d_model}.")
        if len(src) == 3 and src[batch] != tgt[batch]:
            raise ShapeError(f"Transformer: src {src} and tgt {tgt} have different batches on axis {batch}.")

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: Any = "float32") -> Array:
        """-∞ above the diagonal, else 0, shape (sz, sz): added to scores, it hides later positions.

        >>> import adjoint as aj
        >>> aj.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return np.triu(np.full((sz, sz), -np.inf, dtype), 1)


def drawn(module: Any, rng: Any) -> Any:
    """The module, its matrices drawn by Xavier."""
    for p in module.parameters():
        if len(p.shape) > 1:
            p[...] = xavier(tuple(p.shape), rng, p.dtype)
    return module
