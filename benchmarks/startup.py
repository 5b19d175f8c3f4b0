"""The time to import the package, against importing NumPy alone, in fresh processes that take turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time


def seconds(statement: str) -> float:
    """The wall time of a fresh interpreter that runs one statement, its modules compiled before."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=kept)
    return time.perf_counter() - start


def main(rounds: int = 9) -> dict[str, float]:
    """Print the medians."""
    statements = ("import adjoint", "import numpy", "pass")
    found = {s: [] for s in statements}
    for _ in range(rounds):
        for statement in statements:
            found[statement].append(seconds(statement))
    medians = {s: statistics.median(times) for s, times in found.items()}
    own = medians["import adjoint"] - medians["pass"]
    print(f"import adjoint: {own:.3f} s, of which NumPy {medians['import numpy'] - medians['pass']:.3f} s\n")
    return medians


if __name__ == "__main__":
    main()
