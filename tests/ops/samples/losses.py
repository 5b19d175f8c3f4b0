"""Samples of the losses: classes, pairs, margins, distances, alignment; their peers are PyTorch's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import adjoint as aj
from tests.ops.samples.operands import (
    Factory,
    apart,
    away,
    far,
    integers,
    log_simplex,
    losses,
    normal,
    positive,
    s,
    signs,
    simplex,
    strided,
    unit_interval,
    whole,
)  # fmt: skip

W = np.array([0.5, 2.0, 1.25, 0.25])
GAPS = np.array([1, 3, -100, 0, 3])
MODES = ("mean", "sum", "none")


def listed(*shape: int) -> Factory:
    """Rows of classes that end with -1."""

    def make(rng: np.random.Generator) -> Any:
        rows = np.argsort(rng.random(shape), -1)
        return np.where(np.arange(shape[-1]) < rng.integers(0, shape[-1] + 1, (*shape[:-1], 1)), rows, -1)

    return make


def signed(*shape: int) -> Factory:
    return lambda rng: rng.choice([-1, 1], shape)


def counts(*shape: int) -> Factory:
    """Numbers between the integers, for PyTorch's Stirling has no derivative at 0."""
    return lambda rng: rng.integers(0, 6, shape) + 0.5


def modes(*operands: Any, **options: Any) -> list[Any]:
    return [s(*operands, reduction=mode, **options) for mode in MODES]


def squared(x: Any, y: Any) -> Any:
    return ((x - y) ** 2).sum(-1) if isinstance(x, torch.Tensor) else aj.sum((x - y) ** 2, -1)


CTC = {"targets": np.array([[1, 1], [2, 1], [1, 2]]), "input_lengths": [4, 3, 2], "target_lengths": [2, 1, 0]}
JOINED = {"targets": np.array([2, 1, 2, 2]), "input_lengths": np.array([4, 2]), "target_lengths": np.array([1, 3])}
ONE = {"targets": np.array([1, 2]), "input_lengths": 3, "target_lengths": 2}

TABLE: dict[str, list[Any]] = {
    "surprisal": [
        s(normal(3, 4), integers(4, 3), axis=1), s(normal(2, 3, 2), integers(3, 2, 2), axis=1),
        s(normal(5, 4), lambda rng: GAPS, axis=1, ignore_index=-100),
    ],
    "softmax_difference": [
        s(normal(3, 4), integers(4, 3), normal(3, 1), unit_interval(3, 1), normal(3), axis=1),
        s(normal(2, 3, 2), integers(3, 2, 2), normal(2, 1, 2), unit_interval(2, 1, 2), normal(), axis=1),
        s(normal(5, 4), lambda rng: GAPS, normal(5, 1), unit_interval(5, 1), normal(5), axis=1, ignore_index=-100),
    ],
    "cross_entropy": [
        *modes(normal(3, 4), integers(4, 3)), s(normal(4), integers(4)),
        s(normal(2, 3, 2), integers(3, 2, 2)), s(normal(2, 3, 2), integers(3, 2, 2), reduction="none"),
        s(normal(3, 4), simplex(3, 4)), s(normal(3, 4), simplex(3, 4), reduction="none"),
        s(normal(2, 3, 2), simplex(2, 3, 2, axis=1), reduction="sum"),
        s(normal(4), simplex(4)), s(strided(normal(3, 4)), integers(4, 3)),
        s(normal(0, 4), integers(4, 0), reduction="sum"), s(normal(1, 4), integers(4, 1)),
        *modes(normal(5, 4), lambda rng: GAPS, weight=W), *modes(normal(5, 4), lambda rng: GAPS, label_smoothing=0.2),
        s(normal(5, 4), integers(4, 5), weight=W, label_smoothing=0.2, ignore_index=3),
        s(normal(2, 4, 3), integers(4, 2, 3), weight=W, label_smoothing=0.1, ignore_index=0),
        *modes(normal(5, 4), simplex(5, 4), weight=W, label_smoothing=0.2),
        s(normal(4), integers(4), weight=W, label_smoothing=0.2), s(normal(5, 4), lambda rng: GAPS),
    ],
    "nll_loss": [
        *modes(log_simplex(3, 4), integers(4, 3)), s(log_simplex(4), integers(4)),
        s(normal(2, 3, 2), integers(3, 2, 2)), s(normal(0, 4), integers(4, 0), reduction="sum"),
        *modes(log_simplex(5, 4), lambda rng: GAPS, weight=W), s(log_simplex(5, 4), lambda rng: GAPS),
        s(normal(2, 4, 3), integers(4, 2, 3), weight=W, ignore_index=1),
    ],
    "mse_loss": [*losses(normal, normal), *modes(normal(3, 4), normal(3, 4), weight=np.outer(W[:3], W))],
    "l1_loss": [*losses(whole, far), s(whole(2, 2), far(2, 2), weight=W.reshape(2, 2))],
    "huber_loss": [
        *losses(normal, normal), s(normal(3), normal(3), delta=0.3),
        s(normal(2, 2), normal(2, 2), weight=W.reshape(2, 2), delta=0.4),
    ],
    "smooth_l1_loss": [*losses(normal, normal), s(normal(3), normal(3), beta=0.3), s(whole(3), far(3), beta=0.0)],
    "binary_cross_entropy": [
        *losses(unit_interval, unit_interval), *modes(unit_interval(3, 4), unit_interval(3, 4), weight=W),
    ],
    "binary_cross_entropy_with_logits": [
        *losses(normal, unit_interval),
        *modes(normal(3, 4), unit_interval(3, 4), weight=W, pos_weight=W[::-1].copy()),
        s(lambda rng: np.array([-900.0, 900.0]), lambda rng: np.array([1.0, 1.0]), pos_weight=[2.0]),
    ],
    "kl_div": [
        *losses(log_simplex, simplex, "batchmean"),
        *(s(log_simplex(3, 4), log_simplex(3, 4), log_target=True, reduction=mode) for mode in (*MODES, "batchmean")),
    ],
    "floored": [s(positive(2, 3), least=0.25), s(positive(), least=0.1)],
    "hinge_loss": losses(away(-1.0, 1.0), signs),
    "soft_margin_loss": losses(normal, signed),
    "hinge_embedding_loss": [*losses(away(1.0), signed), s(away(0.5)(3, 2), signed(3, 2), margin=0.5)],
    "margin_ranking_loss": [
        *modes(apart(3, 2), normal(3, 1), signs(3, 2)), s(apart(4), normal(4), signs(4), margin=0.3),
    ],
    "cosine_embedding_loss": [
        *modes(normal(4, 3), normal(4, 3), signed(4)), s(normal(4, 3), normal(4, 3), signed(4), margin=0.2),
        s(normal(3), normal(3), signed()),
    ],
    "pairwise_distance": [
        s(normal(3, 2), normal(3, 2)), s(normal(3, 2), normal(2), p=1.0), s(normal(3), normal(3), p=3.0, eps=0.1),
        s(normal(2, 3), normal(2, 3), keepdims=True),
    ],
    "triplet_margin_loss": [
        *modes(normal(4, 3), normal(4, 3), normal(4, 3)),
        s(normal(5, 3), normal(5, 3), normal(5, 3), margin=0.5, p=3.0, swap=True, reduction="none"),
        s(normal(3), normal(3), normal(3), p=1.0),
    ],
    "triplet_margin_with_distance_loss": [
        *modes(normal(4, 3), normal(4, 3), normal(4, 3), swap=True),
        s(normal(3), normal(3), normal(3), distance_function=squared, margin=0.5),
    ],
    "multi_margin_loss": [
        *modes(normal(5, 4), integers(4, 5)), s(normal(4), integers(4)), s(normal(4), integers(4, 1)),
        s(normal(5, 4), integers(4, 5), p=2, margin=0.7, weight=W, reduction="none"),
    ],
    "multilabel_margin_loss": [*modes(normal(3, 4), listed(3, 4)), s(normal(4), listed(4))],
    "multilabel_soft_margin_loss": [
        *modes(normal(3, 4), unit_interval(3, 4)), s(normal(3, 4), unit_interval(3, 4), weight=W),
        s(normal(4), unit_interval(4)),
    ],
    "poisson_nll_loss": [
        *modes(normal(3, 2), counts(3, 2)), s(normal(3, 2), counts(3, 2), full=True, reduction="none"),
        s(positive(3, 2), counts(3, 2), log_input=False, full=True, eps=0.1),
    ],
    "gaussian_nll_loss": [
        *modes(normal(3, 2), normal(3, 2), positive(3, 2)), s(normal(3, 2), normal(3, 2), positive(3, 1), full=True),
        s(normal(3, 2), normal(3, 2), positive(3), eps=0.25, reduction="none"),
        s(normal(3, 2), normal(3, 2), positive(1, 2)), s(normal(3, 2), normal(3, 2), 0.75),
    ],
    "ctc_loss": [
        *(s(log_simplex(4, 3, 3), **CTC, reduction=mode) for mode in MODES),
        s(log_simplex(4, 2, 3), **JOINED, blank=0, zero_infinity=True),
        s(log_simplex(3, 4), **ONE, reduction="none"),
    ],
    "ctc_residual": [s(log_simplex(4, 3, 3), **CTC)],
}  # fmt: skip


def tensors(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with its array options as tensors."""

    def call(*operands: Any, **options: Any) -> Any:
        arrays = {k: torch.as_tensor(v) if isinstance(v, (np.ndarray, list)) else v for k, v in options.items()}
        return f(*operands, **arrays)

    return call


def by_enumeration(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
                   reduction: str = "mean", zero_infinity: bool = False) -> Any:  # fmt: skip
    """The sum over all ways of speaking, one by one, those that say the target."""
    if log_probs.ndim == 2:
        lengths = [[x] for x in (input_lengths, target_lengths)]
        losses = by_enumeration(log_probs[:, None], targets, *lengths, blank, "none", zero_infinity)[0]
        return losses / target_lengths if reduction == "mean" else losses
    rows = np.split(targets, np.cumsum(target_lengths)[:-1]) if targets.ndim == 1 else targets
    losses = []
    for k, (steps, size) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        ways = [
            log_probs[range(steps), k, way].sum()
            for way in itertools.product(range(log_probs.shape[2]), repeat=steps)
            if [c for c, _ in itertools.groupby(way) if c != blank] == list(rows[k][:size])
        ]
        impossible = torch.tensor(0.0 if zero_infinity else torch.inf, dtype=log_probs.dtype)
        losses.append(-torch.logsumexp(torch.stack(ways), 0) if ways else impossible)
    each = torch.stack(losses)
    if reduction == "mean":
        return (each / torch.clamp(torch.as_tensor(target_lengths), min=1)).mean()
    return each.sum() if reduction == "sum" else each


def ctc_residual(log_probs: Any, **how: Any) -> Any:
    each = by_enumeration(log_probs, **how, reduction="none")
    slopes = torch.autograd.grad(each.sum(), log_probs, create_graph=True)[0]
    sizes = torch.clamp(torch.as_tensor(how["target_lengths"]), min=1)
    return each, slopes, 1.0 / (sizes * len(sizes)).to(log_probs)


def surprisal(x: Any, target: Any, axis: int, ignore_index: int = -100) -> Any:
    each = F.cross_entropy(x, target, reduction="none", ignore_index=ignore_index)
    top = torch.amax(x, axis, True)
    return each, top, torch.exp(x - top).sum(axis, True), 1.0 / (target != ignore_index).sum().to(x)


def softmax_difference(x: Any, target: Any, top: Any, total: Any, f: Any, axis: int, ignore_index: int = -100) -> Any:
    counts = target != ignore_index
    hot = F.one_hot(torch.where(counts, target, 0), x.shape[axis]).movedim(-1, axis)
    return torch.where(counts, f, 0.0).unsqueeze(axis) * (torch.exp(x - top) / total - hot)


def binary_cross_entropy(p: Any, t: Any, weight: Any = 1.0, reduction: str = "mean") -> Any:
    each = -(t * torch.log(p) + (1 - t) * torch.log(1 - p)) * weight
    return {"mean": torch.mean, "sum": torch.sum, "none": lambda x: x}[reduction](each)


def kl_div(log_q: Any, p: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    each = F.kl_div(log_q, p, reduction="none", log_target=log_target)
    total = {"mean": torch.mean, "none": lambda x: x}.get(reduction, torch.sum)(each)
    return total / len(p) if reduction == "batchmean" else total


NAMES = (
    "soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "poisson_nll_loss", "gaussian_nll_loss", "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "huber_loss",
    "binary_cross_entropy_with_logits",
)  # fmt: skip

TORCH: dict[str, Callable[..., Any]] = {
    **{name: tensors(getattr(F, name)) for name in NAMES},
    "hinge_loss": lambda x, t, reduction="mean": F.margin_ranking_loss(x, 0 * x, t, 1.0, reduction=reduction),
    "smooth_l1_loss": lambda x, t, reduction="mean", beta=1.0: F.smooth_l1_loss(x, t, reduction=reduction, beta=beta),
    "pairwise_distance": lambda x, y, p=2.0, eps=1e-6, keepdims=False: F.pairwise_distance(x, y, p, eps, keepdims),
    "floored": lambda x, least: torch.clamp(x, min=least),
    "binary_cross_entropy": tensors(binary_cross_entropy),
    "kl_div": kl_div,
    "surprisal": surprisal,
    "softmax_difference": softmax_difference,
    "ctc_loss": by_enumeration,
    "ctc_residual": ctc_residual,
}

JAX: dict[str, Callable[..., Any]] = {}
