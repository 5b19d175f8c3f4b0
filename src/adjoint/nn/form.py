"""What a module is besides its arrays: the names of its children, which of them learn, its other attributes."""

from __future__ import annotations

from typing import Any

from adjoint.nn.ties import Ties
from adjoint.trees import Layout

HIDDEN = ("_buffers", "_form", "_frozen", "_ties")


class Form:
    """What a module is besides its arrays: names of its children, those that are frozen, its buffers (name: whether
    `state_dict` has it), its other attributes, its ties; `whole` is the form of which this one lacks a tied array,
    `layout` that of the last tree which had a module of this form at its root (see `trees.taken_apart`)."""

    __slots__ = ("_hash", "buffers", "frozen", "layout", "names", "static", "ties", "whole")

    def __init__(
        self,
        names: tuple[str, ...],
        frozen: frozenset[str],
        buffers: dict[str, bool],
        static: dict[str, Any],
        ties: Ties = (),
        whole: Form | None = None,
    ) -> None:
        self.names = names
        self.frozen = frozen
        self.buffers = buffers
        self.static = static
        self.ties = ties
        self.whole = whole
        self.layout: Layout | None = None
        self._hash = hash((names, frozen, tuple(buffers), tuple(static), ties))

    def __reduce__(self) -> Any:
        return Form, (self.names, self.frozen, self.buffers, self.static, self.ties, self.whole)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Form)
            and (self.names, self.frozen, self.buffers, self.static, self.ties)
            == (other.names, other.frozen, other.buffers, other.static, other.ties)
        )

    def tied(self, ties: Ties) -> Form:
        """The same with other ties."""
        return Form(self.names, self.frozen, self.buffers, self.static, ties)

    def lacking(self, name: str) -> Form:
        """The form of the module without one of its arrays."""
        names = tuple(n for n in self.names if n != name)
        return Form(names, self.frozen, self.buffers, {**self.static, name: None}, self.ties, self.whole or self)
