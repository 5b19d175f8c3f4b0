"""Which layers are adapted, and with which rank: names, globs and types, patterns as PEFT reads them."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any

from adjoint.interop.graph import Graph
from adjoint.lora.layers import Adapted, adapted, layers
from adjoint.nn.cells import RecurrentCell
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module
from adjoint.nn.recurrent import Recurrent

Target = str | type
HEADS = ("lm_head", "classifier", "score", "decoder", "fc")  # layers after the body, which learn whole or not at all


def hub_name(net: Module, name: str) -> str:
    """The name of a module in Hugging Face's model of the same architecture.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4)
    >>> hub_name(net, "h.0.attn.c_attn"), hub_name(net, "lm_head")
    ('transformer.h.0.attn.c_attn', 'lm_head')
    """
    naming = getattr(type(net), "naming", None)
    if naming is None:
        return name
    spelled = f"{name}.weight"
    for pattern, replacement in naming.respelled:
        spelled = re.sub(pattern, replacement, spelled)
    name = spelled.removesuffix(".weight")
    whole = hasattr(net, "lm_head")  # else the network is the body alone, whose names have no prefix
    return naming.prefix + name if whole and naming.prefix and not name.startswith("lm_head") else name


def matches(target: Target, name: str, layer: Any, net: Module) -> bool:
    """Whether a target means a layer: its name, the end of it, a glob, or its type.

    >>> import adjoint as aj
    >>> net = aj.nn.MLP((2, 3, 1))
    >>> [matches(t, "0", net[0], net) for t in ("0", "*", aj.nn.Linear, "1", aj.nn.Conv2d)]
    [True, True, True, False, False]
    """
    if isinstance(target, type):
        return isinstance(layer.base_layer if isinstance(layer, Adapted) else layer, target)
    names = {name, hub_name(net, name)}
    return any(n == target or n.endswith(f".{target}") or fnmatch.fnmatchcase(n, target) for n in names)


def check_layers(net: Module, what: str) -> None:
    """Raise ValueError for a program read from PyTorch or ONNX: its weights belong to steps, and it has no layers."""
    if isinstance(net, Graph):
        raise ValueError(
            f"{what}: {type(net).__name__} is a program read from PyTorch or ONNX, whose weights belong to its steps, "
            "not to layers. Build the network of layers of adjoint.nn, or open its folder as a model, and take the "
            "weights: net.load_state_dict(theirs.state_dict())."
        )


def chosen(net: Module, targets: Target | Iterable[Target] | None, what: str = "lora.add") -> dict[str, Any]:
    """The layers by name that targets mean. Raises ValueError for a target that means none, or no layer with adapters.

    None means the network itself where it is a layer that takes adapters, else every `Linear` but those after the body
    (lm_head, classifier …) and those whose weight is tied.
    """
    check_layers(net, what)
    found = {name: layer for name, layer in layers(net) if layer.__dict__ and adapted(layer) is not None}
    if targets is None and "" in found:
        return found
    if targets is None:
        shared = {name.rpartition(".")[0].removesuffix(".base_layer") for name in tied(net)}
        kept = {
            name: layer for name, layer in found.items()
            if matches(Linear, name, layer, net) and name not in shared and name.rpartition(".")[2] not in HEADS
        }  # fmt: skip
        if not kept:
            raise ValueError(f"{what}: {type(net).__name__} has no Linear layer to adapt: name the targets.")
        return kept
    given = [targets] if isinstance(targets, (str, type)) else list(targets)
    if not given:
        raise ValueError(f"{what}: no targets are given: name layers, or None for every Linear.")
    result: dict[str, Any] = {}
    for target in given:
        if not isinstance(target, (str, type)):
            raise TypeError(f"{what}: a target is a name, a glob or a type of layer, not {target!r}.")
        meant = {name: layer for name, layer in found.items() if matches(target, name, layer, net)}
        if not meant:
            raise ValueError(_nothing(net, target, found, what))
        result.update(meant)
    return {name: layer for name, layer in found.items() if name in result}


def tied(net: Module) -> set[str]:
    """The names of all arrays that are one with another.

    >>> import adjoint as aj
    >>> sorted(tied(aj.nn.Sequential(aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4))))
    ['0.lm_head.weight', '0.wte.weight']
    """
    return {
        f"{path}.{name}" if path else name
        for path, module in net.named_modules()
        for pair in module._ties
        for name in pair
    }


def _nothing(net: Module, target: Target, found: Mapping[str, Any], what: str) -> str:
    told = target.__name__ if isinstance(target, type) else repr(target)
    every = dict(layers(net))
    others = [n for n, layer in every.items() if n not in found and matches(target, n, layer, net)]
    if others:
        inside = [n for n in found if n.startswith(f"{others[0]}.")]
        remedy = f"name layers inside it, such as {inside[0]}" if inside else "leave it out"
        if what == "lora.add" and isinstance(every[others[0]], (Recurrent, RecurrentCell)):
            remedy = f"its matrices belong to one recurrence; also={[others[0]]!r} lets all of it learn"
        return (
            f"{what}: the target {told} means {others[0]!r}, a {type(every[others[0]]).__name__}: Linear, Embedding "
            f"and Conv1d to Conv3d take adapters; {remedy}."
        )
    last = list(dict.fromkeys(name.rpartition(".")[2] for name in found))
    close = difflib.get_close_matches(str(target), [*last, *found], 3)
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    shown = ", ".join(last[:12]) + (" …" if len(last) > 12 else "")
    return f"{what}: the target {told} matches no layer of {type(net).__name__}, which has {shown or 'none'}.{hint}"


def by_pattern(patterns: Mapping[str, Any] | None, net: Module, name: str, default: Any) -> Any:
    """The value of the first pattern that matches a layer's name, or the end of it, as PEFT's rank_pattern does.

    A pattern is a regular expression of a whole name, or of its last parts: "c_attn", r"h\\.[01]\\..*".

    >>> import adjoint as aj
    >>> by_pattern({"0": 4}, aj.nn.MLP((2, 3, 1)), "0", 8), by_pattern(None, aj.nn.MLP((2, 3, 1)), "2", 8)
    (4, 8)
    """
    for pattern, value in (patterns or {}).items():
        if any(re.match(ending(pattern), n) for n in (hub_name(net, name), name)):
            return value
    return default


def ending(pattern: str) -> str:
    """The expression that a pattern stands for.

    >>> bool(re.match(ending("b"), "a.b")), bool(re.match(ending("b"), "ab"))
    (True, False)
    """
    return rf"(.*\.)?({pattern})$"


def check_patterns(what: str, patterns: Mapping[str, Any] | None, net: Module, names: Iterable[str]) -> None:
    """Raise ValueError for a pattern that matches none of the layers, or is no regular expression."""
    names = list(names)
    for pattern in patterns or {}:
        try:
            re.compile(ending(pattern))
        except re.error as error:
            raise ValueError(f"lora.add: {what} has {pattern!r}, no regular expression: {error}.") from None
        if not any(by_pattern({pattern: True}, net, name, False) for name in names):
            raise ValueError(f"lora.add: {what} has {pattern!r}, which matches none of the adapted layers.")
