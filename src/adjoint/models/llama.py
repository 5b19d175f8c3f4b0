"""Llama and its kin, Mistral and Qwen2: RMS norms, rotary positions, grouped queries and a gated feed-forward net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from adjoint.arrays.dispatch import Array
from adjoint.arrays.self_attention import heads, packed
from adjoint.errors import ShapeError
from adjoint.models.causal import CausalLM
from adjoint.models.checkpoint import Naming
from adjoint.models.config import ACTIVATIONS, Fields
from adjoint.models.reading import Reading, attended, reading
from adjoint.models.rotary import Rotary, rotary
from adjoint.nn import init
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import RMSNorm


class LlamaAttention(Module):
    """Causal self-attention whose queries share keys and values in groups, turned by their positions."""

    def __init__(
        self, layer: int, width: int, count: int, groups: int, rotate: Rotary, window: int | None, bias: bool,
        o_bias: bool, dropout: float, dtype: Any, rng: Any,
    ) -> None:  # fmt: skip
        self.layer, self.num_heads, self.num_groups, self.rotate = layer, count, groups, rotate
        self.left = None if window is None else window - 1  # Hugging Face's window counts the token itself
        self.q_proj = Linear(width, count * rotate.dim, bias, dtype, rng)
        self.k_proj = Linear(width, groups * rotate.dim, bias, dtype, rng)
        self.v_proj = Linear(width, groups * rotate.dim, bias, dtype, rng)
        self.o_proj = Linear(count * rotate.dim, width, o_bias, dtype, rng)
        self.drop = Dropout(dropout, rng=rng) if dropout else None

    def __call__(self, x: Array, at: Reading | None = None) -> Array:
        """x (N, L, width), every position seeing itself and those before it."""
        numbers = (at or Reading()).numbers(x.shape[-2])
        q = self.rotate(heads(self.q_proj(x), self.num_heads), numbers)
        k = self.rotate(heads(self.k_proj(x), self.num_groups), numbers)
        v = heads(self.v_proj(x), self.num_groups)
        return self.o_proj(packed(attended(at, self.layer, q, k, v, left=self.left, drop=self.drop)))


class LlamaMLP(Module):
    """W_down (act(W_gate x) · W_up x), position by position (Shazeer 2020)."""

    def __init__(self, width: int, inner: int, activation: str, bias: bool, dtype: Any, rng: Any) -> None:
        self.activation = activation
        self.gate_proj = Linear(width, inner, bias, dtype, rng)
        self.up_proj = Linear(width, inner, bias, dtype, rng)
        self.down_proj = Linear(inner, width, bias, dtype, rng)

    def __call__(self, x: Array) -> Array:
        """x (…, width)."""
        return self.down_proj(ACTIVATIONS[self.activation](self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, attention: LlamaAttention, mlp: LlamaMLP, width: int, eps: float, dtype: Any) -> None:
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = RMSNorm(width, eps, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(width, eps, dtype=dtype)

    def __call__(self, x: Array, at: Reading | None = None) -> Array:
        """x (N, L, width) through the layer."""
        y = self.input_layernorm(x)
        x = x + (self.self_attn(y) if at is None else self.self_attn(y, at))
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(Module):
    """Tokens (N, T) as vectors (N, T, hidden_size): all of `Llama` but its head, whose arguments it has."""

    naming: ClassVar[Naming] = Naming("model.", skipped=r".*rotary_emb\.inv_freq")

    def __init__(
        self, vocab_size: int, hidden_size: int, intermediate_size: int, num_layers: int, num_heads: int,
        num_key_value_heads: int | None = None, *, rotary: Rotary | None = None, eps: float = 1e-6,
        activation: str = "silu", windows: Sequence[int | None] | int | None = None, qkv_bias: bool = False,
        o_bias: bool = False, mlp_bias: bool = False, dropout: float = 0.0, std: float = 0.02,
        max_positions: int | None = None, made_for: int | None = None, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        groups = num_key_value_heads or num_heads
        if num_heads % groups:
            raise ValueError(f"Llama: {groups} heads of keys are to divide the {num_heads} heads of queries.")
        if rotary is None:
            if hidden_size % num_heads:
                raise ValueError(f"Llama: num_heads {num_heads} is to divide hidden_size {hidden_size}.")
            rotary = Rotary(hidden_size // num_heads)
        if windows is None or isinstance(windows, int):
            windows = [windows] * num_layers
        rng = init.generator(rng)
        self.max_positions, self.made_for = max_positions, made_for  # what is refused beyond, what is only told
        self.embed_tokens = Embedding(vocab_size, hidden_size, dtype=dtype, rng=rng)
        self.layers: list[Any] = [
            LlamaLayer(
                LlamaAttention(
                    i, hidden_size, num_heads, groups, rotary, window, qkv_bias, o_bias, dropout, dtype, rng
                ),
                LlamaMLP(hidden_size, intermediate_size, activation, mlp_bias, dtype, rng),
                hidden_size, eps, dtype,
            )
            for i, window in enumerate(windows)
        ]  # fmt: skip
        self.norm = RMSNorm(hidden_size, eps, dtype=dtype)
        begun(self, std, rng, dtype)

    def __call__(self, tokens: Array, attention_mask: Any = None, *, at: Reading | None = None) -> Array:
        """The vectors of tokens; those where `attention_mask` (N, T) is 0 are padding, which no other sees."""
        at = at or reading("Llama", tokens, attention_mask)
        start = 0 if at is None else at.start
        if self.max_positions is not None and isinstance(start, int) and start + tokens.shape[1] > self.max_positions:
            raise ShapeError(
                f"Llama: rope type 'dynamic' is supported up to the {self.max_positions} positions that were trained "
                f"on, not {start + tokens.shape[1]}."
            )
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x) if at is None else layer(x, at)
        return self.norm(x)


class Llama(CausalLM):
    """A language model as Llama: logits (N, T, vocab_size) of the next token for tokens (N, T) (Touvron et al. 2023).

    Queries in `num_heads` heads share `num_key_value_heads` heads of keys and values (as many unless given), turned by
    `rotary`. `windows` limits how many tokens each sees (an entry a layer, or one for all). `qkv_bias`, `o_bias` and
    `mlp_bias` are Qwen2's and others'; `tied` makes the head's weight the embedding's. Matrices start N(0, std²).

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.Llama(11, 8, 16, num_layers=2, num_heads=4, num_key_value_heads=2, rng=0)
    >>> net(np.zeros((3, 5), int)).shape, net.generate(np.array([1, 2]), 4, key=0).shape
    ((3, 5, 11), (6,))
    """

    naming: ClassVar[Naming] = Naming("", skipped=r".*rotary_emb\.inv_freq")

    def __init__(
        self, vocab_size: int, hidden_size: int, intermediate_size: int, num_layers: int, num_heads: int,
        num_key_value_heads: int | None = None, *, tied: bool = False, std: float = 0.02, dtype: Any = "float32",
        rng: Rng = None, **options: Any,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.model = LlamaModel(
            vocab_size, hidden_size, intermediate_size, num_layers, num_heads, num_key_value_heads, std=std,
            dtype=dtype, rng=rng, **options,
        )  # fmt: skip
        self.lm_head = Linear(hidden_size, vocab_size, False, dtype, rng)
        begun(self.lm_head, std, rng, dtype)
        if tied:
            self.tie("lm_head.weight", "model.embed_tokens.weight")

    def __call__(self, tokens: Array, attention_mask: Any = None) -> Array:
        """The logits; tokens where `attention_mask` (N, T) is 0 are padding, which no other sees."""
        return self.logits(tokens, reading("Llama", tokens, attention_mask))

    def hidden(self, tokens: Array, at: Reading | None) -> Array:
        """The vectors (N, L, hidden_size) of tokens (N, L), normalized."""
        return self.model(tokens) if at is None else self.model(tokens, at=at)

    def heads(self) -> tuple[int, int, int]:
        """(layers, heads of keys and values, their width)."""
        attention = self.model.layers[0].self_attn
        return len(self.model.layers), attention.num_groups, attention.rotate.dim


def begun(net: Module, std: float, rng: Any, dtype: Any) -> None:
    """Draw matrices N(0, std²), and set biases to zero."""
    for name, p in net.named_parameters():
        if len(p.shape) > 1:
            p[...] = init.normal(p.shape, std, rng, dtype)
        elif name.endswith("bias"):
            p[...] = 0.0


# From configurations


def llama(fields: Fields, dtype: Any, rng: Rng) -> Any:
    """Llama 1 to 3 from a configuration.

    >>> import adjoint as aj
    >>> config = {"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
    ...           "num_attention_heads": 32}
    >>> with aj.nn.init.only_shapes():
    ...     net = llama(Fields(config), "float32", None)
    >>> aj.nn.count_parameters(net)
    6738415616
    """
    fields.get("pretraining_tp")  # how products were once cut up: rounding alone
    fields.get("max_sequence_length")  # the positions again, in old files
    bias = fields.flag("attention_bias", False)
    biases = {"qkv_bias": bias, "o_bias": bias, "mlp_bias": fields.flag("mlp_bias", False)}
    return _built(fields, "Llama", None, (), biases, dtype, rng)


def mistral(fields: Fields, dtype: Any, rng: Rng) -> Any:
    """Mistral from a configuration: Llama in which a token sees `sliding_window` tokens, itself among them.

    >>> config = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1,
    ...           "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 3}
    >>> mistral(Fields(config), "float32", 0).model.layers[0].self_attn.left
    2
    """
    window = fields.integer("sliding_window", 4096) if _says(fields, "sliding_window", 4096) else None
    return _built(fields, "Mistral", 8, _windows(fields, window, 0), {}, dtype, rng)


def qwen2(fields: Fields, dtype: Any, rng: Rng) -> Any:
    """Qwen2 from a configuration: Llama with biases on queries, keys and values, some layers with a window.

    >>> config = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1,
    ...           "num_attention_heads": 2, "num_key_value_heads": 1}
    >>> qwen2(Fields(config), "float32", 0).model.layers[0].self_attn.q_proj.bias.shape
    (8,)
    """
    window = fields.integer("sliding_window", 4096) if _says(fields, "sliding_window", 4096) else None
    window = window if fields.flag("use_sliding_window", False) else None
    full = fields.integer("max_window_layers", 28, 0)
    return _built(fields, "Qwen2", 32, _windows(fields, window, full), {"qkv_bias": True}, dtype, rng)


def _built(
    fields: Fields, name: str, groups: int | None, windows: Sequence[int | None], biases: dict[str, bool], dtype: Any,
    rng: Rng,
) -> Any:  # fmt: skip
    built: Any = fields.architecture({f"{name}ForCausalLM": Llama, f"{name}Model": LlamaModel})[1]
    width, count = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    if width % count and fields.get("head_dim") is None:
        raise fields.error(f"num_attention_heads {count} is to divide hidden_size {width}")
    groups = fields.integer("num_key_value_heads", groups if _says(fields, "num_key_value_heads", groups) else count)
    if count % groups:
        raise fields.error(f"num_key_value_heads {groups} is to divide num_attention_heads {count}")
    dim = fields.integer("head_dim", width // count)
    if dim % 2:
        raise fields.error(f"the width of a head, {dim}, is to be even: rotary positions turn pairs")
    made_for = fields.integer("max_position_embeddings", 2048)
    turn, positions = rotary(fields, dim, made_for)
    tied = fields.flag("tie_word_embeddings", False)
    layers = fields.layers("num_hidden_layers")
    options: dict[str, Any] = {
        "rotary": turn,
        "eps": fields.number("rms_norm_eps", 1e-6),
        "activation": fields.activation("hidden_act", "silu"),
        "windows": list(windows) or [None] * layers,
        "dropout": fields.number("attention_dropout", 0.0, 0.0, 1.0),
        "std": fields.number("initializer_range", 0.02),
        "max_positions": positions,
        "made_for": made_for,
        **biases,
    }
    if built is Llama:
        options["tied"] = tied
    net = built(
        fields.integer("vocab_size"), width, fields.integer("intermediate_size"), layers, count, groups, dtype=dtype,
        rng=rng, **options,
    )  # fmt: skip
    if built is Llama:
        net.stop, net.pad = (
            fields.tokens("eos_token_id", None if name == "Qwen2" else 2),
            next(iter(fields.tokens("pad_token_id")), None),
        )
    return net


def _windows(fields: Fields, window: int | None, full: int) -> list[int | None]:
    """The window of each layer: as `layer_types` says, else of all but the first `full` ones."""
    layers = fields.layers("num_hidden_layers")
    types = fields.get("layer_types")
    if types is None:
        return [window if i >= full else None for i in range(layers)]
    if not isinstance(types, list) or len(types) != layers or set(types) - {"full_attention", "sliding_attention"}:
        raise fields.error(
            f"layer_types is to name full_attention or sliding_attention for each of the {layers} layers, not {types!r}"
        )
    if window is None and "sliding_attention" in types:
        raise fields.error("layer_types has sliding_attention, but there is no sliding_window")
    return [window if kind == "sliding_attention" else None for kind in types]


def _says(fields: Fields, name: str, missing: Any) -> bool:
    """Whether a field has a value, `missing` where it is not there at all: null is none."""
    return fields.config.get(name, missing) is not None
