"""Tied arrays: one array under two names of a module, and one leaf of its tree.

A tie is a pair of dotted names (second, first). While it holds, the tree of the module has the array under its first
name alone, and what is put together from the tree has it under both: so every function of trees keeps the tie.
"""

from __future__ import annotations

import copy
from typing import Any

Ties = tuple[tuple[str, str], ...]


def find(value: Any, path: str) -> Any:
    """The part of a module at a dotted name; None where there is none."""
    if path in getattr(value, "__dict__", {}):  # the arrays of a `Graph` have dots in their names
        return value.__dict__[path]
    for name in path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, (list, tuple)):
            value = value[int(name)] if name.isdigit() and int(name) < len(value) else None
        else:
            value = getattr(value, "__dict__", {}).get(name)
    return value


def without(value: Any, path: str) -> Any:
    """A copy of a part of a module that lacks the array at a dotted name; all else is shared."""
    whole = path in getattr(value, "__dict__", {})
    name, _, rest = (path, "", "") if whole else path.partition(".")
    if isinstance(value, dict):
        return {k: without(part, rest) if k == name else part for k, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([without(part, rest) if k == int(name) else part for k, part in enumerate(value)])
    new = copy.copy(value)
    if rest:
        new.__dict__[name] = without(new.__dict__[name], rest)
    else:
        new.__dict__["_form"] = value.form().lacking(name)
        new.__dict__[name] = None
    return new


def separated(module: Any) -> Any:
    """A copy of a module with each tied array under its first name alone; ties that no longer hold are dropped."""
    form = module.form()
    holding = tuple((second, first) for second, first in form.ties if find(module, second) is find(module, first))
    new = copy.copy(module)
    new.__dict__["_form"] = form if holding == form.ties else form.tied(holding)
    for second, _ in holding:
        new = without(new, second)
    return new


def joined(module: Any, ties: Ties) -> None:
    """Put the tied arrays of a `separated` module under their second names again."""
    lacking: dict[int, tuple[dict[str, Any], Any]] = {}  # one part may lack several
    for second, first in ties:
        part, name = owned(module, second)
        fields = getattr(part, "__dict__", {})
        whole = getattr(fields.get("_form"), "whole", None)
        if whole is not None:
            fields[name] = find(module, first)
            lacking[id(part)] = fields, whole
    for fields, whole in lacking.values():
        fields["_form"] = whole


def owned(module: Any, path: str) -> tuple[Any, str]:
    """The part of a module in which a dotted name stands, and the name there."""
    if path in getattr(module, "__dict__", {}):
        return module, path
    owner, _, name = path.rpartition(".")
    return (find(module, owner) if owner else module), name
