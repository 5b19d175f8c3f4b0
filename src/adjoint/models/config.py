"""A network from the `config.json` of a Hugging Face folder: a registry of architectures, and fields read strictly.

Every field of a configuration is either read by its architecture, or known to change nothing of the function, or an
error: a network that differs from the one that was trained is never built silently.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.published import PUBLISHED
from adjoint.nn.layers import Rng

T = TypeVar("T")
Config = Mapping[str, Any] | str | os.PathLike[str]

# model_type → "module:function" that builds it: function(fields: Fields, dtype, rng) -> Module
ARCHITECTURES: dict[str, str] = {
    "bert": "adjoint.models.bert:bert",
    "gpt2": "adjoint.models.gpt:gpt2",
    "llama": "adjoint.models.llama:llama",
    "mistral": "adjoint.models.llama:mistral",
    "qwen2": "adjoint.models.llama:qwen2",
    "roberta": "adjoint.models.bert:roberta",
    "t5": "adjoint.models.t5:t5",
    "vit": "adjoint.models.vit:vit",
}

# What a configuration says besides the function of its network: where it is from, how it was trained, what to generate.
_NAMES = """
_attn_implementation _commit_hash _name_or_path _num_labels architectures attn_implementation auto_map
begin_suppress_tokens
bos_token_id chunk_size_feed_forward cls_token_id custom_pipelines decoder_start_token_id diversity_penalty do_sample
dtype early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label ignore_index initializer_factor
initializer_range is_encoder_decoder label2id length_penalty mask_token_id max_length min_length model_type
no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions output_hidden_states output_past
output_scores pad_token_id prefix problem_type remove_invalid_values repetition_penalty return_dict
return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class
top_k top_p torch_dtype torchscript transformers_version typical_p unk_token_id use_bfloat16 use_cache
"""
BOOKKEEPING = frozenset(_NAMES.split())
OFF = {  # additions that are off at these values
    "add_cross_attention": False,
    "is_decoder": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
    "use_mrope": False,
}
FILE_LIMIT = 1 << 24  # bytes of a config.json
LARGEST = 1 << 31  # of any size in a configuration
HUGE = sys.float_info.max  # of numbers: finite
LAYERS = 4096  # layers at most: a damaged file is not to make millions of modules

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": xp.gelu,
    "gelu_fast": lambda x: xp.gelu(x, "tanh"),
    "gelu_new": lambda x: xp.gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: xp.gelu(x, "tanh"),
    "linear": lambda x: x,
    "mish": xp.mish,
    "quick_gelu": lambda x: x * xp.sigmoid(xp.multiply(x, 1.702)),
    "relu": xp.relu,
    "relu2": lambda x: xp.relu(x) * xp.relu(x),
    "sigmoid": xp.sigmoid,
    "silu": xp.silu,
    "swish": xp.silu,
    "tanh": xp.tanh,
}


def from_config(config: Config, *, dtype: Any = "float32", rng: Rng = None, ignore: Collection[str] = ()) -> Any:
    """The network that a configuration describes, a dict or what `read_config` reads.

    Parameters have Hugging Face's names and start at random (`load_checkpoint` brings trained ones); inside
    `aj.nn.init.only_shapes()` networks of any size are laid out at once. The network is in evaluation mode, as trained
    ones are used: `net.train()` before training. Fields named in `ignore` are passed over; a `generation_config.json`
    in the folder says which tokens end a text.
    Raises ValueError for an architecture that is not known, and for a field that is missing, wrong or not supported.

    >>> import adjoint as aj
    >>> config = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672,
    ...           "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}
    >>> with aj.nn.init.only_shapes():
    ...     net = aj.models.from_config(config)
    >>> aj.nn.count_parameters(net)
    70553706496
    """
    fields = Fields(config if isinstance(config, Mapping) else read_config(config), ignore)
    kind = fields.text("model_type", "")
    if kind not in ARCHITECTURES:
        raise ValueError(f"{fields.source}: model_type {kind!r} is not known, only {', '.join(sorted(ARCHITECTURES))}.")
    module, _, function = ARCHITECTURES[kind].partition(":")
    net = getattr(import_module(module), function)(fields, dtype, rng)
    fields.finish()
    if not isinstance(config, Mapping) and hasattr(net, "stop") and Path(config).exists():
        _generation(net, Path(config))
    return net.eval()


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a `config.json`, given its path or that of its folder, or the name of a published model.

    Names are those of `adjoint.models.published`; a file or folder of that name goes before it. Raises
    FileNotFoundError, and ValueError for a file that is no JSON object, or one of more than 16 MiB.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "config.json"
    >>> _ = path.write_text('{"model_type": "gpt2"}')
    >>> read_config(path.parent)
    {'model_type': 'gpt2'}
    >>> read_config("gpt2-xl")["n_layer"]
    48
    """
    name, path = path, Path(path)
    if isinstance(name, str) and not path.exists():
        if name in PUBLISHED:
            return dict(PUBLISHED[name])
        raise FileNotFoundError(f"{name}: no such file or folder, and none of {', '.join(PUBLISHED)}.")
    if path.is_dir():
        path = path / "config.json"
        if not path.exists():
            raise FileNotFoundError(f"{name}: the folder has no config.json, which describes the network.")
    if path.stat().st_size > FILE_LIMIT:
        raise ValueError(f"{path}: a configuration of more than {FILE_LIMIT >> 20} MiB is none.")
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a configuration is an object with named fields, not a {type(found).__name__}.")
    return found


def _generation(net: Any, path: Path) -> None:
    """What a `generation_config.json` beside a configuration says about where texts end, which goes before it."""
    path = (path if path.is_dir() else path.parent) / "generation_config.json"
    if path.is_file():
        fields = Fields(read_config(path))
        fields.source = str(path)
        net.stop = fields.tokens("eos_token_id") or net.stop
        net.pad = next(iter(fields.tokens("pad_token_id")), net.pad)


class Fields:
    """A configuration read field by field; `finish` raises where some were never asked for.

    Each method takes the field's name and, unless the field must be there, a default for where it is missing or null.
    All raise ValueError with the field's name for a value of another kind.

    >>> fields = Fields({"model_type": "toy", "width": 3, "bias": False, "heads": 0, "twist": 7})
    >>> fields.integer("width"), fields.flag("bias", True), fields.number("eps", 1e-5)
    (3, False, 1e-05)
    >>> fields.integer("heads")
    Traceback (most recent call last):
        ...
    ValueError: toy configuration: heads is to be an integer from 1 to 2147483648, not 0.
    >>> fields.finish()
    Traceback (most recent call last):
        ...
    ValueError: toy configuration: these fields are not known here and might change the function: twist=7...
    """

    def __init__(self, config: Mapping[str, Any], ignore: Collection[str] = ()) -> None:
        self.config = config
        self.source = f"{config.get('model_type', '(no model_type)')} configuration"
        told = {k for k, v in config.items() if v is not None and not (k in OFF and v == OFF[k])}
        self.left = told - BOOKKEEPING - set(ignore)

    def get(self, name: str, default: Any = None) -> Any:
        """Whatever stands there; the default where that is nothing."""
        self.left.discard(name)
        found = self.config.get(name)
        return default if found is None else found

    def integer(self, name: str, default: int | None = None, least: int = 1, most: int = LARGEST) -> int:
        """An integer within bounds."""
        return self.checked(name, default, f"an integer from {least} to {most}", lambda x: _within(x, int, least, most))

    def layers(self, name: str, default: int | None = None) -> int:
        """A number of layers."""
        return self.integer(name, default, 1, LAYERS)

    def number(self, name: str, default: float | None = None, least: float = 0.0, most: float = HUGE) -> float:
        """A finite number within bounds."""
        told = f"a number from {least:g} to {most:g}"
        return float(self.checked(name, default, told, lambda x: _within(x, (int, float), least, most)))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        return self.checked(name, default, "true or false", lambda x: isinstance(x, bool))

    def text(self, name: str, default: str | None = None, among: Collection[str] = ()) -> str:
        """Text, where `among` is given one of these."""
        told = f"one of {', '.join(sorted(among))}" if among else "text"
        return self.checked(name, default, told, lambda x: isinstance(x, str) and (not among or x in among))

    def activation(self, name: str, default: str | None = None) -> str:
        """The name of a function in ACTIVATIONS."""
        return self.text(name, default, ACTIVATIONS)

    def tokens(self, name: str, missing: int | None = None) -> tuple[int, ...]:
        """The token, or tokens, of a role such as `eos_token_id`; none where it is null."""
        found = self.config.get(name, missing)
        found = [] if found is None else found
        found = found if isinstance(found, list) else [found]
        if not all(_within(x, int, -1, LARGEST) for x in found):
            raise self.error(f"{name} is to be a token or a list of tokens, not {found!r}")
        return tuple(found)

    def only(self, name: str, *supported: Any) -> None:
        """Accept a field that is missing or has a supported value, refuse another."""
        found = self.get(name, supported[0])
        if not any(found == x and isinstance(found, bool) == isinstance(x, bool) for x in supported):
            told = " or ".join(map(repr, supported))
            raise self.error(f"{name} = {found!r} is not supported, only {told}")

    def architecture(self, known: Mapping[str, T]) -> tuple[str, T]:
        """(name, entry) of the class that the field `architectures` names; the first known one where it names none."""
        named = self.get("architectures") or [next(iter(known))]
        if not isinstance(named, list) or not isinstance(named[0], str) or named[0] not in known:
            raise self.error(f"architectures is to be a list of one of {', '.join(known)}, not {named!r}")
        return named[0], known[named[0]]

    def checked(self, name: str, default: Any, told: str, fits: Callable[[Any], bool]) -> Any:
        """The value, which `fits`."""
        found = self.get(name, default)
        if found is None:
            raise self.error(f"{name} is missing; it is to be {told}")
        if not fits(found):
            raise self.error(f"{name} is to be {told}, not {found!r}")
        return found

    def error(self, told: str) -> ValueError:
        """The error that says so."""
        return ValueError(f"{self.source}: {told}.")

    def finish(self) -> None:
        """Raise where a field was never asked for."""
        if self.left:
            told = ", ".join(f"{name}={self.config[name]!r}" for name in sorted(self.left))
            names = ", ".join(repr(name) for name in sorted(self.left))
            raise self.error(
                f"these fields are not known here and might change the function: {told}; "
                f"ignore=[{names}] passes over them"
            )


def _within(x: Any, kinds: Any, least: float, most: float) -> bool:
    return isinstance(x, kinds) and not isinstance(x, bool) and least <= x <= most
