"""Every public name tells what it is and shows it; a method that overrides another may leave the telling to it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import adjoint


def public(module: ModuleType, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every public class, function and module, those of the modules inside too."""
    own = [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    ]
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield f"{prefix}{name}", value
            yield from public(value, f"{prefix}{name}.")
        elif inspect.isclass(value) or inspect.isfunction(value):
            yield f"{prefix}{name}", value


PUBLIC = dict(public(adjoint))


def undocumented() -> Iterator[str]:
    for name, value in PUBLIC.items():
        if not value.__doc__:
            yield name
        if inspect.isclass(value):
            methods = inspect.getmembers(value, lambda m: inspect.isfunction(m) or isinstance(m, property))
            yield from (f"{name}.{m}" for m, f in methods if not m.startswith("_") and not inspect.getdoc(f))


def test_the_public_names_are_found() -> None:
    assert {"cross_entropy", "Dense", "linearize", "nn.Linear", "nn.init.uniform", "optim.Adam"} <= set(PUBLIC)


def test_every_public_name_has_a_docstring() -> None:
    assert not list(undocumented())


def test_every_public_name_has_an_example() -> None:
    bare = [name for name, value in PUBLIC.items() if ">>> " not in (value.__doc__ or "")]
    assert not [name for name in bare if not inspect.ismodule(PUBLIC[name])]


def test_dir_shows_what_is_public_and_nothing_by_accident() -> None:
    shown = {name for name in dir(adjoint) if not name.startswith("_")}
    assert shown == {*adjoint.__all__, "costs", "inspection"}
    assert all(hasattr(adjoint, name) for name in shown)


def test_a_misspelt_name_is_met_with_the_right_one() -> None:
    run = subprocess.run([sys.executable, "-c", "import adjoint; adjoint.sofmax"], capture_output=True, text=True)
    assert "has no attribute 'sofmax'" in run.stderr
    assert "Did you mean: 'softmax'?" in run.stderr
