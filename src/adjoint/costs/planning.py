"""A training step on several devices: memory and traffic of each, from the counts of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adjoint.costs.counting import Cost

KEPT = 4  # arrays of a block's input that no device of a tensor layout can share: those of both norms and both parts


@dataclass(frozen=True)
class Block:
    """A repeated block: the bytes of its parameters and of the array that it is given.

    >>> import adjoint as aj
    >>> aj.cost(aj.models.GPT(5, 4, n_layer=2, n_head=1, n_embd=4), batch=3, seq=2).blocks[0]
    Block(name='h.0', weights=976, given=96)
    """

    name: str
    weights: int
    given: int


@dataclass(frozen=True)
class Plan:
    """Bytes of memory of the fullest device, and bytes that each sends in a step.

    `activations` are all that the forward pass keeps for the backward pass, no block checkpointed, or where it is more
    what the peak of the counted training has beside its gradients. `batches` is how many of the counted batch a step
    trains on; `bubble` the share of the time that a pipeline's devices wait; `link_seconds` what the traffic takes
    where the link's bandwidth is told.

    >>> import adjoint as aj
    >>> plan = aj.cost(aj.nn.Linear(3, 2), (5, 3)).plan(4, "data")
    >>> plan.weights, plan.traffic  # 32 bytes of gradients, of which 2 · 3/4 are sent
    (32, 48)
    """

    layout: str
    devices: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    traffic: int
    batches: int = 1
    bubble: float = 0.0
    link_seconds: float | None = None

    @property
    def memory(self) -> int:
        """All of it as if held at once; in fact the backward pass frees activations while gradients come."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def fits(self, nbytes: float) -> bool:
        """Whether a device of so much memory holds it."""
        return self.memory <= nbytes


def plan(
    found: Cost, devices: int, layout: str, microbatches: int | None = None, link: float | None = None
) -> Plan:  # fmt: skip
    """What one of n `devices` holds and sends in a training step, by `layout`.

    | layout | on each of n devices | it sends in a step |
    |---|---|---|
    | data | all; n batches a step | 2(n−1)/n of the gradients: a ring's all-reduce |
    | zero1 | optimizer/n | (n−1)/n of gradients and of weights |
    | zero2 | optimizer/n, gradients/n | (n−1)/n of gradients and of weights |
    | fsdp | all three /n (ZeRO's third stage) | (n−1)/n of twice the weights and of the gradients |
    | tensor | all three /n, activations too but for 4 arrays a block like its input | 4 all-reduces of that a block |
    | pipeline | the blocks of the longest of n stages and what is in no block | its border, forth and back |

    With `data`, `zero*` and `fsdp` each device runs the counted batch; with `tensor` and `pipeline` all run one. Under
    `tensor` norms and biases, which are copied, count as divided. A `pipeline` of m `microbatches` (as many as the
    batch has examples unless given) keeps the activations of all of them, and waits (n−1)/(m+n−1) of the time; what is
    kept in no block, such as logits, may all be on one device. `link` is the bandwidth in bytes a second. Sources:
    Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), Shoeybi et al. 2019 (Megatron-LM, arXiv 1909.08053), Huang et al.
    2019 (GPipe, arXiv 1811.06965); the arrays kept are those of Korthikanti et al. 2022 (arXiv 2205.05198), table 2,
    without dropout. Raises ValueError for a layout that is not known, for blocks that are too few, and for numbers that
    are not positive.

    >>> import adjoint as aj
    >>> found = aj.cost(aj.models.GPT(5, 4, n_layer=2, n_head=1, n_embd=4), batch=3, seq=2)
    >>> plan(found, 2, "tensor").traffic  # 2 blocks · 4 all-reduces · 96 bytes · 2 · 1/2
    768
    """
    for what, size in (("devices", devices), ("microbatches", 1 if microbatches is None else microbatches)):
        if type(size) is not int or size < 1:
            raise ValueError(f"plan: {what} is a positive integer, not {size!r}.")
    if link is not None and not 0 < link < math.inf:
        raise ValueError(f"plan: link is a bandwidth in bytes a second, not {link!r}.")
    if layout not in LAYOUTS:
        raise ValueError(f"plan: the layout is {', '.join(LAYOUTS)}, not {layout!r}.")
    examples = found.inputs[0][0] if found.inputs and found.inputs[0] else 1
    result = LAYOUTS[layout](found, devices, microbatches or examples)
    if link is None:
        return result
    return Plan(**{**result.__dict__, "link_seconds": result.traffic / link})


def _whole(found: Cost) -> tuple[int, int, int, int]:
    """Weights, gradients, optimizer, and activations."""
    own = found.memory
    return own.weights, own.gradients, own.optimizer, max(own.passes.kept, own.passes.peak - own.gradients)


def _sharded(name: str, weights: bool, gradients: bool, optimizer: bool) -> Callable[[Cost, int, int], Plan]:
    def made(found: Cost, n: int, m: int) -> Plan:
        w, g, o, a = _whole(found)
        sent = 2 * g if not optimizer else g + (2 if weights else 1) * w
        w1, g1, o1 = (_part(x, n) if cut else x for x, cut in ((w, weights), (g, gradients), (o, optimizer)))
        return Plan(name, n, w1, g1, o1, a, _part(sent * (n - 1), n), batches=n)

    return made


def _tensor(found: Cost, n: int, m: int) -> Plan:
    w, g, o, a = _whole(found)
    blocks = _blocks(found, "tensor", 1)
    copied = min(a, KEPT * sum(x.given for x in blocks))
    sent = 4 * sum(_part(2 * (n - 1) * x.given, n) for x in blocks)
    return Plan("tensor", n, _part(w, n), _part(g, n), _part(o, n), copied + _part(a - copied, n), sent)


def _pipeline(found: Cost, n: int, m: int) -> Plan:
    w, g, o, a = _whole(found)
    blocks = _blocks(found, "pipeline", n)
    most = math.ceil(len(blocks) / n)
    stage = max(sum(x.weights for x in blocks[k : k + most]) for k in range(0, len(blocks), most))
    held = stage + w - sum(x.weights for x in blocks)  # what is in no block may all be at one end
    w1, g1, o1 = (_part(x * held, w) if w else x for x in (w, g, o))
    small = found.memory.checkpointed  # keeps the blocks' inputs and what is in no block
    outside = 0 if small is None else min(a, max(small.kept - sum(x.given for x in blocks), 0))
    sent = 2 * max(x.given for x in blocks) if n > 1 else 0
    a1 = outside + _part((a - outside) * most, len(blocks))
    return Plan("pipeline", n, w1, g1, o1, a1, sent, bubble=(n - 1) / (m + n - 1))


def _blocks(found: Cost, layout: str, fewest: int) -> tuple[Block, ...]:
    if len(found.blocks) < fewest:
        raise ValueError(
            f"plan: {layout} on so many devices divides {fewest} repeated blocks or more; this network has "
            f"{len(found.blocks)}. Take data, zero1, zero2 or fsdp, or fewer devices."
        )
    return found.blocks


def _part(x: int, n: int) -> int:
    """x/n, rounded up."""
    return -(-x // n)


LAYOUTS: dict[str, Callable[[Cost, int, int], Plan]] = {
    "data": _sharded("data", False, False, False),
    "zero1": _sharded("zero1", False, False, True),
    "zero2": _sharded("zero2", False, True, True),
    "fsdp": _sharded("fsdp", True, True, True),
    "tensor": _tensor,
    "pipeline": _pipeline,
}
