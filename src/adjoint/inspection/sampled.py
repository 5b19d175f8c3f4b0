"""What a network does at a sample: gradient flow, layers, depths, found piece by piece; interrupted, what is there."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array
from adjoint.errors import SpectrumError
from adjoint.inspection.bar import bar
from adjoint.inspection.blocks import Block
from adjoint.inspection.blockwise import PROBES, STEPS, block, judged
from adjoint.inspection.findings import Finding
from adjoint.inspection.flow import FREE, Depth, Located, depths, merged, taken
from adjoint.inspection.layers import Layer, Mixed, layer
from adjoint.inspection.passage import Loss, Passage, applied, targets, unfit
from adjoint.inspection.sample import Sample
from adjoint.inspection.watching import Call, calls, evaluated, leaves, needed, sole
from adjoint.interop.sections import batch_of
from adjoint.maps.flat import to_numpy
from adjoint.nn.embedding import Embedding
from adjoint.nn.module import Module, count_parameters
from adjoint.trees import differentiable

OPENED = 1 << 18  # numbers of a Jacobian that is formed
LARGE = f"their Jacobians have more than {OPENED:,} numbers and are not formed"
MIXED = "what comes out for one example depends on others"
DEPTHS = "(the Jacobians from each depth to the output)"
INTERRUPTED = "interrupted before they were examined"


class AtSample:
    """What is known so far of a network at a sample; `run` finds it, `skipped` tells what is left out and why.

    Raises ShapeError for a sample that is no batch, or is smaller than what a program takes, SpectrumError for one that
    is not finite, ValueError for one with indices that an embedding does not have and for a loss that does not take the
    output with its target, TypeError for a network that needs more than a sample.
    """

    def __init__(self, net: Module, x: Array, points: int, loss: Loss | None = None, target: Any = None) -> None:
        whole = evaluated(net)
        if len(names := needed(net)) > 1:
            raise TypeError(
                f"inspect: {type(net).__name__} takes {' and '.join(names)}, and a sample is one array: wrap it in a "
                f"module that is called with {names[0]} and holds the rest."
            )
        self.net, self.x, self.points = whole, taken("inspect", whole, x, x.shape[0] if x.shape else 0), points
        self.loss, self.target = loss, None if loss is None else targets(target, x)
        self.skipped: dict[str, str] = {}
        if self.x.shape[0] < x.shape[0]:
            left = x.shape[0] - self.x.shape[0]
            self.skipped[f"({left} of {x.shape[0]} examples)"] = (
                f"this program takes {self.x.shape[0]} at once, as it was exported: {FREE}"
            )
            self.target = None if loss is None else target[: self.x.shape[0]]
        try:
            with np.errstate(all="ignore"):  # what is not finite is told
                self.output, self.seen = calls(whole, self.x)
                self.few = self._few()
                if loss is not None:
                    applied(loss, self.output, self.target)  # whatever does not fit is told before the work
        except IndexError as error:
            told = beyond(whole, self.x) or f"the network cannot take this sample: {error}"
            raise ValueError(f"inspect: {told}.") from error
        self.findings: tuple[Finding, ...] = ()
        self.layers: list[Layer] = []
        self.network: Layer | None = None
        self.passage: Passage | None = None
        self.blocks: list[Block] = []
        self.by_example: list[list[Located]] = []
        self.complete = True
        self._choose()

    def _few(self) -> dict[tuple[str, int], Call]:
        """The calls that no example passes by itself, with no more examples than are opened."""
        together = {(call.name, call.nth) for call in self.seen if not call.alone}
        few = taken("inspect", self.net, self.x, self.points)
        if not together or few.shape[0] == self.x.shape[0]:
            return {}
        found = {(call.name, call.nth): call for call in calls(self.net, few)[1]}
        return {place: call for place, call in found.items() if place in together}

    def _choose(self) -> None:
        """What can be examined, and what not and why."""
        self.single, self.deep, self.flowing = differentiable(sole(self.output)), True, True
        broken = first_broken(self.x, self.seen, self.output)
        fit = [call for call in self.seen if not broken or (finite(call.input) and finite(call.output))]
        self.small = [call for call in fit if entries(call.input, call.output) <= OPENED]
        if len(self.small) < len(fit):
            self.skipped[f"({len(fit) - len(self.small)} layers at the sample)"] = LARGE
        if broken:
            self.findings = (broken,)
            self.single = self.deep = self.flowing = False
            self.skipped["(gradient flow)"] = f"the output is not finite, from {broken.name} on"
            return
        if not self.single:
            self.deep, self.skipped[DEPTHS] = False, "the output is no one array of floating numbers"
        elif any(entries(x, sole(self.output)) > OPENED for x in (self.x, *(call.output for call in self.seen))):
            self.deep, self.skipped[DEPTHS] = False, LARGE
        if self.loss is None and (why := unfit(self.output, self.x.shape[0])):
            self.flowing, self.skipped["(gradient flow)"] = False, why

    def run(self, progress: bool) -> None:
        """Find all; what there is where Ctrl-C ends it."""
        depths_cost = sum(entries(call.output, sole(self.output)) for call in self.seen) * self.deep / 1e4
        self.costs = {
            "flow": (1.0 + 2.0 * STEPS + PROBES) * len(self.seen) * self.flowing,
            "layers": sum(map(self._cost, self.small)),
            "depths": self.points * depths_cost,
        }
        try:
            with bar("examining the sample", progress, sum(self.costs.values())) as advance:
                for cost in self._work():
                    advance(cost)
        except KeyboardInterrupt:
            self.stop()

    def _work(self) -> Iterator[float]:
        if self.flowing:
            known = self.output, self.seen
            self.passage = Passage(self.net, self.x, self.points, 0, self.loss, self.target, known)
            count = len(self.passage.chosen)
            for k in reversed(range(count)):
                yield self.costs["flow"] / (count + 1)  # that of the gradients, then of each block
                self.blocks.insert(0, block(self.passage, k))
            yield self.costs["flow"] / (count + 1)
        for call in self.small:
            call = self.few.get((call.name, call.nth), call)
            count = count_parameters(call.module)
            try:
                found = layer(
                    call.function, call.input, self.points, call.name, call.kind, call.level, count, call.nth,
                    call.alone,
                )  # fmt: skip
                self.layers.append(found)
            except Mixed:
                self.skipped[f"({call.name} at the sample)"] = MIXED
            yield self._cost(call)
        if self.single and differentiable(self.x) and entries(self.x, sole(self.output)) <= OPENED:
            name, count, alone = type(self.net).__name__, count_parameters(self.net), batch_of(self.net)[0] <= 1
            with contextlib.suppress(Mixed):  # told below
                self.network = layer(lambda x: sole(self.net(x)), self.x, self.points, "", name, 0, count, alone=alone)
        if self.deep:
            try:
                for located in depths(self.net, self.x, self.points):
                    self.by_example.append(located)
                    yield self.costs["depths"] / min(self.points, self.x.shape[0])
            except Mixed:
                self.deep, self.skipped[DEPTHS] = False, MIXED

    def _cost(self, call: Call) -> float:
        return 1.0 + min(self.points, call.input.shape[0]) * entries(call.input, call.output) / 1e4

    def stop(self) -> None:
        """Leave it at what is there, and say what is not."""
        self.complete = False
        blocks = len(self.passage.chosen) if self.passage is not None else 0
        missing = {
            "(gradient flow)": self.flowing and not self.blocks,
            f"({blocks - len(self.blocks)} blocks of the gradient flow)": 0 < len(self.blocks) < blocks,
            f"({len(self.small) - len(self.layers)} layers at the sample)": len(self.layers) < len(self.small),
            DEPTHS: self.deep and not self.by_example,
        }
        examples = min(self.points, self.x.shape[0])
        if self.deep and 0 < len(self.by_example) < examples:
            missing[f"({examples - len(self.by_example)} of {examples} examples of those Jacobians)"] = True
        self.skipped |= {what: INTERRUPTED for what, lacks in missing.items() if lacks}

    @property
    def flow(self) -> tuple[Block, ...]:
        """The blocks that are known, from some depth to the output."""
        return judged(self.blocks)

    @property
    def depths(self) -> tuple[Depth, ...]:
        """The depths, by the examples that are known."""
        return merged(self.by_example)

    @property
    def sample(self) -> Sample:
        """What they are known at."""
        name = "" if self.loss is None else getattr(self.loss, "__name__", type(self.loss).__name__)
        value = math.nan if self.passage is None else self.passage.value
        return Sample(self.x, self.net, max(self.points, batch_of(self.net)[0]), name, value)


def first_broken(x: Array, seen: Sequence[Call], output: Any) -> Finding | None:
    """Where NaN or infinity arises: the first layer whose output is not finite; None where all is finite.

    Raises SpectrumError where the sample itself is not, naming the first layer that meets it.
    """
    broken = next((c for c in sorted(seen, key=lambda call: call.finished) if not finite(c.output)), None)
    if not finite(x):
        bad = ~np.isfinite(to_numpy(x).astype(np.float64))
        first = next((call for call in seen if not finite(call.input)), None)
        meets = f"; the first layer that meets it is {first.name} ({first.kind})" if first else ""
        raise SpectrumError(
            f"inspect: the sample is not finite: {bad.sum():,} of its {bad.size:,} numbers are NaN or infinite, the "
            f"first in example {int(np.argwhere(bad)[0][0])}{meets}."
        )
    if broken is None:
        whole = all(map(finite, leaves(output)))
        return None if whole else Finding("the output", 4.0, "at the sample it has NaN or infinity")
    y = to_numpy(broken.output).astype(np.float64)
    count = int((~np.isfinite(y)).sum())
    since = "though its input is finite" if finite(broken.input) else "and so has its input"
    told = f"at the sample {count:,} of the {y.size:,} numbers of its output are NaN or infinite, {since}"
    return Finding(broken.name, 4.0, told)


def beyond(net: Module, x: Array) -> str:
    """Which embedding lacks rows for the largest of the indices x; "" where none does.

    >>> import adjoint as aj
    >>> beyond(aj.nn.Sequential(aj.nn.Embedding(5, 2)), np.array([[7, 1]]))
    "the sample's ids run to 7, but the vocabulary of 0 has 5, which count from 0"
    """
    top = int(to_numpy(x).max()) if math.prod(x.shape) and not differentiable(x) else 0
    sizes = {name: each.num_embeddings for name, each in net.named_modules() if isinstance(each, Embedding)}
    name, size = next(((name, size) for name, size in sizes.items() if size <= top), ("", 0))
    whose = f"of {name} " if name else ""
    told = f"the sample's ids run to {top:,}, but the vocabulary {whose}has {size:,}, which count from 0"
    return told if size else ""


def finite(x: Any) -> bool:
    """Whether an array has neither NaN nor infinity."""
    return not differentiable(x) or bool(np.all(np.isfinite(to_numpy(x))))


def entries(x: Any, y: Any) -> int:
    """How many numbers the Jacobian of y by x has for one example; 0 where one of them is no floating array.

    >>> entries(np.ones((5, 3)), np.ones((5, 2)))
    6
    """
    if not (differentiable(x) and differentiable(y)):
        return 0
    return math.prod(x.shape[1:]) * math.prod(y.shape[1:])
