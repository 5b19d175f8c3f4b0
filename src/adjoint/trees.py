"""Trees of arrays: tuples, lists, dicts and modules, taken apart and put together again (by optree)."""

from __future__ import annotations

from typing import Any

import optree
from numpy import ndarray

from adjoint.arrays.dispatch import is_array, is_floating

NAMESPACE = "adjoint"
_roles: dict[Any, tuple[list[int], bool]] = {}


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree in order, and its structure; None is an empty tree."""
    leaves, treedef = optree.tree_flatten(tree, namespace=NAMESPACE)
    return list(leaves), treedef


def map(function: Any, tree: Any, *rest: Any) -> Any:
    """A tree of function(leaf, …) over the leaves of trees of one structure.

    >>> map(lambda x: x + 1, {"a": 1, "b": (2, 3)})
    {'a': 2, 'b': (3, 4)}
    """
    return optree.tree_map(function, tree, *rest, namespace=NAMESPACE)


FROZEN, FREE, OWNED = range(3)


def roles(treedef: Any) -> tuple[list[int], bool]:
    """For every leaf: FROZEN where no gradient is wanted, OWNED in a module, else FREE; and if there are buffers."""
    known = _roles.get(treedef)
    if known is None:
        found = [FREE] * treedef.num_leaves
        buffered = _assign(treedef.unflatten(range(treedef.num_leaves)), found, FREE)
        known = _roles[treedef] = found, buffered
    return known


def _assign(node: Any, found: list[int], role: int) -> bool:
    if isinstance(node, int):
        found[node] = role
        return False
    held, buffers = getattr(node, "_frozen", None), getattr(node, "_buffers", ())
    if held is not None and role == FREE:
        role = OWNED
    buffered = bool(buffers)
    for name, child in _children(node):
        if child is not None:
            still = (held and name in held) or name in buffers
            buffered |= _assign(child, found, FROZEN if still else role)
    return buffered


def _children(node: Any) -> Any:
    children, _, entries, _ = optree.tree_flatten_one_level(node, namespace=NAMESPACE)
    return zip(entries, children, strict=True)


def carry(source: Any, target: Any) -> None:
    """Give the buffers of a tree's modules to the modules of another tree of the same structure."""
    if source is None or is_array(source) or optree.tree_is_leaf(source, namespace=NAMESPACE):
        return
    for name in getattr(source, "_buffers", ()):
        if getattr(source, name) is not getattr(target, name):
            setattr(target, name, getattr(source, name))
    for from_, to in zip(_held(source), _held(target), strict=True):
        carry(from_, to)


def _held(node: Any) -> list[Any]:
    """The children themselves: of a module its own attributes, where its tree may have copies (see `nn.ties`)."""
    if hasattr(node, "_buffers"):
        return [node.__dict__[name] for name in node.form().names]
    return [child for _, child in _children(node)]


class Structure:
    """How a tree's differentiable leaves are laid out: takes trees apart into them and puts trees of them together.

    An array that stands in modules twice (tied weights) is one leaf.
    """

    __slots__ = ("buffered", "fixed", "places", "treedef")

    def __init__(self, tree: Any) -> None:
        leaves, self.treedef = flatten(tree)
        seen: dict[int, int] = {}
        each, self.buffered = roles(self.treedef)
        self.places: list[int | None] = [
            seen.setdefault(id(x) if role == OWNED else -k, len(seen)) if role and differentiable(x) else None
            for k, (role, x) in enumerate(zip(each, leaves, strict=True))
        ]
        self.fixed = leaves

    def own(self) -> tuple[Any, ...]:
        """The differentiable leaves of the tree itself."""
        return self._chosen(self.fixed)

    def leaves(self, tree: Any) -> tuple[Any, ...]:
        """The differentiable leaves of a tree of this structure."""
        return self._chosen(self.treedef.flatten_up_to(tree))

    def _chosen(self, parts: Any) -> tuple[Any, ...]:
        found: dict[int, Any] = {}
        for x, place in zip(parts, self.places, strict=True):
            if place is not None and place not in found:
                found[place] = x
        return tuple(found.values())

    def whole(self, leaves: Any) -> Any:
        """The tree itself with other differentiable leaves."""
        pairs = zip(self.fixed, self.places, strict=True)
        return self.treedef.unflatten([x if place is None else leaves[place] for x, place in pairs])

    def tree(self, leaves: Any) -> Any:
        """A tree of tangents or cotangents: None at the other leaves."""
        return self.treedef.unflatten([None if place is None else leaves[place] for place in self.places])


def differentiable(x: Any) -> bool:
    """Whether x is an array of floating numbers, or a Python float."""
    if type(x) is ndarray and x.dtype.kind == "f":  # nearly always, and in every step for every parameter
        return True
    if is_array(x):
        return is_floating(x.dtype)
    return isinstance(x, float)
