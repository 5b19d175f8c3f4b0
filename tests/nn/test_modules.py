"""Modules are trees: they come apart and together, have PyTorch's names, freeze, move, and say what they are."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import optree
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.errors import DtypeError
from adjoint.nn import LayerNorm, Linear, Module, ReLU, Sequential
from adjoint.trees import NAMESPACE, flatten

X = np.ones((2, 3), "float32")


class Block(Module):
    """All that a user's module may hold."""

    def __init__(self, width: int = 3) -> None:
        self.width = width
        self.layers = [Linear(width, 4, rng=0), ReLU(), Linear(4, width, rng=1)]
        self.heads = {"b": Linear(width, 1, rng=2), "a": Linear(width, 2, rng=3)}
        self.scale = np.array(2.0, "float32")
        self.pair = (np.zeros(width, "float32"), None)
        self.mask = np.array([1, 0, 1])
        self.note = "kept as it is"
        self.later: Any = None

    def __call__(self, x: Any) -> Any:
        y = x * self.mask * self.scale + self.pair[0]
        for layer in self.layers:
            y = layer(y)
        return aj.concatenate([self.heads["a"](y), self.heads["b"](y)], -1)


NAMES = [
    *("layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"),
    *("heads.b.weight", "heads.b.bias", "heads.a.weight", "heads.a.bias", "scale", "pair.0", "mask"),
]


def test_flatten_and_unflatten() -> None:
    net = Block()
    leaves, treedef = flatten(net)
    assert len(leaves) == len(NAMES)
    again = treedef.unflatten(leaves)
    assert type(again) is Block
    assert again is not net
    assert all(a is b for a, b in zip(again.parameters(), net.parameters(), strict=True))
    assert (again.width, again.note, again.later) == (3, "kept as it is", None)
    assert flatten(again)[1] == treedef
    assert hash(flatten(again)[1]) == hash(treedef)
    np.testing.assert_array_equal(again(X), net(X))


def test_structure_differs_where_the_modules_do() -> None:
    def structure(net: Module) -> Any:
        return flatten(net)[1]

    assert structure(Block()) == structure(Block())
    assert structure(Linear(2, 3)) != structure(Linear(2, 4))
    assert structure(Linear(2, 3)) != structure(Linear(2, 3, bias=False))
    assert structure(Linear(2, 3)) != structure(Linear(2, 3).freeze())
    assert structure(Linear(2, 3)) != structure(Linear(2, 3).eval())
    assert structure(Sequential(ReLU())) != structure(Sequential(aj.nn.Tanh()))
    net = Block()
    before = structure(net)
    net.scale = np.array(3.0, "float32")
    assert structure(net) == before
    net.note = "another"
    assert structure(net) != before
    net.later = np.ones(1)
    assert [name for name, _ in net.named_parameters()][-1] == "later"
    del net.later
    assert [name for name, _ in net.named_parameters()] == NAMES


@given(st.recursive(st.sampled_from([0, 1, 2]), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8))
def test_any_nesting_comes_together_again(shape: Any) -> None:
    def built(part: Any) -> Any:
        if isinstance(part, list):
            return Sequential(*[built(p) for p in part])
        return [Linear(2, 2, rng=0), ReLU(), LayerNorm(2)][part]

    net = Sequential(built(shape))
    leaves, treedef = flatten(net)
    again = treedef.unflatten(leaves)
    assert repr(again) == repr(net)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert len(leaves) == len([*net.parameters()])
    net.load_state_dict(again.state_dict())
    assert repr(treedef.unflatten(leaves)) == repr(net)


def test_names_are_pytorchs() -> None:
    assert [name for name, _ in Block().named_parameters()] == NAMES
    assert [name for name, _ in Block().named_modules()] == [
        "",
        "layers.0",
        "layers.1",
        "layers.2",
        "heads.b",
        "heads.a",
    ]
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))
    ours = Sequential(Linear(3, 4), Sequential(Linear(4, 2), ReLU()))
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]


def test_state_dict_loads_all_or_nothing() -> None:
    net, other = Block(), Block()
    for x in other.parameters():
        x += 1
    before = {name: x.copy() for name, x in net.state_dict().items()}
    state = other.state_dict()
    with pytest.raises(KeyError, match=r"missing \['scale'\], unexpected \['skale'\]"):
        net.load_state_dict({("skale" if k == "scale" else k): x for k, x in state.items()})
    with pytest.raises(aj.ShapeError, match=r"pair\.0 has shape \(3,\), the state \(4,\)"):
        net.load_state_dict({**state, "pair.0": np.ones(4)})
    assert all((x == before[name]).all() for name, x in net.state_dict().items())
    for wrong in (None, [1.0], "weight"):
        with pytest.raises(TypeError, match=r"load_state_dict: scale is of type (NoneType|list|str): give arrays"):
            net.load_state_dict({**state, "scale": wrong})
    net.load_state_dict(state)
    assert all((x == state[name]).all() and x is not state[name] for name, x in net.state_dict().items())
    assert not any(np.shares_memory(x, state[name]) for name, x in net.state_dict().items())
    net.load_state_dict({"scale": np.array(7.0), "more": np.ones(1)}, strict=False)
    assert net.scale == 7.0
    assert net.scale.dtype == "float32"


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_state_of_another_backend_loads(to: str) -> None:
    net, state = aj.to(Block(), to), Block().state_dict()
    for given_state in (state, {k: torch.tensor(x) for k, x in state.items()}, aj.to(state, "jax")):
        net.load_state_dict(given_state)
        assert {type(x) for x in net.parameters()} == {type(x) for x in aj.to([np.ones(1)], to)}
        assert all((np.asarray(x) == state[k]).all() for k, x in net.state_dict().items())


def gradients(net: Any) -> dict[str, Any]:
    return aj.grad(lambda net: aj.sum(net(X)))(net).state_dict()


def test_freeze_and_unfreeze() -> None:
    whole = {name for name in NAMES if name != "mask"}  # integers have no gradient
    net = Block()
    assert {*gradients(net)} == whole
    assert net.freeze("scale", "heads") is net
    assert {*gradients(net)} == {name for name in whole if not name.startswith(("scale", "heads"))}
    net.unfreeze("heads")
    assert {*gradients(net)} == whole - {"scale"}
    net.layers[0].freeze("weight")
    assert {*gradients(net)} == whole - {"scale", "layers.0.weight"}
    net.unfreeze()
    assert {*gradients(net)} == whole
    with pytest.raises(TypeError, match="no floating array to differentiate"):
        gradients(net.freeze())
    with pytest.raises(KeyError, match="Block has no child 'scaled', only layers, heads, scale, pair, mask"):
        net.freeze("scaled")
    with pytest.raises(KeyError, match=r"Block has no child 'layer\.0'"):
        net.unfreeze("layer.0")


def test_gradients_of_the_rest_do_not_change_by_freezing() -> None:
    net = Block()
    whole = gradients(net)
    for name, x in gradients(net.freeze("layers")).items():
        np.testing.assert_array_equal(x, whole[name])


def test_tied_arrays() -> None:
    net = Sequential(Linear(3, 3, bias=False, rng=0), Linear(3, 3, bias=False, rng=1))
    net[1].weight = net[0].weight
    assert aj.nn.count_parameters(net) == 9
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "1.weight"]
    for to in ("numpy", "torch", "jax"):
        moved = aj.to(net, to)
        assert moved[0].weight is moved[1].weight
    weight = torch.tensor(net[0].weight, requires_grad=True)
    (torch.tensor(X) @ weight.T @ weight.T).sum().backward()
    got = aj.grad(lambda net: aj.sum(net(X)))(net)[0].weight
    np.testing.assert_allclose(got, weight.grad, rtol=1e-5)
    optimizer = aj.optim.SGD(net, lr=0.1)
    before = net[0].weight.copy()
    net, _ = optimizer.step(net, aj.grad(lambda net: aj.sum(net(X)))(net))
    assert net[0].weight is net[1].weight
    np.testing.assert_allclose(net[0].weight, before - 0.1 * got, rtol=1e-5)
    net.load_state_dict({"0.weight": before, "1.weight": before})
    assert net[0].weight is net[1].weight
    assert (net[0].weight == before).all()


KINDS = {"numpy": np.ndarray, "torch": torch.Tensor, "jax": jax.Array}


@pytest.mark.parametrize("source", [*KINDS])
@pytest.mark.parametrize("to", [*KINDS])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_to(source: str, to: str, dtype: str | None) -> None:
    net = aj.to(Block(), source)
    moved = net.to(to, dtype)
    assert all(isinstance(x, KINDS[to]) for x in moved.parameters())
    assert str(moved.scale.dtype).endswith(dtype or "float32")
    assert str(moved.mask.dtype).endswith("int64")
    for a, b in zip(moved.parameters(), net.parameters(), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    x = aj.to(X, to, dtype)
    np.testing.assert_allclose(np.asarray(moved(x)), Block()(X), rtol=1e-5, atol=1e-6)
    if to != "jax":  # whose arrays never change
        aj.optim.SGD(moved, lr=1.0).step(moved, aj.grad(lambda net: aj.sum(net(x)))(moved))
        assert all((np.asarray(a) == b).all() for a, b in zip(net.parameters(), Block().parameters(), strict=True))


def test_to_a_dtype_that_numpy_learns_by_then() -> None:
    """In a process in which nothing has loaded ml_dtypes."""
    done = "adjoint as aj, numpy as np; x = np.ones(2, 'float32')"
    for call in (
        "aj.to(x, dtype='bfloat16')",
        "aj.nn.Linear(2, 2).to(dtype='bfloat16').bias",
        "aj.astype(x, 'bfloat16')",
    ):
        code = f"import {done}; print({call}.dtype)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "bfloat16\n"
    with pytest.raises(DtypeError, match="floaty is no dtype"):
        aj.to(X, dtype="floaty")


def test_to_keeps_what_it_can() -> None:
    half = aj.to(Block(), "torch", dtype="bfloat16")
    assert half.scale.dtype == torch.bfloat16
    assert aj.to(half, "torch").scale.dtype == torch.bfloat16
    assert aj.to(half, device="cpu").scale.dtype == torch.bfloat16
    net = Block().freeze("scale").eval()
    assert gradients(aj.to(net, dtype="float64")).keys() == gradients(net).keys()
    assert not aj.to(net, "jax").heads["a"].training
    assert aj.to({"a": [1, "text", None]}, "torch") == {"a": [1, "text", None]}
    with pytest.raises(ValueError, match="'numpy', 'torch' or 'jax', not 'tensorflow'"):
        aj.to(net, "tensorflow")


def test_modes_reach_every_module() -> None:
    net = Block()
    assert all(module.training for _, module in net.named_modules())
    assert not any(module.training for _, module in net.eval().named_modules())
    assert all(module.training for _, module in net.train().named_modules())


def test_repr() -> None:
    assert repr(Linear(3, 2, bias=False)) == "Linear(in_features=3, out_features=2, bias=None)"
    assert repr(ReLU()) == "ReLU()"
    assert repr(Sequential(Linear(3, 2).eval(), Sequential(ReLU()))) == (
        "Sequential(\n  (0): Linear(in_features=3, out_features=2)\n  (1): Sequential(\n    (0): ReLU()\n  )\n)"
    )
    assert repr(Block()) == (
        "Block(width=3, note='kept as it is', later=None\n"
        "  (layers.0): Linear(in_features=3, out_features=4)\n"
        "  (layers.1): ReLU()\n"
        "  (layers.2): Linear(in_features=4, out_features=3)\n"
        "  (heads.b): Linear(in_features=3, out_features=1)\n"
        "  (heads.a): Linear(in_features=3, out_features=2)\n)"
    )


def test_copies_are_independent() -> None:
    net = Block()
    other = copy.deepcopy(net)
    other.layers[0].weight += 1.0
    other.note = "changed"
    assert (net.layers[0].weight != other.layers[0].weight).all()
    assert net.note == "kept as it is"
    assert repr(copy.deepcopy(net)) == repr(net)


def test_sequential_is_a_sequence() -> None:
    net = Sequential(Linear(3, 4), ReLU(), Linear(4, 2))
    assert len(net) == 3
    assert [*net] == [net[0], net[1], net[2]]
    assert net[-1] is net[2]
    assert [*net[:2].state_dict()] == ["0.weight", "0.bias"]
    with pytest.raises(IndexError):
        net[3]
    assert Sequential(Linear(3, 4, rng=0), lambda x: x * 2.0)(X).shape == (2, 4)


def test_modules_without_a_value_say_so() -> None:
    class Empty(Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no __call__"):
        Empty()(X)


def test_registered_with_jax_whenever_defined() -> None:
    class Late(Module):
        def __init__(self) -> None:
            self.w = np.ones(2)

    for cls in (Block, Late):
        moved = aj.to(cls(), "jax")
        leaves, treedef = jax.tree_util.tree_flatten(moved)
        assert len(leaves) == len(flatten(moved)[0])
        assert type(jax.tree_util.tree_unflatten(treedef, leaves)) is cls
    assert optree.tree_structure(Late(), namespace=NAMESPACE) == flatten(Late())[1]
