"""Whether `adjoint lora train` may write to a folder: told before the first step, not after the last."""

from __future__ import annotations

import json
import os
from pathlib import Path

from adjoint.errors import CheckpointError

STATE, RUN = "run.safetensors", "run.json"  # of a run that goes on, and of one that is finished
HELD = ("adapter_*", "config.json", "model*.safetensors", "pytorch_model*.bin", "tok*", RUN)
ELSEWHERE = "name another folder with --out"


def check(out: Path, model: Path, resume: bool) -> None:
    """Raise where a run that adapts `model` cannot be written to `out`, or would replace what is there.

    ValueError for the model's own folder, also by way of a link, and for what is, or can be, no folder; CheckpointError
    for a folder that holds an adapter or a model, or a run that is not the one to go on with.
    """
    own = model if model.is_dir() else model.parent
    if out.resolve() == own.resolve():
        raise ValueError(f"{out} is the folder of the model itself, which is not overwritten: {ELSEWHERE}.")
    _makeable(out)
    if (out / STATE).exists():
        if not resume:
            raise CheckpointError(f"{out} holds a run that was interrupted: go on with --resume, or {ELSEWHERE}.")
    elif resume:
        raise CheckpointError(_nothing_left(out))
    elif held := sorted({path.name for pattern in HELD for path in out.glob(pattern)}):
        raise CheckpointError(
            f"{out} holds an adapter or a model already ({', '.join(held)}), which is not replaced: {ELSEWHERE}, or "
            "remove it."
        )


def _makeable(out: Path) -> None:
    """Raise where a folder is not there and cannot be made, or cannot be written to."""
    there = next(path for path in (out, *out.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{there} is not a folder, so that nothing can be written to {out}: {ELSEWHERE}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there} may not be written to: {ELSEWHERE}, or change its permissions.")


def _nothing_left(out: Path) -> str:
    """Why there is nothing to go on with."""
    try:
        steps = json.loads((out / RUN).read_text("utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{out} holds no run to go on with."
    return f"{out} holds a run that is finished, {steps} of {steps} steps: to train anew, {ELSEWHERE}."
