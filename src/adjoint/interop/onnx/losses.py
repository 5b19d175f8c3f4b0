"""Losses."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.interop.onnx.operators import Node, beside, operator, together
from adjoint.ops.define import plain


@operator("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def negative_log_likelihood(node: Node, x: Any, target: Any, weight: Any = None) -> Any:
    """-Σ weight · log p of the target classes, axis 1, over their weight (reduction mean); and log p."""
    x, weight = together(x, weight)
    target = plain(beside(plain(x), target))
    log_p = xp.log_softmax(x, 1) if node.op == "SoftmaxCrossEntropyLoss" else x
    classes = int(x.shape[1])
    ignored = node.get("ignore_index")
    inside = xp.clip(target, 0, classes - 1)
    loss = -xp.squeeze(xp.take_along(log_p, xp.expand_dims(inside, 1), 1), 1)
    share = xp.ones_like(plain(loss)) if weight is None else xp.take(weight, inside, 0)
    if ignored is not None:
        share = xp.where(xp.equal(target, ignored), xp.zeros_like(plain(share)), share)
    loss = loss * share
    reduction = node.get("reduction", "mean")
    if reduction != "none":
        loss = xp.sum(loss) if reduction == "sum" else xp.sum(loss) / xp.sum(share)
    return loss, log_p
