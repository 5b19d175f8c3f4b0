"""A network's structure is right whatever was done to the network since it was last taken apart."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.trees import Structure, flatten, roles


class Stack(aj.nn.Module):
    """Layers in a list, as many networks have them."""

    def __init__(self) -> None:
        self.layers: list[Any] = [aj.nn.Linear(3, 4, rng=0), aj.nn.ReLU(), aj.nn.Linear(4, 3, rng=1)]
        self.shift: Any = np.zeros(3, "float32")

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x if self.shift is None else x + self.shift


def swap_activation(net: Any) -> None:
    net.layers[1] = aj.nn.Tanh()


def share(net: Any) -> None:
    net.layers[2].bias = net.shift


def lengthen(net: Any) -> None:
    net.layers.insert(1, aj.nn.Linear(4, 4, rng=2))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda net: None,
    "another activation": swap_activation,
    "one layer more": lengthen,
    "another array": lambda net: setattr(net, "shift", np.ones(3)),
    "an array of integers": lambda net: setattr(net, "shift", np.ones(3, int)),
    "no array": lambda net: setattr(net, "shift", None),
    "an array taken away": lambda net: net.__dict__.update(shift=None),
    "a part frozen": lambda net: net.layers[0].freeze("weight"),
    "all of it frozen but one": lambda net: net.freeze("layers"),
    "a buffer": lambda net: net.register_buffer("count", np.array(0.0)),
    "a shared array": share,
    "a tie": lambda net: net.layers[2].__dict__.update(bias=net.shift) or net.tie("layers.2.bias", "shift"),
    "a dict": lambda net: setattr(net, "more", {"a": np.ones(2)}),
    "evaluation": lambda net: net.eval(),
}


def by_optree(net: Any) -> tuple[Any, list[Any]]:
    """The definition: the treedef, and the leaves that are floating and not frozen, each once."""
    leaves, treedef = flatten(net)
    kept = {
        id(x): x
        for x, role in zip(leaves, roles(treedef)[0], strict=True)
        if role and np.issubdtype(x.dtype, np.floating)
    }
    return treedef, [*kept.values()]


@pytest.mark.parametrize("change", CHANGES)
def test_structure_after(change: str) -> None:
    net = Stack()
    Structure(net)
    CHANGES[change](net)
    for _ in range(2):  # the second time by what the first has left
        structure = Structure(net)
        treedef, leaves = by_optree(net)
        assert structure.treedef == treedef
        assert [id(x) for x in structure.own()] == [id(x) for x in leaves]
        assert structure.buffered == bool(net._buffers)
        assert len(structure.places) == treedef.num_leaves
        assert len({*structure.places} - {None}) == len(leaves)
        tree = structure.tree(range(len(leaves)))
        assert structure.leaves(tree) == tuple(range(len(leaves)))
        again = structure.whole(leaves)
        assert repr(again) == repr(net)
        assert [id(x) for x in flatten(again)[0]] == [id(x) for x in flatten(net)[0]]


@pytest.mark.parametrize("change", ["another activation", "one layer more", "no array", "a part frozen", "evaluation"])
def test_gradients_of_a_network_that_has_changed_since(change: str) -> None:
    net, x = Stack(), np.ones((2, 3), "float32")
    optimizer = aj.optim.SGD(net, 0.1)
    grads = aj.grad(lambda net: aj.mean(net(x)))(net)
    optimizer.step(net, grads)
    CHANGES[change](net)
    before = {name: array.copy() for name, array in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"SGD.step: the gradients are no tree like the network"):
        optimizer.step(net, grads)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


class Noted(aj.nn.Module):
    """A layer with a list that is no part of the tree, and a number."""

    def __init__(self) -> None:
        self.weight = np.ones(2)
        self.power: float = 2
        self.seen: list[float] = []

    def __call__(self, x: Any) -> Any:
        self.seen.append(self.power)
        return self.weight * x**self.power


def test_a_part_that_equals_the_one_before_is_not_taken_for_it() -> None:
    net = Stack()
    net.layers, net.shift = [Noted()], None
    Structure(net)
    before, net.layers[0] = net.layers[0], Noted()
    x = np.ones(2)
    aj.grad(lambda net: aj.mean(net(x)))(net)
    net.layers[0].power = 2.0
    aj.grad(lambda net: aj.mean(net(x)))(net)
    assert before.seen == []
    assert [type(power) for power in net.layers[0].seen] == [int, float]


def test_a_module_without_a_class_of_its_own_is_a_part_as_any_other() -> None:
    net, x = Stack(), np.ones((2, 3), "float32")
    group: Any = aj.nn.Module()
    group.weight = np.ones(3)
    net.more = group
    for _ in range(2):
        assert len(Structure(net).own()) == len(flatten(net)[0]) == 6
        assert aj.grad(lambda net: aj.mean(net(x) * net.more.weight))(net).more.weight.shape == (3,)
    np.testing.assert_array_equal(aj.grad(lambda group: aj.mean(group.weight**2))(group).weight, np.full(3, 2 / 3))


def test_what_is_known_of_a_network_does_not_keep_it() -> None:
    net: Any = aj.nn.MLP((4, 3, 2))
    net[0].note = note = {1}
    Structure(net)
    gone = weakref.ref(net), weakref.ref(net[0].weight), weakref.ref(note)
    del net, note
    gc.collect()
    assert [x() for x in gone] == [None] * 3


def test_copies_and_files_leave_it_out() -> None:
    net = aj.nn.MLP((4, 3, 2), rng=0)
    layout = Structure(net).treedef
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # noqa: S301
        assert again.form() == net.form()
        assert again.form().layout is None
        assert Structure(again).treedef == layout
