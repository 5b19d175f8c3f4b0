"""`python -m benchmarks [name …]`: all of them, or those named."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("tape", "mlp_step", "cnn_step", "gpt_step", "jacobian", "attention", "inspect_model", "lora_step", "startup")


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    chosen = sys.argv[1:] or NAMES
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        raise SystemExit(f"no benchmark is called {', '.join(unknown)}: choose from {', '.join(NAMES)}.")
    for name in chosen:
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
