"""A training step of a character GPT: 4 layers, d = 256, 8 heads, T = 128, batch 8, vocabulary 65, AdamW."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.harness import contest, serve

VOCABULARY, LENGTH, LAYERS, HEADS, WIDTH = 65, 128, 4, 8, 256


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Eight pieces of text and the characters that follow; the values do not matter for the time."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (8, LENGTH + 1))
    return tokens[:, :-1].copy(), tokens[:, 1:].copy()


def with_adjoint(halves: bool = False) -> Callable[[], object]:
    """This library on NumPy, on the batch as a whole or on a half of it in each of two threads."""
    from adjoint.models import GPT

    net = GPT(VOCABULARY, LENGTH, n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, rng=0)
    return peers.adjoint_step(net, *batch(), flat=True, halves=halves)


def torch_net() -> Any:
    """The network in PyTorch, its attention fused."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.attn, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.fc, self.out = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            q, k, v = (part.view(n, t, HEADS, -1).transpose(1, 2) for part in self.attn(self.ln_1(x)).split(WIDTH, -1))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).reshape(n, t, WIDTH))
            return x + self.out(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
            self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
            self.head.weight = self.wte.weight

        def forward(self, tokens: Any) -> Any:
            x = self.wte(tokens) + self.wpe(torch.arange(LENGTH))
            return self.head(self.ln_f(self.blocks(x)))

    return Model()


def with_torch() -> Callable[[], object]:
    """PyTorch eager with its fused AdamW and its fused attention."""
    return peers.torch_step(torch_net(), *batch(), flat=True)


def with_torch_compile() -> Callable[[], object]:
    """The same through torch.compile."""
    return peers.torch_step(torch_net(), *batch(), compiled=True, flat=True)


def with_jax() -> Callable[[], object]:
    """JAX, the whole step under jit."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(0, 0.02, shape), "float32")  # noqa: E731
    affine = lambda n, m: (normal(n, m), jnp.zeros(m))  # noqa: E731
    norm = lambda: (jnp.ones(WIDTH), jnp.zeros(WIDTH))  # noqa: E731
    blocks = [
        (norm(), affine(WIDTH, 3 * WIDTH), affine(WIDTH, WIDTH), norm(), affine(WIDTH, 4 * WIDTH),
         affine(4 * WIDTH, WIDTH))
        for _ in range(LAYERS)
    ]  # fmt: skip
    params = {"wte": normal(VOCABULARY, WIDTH), "wpe": normal(LENGTH, WIDTH), "blocks": blocks, "ln_f": norm()}

    def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * weight + bias

    def logits(params: Any, tokens: Any) -> Any:
        n, t = tokens.shape
        x = params["wte"][tokens] + params["wpe"]
        for ln_1, (qkv, b), (proj, c), ln_2, (up, d), (down, e) in params["blocks"]:
            q, k, v = jnp.split((layer_norm(x, *ln_1) @ qkv + b).reshape(n, t, 3 * HEADS, -1), 3, 2)
            y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + y.reshape(n, t, WIDTH) @ proj + c
            x = x + jax.nn.gelu(layer_norm(x, *ln_2) @ up + d) @ down + e
        return (layer_norm(x, *params["ln_f"]) @ params["wte"].T).reshape(n * t, -1)

    x, t = batch()
    return peers.jax_step(logits, params, x, t.reshape(-1))


WORKERS = {
    "halves": lambda: with_adjoint(halves=True),
    "adjoint": with_adjoint,
    "torch": with_torch,
    "compile": with_torch_compile,
    "jax": with_jax,
}


def main(rounds: int = 7, repeats: int = 4) -> dict[str, float]:
    """Print the table."""
    return contest(
        "GPT, 4 layers, d = 256, 8 × 128 tokens, AdamW: a step", "benchmarks.gpt_step", peers.PEERS, rounds, repeats
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
