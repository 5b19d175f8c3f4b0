"""Peers in processes of their own, taking turns: medians of rounds and ratios round by round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import track
from rich.table import Table

PAUSE = 0.25  # seconds until the threads of the peer before have stopped spinning


@dataclass
class Peer:
    """One way to do the work: the worker's name, how it reads in the table, its environment."""

    worker: str
    label: str
    environment: dict[str, str] = field(default_factory=dict)


def serve(workers: dict[str, Callable[[], Callable[[], object]]]) -> None:
    """A worker's life: set up, then time `repeats` calls for each line on standard input."""
    run = workers[sys.argv[2]]()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        repeats = int(line)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        print(json.dumps(statistics.median(times)), flush=True)


def contest(
    title: str, module: str, peers: list[Peer], rounds: int, repeats: int, unit: float = 1e3
) -> dict[str, float]:
    """Let the peers take turns; print and return the median of each, in milliseconds or other units of a second.

    A round is the median of its repeats: the first after a pause wakes threads and memory, and is not what is asked.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module, "worker", peer.worker],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **peer.environment},
        )
        for peer in peers
    ]  # fmt: skip
    found: list[list[float]] = [[] for _ in peers]
    try:
        for process, peer in zip(started, peers, strict=True):
            if not process.stdout.readline():
                raise RuntimeError(f"{title}: the worker {peer.worker} did not start; its error stands above.")
        for turn in track(range(rounds + 1), f"{title} …", transient=True):
            for times, process in zip(found, started, strict=True):
                time.sleep(PAUSE)
                process.stdin.write(f"{repeats}\n")
                process.stdin.flush()
                seconds = json.loads(process.stdout.readline())
                if turn:
                    times.append(seconds)
    finally:
        for process in started:
            process.kill()
            process.wait()
    name = {1e3: "ms", 1e6: "µs"}[unit]
    table = Table(title=title, title_justify="left")
    for heading in ("", f"median {name}", f"fastest {name}", "time / adjoint's"):
        table.add_column(heading, justify="left" if not heading else "right")
    for peer, times in zip(peers, found, strict=True):
        ratio = statistics.median(t / ours for t, ours in zip(times, found[0], strict=True))
        table.add_row(peer.label, f"{statistics.median(times) * unit:.3f}", f"{min(times) * unit:.3f}", f"{ratio:.2f}")
    Console().print(table)
    return {peer.label: statistics.median(times) for peer, times in zip(peers, found, strict=True)}
