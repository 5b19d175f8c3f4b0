"""An adapter from PEFT's files into a network: all of it is checked before anything is changed."""

from __future__ import annotations

import math
import re
from typing import Any

from adjoint.arrays.dispatch import is_floating
from adjoint.errors import CheckpointError
from adjoint.interop.weights import Weights
from adjoint.lora import initial
from adjoint.lora.adapters import AdaLoRA, DoRA, LoRA
from adjoint.lora.adding import installed, stands_alone, stored, width
from adjoint.lora.config import Config
from adjoint.lora.files import as_like, own_names, sorted_keys, told
from adjoint.lora.layers import Adapted, adapted, cast
from adjoint.lora.targets import by_pattern, hub_name
from adjoint.nn.module import Module


def load(net: Any, path: str, config: Config, name: str, learn: bool) -> Any:
    """The network with the adapter of a file; see `lora.load`."""
    if not name or "." in name:
        raise ValueError(f"lora.load: an adapter's name has no dots and is not empty, unlike {name!r}.")
    weights = Weights(path)
    layers, others = sorted_keys(path, weights)
    known = own_names(net)
    if not layers:
        raise CheckpointError(f"{path} has no adapters: none of its arrays is named lora_A or lora_B.")
    strange = [key for key in layers if key not in known or adapted(known[key][1]) is None]
    if packed := [key for key in strange if key in known and hasattr(known[key][1], "in_proj_weight")]:
        raise CheckpointError(
            f"{path} has an adapter for {packed[0]}, whose projections of queries, keys and values are one array "
            "(in_proj_weight), which takes none here: PEFT's own layer adds the change of its output projection twice, "
            "and its gradients are those of once. Merge it with PEFT (merge_and_unload), or give attention three "
            "linear layers and train it anew."
        )
    if strange:
        raise CheckpointError(
            f"{path} has adapters for {told(strange)}, which {type(net).__name__} does not have as a layer that takes "
            "them: the file is for another network."
        )
    _check_whole(path, net, config, known, layers)
    made: dict[str, Any] = {}
    wrapped: dict[int, Any] = {}
    for key, parts in layers.items():
        own, module = known[key]
        if id(module) in wrapped:
            raise CheckpointError(f"{path} has two adapters for {own}, one of them as {key}.")
        layer: Any = wrapped.setdefault(id(module), adapted(module))
        if name in layer.adapters or layer.merged:
            remedy = "unmerge first" if layer.merged else "give another name, or remove it"
            raise ValueError(f"lora.load: {own} has an adapter {name!r}, or merged ones, already: {remedy}.")
        made[own] = (layer, *_adapter(path, net, config, key, own, layer, parts, weights))
    whole, state = _others(path, net, config, known, others, weights)
    for owner, last, value in state:
        setattr(owner, last, value)
    net = installed(net, made, wrapped, name, whole if learn else (), None, config.bias if learn else "none")
    if not learn:
        for _, adapter, _ in made.values():
            adapter.freeze()
    return net


def _check_whole(path: str, net: Module, config: Config, known: dict[str, Any], layers: Any) -> None:
    """Raise where layers that the configuration targets have no adapter in the file."""
    if config.targets is None or str(config.targets).lower() == "all-linear":
        return
    there = {known[key][0] for key in layers}
    takers = {hub_name(net, own) for own, m in dict(known.values()).items() if own not in there and adapted(m)}
    if lacking := [key for key in takers if config.targeted(key)]:
        raise CheckpointError(
            f"{path} has no adapters for {told(lacking)}, which its configuration targets: it is incomplete, or for "
            "another network."
        )


def _adapter(
    path: str, net: Module, config: Config, key: str, own: str, layer: Adapted, parts: dict[str, str], weights: Weights
) -> tuple[Any, Any]:  # fmt: skip
    """(the adapter of a layer, what is left of the base weight or None)."""
    kind = AdaLoRA if config.peft_type == "ADALORA" else DoRA if config.dora else LoRA
    more = {AdaLoRA: {"lora_E"}, DoRA: {"lora_magnitude_vector"}}.get(
        kind, {"lora_bias"} if config.lora_bias else set()
    )
    if parts.keys() != (needed := {"lora_A", "lora_B", *more}):
        lacking, extra = needed - parts.keys(), parts.keys() - needed
        what = f"lacks {told(lacking)}" if lacking else f"has {told(extra)}, of another kind of adapter,"
        raise CheckpointError(f"{path} {what} of {key}: the file does not fit its configuration.")
    rank, alpha, kept = _numbers(path, net, config, key, own)
    try:
        initial.fits(kind, layer, rank, f"{path}: {key}")
        if config.init in initial.RESIDUAL:
            stands_alone(net, own, layer, f"{path}: init_lora_weights={config.init!r}")
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    arrays = _arrays(path, net, layer, rank, parts, weights)
    A, B = arrays["lora_A"], arrays["lora_B"]
    options: dict[str, Any] = {"rslora": config.rslora, "dropout": config.dropout, "init": config.init}
    left = None
    if config.init in initial.RESIDUAL:
        W = layer.base_layer.weight
        scale = LoRA(A, B, alpha, rslora=config.rslora).scale
        left = initial.split(config.init, cast(layer.matrix(W), A), rank, scale)[2]
        left = cast(layer.shaped(left, tuple(W.shape)), W)
    if kind is AdaLoRA:
        options |= {"values": arrays["lora_E"], "kept": kept}
    if kind is DoRA:
        options["magnitude"] = arrays["lora_magnitude_vector"]
    return kind(A, B, alpha, lora_bias=arrays.get("lora_bias"), **options), left


def _numbers(path: str, net: Module, config: Config, key: str, own: str) -> tuple[Any, Any, tuple[bool, ...] | None]:
    """(rank, alpha, which of AdaLoRA's ranks are left or None) of a layer."""
    if config.peft_type == "ADALORA":
        masks = {k.replace(".default", ""): v for k, v in config.rank_pattern.items()}
        mask = masks.get(f"{key}.lora_E")
        if mask is None:
            return config.rank, config.alpha, None
        if not isinstance(mask, list) or len(mask) != config.rank:
            raise CheckpointError(f"{path}: rank_pattern of {key} is not {config.rank} times true or false.")
        kept = tuple(bool(x) for x in mask)
        return sum(kept), config.alpha, None if all(kept) else kept
    rank = by_pattern(config.rank_pattern, net, own, config.rank)
    alpha = by_pattern(config.alpha_pattern, net, own, config.alpha)
    for what, value in (("rank_pattern", rank), ("alpha_pattern", alpha)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value <= 0:
            raise CheckpointError(f"{path}: {what} gives {key} the value {value!r}.")
    return rank, alpha, None


def _arrays(
    path: str, net: Module, layer: Adapted, rank: int, parts: dict[str, str], weights: Weights
) -> dict[str, Any]:  # fmt: skip
    """The arrays of an adapter, of the shapes that the layer and the rank give them."""
    first, second = initial.shapes(layer, rank)
    extra_axes = len(first) - 2
    shapes = {
        "lora_A": first, "lora_B": second, "lora_E": (rank, 1),
        "lora_magnitude_vector": (1, second[0]) + (1,) * extra_axes if extra_axes else (second[0],),
        "lora_bias": (second[0],),
    }  # fmt: skip
    like = next(x for _, x in layer.base_layer.named_arrays())
    dtype = width(stored(layer.base_layer))
    arrays = {}
    for part, key in parts.items():
        entry = weights.entry(key)
        if entry.shape != shapes[part]:
            raise CheckpointError(
                f"{path}: {key} is {entry.shape}, where {type(net).__name__} and the configuration (rank {rank}) take "
                f"{shapes[part]}: the file is for another network, or its configuration is."
            )
        if not is_floating(entry.dtype):
            raise CheckpointError(f"{path}: {key} holds {entry.dtype}, not floating numbers.")
        arrays[part] = as_like(entry.read().astype(dtype), like, dtype)
    return arrays


def _others(
    path: str, net: Module, config: Config, known: dict[str, Any], others: dict[str, str], weights: Weights
) -> tuple[list[str], list[tuple[Any, str, Any]]]:  # fmt: skip
    """(names of modules that learn whole, (owner, attribute, array) of what the file has beside adapters)."""
    state, there = [], set[str]()
    for key, inside in others.items():
        module_name, _, last = key.rpartition(".")
        found = known.get(module_name)
        owner = None if found is None else found[1].base_layer if isinstance(found[1], Adapted) else found[1]
        mine = None if owner is None else owner.__dict__.get(last)
        if mine is None or not hasattr(mine, "shape"):
            raise CheckpointError(
                f"{path} has {inside}, which {type(net).__name__} does not: it is for another network."
            )
        entry = weights.entry(inside)
        if is_floating(mine.dtype) and not is_floating(entry.dtype):
            raise CheckpointError(f"{path}: {inside} holds {entry.dtype}, not floating numbers.")
        array = entry.read()
        naming = getattr(type(net), "naming", None)
        if naming is not None and re.fullmatch(naming.transposed, f"{found[0]}.{last}"):  # type: ignore[index]
            array = array.T
        if array.shape != tuple(mine.shape):
            raise CheckpointError(
                f"{path}: {inside} is {array.shape}, where {type(net).__name__} has {tuple(mine.shape)}."
            )
        own = f"{found[0]}.{last}"  # type: ignore[index]
        if own in there:
            raise CheckpointError(f"{path} has {own} twice, once as {inside}.")
        state.append((owner, last, as_like(array, mine, mine.dtype)))
        there.add(own)
    return _whole(path, config, known, there), state


def _whole(path: str, config: Config, known: dict[str, Any], there: set[str]) -> list[str]:
    """The modules that learn whole; raises where the file has some of their arrays, or none."""
    whole: dict[str, None] = {}
    for saved in config.modules_to_save or ():
        meant = {
            own: {f"{own}.{k.replace('base_layer.', '')}" for k in module.state_dict() if "lora_" not in k}
            for key, (own, module) in known.items() if key.endswith(saved)  # as PEFT does
        }  # fmt: skip
        meant = {own: names for own, names in meant.items() if names}
        complete = [own for own, names in meant.items() if names <= there]
        begun = [own for own, names in meant.items() if names & there and not names <= there]
        if lacking := begun or ([] if complete else list(meant)):
            raise CheckpointError(
                f"{path} has no {told(meant[lacking[0]] - there)}, which modules_to_save names by {saved!r}: it is "
                "incomplete."
            )
        whole |= dict.fromkeys(complete)
    return list(whole)
