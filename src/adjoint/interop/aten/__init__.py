"""PyTorch's operators by name, as operations of this library, each with its operator's own signature.

A name is the operator's, with the overload where it matters ("sort.stable") or without ("add" for add.Tensor and
add.Scalar). `CREATION` takes in front an array beside which the new one lies; `RANDOM` names what draws random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.interop.aten.creation import CREATION as CREATION
from adjoint.interop.aten.creation import LIKE
from adjoint.interop.aten.creation import RANDOM as RANDOM
from adjoint.interop.aten.elementwise import ELEMENTWISE
from adjoint.interop.aten.indexing import INDEXING
from adjoint.interop.aten.layers import LAYERS
from adjoint.interop.aten.layout import LAYOUT
from adjoint.interop.aten.products import PRODUCTS
from adjoint.interop.aten.recurrent import RECURRENT
from adjoint.interop.aten.reductions import REDUCTIONS

OPERATORS: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE, **REDUCTIONS, **LAYOUT, **INDEXING, **LIKE, **PRODUCTS, **LAYERS, **RECURRENT,
}  # fmt: skip

# Overloads whose arguments have another meaning than those of the entry that bears the operator's plain name
OTHERS = frozenset({
    "where.default", "norm.names_ScalarOpt_dim", "repeat_interleave.Tensor", "median.names_dim", "full.names",
    "index_put.hacked_twin", "index.Tensor_hacked_twin", "to.device", "to.other", "to.prim_Device", "to.prim_dtype",
    "to.prim_other", "isin.Tensor_Scalar", "isin.Scalar_Tensor", "scatter.reduce", "scatter.value_reduce",
    "max_pool2d.out", "normal.float_float", "searchsorted.Scalar", "bucketize.Scalar", "gather.dimname",
    "_native_batch_norm_legit.default", "linalg_pinv.rtol_tensor",
})  # fmt: skip


def find(name: str, table: dict[str, Callable[..., Any]]) -> Callable[..., Any] | None:
    """The entry for an operator named "name.overload"; None where there is none.

    >>> find("add.Tensor", OPERATORS) is OPERATORS["add"], find("fft_rfft.default", OPERATORS)
    (True, None)
    """
    if name in OTHERS or name.endswith((".out", "_out")):
        return None
    return table.get(name) or table.get(name.rpartition(".")[0])
