"""Where a network spends: every call of a module counted, and what is its own assigned to a component."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from adjoint.arrays.shapes import count
from adjoint.costs.passes import Pass, Spending, backward_of, learns, variables
from adjoint.inspection.watching import evaluated, kind_of, watch
from adjoint.interop.sections import source_name
from adjoint.nn.layers import Linear, Sequential
from adjoint.nn.module import Module, count_parameters

PROJECTIONS, SCORES, FEED_FORWARD = "attention projections", "attention scores", "feed-forward"
NORMS, EMBEDDINGS, CONVOLUTIONS, HEAD, OTHER = "norms", "embeddings", "convolutions", "head", "other"
COMPONENTS = (PROJECTIONS, SCORES, FEED_FORWARD, CONVOLUTIONS, NORMS, EMBEDDINGS, HEAD, OTHER)

_HEADS = re.compile(r"^(lm_head|cls|classifier|pooler|score|qa_outputs|head|fc|(vit|bert|roberta)\.pooler)(\.|$)")
_EMBEDDED = re.compile(r"(^|\.)(wte|wpe|shared|\w*embed\w*)(\.|$)", re.IGNORECASE)
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_NORMS = ("BatchNorm", "InstanceNorm", "LayerNorm", "GroupNorm")
_PRODUCTS = ("linear", "quantized_linear", "affine", "weight_product")  # with weights: in an attention the projections
_SUMS = ("add", "subtract")  # around other modules: what joins them


@dataclass(frozen=True)
class LayerCost:
    """What one call of a layer costs; `level` counts the modules that it is inside of, whose own figures include it.

    >>> import adjoint as aj
    >>> [(layer.kind, layer.forward.matmul_flops) for layer in aj.cost(aj.nn.MLP((3, 4, 2)), (1, 3)).layers]
    [('Linear', 24), ('ReLU', 0), ('Linear', 16)]
    """

    name: str
    kind: str
    level: int
    parameters: int
    forward: Pass
    backward: Pass


@dataclass(frozen=True)
class Component:
    """What all parts of one kind cost together, such as the attention projections; components add up to the whole.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(11, 8, n_layer=1, n_head=2, n_embd=4)
    >>> [part.name for part in aj.cost(net, seq=8).components]
    ['attention projections', 'attention scores', 'feed-forward', 'norms', 'embeddings', 'head', 'other']
    """

    name: str
    forward: Pass
    backward: Pass


@dataclass
class Call:
    """A call of a module: what it was called with, the calls inside it, and what it cost."""

    name: str
    module: Module
    level: int
    args: tuple[Any, ...]
    run: Callable[..., Any]
    inside: list[Call] = field(default_factory=list)
    spent: Spending = field(default_factory=Spending)

    @property
    def kind(self) -> str:
        """The module's class, in its source where it was read from one."""
        return kind_of(self.module)


def watched(net: Module, args: Sequence[Any]) -> list[Call]:
    """All calls of modules inside net(*args), counted, in the order in which they began.

    >>> import adjoint as aj
    >>> from adjoint.arrays.shapes import ShapeArray
    >>> [(call.name, call.level) for call in watched(aj.nn.MLP((3, 4, 2)), [ShapeArray((1, 3))])]
    [('0', 0), ('1', 0), ('2', 0)]
    """
    seen: list[Call] = []
    open_calls: list[Call] = []
    modules = {source_name(name): module for name, module in evaluated(net).named_modules()}

    def around(name: str, module: Module, call: Any, args: tuple[Any, ...]) -> Any:
        options = call.keywords

        def run(module: Any, *args: Any) -> Any:
            return module(*args, **options)

        entry = Call(name, modules[name], len(open_calls), args, run)
        seen.append(entry)
        if open_calls:
            open_calls[-1].inside.append(entry)
        open_calls.append(entry)
        with count() as tally:
            y = call(*args)
        entry.spent = Spending.of(tally)
        open_calls.pop()
        return y

    watch(net, around)(*args)
    return seen


def backward_spending(call: Call, fixed: Sequence[Any]) -> Spending:
    """What the gradient of a call costs, in its parameters and its arguments but for those that are `fixed`."""
    wanted = [not any(x is y for y in fixed) for x in call.args]
    return backward_of(*variables(call.module, call.args, wanted, call.run))


def by_component(calls: Sequence[Call], spent: Sequence[Spending], whole: Spending) -> dict[str, Spending]:
    """What each component costs, given what each call does and the whole network; they add up to the whole.

    A call's own part is what the calls inside it leave. In an attention, products with weights are projections, and the
    rest (products of queries, keys and values, the softmax, rotations) scores. What a module adds up around those
    inside it is `other`, as is all that a stack of blocks does itself, and in a network without attention all that is
    no product.
    """
    found: dict[str, Spending] = {}
    places = {id(call): k for k, call in enumerate(calls)}
    rest = whole - Spending()
    transformer = any(_attends(call) for call in calls)
    for call, all_of_it in zip(calls, spent, strict=True):
        own = all_of_it - Spending()
        for inner in call.inside:
            own.add(spent[places[id(inner)]], -1)
        if call.level == 0:
            rest.add(all_of_it, -1)
        for name, part in _parted(call, own, transformer):
            found.setdefault(name, Spending()).add(part)
    found.setdefault(OTHER, Spending()).add(rest)
    return {name: found[name] for name in COMPONENTS if name in found}


def _parted(call: Call, own: Spending, transformer: bool) -> list[tuple[str, Spending]]:
    """The components of a call, each with its part of what is the call's own."""
    kind = call.kind
    attends = _attends(call)
    if kind.endswith("Norm") or any(what in kind for what in _NORMS):
        return [(NORMS, own)]
    if kind == "Embedding" or (_EMBEDDED.search(call.name) and not attends):
        return [(EMBEDDINGS, own)]
    if _HEADS.search(call.name):
        return [(HEAD, own)]
    if "Conv" in kind:
        return [(CONVOLUTIONS, own)]
    if not any(own.products.values()) and (not transformer or _stacks(call)):
        return [(OTHER, own)]
    sums = own.only(lambda name: bool(call.inside) and name in _SUMS)
    rest = own - sums
    if not attends:
        folded = rest.only(lambda name: name.startswith("conv"))
        some = [(CONVOLUTIONS, folded)] if any(folded.products.values()) else []
        return [(OTHER, sums), *some, (FEED_FORWARD, rest - folded)]
    linear = rest.only(lambda name: name in _PRODUCTS)
    return [
        (OTHER, sums),
        (PROJECTIONS, linear),
        (PROJECTIONS if isinstance(call.module, Linear) else SCORES, rest - linear),
    ]


def _attends(call: Call) -> bool:
    return bool(_ATTENTION.search(call.name) or _ATTENTION.search(type(call.module).__name__))


def _stacks(call: Call) -> bool:
    """Whether it calls modules that have attentions inside."""
    return any(not _attends(inner) and (_stacks(inner) or any(map(_attends, inner.inside))) for inner in call.inside)


def told(calls: Sequence[Call], backward: Sequence[Spending]) -> tuple[LayerCost, ...]:
    """What each call costs, without those that do nothing at all (dropout in evaluation mode)."""
    return tuple(
        LayerCost(
            call.name,
            call.kind,
            call.level,
            count_parameters(call.module),
            call.spent.total(),
            b.total(),
        )
        for call, b in zip(calls, backward, strict=True)
        if call.spent.bytes or learns(call.module)
    )


def blocks(net: Module) -> list[tuple[Module, str]]:
    """(owner, attribute) of every list of alike modules that have modules inside: the blocks of a deep network.

    Only outermost ones are given whose modules can be called.

    >>> import adjoint as aj
    >>> [(type(owner).__name__, name) for owner, name in blocks(aj.models.GPT(5, 4, n_layer=2, n_head=1, n_embd=4))]
    [('GPT', 'h')]
    """
    found: list[tuple[Module, str]] = []
    names = net.form().names
    if isinstance(net, Sequential) and _alike([net.__dict__[name] for name in names]):
        return [(net, name) for name in names]
    for name in names:
        child = net.__dict__[name]
        if isinstance(child, (list, tuple)) and _alike(list(child)):
            found.append((net, name))
        else:
            parts = (
                child if isinstance(child, (list, tuple)) else [*child.values()] if isinstance(child, dict) else [child]
            )
            found += [pair for part in parts if isinstance(part, Module) for pair in blocks(part)]
    return found


def _alike(parts: list[Any]) -> bool:
    kinds = {type(part) for part in parts}
    return (
        len(kinds) == 1
        and isinstance(parts[0], Module)
        and type(parts[0]).__call__ is not Module.__call__
        and any(isinstance(x, Module) for _, x in list(parts[0].named_modules())[1:])
        and not isinstance(parts[0], Sequential)
    )
