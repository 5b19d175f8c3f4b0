"""The demo's figures as plain data that JSON holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adjoint import __version__
from adjoint.cli import experiment as settings
from adjoint.cli.blindness import Twins, Unlit
from adjoint.cli.experiment import Experiment


def gather(
    found: Experiment, pairs: Sequence[Twins], dark: Unlit, folds: Sequence[float], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Every figure of the experiment; what is infinite or not a number is None, rows count within the test digits."""
    result: dict[str, Any] = plain(
        {
            "adjoint": __version__,
            "numpy": np.__version__,
            "seed": found.seed,
            "data": {"name": found.train.name, "train": len(found.train), "test": len(found.test)},
            "training": {
                "optimizer": "AdamW",
                "lr": settings.RATE,
                "schedule": "cosine",
                "weight_decay": settings.DECAY,
                "batch_size": settings.BATCH,
                "epochs": found.epochs,
                "history": found.run.history,
            },
            "accuracy": found.accuracy,
            "fold_accuracies": folds,
            "confusion": found.confusion.astype(int),
            "mistakes": [
                {"row": k, "digit": found.test.y[k], "read_as": found.predicted[k], "certainty": found.certainty[k]}
                for k in found.mistakes
            ],
            "gradient_check": {"ok": found.check.ok, "digits": settings.CHECKED, "rows": found.check.rows},
            "points": settings.POINTS,
            "layers": found.inspection.layers,
            "network": found.inspection.network,
            "gradient_flow": {"trained": found.inspection.depths, "untrained": found.untrained},
            "cost": {"batch_size": settings.BATCH, **plain(found.cost)},
            "twins": pairs,
            "unlit": dark,
            "seconds": seconds,
        }
    )
    return result


def plain(x: Any) -> Any:
    """x made of dicts, lists, strings, Python's numbers and None.

    >>> plain({"a": np.float32(0.5), "b": (1, float("inf")), "c": np.arange(2)})
    {'a': 0.5, 'b': [1, None], 'c': [0, 1]}
    """
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {field.name: plain(getattr(x, field.name)) for field in dataclasses.fields(x)}
    if isinstance(x, Mapping):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, np.ndarray | np.generic):
        return plain(x.tolist())
    if isinstance(x, list | tuple):
        return [plain(part) for part in x]
    if isinstance(x, float):
        return float(x) if math.isfinite(x) else None
    return int(x) if isinstance(x, int) and not isinstance(x, bool) else x
