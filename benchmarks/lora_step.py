"""A LoRA step, r = 8 on all linear layers of a GPT-2-small (T = 128, batch 4), against PEFT on PyTorch eager."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Peer, contest, serve

TARGETS = ["c_attn", "c_proj", "c_fc"]
BATCH, LENGTH, VOCABULARY = 4, 128, 50_257


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Four pieces of text and the tokens that follow; the values do not matter for the time."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, LENGTH + 1))
    return tokens[:, :-1].copy(), tokens[:, 1:].copy()


def adjoint_step(halves: bool) -> Callable[[], object]:
    """This library's, the adapters' AdamW."""
    import adjoint as aj

    net = aj.lora.add(aj.models.GPT(VOCABULARY, 1024, rng=0), rank=8, alpha=16, targets=TARGETS, rng=0)
    state = [net, aj.optim.AdamW(net, lr=1e-3)]
    x, t = batch()
    batches = [(x[: BATCH // 2], t[: BATCH // 2]), (x[BATCH // 2 :], t[BATCH // 2 :])]

    def loss(net: Any, x: Any, t: Any) -> Any:
        logits = net(x)
        return aj.cross_entropy(aj.reshape(logits, (-1, logits.shape[-1])), t.reshape(-1))

    whole, parted = aj.value_and_grad(loss), aj.optim.accumulate(loss, workers=2)

    def step() -> object:
        value, grads = parted(state[0], batches) if halves else whole(state[0], x, t)
        state[:] = state[1].step(state[0], grads)
        return value

    return step


def with_peft() -> Callable[[], object]:
    """PEFT's on PyTorch eager, fused attention and fused AdamW."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, attn_implementation="sdpa")
    net = peft.get_peft_model(
        transformers.GPT2LMHeadModel(config),
        peft.LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, fan_in_fan_out=True),
    )
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3, fused=True)
    x, t = (torch.from_numpy(a) for a in batch())

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        logits = net(input_ids=x, use_cache=False).logits
        value = torch.nn.functional.cross_entropy(logits.view(-1, VOCABULARY), t.reshape(-1))
        value.backward()
        optimizer.step()
        return value

    return step


WORKERS = {
    "adjoint": lambda: adjoint_step(False),
    "halves": lambda: adjoint_step(True),
    "peft": with_peft,
}


def floors() -> dict[str, float]:
    """Seconds of the step's counted FLOPs at the rate of a large product, by NumPy's BLAS and by the library."""
    import adjoint as aj
    from adjoint.arrays.numpy.gemm import matmul
    from adjoint.costs.measuring import matmul_gflops

    with aj.nn.init.only_shapes():
        net = aj.models.GPT(VOCABULARY, 1024)
        net = aj.lora.add(net, rank=8, alpha=16, targets=TARGETS)
    spent = aj.cost(net, batch=BATCH, seq=LENGTH)
    flops = spent.forward.matmul_flops + spent.backward.matmul_flops
    found = {}
    for name, product in (("NumPy's BLAS", np.matmul), ("adjoint's products", matmul)):
        rate = 1e9 * max(matmul_gflops("float32", matmul=product)[0] for _ in range(3))
        found[name] = flops / rate
        print(f"{flops / 1e9:,.0f} GFLOPs at the {rate / 1e9:,.0f} GFLOP/s of {name}: {flops / rate:.3f} s")
    return found


def peak(worker: str) -> float:
    """GB at the peak of a process that makes three steps."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.lora_step", "peak", worker],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return float(json.loads(told.stdout.splitlines()[-1]))


def main(rounds: int = 5, repeats: int = 3) -> dict[str, float]:
    """Print the table, the floors and the peaks of memory."""
    found = contest(
        "GPT-2 small, LoRA r = 8 on all linear layers, 4 × 128 tokens, AdamW: a step",
        "benchmarks.lora_step",
        [
            Peer("halves", "adjoint on NumPy, a half of the batch a core"),
            Peer("adjoint", "adjoint on NumPy, the batch as a whole"),
            Peer("peft", "PEFT on PyTorch eager, fused AdamW"),
        ],
        rounds,
        repeats,
    )
    least = floors()
    for (label, seconds), worker in zip(found.items(), ("halves", "adjoint", "peft"), strict=True):
        told = ", ".join(f"{seconds / one:.2f} of the floor by {name}" for name, one in least.items())
        print(f"{label}: {told}, {peak(worker):.2f} GB at its peak")
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        run = WORKERS[sys.argv[2]]()
        for _ in range(3):
            run()
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))
    elif sys.argv[1:2] == ["worker"]:
        serve(WORKERS)
    else:
        main()
