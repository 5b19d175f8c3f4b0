"""A watched network computes what it did, tells every call, and can be entered in the middle; it is never changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.inspection.watching import calls, onward, watch

nn = aj.nn


class Twice(nn.Module):
    """Calls one layer twice, keeps others in a list and a dict, and reads a weight of a child itself."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.shared = nn.Linear(3, 3, rng=rng)
        self.many = [nn.Tanh(), nn.Linear(3, 3, rng=rng)]
        self.named = {"last": nn.Linear(3, 2, bias=False, rng=rng)}

    def __call__(self, x: Any) -> Any:
        x = self.many[1](self.many[0](self.shared(self.shared(x))))
        return self.named["last"](x) + aj.sum(self.shared.weight)


def nested() -> nn.Sequential:
    rng = np.random.default_rng(1)
    inner = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3, rng=rng), nn.GELU())
    return nn.Sequential(nn.Linear(4, 3, rng=rng), nn.Residual(inner), nn.Linear(3, 2, rng=rng))


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def passed(name: str, module: nn.Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return call(*args)


@pytest.mark.parametrize(("net", "n"), [(Twice(), 3), (nested(), 4)])
def test_watching_changes_nothing(net: nn.Module, n: int) -> None:
    x, before = inputs(5, n), repr(net)
    expected = net(x)
    np.testing.assert_array_equal(watch(net, passed)(x), expected)
    np.testing.assert_array_equal(net(x), expected)
    assert repr(net) == before
    assert net.training


def test_calls_are_told_in_their_order_with_names_and_levels() -> None:
    net, x = nested(), inputs(5, 4)
    y, seen = calls(net, x)
    np.testing.assert_array_equal(y, net(x))
    assert [(call.name, call.kind, call.level) for call in seen] == [
        ("0", "Linear", 0),
        ("1", "Residual", 0),
        ("1.inner.0", "LayerNorm", 1),
        ("1.inner.1", "Linear", 1),
        ("1.inner.2", "GELU", 1),
        ("2", "Linear", 0),
    ]
    ended = [call.name for call in sorted(seen, key=lambda call: call.finished)]
    assert ended == ["0", "1.inner.0", "1.inner.1", "1.inner.2", "1", "2"]
    for call in seen:
        np.testing.assert_array_equal(call.module(call.input), call.output)


def test_names_are_those_of_named_modules() -> None:
    for net, n in ((Twice(), 3), (nested(), 4)):
        own = dict(net.named_modules())
        for call in calls(net, inputs(2, n))[1]:
            assert type(own[call.name]) is type(call.module)


def test_a_module_that_is_called_twice_has_two_calls() -> None:
    seen = calls(Twice(), inputs(5, 3))[1]
    assert [(call.name, call.nth) for call in seen[:2]] == [("shared", 0), ("shared", 1)]
    np.testing.assert_array_equal(seen[0].output, seen[1].input)
    assert [call.name for call in seen[2:]] == ["many.0", "many.1", "named.last"]


@pytest.mark.parametrize(("net", "n"), [(Twice(), 3), (nested(), 4)])
def test_from_every_depth_the_rest_leads_to_the_output(net: nn.Module, n: int) -> None:
    x = inputs(5, n)
    y, seen = calls(net, x)
    for call in seen:
        np.testing.assert_array_equal(onward(net, x, call.name, call.nth)(call.output), y)
        assert np.abs(onward(net, x, call.name, call.nth)(call.output + 1) - y).max() > 0


def test_only_single_floating_arrays_are_told() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            self.embedding = nn.Embedding(7, 4, rng=0)
            self.head = nn.Linear(4, 2, rng=0)

        def __call__(self, tokens: Any) -> Any:
            return self.head(self.embedding(tokens))

    assert [call.name for call in calls(Reader(), np.array([[1, 2]]))[1]] == ["head"]
