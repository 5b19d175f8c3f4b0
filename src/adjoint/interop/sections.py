"""The steps of a program gathered into the modules of its source, so that it can be watched at work like a module."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from adjoint.interop.graph import Graph, Plan, Step, Value, names, word


def divide(net: Graph) -> None:
    """Gather the steps of a program into modules inside it, as they stood in the modules of its source, in place.

    A module is a `Graph` with a `kind` in its plan, under its name with "@0" behind it, "@1" where its steps come a
    second time; it has the arrays that only its steps take. A module that takes nothing that depends on the program's
    inputs, or gives nothing that is taken outside, stays as it is. A program that is divided already does, too.

    >>> import adjoint as aj, numpy as np
    >>> steps = [Step(aj.multiply, (Value("fc.w"), Value("x")), {}, ("h",), "mul", (("fc", "Scaling"),)),
    ...          Step(aj.exp, (Value("h"),), {}, ("y",), "exp")]
    >>> net = Graph(["x"], Value("y"), steps, {"fc.w": np.array(0.0)})
    >>> divide(net)
    >>> [(name, module.plan.kind) for name, module in net.named_modules()], net(np.array(3.0)).tolist()
    ([('', ''), ('fc@0', 'Scaling')], 1.0)
    """
    if net.plan.kind or any(isinstance(net[name], Graph) for name in net.form().names):
        return
    division = _Division(net)
    steps = division.grouped(net, [step for step, _ in net.plan.steps], "", 0)
    net.plan = Plan(net.plan.inputs, net.plan.result, steps, net.plan.sizes)


def source_name(name: str) -> str:
    """A module's name in the source.

    >>> source_name("layers.0@0.linear1@1")
    'layers.0.linear1'
    """
    return re.sub(r"@\d+(?=\.|$)", "", name)


def batch_of(net: Any) -> tuple[int, float]:
    """The least and the most examples that a program takes: of its first input the leading size; else any number."""
    if not isinstance(net, Graph) or not net.plan.inputs:
        return 0, math.inf
    sizes = net.plan.sizes.get(net.plan.inputs[0])
    return sizes[0] if sizes else (0, math.inf)


class _Division:
    """What the parts of a program share: its arrays, who takes which value, and what depends on its inputs."""

    def __init__(self, net: Graph) -> None:
        self.arrays = {name: net[name] for name in net.form().names}
        self.buffers = set(net._buffers)
        self.users: dict[str, list[int]] = {}
        self.live = set(net.plan.inputs)
        self.results = set(names(net.plan.result))
        for step, _ in net.plan.steps:
            takes = step.takes()
            for name in takes:
                self.users.setdefault(name, []).append(id(step))
            if takes & self.live:
                self.live.update(step.outputs)

    def grouped(self, owner: Graph, steps: Sequence[Step], around: str, depth: int) -> list[Step]:
        """The steps, with one that calls a module of `owner` in place of those that stand in it."""
        found: list[Step] = []
        for scope, run in itertools.groupby(steps, lambda step: step.scopes[depth][0] if step.scopes[depth:] else None):
            together = list(run)
            section = None if scope is None else self.section(owner, together, scope, around, depth)
            found += together if section is None else [section]
        return found

    def section(self, owner: Graph, steps: Sequence[Step], scope: str, around: str, depth: int) -> Step | None:
        """A step that calls a new module of `owner`, or None."""
        inside = {id(step) for step in steps}
        made = dict.fromkeys(name for step in steps for name in step.outputs if name)
        taken = dict.fromkeys(name for step in steps for name in names((step.args, list(step.kwargs.values()))))
        outputs = [x for x in made if x in self.results or any(user not in inside for user in self.users.get(x, ()))]
        inputs = sorted((x for x in taken if x not in made and x not in self.arrays), key=lambda x: x not in self.live)
        if not outputs or not inputs or inputs[0] not in self.live:
            return None
        result = Value(outputs[0]) if len(outputs) == 1 else tuple(map(Value, outputs))
        part = Graph(inputs, result, (), {})
        own = self.grouped(part, steps, scope, depth + 1)
        needed = set().union(*(step.takes() for step in own))
        for name in (x for x in taken if x in self.arrays and x in needed):
            if name in self.buffers:
                part.register_buffer(name, self.arrays[name], persistent=False)
            else:
                setattr(part, name, self.arrays[name])
        part.plan = Plan(inputs, result, own, None, _kind(scope, {step.scopes[depth][1] for step in steps}))
        name = _free(owner, scope.removeprefix(f"{source_name(around)}.") if around else scope)
        setattr(owner, name, part)
        return Step(
            _called, (Value(name), *map(Value, inputs)), {}, outputs, f"{source_name(scope)} ({part.plan.kind})"
        )


def _called(part: Graph, *values: Any) -> Any:
    return part(*values)


def _kind(scope: str, kinds: set[str]) -> str:
    """The kind of a module from those of its steps: theirs, or where they have several a word of its name."""
    return kinds.pop() if len(kinds) == 1 else word(source_name(scope))


def _free(owner: Graph, name: str) -> str:
    name, count = source_name(name), itertools.count()
    return next(x for x in (f"{name}@{k}" for k in count) if x not in owner.__dict__)
