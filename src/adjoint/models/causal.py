"""What language models share that read from left to right: logits, loss, the cache, and generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.random import Key
from adjoint.models.generation import generated, host, stream
from adjoint.models.reading import Reading
from adjoint.nn.attention import Cache
from adjoint.nn.module import Module


class CausalLM(Module):
    """A language model that reads from left to right; see `GPT` and `Llama`.

    A subclass defines `hidden(tokens, at)`, the vector of each token that `lm_head` makes logits of, and `heads()`,
    (layers, heads of keys, their width).

    >>> import adjoint as aj
    >>> issubclass(aj.models.GPT, CausalLM)
    True
    """

    limit: int | None = None
    stop: tuple[int, ...] = ()
    pad: int | None = None
    lm_head: Any

    def hidden(self, tokens: Array, at: Reading | None) -> Array:
        """The vectors (N, L, features) of tokens (N, L) that stand `at` a place in their sequences."""
        raise NotImplementedError(f"{type(self).__name__} defines no hidden.")

    def heads(self) -> tuple[int, int, int]:
        """(layers, heads of keys and values, their width)."""
        raise NotImplementedError(f"{type(self).__name__} defines no heads.")

    def logits(self, tokens: Array, at: Reading | None = None, last: bool = False) -> Array:
        """The logits (N, L, vocabulary) of the token after each of `tokens` (N, L), or after the `last` one alone."""
        x = self.hidden(tokens, at)
        return self.lm_head(x[:, -1:] if last else x)

    def caches(self, n: int, length: int) -> list[Cache]:
        """Zeros for the keys and values of n sequences of `length` tokens, one pair a layer."""
        layers, heads, width = self.heads()
        like, shape = self.lm_head.weight, (n, heads, length, width)
        return [Cache(xp.zeros(like, shape), xp.zeros(like, shape)) for _ in range(layers)]

    def loss(self, tokens: Array, targets: Array) -> Array:
        """The mean cross-entropy of the tokens (N, T) that follow: targets (N, T), in nats a token."""
        logits = self(tokens)
        return xp.cross_entropy(xp.reshape(logits, (-1, logits.shape[-1])), xp.reshape(targets, (-1,)))

    def generate(
        self, tokens: Any, n: int, temperature: float = 1.0, top_k: int | None = None, key: Key = 0, *,
        top_p: float | None = None, stop: Sequence[int] | int | None = None, attention_mask: Any = None,
    ) -> Any:  # fmt: skip
        """`n` tokens drawn one after the other behind `tokens`, (T,) or (N, T): all T + n of them.

        Logits are divided by `temperature` (0 takes the likeliest token); only the `top_k` largest count, and of these
        the likeliest whose probabilities reach `top_p`. A row ends with a token of `stop` (the model's own unless
        given; () for none), fillers stand behind it, and when all have ended there are no more. Rows of different
        lengths are padded on the left, where `attention_mask` (N, T) is 0. Keys and values of the tokens so far are
        kept; a model with a limit of positions goes on from the last half of them. `stream` gives each token at once.
        Raises ValueError, `ShapeError` and TypeError for what does not fit.

        >>> import numpy as np, adjoint as aj
        >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=0)
        >>> net.generate(np.array([0]), 9, temperature=0.0).shape
        (10,)
        """
        return generated(
            self, tokens, n, temperature=temperature, top_k=top_k, top_p=top_p, stop=stop,
            attention_mask=attention_mask, key=key,
        )  # fmt: skip

    def stream(self, tokens: Any, n: int, **options: Any) -> Iterator[np.ndarray]:
        """The tokens that `generate` puts behind `tokens`, each (N,) as soon as it is known."""
        rows = host(tokens)
        return stream(self, rows[None] if rows.ndim == 1 else rows, n, **options)
