"""`adjoint generate`: text from a language model, written as it is produced."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from adjoint.cli.adapted import refuse
from adjoint.interop import open
from adjoint.lora.files import load
from adjoint.models.t5 import T5
from adjoint.models.tokenizer import tokenizer


def generate(
    say: Callable[[str], object], source: str, prompt: str, n: int, *, seed: int = 0, backend: str = "numpy",
    dtype: str = "float32", trust_pickle: bool = False, adapter: str | None = None, **how: Any,
) -> tuple[int, float]:  # fmt: skip
    """Say a prompt and the text that a model puts behind it, piece by piece; (tokens, seconds) that it took.

    Of a model that reads the prompt apart (T5) its answer alone. `adapter` is a folder of adapters that are used beside
    it, `how` are options of the model's `generate`. Raises what `aj.open`, `aj.lora.load` and `aj.models.tokenizer`
    raise, CheckpointError for adapters without a model, and TypeError for a network that writes no text.
    """
    refuse(source)
    net = open(source, backend=backend, dtype=dtype, trust_pickle=trust_pickle)
    if not hasattr(net, "generate"):
        raise TypeError(f"{source} holds a {type(net).__name__}, which writes no text; language models do.")
    if adapter is not None:
        net = load(net, adapter, learn=False).eval()
    words = tokenizer(source if os.path.isdir(source) else os.path.dirname(source) or ".")
    tokens = words.encode(prompt)
    if not len(tokens):
        raise ValueError("generate: this tokenizer begins a text with nothing: give a --prompt.")
    began, count = time.perf_counter(), 0
    answers = isinstance(net, T5)  # it reads the prompt apart, and writes an answer
    if not answers:
        say(prompt)
    written: list[int] = [] if answers else tokens.tolist()
    shown = words.decode(written) if written else ""
    for (new,) in net.stream(tokens[None], n, key=seed, **how):
        written, count = [*written, int(new)], count + 1
        text = words.decode(written)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # else in the midst of a character
            say(text[len(shown) :])
            shown = text
    say(words.decode(written)[len(shown) :])
    return count, time.perf_counter() - began
