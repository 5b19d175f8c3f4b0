"""A network watched at work: every call of a module inside it passes through a function that may look or step in."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adjoint.arrays.dispatch import Array
from adjoint.nn.layers import Sequential
from adjoint.nn.module import Module, to
from adjoint.trees import differentiable

Around = Callable[[str, Module, Callable[..., Any], tuple[Any, ...]], Any]


def watch(net: Module, around: Around) -> Module:
    """A copy of the network in which each module's call is around(name, module, call, args), `call(*args)` its value.

    `name` is the dotted one of `named_modules`. A `Sequential` is no layer of its own: it is passed through. The arrays
    are the network's own, and the copy is in evaluation mode.

    >>> import numpy as np, adjoint as aj
    >>> def told(name, module, call, args):
    ...     print(name, type(module).__name__, args[0].shape)
    ...     return call(*args)
    >>> y = watch(aj.nn.MLP((3, 4, 2)), told)(np.ones((5, 3), "float32"))
    0 Linear (5, 3)
    1 ReLU (5, 4)
    2 Linear (5, 4)
    """
    own = evaluated(net)
    _within(own, "", around)
    return own


def evaluated(net: Module) -> Module:
    """A copy of the network in evaluation mode, with the same arrays."""
    copy: Module = to(net).eval()
    return copy


def _within(module: Module, name: str, around: Around) -> None:
    for child in module.form().names:
        inner = f"{name}.{child}" if name else child
        module.__dict__[child] = _watched(module.__dict__[child], inner, around)


def _watched(value: Any, name: str, around: Around) -> Any:
    if isinstance(value, Module):
        _within(value, name, around)
        return value if isinstance(value, Sequential) else Watched(value, name, around)
    if isinstance(value, dict):
        return {k: _watched(v, f"{name}.{k}", around) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_watched(v, f"{name}.{i}", around) for i, v in enumerate(value))
    return value


class Watched:
    """A module whose calls are told; its attributes are the module's."""

    def __init__(self, module: Module, name: str, around: Around) -> None:
        self._module, self._name, self._around = module, name, around

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's value, or what the watcher makes of it."""
        return self._around(self._name, self._module, functools.partial(self._module, **kwargs), args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@dataclass
class Call:
    """One call of a module: its name, the module, what went in and what came out.

    `input` is its first argument; `function` the module as a function of that one, the others held.

    `nth`: its number among the calls of that name, from 0. `level`: how many modules it is inside of. `finished`: its
    place in the order in which calls ended.
    """

    name: str
    module: Module
    nth: int
    level: int
    input: Any
    function: Callable[[Any], Any]
    output: Any = None
    finished: int = 0

    @property
    def kind(self) -> str:
        """The module's class."""
        return type(self.module).__name__


def calls(net: Module, x: Array) -> tuple[Any, list[Call]]:
    """(net(x), the calls of modules that map a floating array to another, in the order in which they began)."""
    seen: list[Call] = []
    unfinished: list[Call] = []
    modules = dict(evaluated(net).named_modules())

    def record(name: str, module: Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nth = sum(entry.name == name for entry in seen)
        given: Callable[..., Any] = functools.partial(modules[name], **getattr(call, "keywords", {}))
        first, *others = args or (None,)
        entry = Call(name, modules[name], nth, len(unfinished), first, lambda x: given(x, *others))
        seen.append(entry)
        unfinished.append(entry)
        entry.output = call(*args)
        unfinished.pop()
        entry.finished = len(seen) - len(unfinished) - 1
        return entry.output

    y = watch(net, record)(x)
    return y, [entry for entry in seen if differentiable(entry.input) and differentiable(entry.output)]


def onward(net: Module, x: Array, name: str, nth: int = 0) -> Callable[[Array], Any]:
    """The rest of the network: net(x) as a function of the output of module `name` in its nth call."""

    def rest(h: Array) -> Any:
        times = itertools.count()

        def replace(at: str, module: Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            return h if at == name and next(times) == nth else call(*args)

        return watch(net, replace)(x)

    return rest
