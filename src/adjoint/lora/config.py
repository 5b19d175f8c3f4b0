"""PEFT's adapter_config.json: what it says, read strictly, and written so that PEFT reads it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from adjoint.errors import CheckpointError
from adjoint.interop.safetensors_files import parsed
from adjoint.lora.adapters import AdaLoRA, LoRA
from adjoint.lora.initial import RESIDUAL
from adjoint.lora.layers import adapted, layers
from adjoint.lora.targets import ending, hub_name

LIMIT = 10_000_000  # bytes
ABOUT = {  # fields that say nothing of what is computed
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "fan_in_fan_out", "megatron_config", "megatron_core", "runtime_config", "eva_config",
    "ensure_weight_tying", "qalora_group_size", "loftq_config", "lora_ga_config", "corda_config", "target_r", "tinit",
    "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step",
}  # fmt: skip
APART = {  # fields that say something else than a change of low rank beside a layer
    "trainable_token_indices": "single rows of an embedding are replaced",
    "layer_replication": "blocks stand several times in the network",
    "target_parameters": "arrays are changed that belong to no layer of their own",
    "alora_invocation_tokens": "the adapter acts from some tokens on",
    "enable_lora": "parts of a layer are left out",
}
SAFE_INITS = ("gaussian", "orthogonal", "eva")  # that leave the base weight as it is


@dataclasses.dataclass
class Config:
    """What a configuration says of how adapters are computed; see PEFT's LoraConfig and AdaLoraConfig.

    >>> Config(rank=4, alpha=8.0).fields()["r"]
    4
    """

    rank: int
    alpha: float
    peft_type: str = "LORA"
    targets: Any = None
    excluded: Any = None
    layers: Any = None
    layers_pattern: Any = None
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    init: str = "zeros"
    rank_pattern: dict[str, Any] = dataclasses.field(default_factory=dict)
    alpha_pattern: dict[str, float] = dataclasses.field(default_factory=dict)
    modules_to_save: list[str] | None = None
    bias: str = "none"
    lora_bias: bool = False
    base: str | None = None
    transposed: bool = False

    def targeted(self, key: str) -> bool:
        """Whether a layer is meant, by its name in Hugging Face's model, as PEFT reads `target_modules` and its kin.

        >>> config = Config(8, 8.0, targets=["q", "v"], layers=[1])
        >>> [config.targeted(key) for key in ("model.layers.1.q", "model.layers.0.q", "model.layers.1.k")]
        [True, False, False]
        """
        saved = any(f".{m}." in f".{key}." for m in self.modules_to_save or ())
        if saved or _meant(self.excluded, key) or not _meant(self.targets, key):
            return False
        if isinstance(self.targets, str) or key in self.targets or self.layers in (None, []):
            return True
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        found = [re.match(_numbered(pattern), key) for pattern in patterns or [r"[^.]*"]]
        index = next((int(match.groups()[-1]) for match in found if match), None)
        return index in ([self.layers] if isinstance(self.layers, int) else self.layers)

    @classmethod
    def of(cls, adapters: Mapping[str, LoRA], net: Any, base: str | None) -> Config:
        """The configuration of adapters by Hugging Face's names of their layers."""
        every = list(adapters.values())
        first = every[0]
        same = {(type(a), a.rslora, a.p, a.init in RESIDUAL and a.init, a.lora_bias is not None) for a in every}
        if len(same) > 1:
            raise ValueError(
                "lora.save: the adapters of the layers differ in kind, dropout, start or bias: PEFT has one of each."
            )
        ranks = Counter(a.start if isinstance(a, AdaLoRA) else a.rank for a in every)
        alphas = Counter(a.alpha for a in every)
        rank, alpha = ranks.most_common(1)[0][0], alphas.most_common(1)[0][0]
        naming = getattr(type(net), "naming", None)
        config = cls(
            rank, alpha, first.peft_type, _targets(adapters, net), dropout=first.p, rslora=first.rslora,
            dora=first.dora, init=first.init, base=base, transposed=naming is not None and naming.transposed != r"(?!)",
            lora_bias=first.lora_bias is not None,
        )  # fmt: skip
        if isinstance(first, AdaLoRA):
            if len(ranks) > 1 or len(alphas) > 1:
                raise ValueError("lora.save: AdaLoRA's file has one first rank and one alpha for all layers.")
            config.rank_pattern = {
                f"{key}.lora_E": list(a.kept) for key, a in adapters.items() if isinstance(a, AdaLoRA) and a.kept
            }
            if config.rank_pattern:  # PEFT wants every layer there
                config.rank_pattern = {
                    f"{k}.lora_E": list(getattr(a, "kept", None) or (True,) * a.rank) for k, a in adapters.items()
                }
        else:
            config.rank_pattern = {_pattern_of(k, adapters): a.rank for k, a in adapters.items() if a.rank != rank}
            config.alpha_pattern = {_pattern_of(k, adapters): a.alpha for k, a in adapters.items() if a.alpha != alpha}
        return config

    def fields(self) -> dict[str, Any]:
        """The fields as PEFT has them."""
        alpha: Any = int(self.alpha) if float(self.alpha).is_integer() else self.alpha
        told: dict[str, Any] = {
            "peft_type": self.peft_type, "task_type": None, "auto_mapping": None,
            "base_model_name_or_path": self.base, "revision": None, "inference_mode": True, "r": self.rank,
            "lora_alpha": alpha, "lora_dropout": self.dropout, "target_modules": self.targets,
            "fan_in_fan_out": self.transposed, "bias": self.bias, "use_rslora": self.rslora, "use_dora": self.dora,
            "init_lora_weights": self.init if self.init in RESIDUAL else True, "rank_pattern": self.rank_pattern,
            "alpha_pattern": self.alpha_pattern, "modules_to_save": self.modules_to_save,
        }  # fmt: skip
        if self.lora_bias:
            told["lora_bias"] = True
        if self.peft_type == "ADALORA":
            kept = [sum(mask) for mask in self.rank_pattern.values()] or [self.rank]
            told |= {"r": 8, "init_r": self.rank, "target_r": max(1, round(sum(kept) / len(kept))), "total_step": 1,
                     "tinit": 0, "tfinal": 0, "rank_pattern": self.rank_pattern or None}  # fmt: skip
        return told


def _targets(adapters: Iterable[str], net: Any) -> Any:
    """Names of layers as target_modules: an expression where other layers end as one of them does."""
    names = sorted(adapters)
    others = {hub_name(net, name) for name, layer in layers(net) if adapted(layer)} - {*names}
    return "|".join(map(re.escape, names)) if any(_meant(names, other) for other in others) else names


def _pattern_of(name: str, names: Iterable[str]) -> str:
    """The pattern that means one name: PEFT's mean the end of one, unless they begin with ^."""
    return f"^{name}" if any(other.endswith(f".{name}") for other in names) else name


def read_config(path: str) -> Config:
    """What an adapter_config.json says. Raises CheckpointError for what is not computed here, FileNotFoundError."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"there is no {path}: an adapter is a folder with adapter_config.json beside its weights."
        )
    if os.path.getsize(path) > LIMIT:
        raise CheckpointError(
            f"{path} has {os.path.getsize(path):,} bytes, more than a configuration has: it is corrupt."
        )
    with open(path, "rb") as file:
        told = parsed(path, file.read(), "configuration of an adapter")
    told = {key: value for key, value in told.items() if key not in ABOUT}
    kind = told.pop("peft_type", None)
    if kind not in ("LORA", "ADALORA"):
        raise CheckpointError(f"{path}: peft_type is {kind!r}; LORA and ADALORA are read here.")
    config = Config(
        rank=_number(path, told, "init_r" if kind == "ADALORA" else "r", 12 if kind == "ADALORA" else 8, whole=True),
        alpha=_number(path, told, "lora_alpha", 8),
        peft_type=kind,
        targets=_names(path, told, "target_modules"),
        excluded=_names(path, told, "exclude_modules"),
        layers=_indices(path, told, "layers_to_transform"),
        layers_pattern=_names(path, told, "layers_pattern") or [],
        dropout=_number(path, told, "lora_dropout", 0.0, zero=True),
        rslora=_flag(path, told, "use_rslora"),
        dora=_flag(path, told, "use_dora"),
        init=_init(path, told.pop("init_lora_weights", True)),
        rank_pattern=_pattern(path, told, "rank_pattern"),
        alpha_pattern=_pattern(path, told, "alpha_pattern"),
        modules_to_save=_names(path, told, "modules_to_save"),
        bias=told.pop("bias", "none"),
        lora_bias=_flag(path, told, "lora_bias"),
    )
    if kind == "ADALORA":
        told.pop("r", None)
    for pattern in [config.layers_pattern] if isinstance(config.layers_pattern, str) else config.layers_pattern:
        _check_expression(path, "layers_pattern", pattern, _numbered)
    if config.bias not in ("none", "all", "lora_only"):
        raise CheckpointError(f"{path}: bias is {config.bias!r}, neither 'none', 'all' nor 'lora_only'.")
    if config.dropout >= 1.0:
        raise CheckpointError(f"{path}: lora_dropout is {config.dropout}, no probability below 1.")
    if kind == "ADALORA" and config.dora:
        raise CheckpointError(f"{path}: use_dora is set beside ADALORA, which has no magnitudes.")
    if config.lora_bias and (kind == "ADALORA" or config.dora):
        raise CheckpointError(
            f"{path}: lora_bias is set beside {'use_dora' if config.dora else kind}: LoRA has it alone."
        )
    if left := {key: value for key, value in told.items() if value not in (None, False, {}, [], "")}:
        key, value = next(iter(left.items()))
        why = f"by which {APART[key]}" if key in APART else "which may change what the adapter computes"
        raise CheckpointError(
            f"{path}: {key} is {value!r}, {why}; that is not read here. Load it with PEFT, merge it and save the whole "
            "model (merge_and_unload), or remove the field if it is of no account."
        )
    return config


def _number(path: str, told: dict[str, Any], key: str, default: Any, whole: bool = False, zero: bool = False) -> Any:
    value = told.pop(key, default)
    fits = type(value) is int or (type(value) is float and not whole and abs(value) < float("inf"))
    if not fits or value < 0 or (value == 0 and not zero):
        raise CheckpointError(f"{path}: {key} is {value!r}, not a positive {'integer' if whole else 'number'}.")
    return value


def _flag(path: str, told: dict[str, Any], key: str) -> bool:
    value = told.pop(key, False)
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: {key} is {value!r}, neither true nor false.")
    return value


def _names(path: str, told: dict[str, Any], key: str) -> Any:
    value = told.pop(key, None)
    if isinstance(value, str):
        _check_expression(path, key, value)
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise CheckpointError(f"{path}: {key} is {value!r}, not a list of names.")
    return value


def _indices(path: str, told: dict[str, Any], key: str) -> Any:
    value = told.pop(key, None)
    if value is None or type(value) is int or (isinstance(value, list) and all(type(i) is int for i in value)):
        return value
    raise CheckpointError(f"{path}: {key} is {value!r}, not the numbers of layers.")


def _meant(names: Any, key: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, key) is not None
    return any(f".{key}".endswith(f".{name}") for name in names or ())


def _numbered(pattern: str) -> str:
    """The expression for a layer's number behind what `layers_pattern` names."""
    return rf".*\.(?:{pattern})\.(\d+)\."


def _check_expression(path: str, key: str, pattern: str, form: Callable[[str], str] = str) -> None:
    try:
        re.compile(form(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise CheckpointError(f"{path}: {key} has {pattern[:60]!r}, no regular expression: {error}.") from None


def _pattern(path: str, told: dict[str, Any], key: str) -> dict[str, Any]:
    value = told.pop(key, None) or {}
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {key} is {value!r}, not a value by pattern.")
    for pattern in value:
        _check_expression(path, key, pattern, ending)
    return value


def _init(path: str, value: Any) -> str:
    """The initialization, where it changed the base weight; those that say nothing of it are "zeros"."""
    if isinstance(value, bool) or value in SAFE_INITS:
        return "zeros"
    if value in RESIDUAL:
        return str(value)
    raise CheckpointError(
        f"{path}: init_lora_weights is {value!r}, after which the base weights are others that the file does not tell. "
        "Save the adapter with PEFT's path_initial_model_for_weight_conversion, made for that."
    )
