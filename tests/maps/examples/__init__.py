"""Examples of every kind of map, of odd shapes: a kind that has none fails `test_every_kind_has_an_example`.

One module a topic, each with its list EXAMPLES. An example builds its map from arrays, so that it exists on every
backend and in every dtype, and can be differentiated in them.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import backend as backend_of
from tests.maps.examples.example import Example as Example

TOPICS = [import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name != "example"]
EXAMPLES: list[Example] = [example for topic in TOPICS for example in topic.EXAMPLES]


def name(example: Example) -> str:
    """The kind, and which of its examples it is."""
    alike = [e for e in EXAMPLES if e.kind is example.kind]
    return f"{example.kind.__name__}{alike.index(example) if len(alike) > 1 else ''}"


def moved(arrays: list[np.ndarray], backend: str) -> list[Any]:
    """NumPy's arrays on a backend."""
    from importlib import import_module

    return [import_module(f"adjoint.arrays.{backend}").from_numpy(x) for x in arrays]


def plain(x: Any) -> Any:
    """Arrays of any backend, and tuples of them, in NumPy."""
    if isinstance(x, tuple):
        return tuple(plain(part) for part in x)
    return np.asarray(backend_of(type(x)).to_numpy(x))
