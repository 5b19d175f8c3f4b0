"""PyTorch's functions on traced tensors that the tables in `arrays/` do not have: operators of `aten/` by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from adjoint.arrays.traced import ELSEWHERE

PAIRS = frozenset({"kthvalue", "median", "sort", "topk"})  # these give (values, indices)
NAMES = PAIRS | {
    "argsort", "count_nonzero", "cumprod", "index_add", "index_copy", "index_fill", "logcumsumexp", "masked_scatter",
    "masked_select", "nan_to_num", "scatter", "scatter_add", "xlogy",
}  # fmt: skip


def function(name: str) -> Callable[..., Any] | None:
    """The function of that name; None where there is none."""
    if name not in NAMES:
        return None
    from adjoint.interop.aten import OPERATORS

    return _named(OPERATORS[name]) if name in PAIRS else OPERATORS[name]


def _named(f: Callable[..., Any]) -> Callable[..., Any]:
    from adjoint.arrays.torch_names import Extremum

    @functools.wraps(f)
    def pair(*args: Any, **kwargs: Any) -> Any:
        found = f(*args, **kwargs)
        return Extremum(*found) if isinstance(found, tuple) else found

    return pair


ELSEWHERE.append(function)
