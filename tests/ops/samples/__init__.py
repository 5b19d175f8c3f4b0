"""What every operation is tried on, and the peer it is compared with: one module a topic.

A module's TABLE gives each function of the seam a list of samples, its TORCH or JAX the same function there. A new
operation is tried by everything in test_operations.py and in test_backends.py as soon as it has samples.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

from adjoint.arrays.dispatch import FUNCTIONS
from tests.ops.samples.operands import Sample

TOPICS = {m.name: import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name != "operands"}
TABLE: dict[str, list[Any]] = {}
TORCH: dict[str, Callable[..., Any]] = {}
JAX: dict[str, Callable[..., Any]] = {}
for topic in TOPICS.values():
    assert not TABLE.keys() & topic.TABLE.keys(), f"{topic.__name__} has samples that another topic has"
    TABLE.update(topic.TABLE)
    TORCH.update(topic.TORCH)
    JAX.update(topic.JAX)

SAMPLES = {name: [Sample(name, i, *entry) for i, entry in enumerate(entries)] for name, entries in TABLE.items()}
SEQUENCES = {"concatenate", "stack", "einsum_apply", "scan_apply"}


def bound(sample: Sample) -> Callable[..., Any]:
    """The sample's function of its operands alone, its options set."""
    function = FUNCTIONS[sample.name]
    if sample.name in SEQUENCES:
        return lambda *operands: function(list(operands), **sample.options)
    return lambda *operands: floats(function(*operands, **sample.options))


def floats(y: Any) -> Any:
    """A result without its integers, which have no derivative."""
    return tuple(part for part in y if "int" not in str(part.dtype)) if isinstance(y, tuple) else y
