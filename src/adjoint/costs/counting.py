"""`aj.cost`: forward, backward and optimizer of a network, counted by running it on arrays that only have shapes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adjoint.arrays.dispatch import Array, Shape, is_array
from adjoint.arrays.shapes import ShapeArray, count, like
from adjoint.costs.components import (
    Call,
    Component,
    LayerCost,
    backward_spending,
    blocks,
    by_component,
    told,
    watched,
)
from adjoint.costs.growth import FIGURES, Growth, growth
from adjoint.costs.memory import Alive, Memory, alive, checkpointed
from adjoint.costs.passes import Pass, Spending, backward_of, variables
from adjoint.costs.planning import Block, Plan, plan
from adjoint.costs.roofline import Operation, Predicted, Roofline, predicted
from adjoint.costs.subjects import example, laid_out, longest, made_for, shaped
from adjoint.errors import TraceError
from adjoint.nn.module import Module, count_parameters
from adjoint.optim import AdamW
from adjoint.trees import Structure, differentiable

if TYPE_CHECKING:
    from adjoint.models.config import Config


@dataclass(frozen=True)
class Cost:
    """What a network costs on one batch.

    `forward` and `backward` are its passes, `step` is AdamW's. `inference_bytes` and `training_bytes` are the most
    memory alive at any moment of the forward pass, and of forward and backward together with what the first keeps for
    the second and the gradients; parameters and input not counted: `memory` has those. `components` add up to the
    passes; `layers` are the calls of modules. `inputs` are the shapes that the network was given;
    `operations` are the components function by function, `blocks` the repeated blocks; `made_for` is how many tokens a
    language model was made for, None where that is not known.

    >>> import adjoint as aj
    >>> found = cost(aj.nn.MLP((3, 4, 2)), (1, 3))
    >>> found.parameters, found.forward.matmul_flops, found.backward.matmul_flops
    (26, 40, 56)
    """

    parameters: int
    forward: Pass
    backward: Pass
    inference_bytes: int
    training_bytes: int
    layers: tuple[LayerCost, ...]
    components: tuple[Component, ...]
    step: Pass
    memory: Memory
    inputs: tuple[Shape, ...]
    dtype: str
    operations: tuple[Operation, ...] = ()
    blocks: tuple[Block, ...] = ()
    made_for: int | None = None

    @property
    def beyond(self) -> str:
        """That the sequences are longer than the model was made for, in words; else nothing.

        >>> import adjoint as aj
        >>> aj.cost(aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4)).beyond
        ''
        """
        if self.made_for is None or self.inputs[0][-1] <= self.made_for:
            return ""
        return f"made for {self.made_for:,} positions; rotary ones go on beyond, where it was not trained"

    def predicted(self, line: Roofline | None = None) -> Predicted:
        """Seconds of forward pass, backward pass and step on a roofline, else on this machine's, as it is remembered.

        Raises ValueError where none is given and none remembered, and for a dtype that was not measured.

        >>> import adjoint as aj
        >>> line = aj.costs.Roofline("toy", {"float32": 10.0}, 1e9)
        >>> aj.cost(aj.nn.Linear(3, 2), (5, 3)).predicted(line).forward
        7.0
        """
        line = line or Roofline.remembered()
        if line is None:
            raise ValueError("cost: nothing is known of this machine yet: `adjoint doctor` measures it.")
        return predicted(self, line)

    def plan(
        self, devices: int, layout: str, microbatches: int | None = None, link: float | None = None
    ) -> Plan:  # fmt: skip
        """Memory and traffic of each of several devices: see `adjoint.costs.plan`.

        >>> import adjoint as aj
        >>> aj.cost(aj.nn.Linear(3, 2), (5, 3)).plan(4, "fsdp").weights
        8
        """
        return plan(self, devices, layout, microbatches, link)

    def polynomial(self, variable: str = "seq", of: str = "matmul_flops", upto: int | None = None) -> Growth:
        """The FLOPs as exact polynomials in the sequence length ("seq") or the batch, and where attention overtakes.

        `of` is "matmul_flops", "flops" or "bytes". Three counts give the coefficients, a fourth checks them, all within
        the lengths that the model takes and `upto`. Raises ValueError where the cost is no polynomial of degree 2 (a
        window of attention bends it), and where the network was not counted by batch and seq.

        >>> import adjoint as aj
        >>> found = aj.cost(aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=8), seq=16).polynomial("seq")
        >>> print(found.forward)
        32 T² + 1,712 T
        >>> print(found.overtakes["scores alone"], found.overtakes["with projections"])
        32 16
        """
        grown = self.__dict__.get("_grown")  # no field: it is neither compared nor told
        if grown is None:
            raise ValueError(
                f"cost: a polynomial in {variable!r} needs a network counted with batch=…, seq=…, not by x."
            )
        if of not in FIGURES:
            raise ValueError(f"polynomial: of is 'matmul_flops', 'flops' or 'bytes', not {of!r}.")
        return grown(variable, of, upto)


def cost(
    model: Module | Config, x: Array | Shape | None = None, inputs: bool = False, *, batch: int | None = None,
    seq: int | None = None, dtype: Any = None,
) -> Cost:  # fmt: skip
    """FLOPs, bytes and peak memory of a network's forward and backward pass and optimizer step; nothing is computed.

    `model` is a network, or a configuration (a dict, the path of a `config.json` or of its folder) that is laid out
    without memory, so that any size can be counted. It is counted on x, an array of which only shape and dtype are
    read, or a shape (of float32 numbers); or on a `batch` (1 unless given) of sequences of `seq` tokens (as long as the
    model was made for, 1024 at most, unless given), or of images of the model's size. `dtype` is that of the weights.

    The backward pass gives the gradient of the parameters, as training needs it, and of x where `inputs` is true. A
    product n×k by k×m costs 2·n·k·m forward and twice that backward, except in the first layer, which without `inputs`
    has only one product to do, and in attention, whose backward pass makes the scores again (five products for two, as
    PyTorch counts its fused kernels). All keys count for a causal query, as in published figures. What other functions
    count is in `adjoint.arrays.shapes`. The network is in evaluation mode. Raises ValueError where x, batch and seq do
    not suit the model, ShapeError where shapes do not fit.

    >>> import adjoint as aj
    >>> found = aj.cost(aj.nn.Linear(3, 2), (5, 3))
    >>> found.forward.matmul_flops, found.backward.matmul_flops, found.training_bytes
    (60, 60, ...)
    >>> llama = {"model_type": "llama", "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008,
    ...          "num_hidden_layers": 32, "num_attention_heads": 32}
    >>> aj.cost(llama, batch=1, seq=128).forward.multiply_adds
    850000871424
    """
    net = shaped(laid_out(model, dtype), dtype if isinstance(model, Module) else None)
    if x is None:
        args = example(net, batch, seq)
    elif batch is not None or seq is not None:
        raise ValueError("cost: give x, or batch and seq, not both.")
    else:
        args = (like(x) if is_array(x) else ShapeArray(x),)
    wanted = [inputs and differentiable(a) for a in args]
    f, primals = variables(net, args, wanted)
    with count() as tally:
        net(*args)
    backward = backward_of(f, primals)
    calls = watched(net, args)
    spent = [call.spent for call in calls]
    fixed = () if inputs else args
    pulled = [backward_spending(call, fixed) for call in calls]
    parts = [by_component(calls, s, whole) for s, whole in ((spent, Spending.of(tally)), (pulled, backward))]
    components = tuple(
        Component(name, part.total(), parts[1].get(name, Spending()).total())
        for name, part in parts[0].items()
    )  # fmt: skip
    both = alive(f, primals)
    both = Alive(both.kept, max(tally.peak_bytes, both.peak))
    learned = Structure(net).own()

    def grown(variable: str, of: str, upto: int | None) -> Growth:
        most = longest(net) if upto is None else min(upto, longest(net))
        start = {"batch": args[0].shape[0], "seq": args[0].shape[-1]}
        return growth(lambda **changed: _counted(net, of, **{**start, **changed}), variable, most)

    found = Cost(
        parameters=count_parameters(net),
        forward=Pass(tally.flops, tally.matmul_flops, tally.bytes),
        backward=backward.total(),
        inference_bytes=tally.peak_bytes,
        training_bytes=both.peak,
        layers=told(calls, pulled),
        components=components,
        step=_step(learned),
        memory=_memory(net, learned, args, wanted, both),
        inputs=tuple(a.shape for a in args),
        dtype=", ".join(sorted({str(p.dtype) for p in net.parameters()})),
        operations=_operations(*parts),
        blocks=_blocks(net, calls),
        made_for=made_for(net),
    )
    if x is None and "int" in str(args[0].dtype):
        found.__dict__["_grown"] = grown
    return found


def _counted(net: Module, of: str, batch: int, seq: int) -> dict[str, int]:
    """What is to be a polynomial: one of a pass's figures, for forward and backward and by component."""
    args = example(net, batch, seq)
    with count() as tally:
        calls = watched(net, args)
    forward = Spending.of(tally)
    parts = by_component(calls, [call.spent for call in calls], forward)
    backward = backward_of(*variables(net, args, [False] * len(args)))
    figures = {"forward": forward, "backward": backward, **parts}
    return {name: int(getattr(spent.total(), of)) for name, spent in figures.items()}


def _operations(forward: dict[str, Spending], backward: dict[str, Spending]) -> tuple[Operation, ...]:
    """What each function does in each component; those that do nothing in neither pass left out."""
    found = []
    for component in dict.fromkeys((*forward, *backward)):
        sides = forward.get(component, Spending()), backward.get(component, Spending())
        for name in dict.fromkeys((*sides[0].names(), *sides[1].names())):
            passes = [side.only({name}.__contains__).total() for side in sides]
            if any(p.flops or p.bytes for p in passes):
                found.append(Operation(component, name, *passes))
    return tuple(found)


def _blocks(net: Module, calls: list[Call]) -> tuple[Block, ...]:
    """The repeated blocks in the order of their calls."""
    owned = [owner.__dict__[name] for owner, name in blocks(net)]
    inner = {id(x) for child in owned for x in (child if isinstance(child, (list, tuple)) else [child])}
    named = {name: module for name, module in net.named_modules() if id(module) in inner}
    found: dict[str, Block] = {}
    for call in calls:
        if call.name in named and call.name not in found and call.args and is_array(call.args[0]):
            size = sum(int(p.nbytes) for p in named[call.name].parameters())
            found[call.name] = Block(call.name, size, int(call.args[0].nbytes))
    return tuple(found.values())


def _step(learned: tuple[Array, ...]) -> Pass:
    """AdamW's step."""
    if not learned:
        return Pass(0, 0, 0)
    tree = list(learned)
    optimizer = AdamW(tree)
    with count() as tally:
        optimizer.step(tree, tree)
    return Pass(tally.flops, tally.matmul_flops, tally.bytes)


def _memory(net: Module, learned: tuple[Array, ...], args: Any, wanted: list[bool], passes: Alive) -> Memory:
    arrays = {id(a): a for _, a in net.named_arrays()}
    weights, gradients = (sum(int(a.nbytes) for a in group) for group in (arrays.values(), learned))
    again, smaller = checkpointed(net), None
    if again is not None:
        with suppress(TraceError):  # blocks that give several arrays, or are given some by name
            smaller = alive(*variables(again, args, wanted))
    return Memory(weights, gradients, 2 * gradients, passes, smaller)
