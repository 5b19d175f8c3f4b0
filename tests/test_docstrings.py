"""Every public name tells what it is; a method that overrides another may leave the telling to it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import adjoint


def undocumented() -> Iterator[str]:
    for name in adjoint.__all__:
        value = getattr(adjoint, name)
        if callable(value) and not value.__doc__:
            yield name
        if inspect.isclass(value):
            methods = inspect.getmembers(value, lambda m: inspect.isfunction(m) or isinstance(m, property))
            yield from (f"{name}.{m}" for m, f in methods if not m.startswith("_") and not inspect.getdoc(f))


def test_every_public_name_has_a_docstring() -> None:
    assert not list(undocumented())
