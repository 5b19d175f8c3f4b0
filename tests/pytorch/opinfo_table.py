"""What of PyTorch's samples is translated for adjoint, and what is left out, each with its reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from adjoint import arrays as xp
from adjoint.arrays import protocols
from adjoint.arrays.dispatch import FUNCTIONS
from adjoint.arrays.torch_names import TORCH, TORCH_METHODS, swapped

Rule = tuple[str, Callable[[Any], bool]]


def symmetrized(name: str) -> Callable[..., Any]:
    """OpInfo's own wrapper of functions of symmetric matrices: f(A + Aᵀ)."""
    return lambda A, **how: TORCH[name](A + swapped(A), **how)


def loss(name: str) -> Callable[..., Any]:
    """A loss by its own name: arrays in PyTorch's order, the rest by PyTorch's names."""

    def of(*arrays: Any, **how: Any) -> Any:
        return FUNCTIONS[name](*arrays, **{key: x for key, x in how.items() if x is not None})

    return of


PAIRED = (
    "cosine_embedding_loss hinge_embedding_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss "
    "multilabel_soft_margin_loss poisson_nll_loss soft_margin_loss triplet_margin_loss "
    "gaussian_nll_loss"
)

# What has PyTorch's signature only after translation; the others are found in the tables of PyTorch's names

OURS: dict[str, Callable[..., Any]] = {
    **{f"nn.functional.{name}": loss(name) for name in PAIRED.split() if name not in TORCH},
    "einsum": lambda tensors, equation: xp.einsum(equation, *tensors),
    "linalg.cholesky": symmetrized("linalg_cholesky"),
    "linalg.eigh": symmetrized("linalg_eigh"),
    "linalg.eigvalsh": symmetrized("linalg_eigvalsh"),
    "linalg.pinv.hermitian": lambda A, hermitian: xp.pinv(A + swapped(A)),
    "linalg.pinv.singular": lambda a, b: xp.pinv(xp.matmul(a, swapped(b))),
    "nn.functional.embedding": lambda weight, indices, **how: TORCH["embedding"](indices, weight, **how),
    "nn.functional.pairwise_distance": lambda x1, x2, p=2.0, eps=1e-6, keepdim=False: FUNCTIONS["pairwise_distance"](
        x1, x2, p, eps, keepdim
    ),
    "unfold": TORCH_METHODS["unfold"],
    "where": TORCH_METHODS["where"],
}

# What is compared instead of the result itself: singular vectors and eigenvectors are determined but for their signs

AFTER: dict[str, Callable[[Any], Any]] = {
    "linalg.eigh": lambda y: (y[0], y[1] * y[1]),
    "linalg.svd": lambda y: (y[0] * y[0], y[1], y[2] * y[2]),
}

# Relative tolerance where it cannot be 1e-10

NEAR: dict[str, tuple[float, str]] = {
    "nn.functional.hardsigmoid": (1e-7, "PyTorch's slope is 1/6 in float32"),
}

# Operations

OTHER_MEANING = "another function of the same name"
OPERATIONS_LEFT_OUT: dict[str, str] = {
    "bfloat16": "NumPy has no such dtype; PyTorch's casts are tried in tests/arrays/test_protocols.py",
    "bmm.triton_optimized": "bmm again, for a GPU",
    "cholesky": "deprecated by PyTorch for linalg.cholesky, which is tried",
    "empty_like": "its values are not determined",
    "equal": OTHER_MEANING + ": one truth value for two arrays",
    "eye": "makes an array from numbers alone",
    "full": "makes an array from numbers alone",
    "nn.functional.ctc_loss": "PyTorch's gradient is right only behind a log_softmax; tried there with the losses",
    "put": OTHER_MEANING + ": entries of the flattened array; ours is the adjoint of slicing",
    "qr": "deprecated by PyTorch for linalg.qr, which is tried",
    "svd": "deprecated by PyTorch for linalg.svd, which is tried",
    "take": OTHER_MEANING + ": entries of the flattened array",
    "to": "most samples are about memory; dtypes are tried by float, double, half and int",
    "zeros": "makes an array from numbers alone",
}

# Samples


def dims(s: Any) -> list[Any]:
    named = [s.kwargs[key] for key in ("dim", "dims", "axis") if s.kwargs.get(key) is not None]
    return [x for x in (*s.args[1:], *named) if isinstance(x, (int, tuple, list)) and not isinstance(x, bool)]


SCALAR: Rule = (
    "PyTorch lets a scalar have an axis 0; here it has none, as in NumPy",
    lambda s: isinstance(s.input, torch.Tensor) and s.input.ndim == 0 and bool(dims(s)),
)
LAYOUT: Rule = (
    "where and how an array lies in memory is not asked for here",
    lambda s: bool(s.kwargs.keys() & {"memory_format", "layout", "device", "pin_memory", "requires_grad"}),
)


def twice(n: int) -> Rule:
    """Unpooling along n axes whose indices name a place of a channel twice."""

    def named_twice(s: Any) -> bool:
        places = s.args[1].flatten(-n)
        return any(len(row.unique()) < row.numel() for row in places.reshape(-1, places.shape[-1]))

    return "where a place is named twice PyTorch's gradient is not that of its value", named_twice


def unknown(name: str) -> Rule:
    """Arguments that the entry for PyTorch's name does not have; it refuses them by an error that names them."""
    known = inspect.signature(TORCH[name]).parameters
    return (
        "arguments without a counterpart here",
        lambda s: any(key not in known and not protocols._is_silent(key, x) for key, x in s.kwargs.items()),
    )


LOSSES = "binary_cross_entropy binary_cross_entropy_with_logits cross_entropy kl_div nll_loss"
WITH_DIM = (
    "amax amin argmax argmin cumsum index_select linalg.norm linalg.vector_norm log_softmax logsumexp "
    "max.reduction_with_dim mean min.reduction_with_dim nn.functional.cosine_similarity nn.functional.normalize norm "
    "prod softmax squeeze sum transpose unfold"
)
IN_MEMORY = (
    "bool double float half int long new_full new_ones new_zeros full_like ones_like zeros_like clone contiguous"
)
SAMPLES_LEFT_OUT: dict[str, list[Rule]] = {
    **{name: [SCALAR] for name in WITH_DIM.split()},
    **{name: [LAYOUT] for name in IN_MEMORY.split()},
    **{f"nn.functional.{name}": [unknown(name)] for name in LOSSES.split()},
    "cat": [
        ("PyTorch passes over an empty vector among matrices", lambda s: len({x.ndim for x in s.tensors}) > 1),
    ],
    "nn.functional.gaussian_nll_loss": [
        ("pairs are not broadcast here", lambda s: len({x.shape for x in s.tensors[:2]}) > 1),
    ],
    "nn.functional.multi_margin_loss": [("a score alone", lambda s: s.input.ndim < 2)],
    "nn.functional.multilabel_margin_loss": [("a score alone", lambda s: s.input.ndim == 0)],
    "linalg.pinv": [
        ("the derivative of a pseudo-inverse that cuts off more than rounding", lambda s: bool(s.kwargs)),
    ],
    "linalg.qr": [
        ("the basis that completes Q is not determined", lambda s: s.kwargs.get("mode") == "complete"),
        ("without Q, PyTorch has no derivative either", lambda s: s.kwargs.get("mode") == "r"),
    ],
    "linalg.svd": [
        (
            "the bases that complete U and V are not determined",
            lambda s: s.kwargs.get("full_matrices", True) and s.input.shape[-1] != s.input.shape[-2],
        ),
    ],
    "nn.functional.dropout": [
        ("draws its own mask", lambda s: s.kwargs.get("training", True) and s.kwargs.get("p", 0.5) > 0.0),
    ],
    **{f"nn.functional.max_unpool{n}d": [twice(n)] for n in (1, 2, 3)},
    "nn.functional.batch_norm": [("a batch has an axis of examples and one of channels", lambda s: s.input.ndim < 2)],
    "nn.functional.scaled_dot_product_attention": [
        ("draws its own mask", lambda s: s.kwargs.get("dropout_p", 0.0) > 0.0)
    ],
    "gather": [SCALAR, ("PyTorch takes an empty index of any axes", lambda s: s.args[2].ndim != s.input.ndim)],
    "linalg.norm.subgradients_at_zero": [
        (
            "0 to a negative power: PyTorch chooses 0 for the gradient, here it is NaN",
            lambda s: isinstance(s.args[1], (int, float)) and s.args[1] < 0,
        ),
    ],
    "nn.functional.softplus": [
        ("softplus is exact here, not the identity above a threshold", lambda s: s.kwargs.get("threshold", 20.0) < 20.0)
    ],
}


# Errors: what PyTorch refuses and adjoint takes

NUMBERS: Rule = ("numbers are operands here", lambda s: any(isinstance(x, (int, float)) for x in s.args[:2]))
PROMOTED: Rule = ("dtypes are promoted here, as in NumPy", lambda s: len({x.dtype for x in s.tensors}) > 1)
BINARY = (
    "__rdiv__ __rmod__ __rpow__ __rsub__ atan2 clamp_max clamp_min eq float_power ge gt hypot isclose le logaddexp "
    "logical_and logical_or lt max.binary maximum min.binary minimum ne pow remainder rsub"
)
ERRORS_LEFT_OUT: dict[str, list[Rule]] = {
    **{
        f"nn.functional.max_pool{n}d": [("of nothing the maxima are nothing", lambda s: 0 in s.input.shape)]
        for n in (1, 3)
    },
    **{name: [NUMBERS] for name in BINARY.split()},
    **{f"nn.functional.conv{n}d": [PROMOTED] for n in (1, 2, 3)},
    "dot": [PROMOTED],
    "vdot": [PROMOTED],
    "masked_fill": [("any value that broadcasts is taken", lambda s: True)],
    "mean": [("integers have a mean here, as in NumPy", lambda s: True)],
    "nn.functional.hardtanh": [("an empty interval gives its upper end, as np.clip does", lambda s: True)],
}
