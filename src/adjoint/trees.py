"""Trees of arrays: tuples, lists, dicts and modules, taken apart and put together again (by optree)."""

from __future__ import annotations

from typing import Any, NamedTuple

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
FLOATING, OTHER = "floating", "other"  # leaves


def roles(treedef: Any) -> tuple[list[int], bool]:
    """For every leaf: FROZEN where no gradient is wanted, OWNED in a module, else FREE; and if there are buffers."""
    known = _roles.get(treedef)
    if known is None:
        known = _roles[treedef] = _assigned(treedef)
    return known


def _assigned(treedef: Any) -> tuple[list[int], bool]:
    found = [FREE] * treedef.num_leaves
    buffered = _assign(treedef.unflatten(range(treedef.num_leaves)), found, FREE)
    return found, buffered


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


class Layout(NamedTuple):
    """What the trees of one structure share: see `roles`.

    Of modules and arrays alone `marks` tell it while the treedef keeps the forms (see `walk`), and `plain` whether
    every leaf is a differentiable one.
    """

    treedef: Any
    roles: list[int]
    buffered: bool
    marks: list[Any] | None = None
    plain: bool = False


def taken_apart(tree: Any) -> tuple[list[Any], Layout]:
    """The leaves of a tree and its layout, which a module's form keeps for the next time."""
    leaves: list[Any] = []
    marks: list[Any] = []
    if not (hasattr(type(tree), "_buffers") and walk(tree, leaves, marks)):
        leaves, treedef = flatten(tree)
        return leaves, Layout(treedef, *roles(treedef))
    form = tree.form()
    layout: Layout | None = form.layout  # other threads may put another one there meanwhile
    if layout is None or layout.marks != marks:
        treedef = flatten(tree)[1]
        each, buffered = _assigned(treedef)
        layout = form.layout = Layout(treedef, each, buffered, marks, all(each) and OTHER not in marks)
    return leaves, layout


def walk(node: Any, leaves: list[Any], marks: list[Any]) -> bool:
    """Take a module apart where there is nothing in it but modules, lists and arrays; whether that is so.

    A module's marks are its type and its form's identity (one that is equal can hold other objects), a list's `list`
    and its length, then come those of the children: FLOATING for an array that is differentiable, OTHER for one that is
    not, None where there is none. optree takes apart every tree, but takes four times as long.
    """
    kind = type(node)
    if kind is list:
        children = node
        marks += kind, len(node)
    elif hasattr(kind, "_buffers"):
        fields = node.__dict__
        form = fields.get("_form") or node.form()
        if form.ties:
            return False
        children = [fields[name] for name in form.names]
        marks += kind, id(form)
    else:
        return False
    for child in children:
        if type(child) is ndarray and child.dtype.kind == "f":  # nearly always, and in every step for every parameter
            leaves.append(child)
            marks.append(FLOATING)
        elif is_array(child):
            leaves.append(child)
            marks.append(FLOATING if differentiable(child) else OTHER)
        elif child is None:
            marks.append(None)
        elif not walk(child, leaves, marks):
            return False
    return True


class Structure:
    """How a tree's differentiable leaves are laid out: takes trees apart into them and puts trees of them together.

    An array that stands in modules twice (tied weights) is one leaf.
    """

    __slots__ = ("_places", "buffered", "fixed", "marks", "treedef")

    def __init__(self, tree: Any) -> None:
        self.fixed, layout = taken_apart(tree)
        self.treedef, each, self.buffered, self.marks, plain = layout
        self._places: list[int | None] | None = None  # where each leaf is differentiable, and stands once
        if not (plain and len({id(x) for x in self.fixed}) == len(each)):
            self._places = self._placed(each)

    def _placed(self, each: list[int]) -> list[int | None]:
        seen: dict[int, int] = {}
        return [
            seen.setdefault(id(x) if role == OWNED else -k, len(seen)) if role and differentiable(x) else None
            for k, (role, x) in enumerate(zip(each, self.fixed, strict=True))
        ]

    @property
    def places(self) -> list[int | None]:
        """For each leaf of the tree its place among the differentiable ones; None where it is none of them."""
        return [*range(len(self.fixed))] if self._places is None else self._places

    def own(self) -> tuple[Any, ...]:
        """The differentiable leaves of the tree itself."""
        return self._chosen(self.fixed)

    def leaves(self, tree: Any) -> tuple[Any, ...]:
        """The differentiable leaves of a tree of this structure."""
        if self._places is None:
            found: list[Any] = []
            marks: list[Any] = []
            if walk(tree, found, marks) and marks == self.marks:
                return tuple(found)
        return self._chosen(self.treedef.flatten_up_to(tree))

    def _chosen(self, parts: list[Any]) -> tuple[Any, ...]:
        if self._places is None:
            return tuple(parts)
        found: dict[int, Any] = {}
        for x, place in zip(parts, self._places, strict=True):
            if place is not None and place not in found:
                found[place] = x
        return tuple(found.values())

    def whole(self, leaves: Any) -> Any:
        """The tree itself with other differentiable leaves."""
        if self._places is None:
            return self.treedef.unflatten(leaves)
        pairs = zip(self.fixed, self._places, strict=True)
        return self.treedef.unflatten([x if place is None else leaves[place] for x, place in pairs])

    def tree(self, leaves: Any) -> Any:
        """A tree of tangents or cotangents: None at the other leaves."""
        if self._places is None:
            return self.treedef.unflatten(leaves)
        return self.treedef.unflatten([None if place is None else leaves[place] for place in self._places])


def differentiable(x: Any) -> bool:
    """Whether x is an array of floating numbers, or a Python float."""
    if type(x) is ndarray and x.dtype.kind == "f":
        return True
    if is_array(x):
        return is_floating(x.dtype)
    return isinstance(x, float)
