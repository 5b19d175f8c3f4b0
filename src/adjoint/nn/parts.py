"""The parts of a module by name: which attributes are its children, the arrays and the modules in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adjoint.arrays.dispatch import Array, is_array

PARAMETER, BUFFER, TRANSIENT = range(3)  # roles of arrays; those of the last kind `state_dict` leaves out


def is_module(value: Any) -> bool:
    """Whether a part is a module."""
    return hasattr(type(value), "_buffers")


def is_child(value: Any) -> bool:
    """Whether an attribute is part of the tree: an array, a module, or a container with one inside."""
    if is_array(value) or is_module(value):
        return True
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    return any(is_child(part) for part in value)


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, part) of what a list, a tuple or a dict holds."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return ((str(k), v) for k, v in items)


def arrays_in(name: str, value: Any, role: int = PARAMETER) -> Iterator[tuple[str, Array, int]]:
    """(dotted name, array, role) of every array in a part of a module."""
    if is_module(value):
        form, fields = value.form(), value.__dict__
        for inner in form.names:
            kept = form.buffers.get(inner)
            part = PARAMETER if kept is None else BUFFER if kept else TRANSIENT
            yield from arrays_in(f"{name}.{inner}" if name else inner, fields[inner], part)
    elif isinstance(value, (list, tuple, dict)):
        for key, part in parts_of(value):
            yield from arrays_in(f"{name}.{key}" if name else key, part, role)
    elif value is not None and is_array(value):
        yield name, value, role


def modules_in(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(dotted name, module) of the outermost modules in a part of a module."""
    if is_module(value):
        yield name, value
    elif isinstance(value, (list, tuple, dict)):
        for key, part in parts_of(value):
            yield from modules_in(f"{name}.{key}", part)


def replaced(name: str, value: Any, loaded: Mapping[str, Any]) -> Any:
    """A part of a module with other arrays under their dotted names; modules keep their identity."""
    if is_module(value):
        for inner in value.form().names:
            value.__dict__[inner] = replaced(f"{name}.{inner}", value.__dict__[inner], loaded)
        return value
    if isinstance(value, dict):
        return {k: replaced(f"{name}.{k}", v, loaded) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(replaced(f"{name}.{k}", v, loaded) for k, v in enumerate(value))
    return loaded.get(name, value)
