"""Losses as modules, with PyTorch's names and constructor arguments; each calls the function of its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, dataclass_transform

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.module import Module


@dataclass_transform(eq_default=False)
@dataclass(repr=False, eq=False)
class Loss(Module):
    """What losses share: their options, and the call of their function; weights of classes are buffers."""

    function: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(repr=False, eq=False)(cls)

    def __post_init__(self) -> None:
        for name in ("weight", "pos_weight"):
            if getattr(self, name, None) is not None:
                self.register_buffer(name, getattr(self, name))

    def __call__(self, *operands: Any) -> Array:
        """The loss of its operands: scores or predictions, then targets."""
        return type(self).function(*operands, **{f.name: getattr(self, f.name) for f in fields(self)})


class CrossEntropyLoss(Loss):
    """`aj.cross_entropy` of logits (n, C, …) and classes (n, …), or probabilities.

    >>> import numpy as np, adjoint as aj
    >>> loss = aj.nn.CrossEntropyLoss(ignore_index=0)
    >>> float(loss(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([1, 0])))
    0.6931
    """

    weight: Array | None = None
    ignore_index: int = -100
    reduction: str = "mean"
    label_smoothing: float = 0.0

    function = staticmethod(xp.cross_entropy)


class NLLLoss(Loss):
    """`aj.nll_loss` of log-probabilities (n, C, …) and classes (n, …).

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.NLLLoss()(np.log([[0.25, 0.75]]), np.array([1])))
    0.2877
    """

    weight: Array | None = None
    ignore_index: int = -100
    reduction: str = "mean"

    function = staticmethod(xp.nll_loss)


class MSELoss(Loss):
    """`aj.mse_loss`: the mean of (x - target)².

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.MSELoss()(np.array([1.0, 5.0]), np.array([1.0, 2.0])))
    4.5
    """

    reduction: str = "mean"

    function = staticmethod(xp.mse_loss)


class L1Loss(Loss):
    """`aj.l1_loss`: the mean of |x - target|.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.L1Loss()(np.array([1.0, 5.0]), np.array([1.0, 2.0])))
    1.5
    """

    reduction: str = "mean"

    function = staticmethod(xp.l1_loss)


class HuberLoss(Loss):
    """`aj.huber_loss`: quadratic near 0, linear beyond delta.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.HuberLoss()(np.array([3.0]), np.array([0.0])))
    2.5
    """

    reduction: str = "mean"
    delta: float = 1.0

    function = staticmethod(xp.huber_loss)

    def __post_init__(self) -> None:
        super().__post_init__()
        xp.check_delta(self.delta)


class SmoothL1Loss(Loss):
    """`aj.smooth_l1_loss`: quadratic near 0, of slope 1 beyond beta.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.SmoothL1Loss(beta=2.0)(np.array([3.0]), np.array([0.0])))
    2.0
    """

    reduction: str = "mean"
    beta: float = 1.0

    function = staticmethod(xp.smooth_l1_loss)


class BCELoss(Loss):
    """`aj.binary_cross_entropy` of probabilities.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.BCELoss()(np.array([0.5]), np.array([1.0])))
    0.6931
    """

    weight: Array | None = None
    reduction: str = "mean"

    function = staticmethod(xp.binary_cross_entropy)


class BCEWithLogitsLoss(Loss):
    """`aj.binary_cross_entropy_with_logits`.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.BCEWithLogitsLoss(pos_weight=np.array([3.0]))(np.array([0.0]), np.array([1.0])))
    2.0794
    """

    weight: Array | None = None
    reduction: str = "mean"
    pos_weight: Array | None = None

    function = staticmethod(xp.binary_cross_entropy_with_logits)


class KLDivLoss(Loss):
    """`aj.kl_div` of log-probabilities and probabilities; use reduction="batchmean".

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.KLDivLoss("batchmean")(np.log([[0.5, 0.5]]), np.array([[1.0, 0.0]])))
    0.6931
    """

    reduction: str = "mean"
    log_target: bool = False

    function = staticmethod(xp.kl_div)


class PoissonNLLLoss(Loss):
    """`aj.poisson_nll_loss` of log-rates (or rates) and counts.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.PoissonNLLLoss()(np.array([0.0]), np.array([3.0])))
    1.0
    """

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8
    reduction: str = "mean"

    function = staticmethod(xp.poisson_nll_loss)


class GaussianNLLLoss(Loss):
    """`aj.gaussian_nll_loss` of means, targets and variances.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.GaussianNLLLoss()(np.array([3.0]), np.array([1.0]), np.array([4.0])))
    1.1931
    """

    full: bool = False
    eps: float = 1e-6
    reduction: str = "mean"

    function = staticmethod(xp.gaussian_nll_loss)


class HingeEmbeddingLoss(Loss):
    """`aj.hinge_embedding_loss` of distances and ±1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.HingeEmbeddingLoss()(np.array([0.3]), np.array([-1])))
    0.7
    """

    margin: float = 1.0
    reduction: str = "mean"

    function = staticmethod(xp.hinge_embedding_loss)


class MarginRankingLoss(Loss):
    """`aj.margin_ranking_loss` of two scores and ±1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.MarginRankingLoss(margin=0.5)(np.array([1.0]), np.array([3.0]), np.array([1])))
    2.5
    """

    margin: float = 0.0
    reduction: str = "mean"

    function = staticmethod(xp.margin_ranking_loss)


class SoftMarginLoss(Loss):
    """`aj.soft_margin_loss` of scores and ±1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.SoftMarginLoss()(np.array([0.0]), np.array([1])))
    0.6931
    """

    reduction: str = "mean"

    function = staticmethod(xp.soft_margin_loss)


class CosineEmbeddingLoss(Loss):
    """`aj.cosine_embedding_loss` of two vectors and ±1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.CosineEmbeddingLoss()(np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]]), np.array([1])))
    0.4
    """

    margin: float = 0.0
    reduction: str = "mean"

    function = staticmethod(xp.cosine_embedding_loss)


class TripletMarginLoss(Loss):
    """`aj.triplet_margin_loss` of an anchor, a positive and a negative.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.TripletMarginLoss(margin=6.0)(np.zeros(2), np.array([3.0, 4.0]), np.array([6.0, 8.0])))
    1.0
    """

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    reduction: str = "mean"

    function = staticmethod(xp.triplet_margin_loss)


class TripletMarginWithDistanceLoss(Loss):
    """`aj.triplet_margin_with_distance_loss`; without a function the distance is `aj.pairwise_distance`.

    >>> import numpy as np, adjoint as aj
    >>> loss = aj.nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: aj.sum(aj.abs(x - y), -1), margin=8.0)
    >>> float(loss(np.zeros(2), np.array([3.0, 4.0]), np.array([6.0, 8.0])))
    1.0
    """

    distance_function: Callable[[Array, Array], Array] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: str = "mean"

    function = staticmethod(xp.triplet_margin_with_distance_loss)


class MultiMarginLoss(Loss):
    """`aj.multi_margin_loss` of scores (n, C) and classes (n,).

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.MultiMarginLoss()(np.array([0.5, 1.0, 0.0]), np.array(0)))
    0.6667
    """

    p: int = 1
    margin: float = 1.0
    weight: Array | None = None
    reduction: str = "mean"

    function = staticmethod(xp.multi_margin_loss)


class MultiLabelMarginLoss(Loss):
    """`aj.multilabel_margin_loss` of scores (n, C) and lists of classes (n, C) that end with -1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.MultiLabelMarginLoss()(np.array([0.1, 0.2, 0.4, 0.8]), np.array([3, 0, -1, 1])))
    0.85
    """

    reduction: str = "mean"

    function = staticmethod(xp.multilabel_margin_loss)


class MultiLabelSoftMarginLoss(Loss):
    """`aj.multilabel_soft_margin_loss` of scores and truth values (n, C).

    >>> import numpy as np, adjoint as aj
    >>> float(aj.nn.MultiLabelSoftMarginLoss()(np.zeros((1, 3)), np.array([[1.0, 0.0, 1.0]])))
    0.6931
    """

    weight: Array | None = None
    reduction: str = "mean"

    function = staticmethod(xp.multilabel_soft_margin_loss)


class CTCLoss(Loss):
    """`aj.ctc_loss` of log-probabilities (T, n, C), targets, and the lengths of both.

    >>> import numpy as np, adjoint as aj
    >>> log_probs = np.log(np.full((2, 1, 2), 0.5))
    >>> float(np.exp(-aj.nn.CTCLoss()(log_probs, np.array([[1]]), [2], [1])))
    0.75
    """

    blank: int = 0
    reduction: str = "mean"
    zero_infinity: bool = False

    function = staticmethod(xp.ctc_loss)
