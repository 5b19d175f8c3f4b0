"""Adapters in PEFT's files: adapter_config.json and adapter_model.safetensors in a folder, and nothing executed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from adjoint import arrays as xp
from adjoint.errors import CheckpointError
from adjoint.interop.checkpoints import save as save_arrays
from adjoint.interop.entries import Path, listed
from adjoint.interop.writing import write
from adjoint.lora.adapters import AdaLoRA, DoRA, LoRA
from adjoint.lora.config import Config, read_config
from adjoint.lora.layers import Adapted, AdaptedEmbedding, adapted_layers, layers
from adjoint.lora.targets import hub_name
from adjoint.nn.module import Module

M = TypeVar("M", bound=Module)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def save(net: Module, folder: Path, name: str | None = None, *, base: str | None = None) -> None:
    """Write an adapter, and nothing else, as PEFT does: its configuration and its arrays, to `folder`.

    `name` may be left out where there is one adapter. Modules that learn whole beside adapters are PEFT's
    `modules_to_save`, and biases that learn are in the file too. `base` tells where the base network is from. Raises
    KeyError for an adapter that there is not, ValueError for what PEFT's format cannot say, such as AdaLoRA adapters
    with several alphas.

    >>> import adjoint as aj, os, tempfile
    >>> net, folder = aj.lora.add(aj.nn.MLP((4, 3, 2)), rank=2), tempfile.mkdtemp()
    >>> aj.lora.save(net, folder)
    >>> sorted(os.listdir(folder))
    ['adapter_config.json', 'adapter_model.safetensors']
    """
    found = adapted_layers(net)
    known = tuple(dict.fromkeys(n for layer in found.values() for n in layer.adapters))
    if name is None and len(known) == 1:
        name = known[0]
    if name is None or name not in known:
        asked = "name one" if name is None and known else f"there is no adapter {name!r}" if known else "there is none"
        raise KeyError(f"lora.save: {asked}; the network has {', '.join(known) or 'no adapters'}.")
    own = {key: layer for key, layer in found.items() if name in layer.adapters}
    if any(layer.merged for layer in own.values()):
        raise ValueError("lora.save: adapters are merged into the weights: lora.unmerge first.")
    if alone := _own(net)[1] if not isinstance(net, Adapted) else []:
        raise ValueError(
            f"lora.save: {alone[0]} of {type(net).__name__} learns, an array that stands in the network itself, which "
            "PEFT's files cannot hold: freeze it, or put it into a module."
        )
    whole = learning(net)
    config = Config.of({hub_name(net, key): layer.adapters[name] for key, layer in own.items()}, net, base)
    config.modules_to_save = sorted({hub_name(net, n) for n in whole}) or None
    arrays = {
        f"{PREFIX}{hub_name(net, key)}.{part}": x
        for key, layer in own.items() for part, x in parts(layer, layer.adapters[name])
    }  # fmt: skip
    for module, inside in whole.items():
        arrays |= {f"{PREFIX}{hub_name(net, module)}.{k}": x for k, x in inside.state_dict().items()}
    if free := biases(net):
        config.bias = "lora_only" if all(isinstance(layer, Adapted) for _, layer, _ in free) else "all"
        for module, layer, k in free:
            inner, owner = ("base_layer.", layer.base_layer) if isinstance(layer, Adapted) else ("", layer)
            arrays[f"{PREFIX}{hub_name(net, module)}.{inner}{k}"] = owner.__dict__[k]
    folder = os.fspath(folder)
    save_arrays(os.path.join(folder, WEIGHTS), arrays, {"format": "pt"})
    write(os.path.join(folder, CONFIG), (json.dumps(config.fields(), indent=2, sort_keys=True) + "\n").encode())


def learning(net: Module) -> dict[str, Module]:
    """The modules by name that learn whole beside adapters: those outside of adapted layers with arrays not frozen."""
    result: dict[str, Module] = {}
    for name, module in layers(net):
        inside = any(name.startswith(f"{n}.") for n in result)
        if not name or inside or isinstance(module, Adapted):
            continue
        own, free = _own(module)
        if free and (free == own or any("bias" not in n for n in free)):
            result[name] = module
    return result


def biases(net: Module) -> list[tuple[str, Any, str]]:
    """(name of a layer, layer, its bias) where the bias learns and its other arrays do not."""
    found = []
    for name, layer in layers(net):
        own, free = _own(layer.base_layer if isinstance(layer, Adapted) else layer)
        if free != own and all("bias" in n for n in free):
            found += [(name, layer, n) for n in free]
    return found


def _own(module: Module) -> tuple[list[str], list[str]]:
    """(the arrays that a module itself has, those of them that learn)."""
    fields = module.__dict__
    own = [n for n in module.form().names if not isinstance(fields[n], (Module, list, dict, tuple))]
    own = [n for n in own if n not in module._buffers]
    return own, [n for n in own if n not in module._frozen]


def parts(layer: Adapted, adapter: LoRA) -> Iterator[tuple[str, Any]]:
    """(PEFT's name, array) of an adapter's arrays."""
    ends = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"}
    if isinstance(layer, AdaptedEmbedding):
        ends = {"lora_A": "lora_embedding_A", "lora_B": "lora_embedding_B"}
    if isinstance(adapter, AdaLoRA):
        ends = {key: key for key in ("lora_A", "lora_B", "lora_E")}
    if adapter.lora_bias is not None:
        ends["lora_bias"] = "lora_B.bias"
    if isinstance(adapter, DoRA):
        ends["lora_magnitude_vector"] = "lora_magnitude_vector"
    return ((end, getattr(adapter, key)) for key, end in ends.items())


def load(net: M, folder: Path, name: str = "default", *, learn: bool = True) -> Any:
    """Put an adapter that PEFT, or `save`, wrote beside the layers of a network, and use it; returns the network.

    LoRA, rsLoRA, DoRA and AdaLoRA, on the layers of the same names in Hugging Face's model; LoRA with biases of its own
    (`lora_bias`), too. As with `add` the network itself is changed, by whole modules and biases that the file has too;
    where `learn` is false all of it is frozen, and `save` then writes the adapter alone. Raises CheckpointError, and
    changes nothing, for files that are truncated, corrupt or of another network, for adapters that are not all there,
    and for fields of the configuration that say something else than is computed here; FileNotFoundError. No pickle is
    read.

    >>> import adjoint as aj, tempfile
    >>> net, folder = aj.lora.add(aj.nn.MLP((4, 3, 2)), rank=2), tempfile.mkdtemp()
    >>> aj.lora.save(net, folder)
    >>> aj.lora.load(aj.nn.MLP((4, 3, 2)), folder)[0].adapters["default"].rank
    2
    """
    from adjoint.lora import loading

    folder = os.fspath(folder)
    path = os.path.join(folder, WEIGHTS)
    config = read_config(os.path.join(folder, CONFIG))
    if not os.path.exists(path):
        pickled = os.path.join(folder, "adapter_model.bin")
        hint = " adapter_model.bin is a pickle, which is not read: save with safe_serialization=True." * os.path.exists(
            pickled
        )
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}.{hint}")
    return loading.load(net, path, config, name, learn)


SUFFIX = re.compile(
    r"(?P<layer>.*)\.(?P<part>lora_A|lora_B|lora_E|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(\.(?P<adapter>(?!weight$|bias$)[^.]+))?(\.(?P<end>weight|bias))?"  # its name, where a whole state was saved
)


def sorted_keys(path: str, keys: Iterable[str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """({layer: {part: key}}, {other array: key}) of the keys in a file of PEFT's.

    Names of adapters are left out in them. PEFT's files have some with a name beside them where that contains the name
    of the adapter that was saved, as "default_2" does "default": they are of another adapter, and passed over.

    >>> sorted_keys("f", ["base_model.model.fc.lora_A.weight", "base_model.model.head.bias"])
    ({'fc': {'lora_A': 'base_model.model.fc.lora_A.weight'}}, {'head.bias': 'base_model.model.head.bias'})
    """
    by_name: dict[Any, list[tuple[str, str, str]]] = {}
    others: dict[str, str] = {}
    for key in keys:
        match = SUFFIX.fullmatch(key.removeprefix(PREFIX))
        if match is None:
            bare = re.sub(r"\.modules_to_save(\.default)?(?=\.)", "", key.removeprefix(PREFIX))
            others[bare.replace(".base_layer.", ".")] = key
            continue
        part = match["part"].replace("_embedding", "")
        if match["end"] == "bias":
            part = "lora_bias" if part == "lora_B" else f"{part}.bias"
        by_name.setdefault(match["adapter"], []).append((match["layer"], part, key))
    if len(by_name) > 1 and None not in by_name:
        raise CheckpointError(f"{path} has several adapters, {told(by_name)}: save one of them by its name.")
    adapters: dict[str, dict[str, str]] = {}
    for layer, part, key in by_name.get(None) or next(iter(by_name.values()), []):
        known = adapters.setdefault(layer, {})
        if part in known:
            raise CheckpointError(f"{path} has {part} of {layer} twice: {known[part]} and {key}.")
        known[part] = key
    return adapters, others


def own_names(net: Module) -> dict[str, tuple[str, Any]]:
    """{name in Hugging Face's model: (own name, layer)} under every spelling that files have."""
    naming = getattr(type(net), "naming", None)
    result: dict[str, tuple[str, Any]] = {}
    for name, layer in layers(net):
        spelled = naming.candidates(f"{name}.weight") if naming is not None else []
        for other in (name, hub_name(net, name), *(s.removesuffix(".weight") for s in spelled)):
            result.setdefault(other, (name, layer))
    return result


def as_like(x: Any, like: Any, dtype: Any) -> Any:
    """An array of a file on the network's backend."""
    return xp.asarray(like, x, dtype)


def told(names: Mapping[str, Any] | Iterable[str]) -> str:
    """Names in a message."""
    return str(listed(sorted(names)))
