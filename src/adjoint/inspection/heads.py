"""Where the attentions of a module are: their four weights under the names that are usual, and how many heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.maps.flat import to_numpy

COUNTS = ("num_heads", "n_head", "n_heads", "num_attention_heads", "heads", "count")
WIDTHS = ("head_dim", "attention_head_size", "key_value_proj_dim", "head_size")
SEPARATE = (  # query, key, value in a module, and what follows them
    ("q_proj", "k_proj", "v_proj", ("o_proj", "out_proj", "dense")),
    ("query", "key", "value", ("output.dense", "out_proj")),
    ("q", "k", "v", ("o",)),
    ("q_lin", "k_lin", "v_lin", ("out_lin",)),
    ("q_proj_weight", "k_proj_weight", "v_proj_weight", ("out_proj",)),
)
PACKED = (  # query, key and value one after the other; "each" has them head by head
    ("c_attn", ("c_proj",), False),
    ("in_proj_weight", ("out_proj",), False),
    ("qkv", ("proj",), False),
    ("query_key_value", ("dense",), True),
)
Four = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Heads:
    """An attention: `count` heads of `width` numbers, `groups` of keys and values; `read()` gives its four matrices.

    W_Q (count · width, n), W_K and W_V (groups · width, n), W_O (m, count · width). `left_out` says for each kind of
    circuit what its heads do besides.
    """

    name: str
    count: int
    groups: int
    width: int
    dtype: str
    read: Callable[[], Four]
    left_out: Mapping[str, tuple[str, ...]]


def attentions(model: Any) -> tuple[dict[str, Heads], dict[str, str]]:
    """The attentions of a module, of this library or PyTorch, by name; and by name why others have no circuits.

    Those are found whose weights have usual names (GPT-2's, Llama's, BERT's, ViT's, T5's, DistilBERT's, GPT-NeoX's,
    MultiheadAttention's), and told apart where they tell their heads' number or width.

    >>> import adjoint as aj
    >>> found, unknown = attentions(aj.nn.TransformerEncoderLayer(12, 3, 20, rng=0))
    >>> [(name, x.count, x.width) for name, x in found.items()], unknown
    ([('self_attn', 3, 4)], {})
    """
    if not (hasattr(model, "named_parameters") and hasattr(model, "named_modules")):
        return {}, {}
    modules = dict(model.named_modules())
    made = {name: found for name, module in modules.items() if (found := _of(name, module, modules)) is not None}
    known = {name: found for name, found in made.items() if isinstance(found, Heads)}
    return known, {name: found for name, found in made.items() if isinstance(found, str)}


def circuits_of(name: str) -> str:
    """What the circuits of an attention are called among what is left out.

    >>> circuits_of("h.0.attn"), circuits_of("")
    ('(circuits of h.0.attn)', '(circuits)')
    """
    return f"(circuits of {name})" if name else "(circuits)"


def _of(name: str, module: Any, modules: Mapping[str, Any]) -> Heads | str | None:
    parent = name.rpartition(".")[0]
    around = [modules[parent]] if name and parent in modules else []
    for *parts, ends in SEPARATE:
        weights = [_weight(module, part) for part in parts]
        out = _out([module, *around], ends)
        if out is not None and all(x is not None for x in weights):
            return _heads(name, module, [*weights, out], _separate)
    for part, ends, each in PACKED:
        weight, out = _weight(module, part), _out([module], ends)
        if weight is not None and out is not None:
            return _heads(name, module, [weight, out], _each if each else _packed)
    return None


def _weight(module: Any, part: str) -> Any:
    """The matrix of a part of a module, turned if it stands as (in, out); None where there is none."""
    at = module
    for step in part.split("."):
        at = getattr(at, step, None)
    if at is None:
        return None
    turned = type(at).__name__ == "Conv1D"
    own = "packed" if "packed" in getattr(at, "__dict__", ()) else "weight"  # a quantized one stays so until it is read
    weight = at if part.endswith("_weight") else getattr(at, own, None)
    stored = getattr(weight, "codes", weight)
    if weight is None or len(getattr(weight, "shape", ())) != 2 or type(stored).__name__ == "ShapeArray":
        return None
    return weight.T if turned else weight


def _out(modules: list[Any], ends: tuple[str, ...]) -> Any:
    return next((w for m in modules for end in ends if (w := _weight(m, end)) is not None), None)


def _heads(name: str, module: Any, weights: list[Any], split: Callable[..., Four]) -> Heads | str:
    """An attention, or why its heads cannot be told apart."""
    count, width = _told(module, COUNTS), _told(module, WIDTHS)
    across = int(weights[-1].shape[1])
    count = across // width if count is None and width else count
    if not count:
        return "how many heads the attention has, neither the module nor its configuration tells"
    if across % count:
        return f"{count} heads do not divide the {across} columns of the output's weight"
    width = across // count
    packed = len(weights) == 2
    if packed and int(weights[0].shape[0]) != 3 * across:
        return f"its packed weight has {int(weights[0].shape[0])} rows, not three times {across}"
    rows = [across] * 3 if packed else [int(x.shape[0]) for x in weights[:3]]
    groups = rows[1] // width
    if rows[0] != across or rows[1] != rows[2] or rows[1] % width or not groups or count % groups:
        return f"{count} heads of width {width} do not fit weights of {', '.join(map(str, rows))} rows"
    return Heads(
        name, count, groups, width, str(weights[0].dtype).removeprefix("torch."),
        lambda: split([_numbers(x) for x in weights], count), _left_out(module),
    )  # fmt: skip


def _numbers(x: Any) -> np.ndarray:
    return to_numpy(x.dequantize() if getattr(x, "packed_parameters", 0) else x)


def _told(module: Any, names: tuple[str, ...]) -> int | None:
    """A number that the module, or its configuration, tells under one of some names."""
    for at in (module, getattr(module, "config", None)):
        for name in names:
            value = getattr(at, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _separate(weights: list[np.ndarray], count: int) -> Four:
    q, k, v, o = weights
    return q, k, v, o


def _packed(weights: list[np.ndarray], count: int) -> Four:
    q, k, v = np.split(weights[0], 3)
    return q, k, v, weights[1]


def _each(weights: list[np.ndarray], count: int) -> Four:
    parts = weights[0].reshape(count, 3, -1, weights[0].shape[1])
    q, k, v = (parts[:, i].reshape(-1, weights[0].shape[1]) for i in range(3))
    return q, k, v, weights[1]


def _left_out(module: Any) -> dict[str, tuple[str, ...]]:
    """What the two circuits do not tell of a head."""
    named = {name.rpartition(".")[2] for name, _ in module.named_parameters()}
    biases = ("biases",) if any("bias" in name for name in named) else ()
    config = getattr(module, "config", None)
    turns = ("rotate", "rotary_ndims", "rotary_emb", "rope_theta", "rope_parameters")
    rotary = any(getattr(at, turn, None) is not None for at in (module, config) for turn in turns)
    relative = getattr(module, "relative_attention_bias", None) is not None
    qk: tuple[str, ...] = ("rotation: as at relative position 0",) if rotary else ()
    qk += ("relative position bias",) if relative else ()
    qk += ("norms of queries and keys",) if getattr(module, "q_norm", None) is not None else ()
    always = ("gain of the norm before",)
    return {"QK": (*biases, *qk, "scale", *always), "OV": (*biases, *always)}
