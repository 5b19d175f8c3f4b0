"""Looking at every weight of a GPT-2-small (124 M parameters, random): this library against WeightWatcher."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

from rich.console import Console
from rich.table import Table

PEERS = {
    "adjoint": "adjoint, spectra, faults, verdict, circuits, cost",
    "fresh": "the same, its libraries loaded meanwhile",
    "watcher": "WeightWatcher analyze(), BLAS on one thread",
    "watcher2": "WeightWatcher analyze(), BLAS on two threads",
}


def watched() -> float:
    """WeightWatcher's time for a PyTorch GPT-2."""
    import logging

    import torch
    import transformers
    import weightwatcher

    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    net = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    watcher = weightwatcher.WeightWatcher(model=net)
    start = time.perf_counter()
    watcher.analyze()
    return time.perf_counter() - start


def inspected(loaded: bool) -> float:
    """This library's for its GPT-2, nothing remembered; the libraries it needs `loaded` before, as WeightWatcher's are.

    WeightWatcher imports what it needs when it is imported itself, before its clock starts; this library when needed.
    """
    import adjoint as aj

    net = aj.models.GPT(50_257, 1024, rng=0)
    if loaded:
        aj.inspect(aj.nn.MLP((256, 256), rng=0), cache=False, progress=False)
    start = time.perf_counter()
    aj.inspect(net, cache=False, progress=False)
    return time.perf_counter() - start


def worker(peer: str) -> None:
    """One process, one look: seconds and the peak of memory in GB."""
    seconds = watched() if peer.startswith("watcher") else inspected(loaded=peer == "adjoint")
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9]))


def main(rounds: int = 5) -> dict[str, float]:
    """Let them take turns, each look in a process of its own; print medians and peaks of memory."""
    peers = dict(PEERS)
    if find_spec("weightwatcher") is None:
        print("inspect_model: WeightWatcher is missing (pip install 'adjoint[bench]'); this library stands alone.\n")
        peers = {peer: label for peer, label in PEERS.items() if not peer.startswith("watcher")}
    found: dict[str, list[list[float]]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} if peer == "watcher" else {}
            command = [sys.executable, "-m", "benchmarks.inspect_model", "worker", peer]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", **threads},
            )  # fmt: skip
            found[peer].append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(title="GPT-2 small, every weight inspected", title_justify="left")
    for heading in ("", "median s", "fastest s", "time / adjoint's", "peak GB of the process"):
        table.add_column(heading, justify="left" if not heading else "right")
    for peer, label in peers.items():
        times = [t for t, _ in found[peer]]
        ratio = statistics.median(t / own for t, (own, _) in zip(times, found["adjoint"], strict=True))
        peak = statistics.median(m for _, m in found[peer])
        table.add_row(label, f"{statistics.median(times):.2f}", f"{min(times):.2f}", f"{ratio:.2f}", f"{peak:.2f}")
    Console().print(table)
    return {peer: statistics.median(t for t, _ in runs) for peer, runs in found.items()}


if __name__ == "__main__":
    worker(sys.argv[2]) if sys.argv[1:2] == ["worker"] else main()
