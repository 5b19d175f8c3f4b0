"""Initial adapters: from nothing, from the weight (PiSSA, OLoRA), or from inputs (EVA)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, backend
from adjoint.errors import ShapeError
from adjoint.lora.adapters import AdaLoRA, DoRA
from adjoint.lora.layers import Adapted, AdaptedConvolution, AdaptedEmbedding, AdaptedLinear, observer
from adjoint.nn import init
from adjoint.nn.module import Module

INITS = ("zeros", "gaussian", "orthogonal", "pissa", "olora", "eva")
RESIDUAL = ("pissa", "olora")  # those after which the base weight is what the adapter leaves of it


def shapes(layer: Adapted, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of A and B.

    >>> import adjoint as aj
    >>> shapes(AdaptedConvolution(aj.nn.Conv1d(3, 8, 5)), 2)
    ((2, 3, 5), (8, 2, 1))
    """
    if isinstance(layer, AdaptedEmbedding):
        return (rank, layer.num_embeddings), (layer.embedding_dim, rank)
    if isinstance(layer, AdaptedConvolution):
        ones = (1,) * layer.base_layer.ndim
        return (rank, layer.in_channels, *layer.kernel_size), (layer.out_channels, rank // layer.groups, *ones)
    return (rank, layer.in_features), (layer.out_features, rank)


def drawn(kind: str, layer: Adapted, rank: int, dtype: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """(A, B) that are drawn, as NumPy arrays: B = 0 beside a random A, or "orthogonal" ones with B A = 0.

    An embedding has A = 0 and B normal, as PEFT's. "orthogonal" is PEFT's too: the odd and the even rows of an
    orthogonal matrix make A and B, so that both start other than zero and their product zero; the rank is even.
    """
    first, second = shapes(layer, rank)
    if kind == "orthogonal":
        q = init.orthogonal((rank, rank), rng=rng, dtype="float64")
        A = q[0::2].T @ init.normal((rank // 2, first[1]), 0.1, rng, "float64")
        B = init.normal((second[0], rank // 2), 0.1, rng, "float64") @ q[1::2]
        return A.astype(dtype), B.astype(dtype)
    if isinstance(layer, AdaptedEmbedding):
        return init.zeros(first, dtype), init.normal(second, 1.0, rng, dtype)
    if kind == "gaussian":
        return init.normal(first, 1.0 / rank, rng, dtype), init.zeros(second, dtype)
    bound = init.fan_in_bound(math.prod(first[1:]))
    return init.uniform(first, bound, rng, dtype), init.zeros(second, dtype)


def split(kind: str, W: Array, rank: int, scale: float) -> tuple[Array, Array, Array]:
    """(A, B, what is left of W) for a matrix W (out, in), where s B A is the largest part of W: W = left + s B A.

    "pissa": the r largest singular values, their roots in both (Meng et al. 2024, arXiv 2404.02948). "olora": the first
    r columns of Q and rows of R (Büyükakyüz 2024, arXiv 2406.01775).

    >>> A, B, left = split("pissa", np.diag([3.0, 2.0, 1.0]), 2, 0.5)
    >>> np.round(0.5 * B @ A, 12).tolist(), bool(np.allclose(left, np.diag([0.0, 0.0, 1.0])))
    ([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]], True)
    """
    if kind == "pissa":
        U, S, Vh = xp.svd(W)
        root = xp.sqrt(S[:rank] / scale)
        A, B = xp.expand_dims(root, -1) * Vh[:rank], U[:, :rank] * root
    else:
        Q, R = xp.qr(W)
        A, B = R[:rank], Q[:, :rank]
    return A, B, W - scale * xp.matmul(B, A)


def from_inputs(net: Module, made: Mapping[str, tuple[Adapted, str]], sample: Any) -> dict[str, np.ndarray]:
    """For every layer, A from its inputs on a sample: the directions in which they vary most (EVA).

    Paischer et al. 2024 (arXiv 2410.07170), every layer with the rank that it has (PEFT's `rho` = 1). The directions
    are the right singular vectors of the inputs (inputs, in_features) less their mean, as PEFT has them, from the Gram
    matrix in float64; B is zero. `sample` is what the network is called with: an array, a tuple of arguments, or a
    function of the network. Raises ShapeError where a layer saw fewer inputs than its rank, ValueError where none.
    """
    seen: dict[int, tuple[int, Any, Any]] = {id(layer): (0, 0.0, None) for layer, _ in made.values()}

    def watching(layer: Adapted, x: Array) -> None:
        if id(layer) not in seen:
            return
        X = np.asarray(backend(type(x)).to_numpy(x), "float64").reshape(-1, x.shape[-1])
        if len(X):
            seen[id(layer)] = joined(*seen[id(layer)], X)

    call: Callable[[Module], Any] = (
        sample if callable(sample) else lambda n: n(*(sample if isinstance(sample, tuple) else (sample,)))
    )
    token = observer.set(watching)
    try:
        with contextlib.ExitStack() as modes:
            for _, module in net.named_modules():
                modes.callback(setattr, module, "training", module.training)
            net.eval()
            call(net)
    finally:
        observer.reset(token)
    result = {}
    for name, (layer, adapter) in made.items():
        count, _, gram = seen[id(layer)]
        rank = layer.adapters[adapter].rank
        if gram is None:
            raise ValueError(f"lora.add: {name} was not called on the sample: EVA needs its inputs.")
        if count < rank:
            raise ShapeError(
                f"lora.add: {name} saw {count} inputs on the sample, fewer than its rank {rank}: give more."
            )
        result[name] = np.linalg.eigh(gram)[1][:, ::-1][:, :rank].T
    return result


def joined(count: int, mean: Any, gram: Any, X: np.ndarray) -> tuple[int, Any, Any]:
    """The number, the mean and the centred Gram matrix of rows, with those of X added (Chan et al. 1979).

    >>> X = np.array([[1.0], [3.0], [8.0]])
    >>> count, mean, gram = joined(*joined(0, 0.0, None, X[:2]), X[2:])
    >>> count, float(mean[0]), float(gram[0, 0])
    (3, 4.0, 26.0)
    """
    own = X.mean(0)
    centred, between = X - own, own - mean
    total = count + len(X)
    fresh = centred.T @ centred
    if gram is not None:
        fresh += gram + np.outer(between, between) * (count * len(X) / total)
    return total, mean + between * (len(X) / total), fresh


def fits(kind: type, layer: Adapted, rank: int, what: str) -> None:
    """Raise ValueError, which begins with `what`, where a layer takes no such adapter or no such rank."""
    groups = getattr(layer.base_layer, "groups", 1)
    if rank % groups:
        raise ValueError(f"{what} is a convolution in {groups} groups, whose rank is a multiple of that, not {rank}.")
    if kind is DoRA and groups > 1:
        raise ValueError(
            f"{what} is a convolution in {groups} groups, which takes LoRA, not DoRA: PEFT's DoRA divides there by the "
            "norms of another matrix than W + s B A."
        )
    if kind is AdaLoRA and not isinstance(layer, AdaptedLinear):
        raise ValueError(f"{what} is {type(layer.base_layer).__name__}: AdaLoRA is for linear layers, as PEFT's.")


def check(kind: str, layer: Adapted, name: str, rank: int) -> None:
    """Raise ValueError where an initialization does not suit a layer or a rank."""
    if kind not in INITS:
        raise ValueError(f"lora.add: init is one of {', '.join(INITS)}, not {kind!r}.")
    if kind not in ("zeros", "gaussian") and not isinstance(layer, AdaptedLinear):
        raise ValueError(
            f"lora.add: init={kind!r} is for linear layers, and {name} is {type(layer.base_layer).__name__}."
        )
    if kind == "orthogonal" and rank % 2:
        raise ValueError(f"lora.add: init='orthogonal' takes an even rank, not {rank} for {name}.")
