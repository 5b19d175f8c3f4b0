"""Trees of arrays: tuples, lists, dicts and modules, taken apart and put together again (by optree)."""

from __future__ import annotations

from typing import Any

import optree

from adjoint.arrays.dispatch import Array, is_array, is_floating

NAMESPACE = "adjoint"
_trainable: dict[Any, list[bool]] = {}


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


def trainable(treedef: Any) -> list[bool]:
    """For every leaf whether a gradient is wanted: False inside frozen parts and buffers of modules."""
    mask = _trainable.get(treedef)
    if mask is None:
        mask = [True] * treedef.num_leaves
        _forbid(treedef.unflatten(range(treedef.num_leaves)), mask, False)
        _trainable[treedef] = mask
    return mask


def _forbid(node: Any, mask: list[bool], frozen: bool) -> None:
    if isinstance(node, int):
        mask[node] = not frozen
        return
    held = getattr(node, "_frozen", ())
    children, _, entries, _ = optree.tree_flatten_one_level(node, namespace=NAMESPACE)
    for name, child in zip(entries, children, strict=True):
        if child is not None:
            _forbid(child, mask, frozen or name in held)


class Structure:
    """How a tree's differentiable leaves are laid out: takes trees apart into them and puts trees of them together."""

    __slots__ = ("fixed", "mask", "treedef")

    def __init__(self, tree: Any) -> None:
        leaves, self.treedef = flatten(tree)
        self.mask = [wanted and differentiable(x) for wanted, x in zip(trainable(self.treedef), leaves, strict=True)]
        self.fixed = [None if m else x for m, x in zip(self.mask, leaves, strict=True)]

    def leaves(self, tree: Any) -> tuple[Any, ...]:
        """The differentiable leaves of a tree of this structure."""
        parts = self.treedef.flatten_up_to(tree)
        return tuple(x for x, m in zip(parts, self.mask, strict=True) if m)

    def whole(self, leaves: Any) -> Any:
        """The tree itself with other differentiable leaves."""
        given = iter(leaves)
        return self.treedef.unflatten([next(given) if m else x for m, x in zip(self.mask, self.fixed, strict=True)])

    def tree(self, leaves: Any) -> Any:
        """A tree of tangents or cotangents: None at the other leaves."""
        given = iter(leaves)
        return self.treedef.unflatten([next(given) if m else None for m in self.mask])


def differentiable(x: Any) -> bool:
    """Whether x is an array of floating numbers, or a Python float."""
    if is_array(x):
        return is_floating(x.dtype)
    return isinstance(x, float)


def is_leaf(tree: Array) -> bool:
    """Whether the tree is a single array or number."""
    return is_array(tree) or isinstance(tree, (int, float))
