"""A network read from elsewhere as a module: steps of operations on named values, and the arrays it learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adjoint.arrays.dispatch import Array
from adjoint.nn.module import Module

Scopes = tuple[tuple[str, str], ...]
Sizes = tuple[tuple[int, float], ...]


class Value(str):
    """The name of a value where a step takes it; everything else among a step's arguments is a constant.

    >>> Step(max, ([Value("x"), 3],), {}, ("y",), "max").takes()
    {'x'}
    """

    __slots__ = ()


class Step:
    """One operation: `call(*args, **kwargs)`, whose result gets the name in `outputs` (several names: its parts).

    Arguments are constants, `Value`s, and lists and tuples of them. A name "" drops its part. `where` says in the
    source's words what the operation is and where it stands; errors carry it. `scopes` are the (name, kind) of the
    modules of the source that it is inside of, outermost first.

    >>> step = Step(lambda x, y: x - y, (Value("a"), 1), {}, ("b",), "Sub 'node_3'")
    >>> step.takes(), step.outputs
    ({'a'}, ('b',))
    """

    __slots__ = ("args", "call", "kwargs", "outputs", "scopes", "where")

    def __init__(
        self,
        call: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        outputs: Sequence[str],
        where: str,
        scopes: Scopes = (),
    ) -> None:
        self.call = call
        self.args = tuple(args)
        self.kwargs = dict(kwargs)
        self.outputs = tuple(outputs)
        self.where = where
        self.scopes = scopes

    def takes(self) -> set[str]:
        """The names of the values it takes."""
        return set(names((self.args, list(self.kwargs.values()))))


class Plan:
    """The steps of a program in their order, with what can be forgotten after each.

    `sizes` has, for inputs whose shape is declared, the least and the most that each size may be; `kind` is the class
    of the source's module whose steps these are, "" for those of a whole program.

    >>> plan = Plan(["x"], Value("z"), [Step(lambda x: x + 1, (Value("x"),), {}, ("y",), "add"),
    ...                                 Step(lambda y: 2 * y, (Value("y"),), {}, ("z",), "double")])
    >>> plan.run({"x": 3})
    8
    """

    __slots__ = ("inputs", "kind", "result", "sizes", "steps")

    def __init__(
        self,
        inputs: Sequence[str],
        result: Any,
        steps: Sequence[Step],
        sizes: Mapping[str, Sizes] | None = None,
        kind: str = "",
    ) -> None:
        self.inputs = tuple(inputs)
        self.result = result
        self.sizes = dict(sizes or {})
        self.kind = kind
        needed = set(names(result))
        each: list[tuple[Step, tuple[str, ...]]] = []
        for step in reversed(steps):
            takes = step.takes()
            dead = (takes | {name for name in step.outputs if name}) - needed
            each.append((step, tuple(dead)))
            needed |= takes
        self.steps = tuple(reversed(each))

    def run(self, values: dict[str, Any]) -> Any:
        """The result from the values of inputs and arrays; `values` is used up."""
        for step, dead in self.steps:
            try:
                args = [_filled(x, values) for x in step.args]
                kwargs = {k: _filled(x, values) for k, x in step.kwargs.items()}
                found = step.call(*args, **kwargs)
            except Exception as error:
                error.add_note(f"in {step.where}")
                raise
            if len(step.outputs) == 1:
                values[step.outputs[0]] = found
            else:
                values.update(zip(step.outputs, found, strict=False))
            for name in dead:
                values.pop(name, None)
        return _filled(self.result, values)


class Graph(Module):
    """A network as the plan of its steps; its arrays stand under the names that they have in the source.

    `inputs` names what a call takes, in order; `result` is what it gives: a `Value`, or a tuple, list or dict of them.
    `parameters` are learned, `buffers` are not. `sizes` are those that the source declares of inputs (see `Plan`).

    >>> import numpy as np, adjoint as aj
    >>> steps = [Step(aj.multiply, (Value("fc.weight"), Value("x")), {}, ("y",), "mul 'fc'")]
    >>> net = Graph(["x"], Value("y"), steps, {"fc.weight": np.array([2.0, 3.0])})
    >>> net(np.array([1.0, 10.0])).tolist(), list(net.state_dict())
    ([2.0, 30.0], ['fc.weight'])
    >>> aj.grad(lambda net: aj.sum(net(np.array([1.0, 10.0]))))(net)["fc.weight"].tolist()
    [1.0, 10.0]
    """

    def __init__(
        self,
        inputs: Sequence[str],
        result: Any,
        steps: Sequence[Step],
        parameters: Mapping[str, Array],
        buffers: Mapping[str, Array] | None = None,
        sizes: Mapping[str, Sizes] | None = None,
    ) -> None:
        self.plan = Plan(inputs, result, steps, sizes)
        for name, array in parameters.items():
            setattr(self, name, array)
        for name, array in (buffers or {}).items():
            self.register_buffer(name, array)

    def __getitem__(self, name: str) -> Array:
        """The array of that name."""
        return self.__dict__[name]

    def __call__(self, *inputs: Any) -> Any:
        """The result for inputs in the order of the plan's."""
        plan = self.plan
        if len(inputs) != len(plan.inputs):
            raise TypeError(f"Graph: takes {len(plan.inputs)} inputs ({', '.join(plan.inputs)}), not {len(inputs)}.")
        fields = self.__dict__
        values = {name: fields[name] for name in self.form().names}
        values.update(zip(plan.inputs, inputs, strict=True))
        return plan.run(values)

    def __repr__(self) -> str:
        return f"Graph({', '.join(self.plan.inputs)}: {len(self.plan.steps)} steps, {len(self.form().names)} arrays)"


def names(value: Any) -> Iterable[str]:
    """The names of the values in a nest, in its order."""
    if isinstance(value, Value):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from names(part)
    elif isinstance(value, dict):
        yield from names(list(value.values()))


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    kind = type(value)
    if kind is Value:
        return values[value]
    if kind is list or kind is tuple:
        return kind([_filled(part, values) for part in value])
    if kind is dict:
        return {k: _filled(part, values) for k, part in value.items()}
    return value


def word(name: str) -> str:
    """The last part of a dotted name that is no number: what modules of a source are called where no class is told.

    >>> word("encoder.layers.11"), word("3")
    ('layers', '3')
    """
    return next((part for part in reversed(name.split(".")) if not part.isdigit()), name)
