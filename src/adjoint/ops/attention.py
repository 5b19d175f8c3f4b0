"""Attention: one map an operand, which share the value and the log-sums."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.traced import Traced
from adjoint.maps.attention import Attended, Attention
from adjoint.ops.define import _register, highest, record, unwrapped, varying


def attend_traced(query: Any, key: Any, value: Any, mask: Any = None, *args: Any, **options: Any) -> Any:
    """Softmax's Jacobian between two products in query, key and mask, the weights in the value."""
    operands = (query, key, value, mask)
    tape = highest(operands)
    if varying(xp.attend, tape, (*args, *options.values())):
        return xp.attend.table.composed(*operands, *args, **options)  # type: ignore[attr-defined]
    places = [k for k, x in enumerate(operands) if type(x) is Traced and x.tape is tape]
    names = ("scale", "left", "right", "softcap", "block_size")
    at = Attended(*unwrapped(operands, tape, 4), places=places, **dict(zip(names, args, strict=False)), **options)
    return record(tape, at.out, [operands[k] for k in places], [Attention(at, k) for k in places])


attend = _register(xp.attend, attend_traced)
