"""The cost of one network at several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adjoint.costs.counting import Cost, cost
from adjoint.costs.subjects import laid_out
from adjoint.nn.module import Module

if TYPE_CHECKING:
    from adjoint.models.config import Config


def sweep(
    model: Module | Config, *, batch: Sequence[int] = (1,), seq: Sequence[int] | None = None, dtype: Any = None
) -> tuple[Cost, ...]:
    """What `aj.cost` counts for each batch and, within it, each length of the sequences; laid out once.

    FLOPs and bytes at any other length are those of `Cost.polynomial`; the peak of memory, which jumps, is no
    polynomial. Raises what `aj.cost` raises.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=8)
    >>> [(found.inputs[0], found.forward.matmul_flops) for found in sweep(net, batch=(1, 3), seq=(16, 32))]
    [((1, 16), 35584), ((1, 32), 87552), ((3, 16), 106752), ((3, 32), 262656)]
    """
    net = laid_out(model, dtype)
    lengths: Sequence[int | None] = (None,) if seq is None else seq
    return tuple(cost(net, batch=n, seq=t, dtype=dtype) for n in batch for t in lengths)
