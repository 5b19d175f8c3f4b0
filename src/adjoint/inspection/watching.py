"""A network watched at work: every call of a module inside it passes through a function that may look or step in."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adjoint.arrays.dispatch import Array, is_array
from adjoint.interop.graph import Graph
from adjoint.interop.sections import batch_of, divide, source_name
from adjoint.nn.layers import Sequential
from adjoint.nn.module import Module, to
from adjoint.trees import differentiable, flatten

Around = Callable[[str, Module, Callable[..., Any], tuple[Any, ...]], Any]


def watch(net: Module, around: Around) -> Module:
    """A copy of the network in which each module's call is around(name, module, call, args), `call(*args)` its value.

    `name` is the dotted one of `named_modules`; in a program read from elsewhere that of its source (see
    `adjoint.interop.sections`). A `Sequential` is no layer of its own: it is passed through. The arrays are the
    network's own, and the copy is in evaluation mode.

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
    """A copy of the network in evaluation mode, with the same arrays; programs read from elsewhere are divided."""
    copy: Module = to(net).eval()
    for _, module in list(copy.named_modules()):
        if isinstance(module, Graph):
            divide(module)
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
        return self._around(source_name(self._name), self._module, functools.partial(self._module, **kwargs), args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@dataclass
class Call:
    """One call of a module: its name, the module, what went in and what came out.

    `input` is the first of its arguments that is an array of floating numbers, `function` the module as a function of
    that one, the others held; `alone` says that an example may pass by itself: neither a program nor another argument
    fixes how many do. `output` is what it gives, of a tuple or list the first part.

    `place`: which argument that is. `nth`: its number among the calls of that name, from 0. `level`: how many modules
    it is inside of. `finished`: its place in the order in which calls ended.
    """

    name: str
    module: Module
    nth: int
    level: int
    input: Any
    function: Callable[[Any], Any]
    place: int = 0
    alone: bool = True
    output: Any = None
    finished: int = 0

    @property
    def kind(self) -> str:
        """The module's class, in its source where it was read from one."""
        return kind_of(self.module)


def kind_of(module: Module) -> str:
    """A module's class, in its source where it was read from one.

    >>> import adjoint as aj
    >>> kind_of(aj.nn.Linear(2, 3))
    'Linear'
    """
    told = module.plan.kind if isinstance(module, Graph) else ""
    return told or type(module).__name__


def calls(net: Module, x: Array) -> tuple[Any, list[Call]]:
    """(net(x), the calls of modules that map a floating array to another, in the order in which they began)."""
    seen: list[Call] = []
    unfinished: list[Call] = []
    modules: dict[str, list[Module]] = {}
    for name, module in evaluated(net).named_modules():
        modules.setdefault(source_name(name), []).append(module)
    free = all(batch_of(module)[0] <= 1 for each in modules.values() for module in each)

    def record(name: str, module: Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nth = sum(entry.name == name for entry in seen)
        options = getattr(call, "keywords", {})
        own = modules[name][nth % len(modules[name])]
        place = next((k for k, x in enumerate(args) if differentiable(x)), 0)
        alone = free and not any(map(_sized, (*args[:place], *args[place + 1 :], *options.values())))

        def function(x: Any) -> Any:
            return main(own(*args[:place], x, *args[place + 1 :], **options))

        given = args[place] if args else None
        entry = Call(name, own, nth, len(unfinished), given, function, place, alone)
        seen.append(entry)
        unfinished.append(entry)
        result = call(*args)
        entry.output = main(result)
        unfinished.pop()
        entry.finished = len(seen) - len(unfinished) - 1
        return result

    y = watch(net, record)(x)
    return y, [entry for entry in seen if differentiable(entry.input) and differentiable(entry.output)]


def needed(net: Module) -> list[str]:
    """The names of what a network cannot be called without.

    >>> import adjoint as aj
    >>> needed(aj.nn.Linear(2, 3))
    ['x']
    """
    given = inspect.signature(net.__call__).parameters.values()
    return [p.name for p in given if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def onward(net: Module, x: Array, name: str, nth: int = 0) -> Callable[[Array], Any]:
    """The rest of the network: net(x) as a function of the output of module `name` in its nth call."""

    def rest(h: Array) -> Any:
        times = itertools.count()

        def replace(at: str, module: Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            if at != name or next(times) != nth:
                return call(*args)
            return replaced(call(*args), h)

        return watch(net, replace)(x)

    return rest


def _sized(x: Any) -> bool:
    """Whether an argument may depend on how many examples there are."""
    return is_array(x) or isinstance(x, (list, tuple)) or (isinstance(x, int) and not isinstance(x, bool))


def main(y: Any) -> Any:
    """What a module gives, of a tuple or list the first part."""
    return y[0] if isinstance(y, (tuple, list)) and y else y


def leaves(y: Any) -> list[Array]:
    """The arrays of floating numbers in an output."""
    return [leaf for leaf in flatten(y)[0] if differentiable(leaf)]


def sole(y: Any) -> Any:
    """The array of floating numbers in an output that has one, such as a dictionary's; else the output itself."""
    found = leaves(y)
    return found[0] if len(found) == 1 else y


def replaced(y: Any, h: Any) -> Any:
    """The same with another first part."""
    if not isinstance(y, (tuple, list)) or not y:
        return h
    return type(y)(h, *y[1:]) if hasattr(y, "_fields") else type(y)([h, *y[1:]])
