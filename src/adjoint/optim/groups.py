"""Parts of a network that learn by settings, or by a rule, of their own: chosen by name, glob or predicate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from adjoint.arrays.dispatch import Array
from adjoint.trees import Structure

Choice = str | Sequence[str] | Callable[[str, Array], bool]
Group = Mapping[str, Any]


class Part(NamedTuple):
    """Some of the arrays that learn: their names, their places among all, and how their group's settings differ."""

    names: tuple[str, ...]
    places: tuple[int, ...]
    settings: dict[str, Any]


def parted(structure: Structure, groups: Sequence[Group]) -> list[Part]:
    """The arrays of a tree that learn, in parts: those of no group first, then group by group; the first match counts.

    Raises ValueError for a group without "params", or of which nothing is left.
    """
    names, arrays = names_of(structure), structure.own()
    free = dict(enumerate(arrays))
    parts = []
    for group in groups:
        settings = dict(group)
        if "params" not in settings:
            raise ValueError(f'a group says which "params" it is for, a name, a glob or a predicate; got {settings}.')
        chosen = settings.pop("params")
        places = tuple(k for k, x in free.items() if any(_chosen(chosen, name, x) for name in names[k]))
        if not places:
            left = ", ".join(names[k][0] for k in free) or "nothing"
            raise ValueError(f"no parameter is left for the group with params={chosen!r}: there are {left}.")
        for k in places:
            del free[k]
        parts.append(Part(tuple(names[k][0] for k in places), places, settings))
    return [Part(tuple(names[k][0] for k in free), tuple(free), {}), *parts]


def names_of(structure: Structure) -> list[list[str]]:
    """For every array that learns its dotted names: more than one where weights are tied."""
    names: dict[int, list[str]] = {}
    for path, place in zip(structure.treedef.paths(), structure.places, strict=True):
        if place is not None:
            names.setdefault(place, []).append(".".join(map(str, path)))
    return list(names.values())


def _chosen(chosen: Choice, name: str, x: Array) -> bool:
    if callable(chosen):
        return bool(chosen(name, x))
    globs = (chosen,) if isinstance(chosen, str) else chosen
    return any(fnmatchcase(name, glob) for glob in globs)
