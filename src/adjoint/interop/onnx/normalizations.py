"""Normalizations."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.interop.onnx.operators import Node, operator, position, together


@operator("BatchNormalization", buffers=(3, 4))
def batch_norm(node: Node, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    """(x - mean)/√(var + ε) · scale + bias for every channel; in training the batch's statistics and the new ones."""
    x, scale, bias, mean, var = together(x, scale, bias, mean, var)
    eps = node.get("epsilon", 1e-5)
    if not node.get("spatial", 1):
        raise NotImplementedError("BatchNormalization: statistics of every position (spatial=0) are not known here.")
    if not node.get("training_mode", 0):
        return xp.batch_norm(x, mean, var, scale, bias, False, eps)
    axes = tuple(a for a in range(len(x.shape)) if a != 1)
    keep = node.get("momentum", 0.9)
    here, spread = xp.mean(x, axes), xp.var(x, axes)
    y = xp.batch_norm(x, here, spread, scale, bias, False, eps)
    return y, keep * mean + (1.0 - keep) * here, keep * var + (1.0 - keep) * spread


@operator("InstanceNormalization")
def instance_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """`BatchNormalization` of every example by itself."""
    x, scale, bias = together(x, scale, bias)
    return xp.instance_norm(x, None, None, scale, bias, eps=node.get("epsilon", 1e-5))


@operator("GroupNormalization")
def group_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Groups of channels centred and scaled; scale and bias are a group's before version 21, a channel's since."""
    x, scale, bias = together(x, scale, bias)
    groups, eps = node.get("num_groups"), node.get("epsilon", 1e-5)
    if node.opset < 21:
        each = int(x.shape[1]) // groups
        scale, bias = xp.repeat(scale, each, 0), xp.repeat(bias, each, 0)
    return xp.group_norm(x, scale, bias, groups, eps)


def stashed(node: Node, x: Any) -> Any:
    """x in the dtype that statistics are made in."""
    dtype = node.dtype("stash_type", 1)
    same = str(x.dtype).removeprefix("torch.") in (str(dtype), "float64")
    return x if same else xp.astype(x, dtype)


@operator("LayerNormalization")
def layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """x centred and scaled over the axes from `axis` on, its mean and 1/√(var + ε)."""
    x, scale, bias = together(x, scale, bias)
    ndim = len(x.shape) - position(node.get("axis", -1), len(x.shape), node.op)
    axes, eps = tuple(range(-ndim, 0)), node.get("epsilon", 1e-5)
    wide = stashed(node, x)
    parts = {tuple(part.shape) for part in (scale, bias) if part is not None}
    if wide is x and node.count == 1 and parts == {tuple(x.shape[-ndim:])}:
        return xp.layer_norm(x, scale, bias, ndim, eps)
    mean = xp.mean(wide, axes, True)
    centred = wide - mean
    inverse = xp.rsqrt(xp.mean(xp.square(centred), axes, True) + eps)
    y = centred * inverse
    y = (y if wide is x else xp.astype(y, x.dtype)) * scale
    return (y if bias is None else y + bias), mean, inverse


@operator("RMSNormalization")
def rms_norm(node: Node, x: Any, scale: Any) -> Any:
    """x/√(mean x² + ε) · scale over the axes from `axis` on."""
    x, scale = together(x, scale)
    ndim = len(x.shape) - position(node.get("axis", -1), len(x.shape), node.op)
    eps = node.get("epsilon", 1e-5)
    wide = stashed(node, x)
    if wide is x and tuple(scale.shape) == tuple(x.shape[-ndim:]):
        return xp.rms_norm(x, scale, ndim, eps)
    y = wide * xp.rsqrt(xp.mean(xp.square(wide), tuple(range(-ndim, 0)), True) + eps)
    return (y if wide is x else xp.astype(y, x.dtype)) * scale


@operator("LRN")
def local_response_norm(node: Node, x: Any) -> Any:
    """x/(bias + alpha/size Σ x²)^beta, the sum over `size` neighbouring channels."""
    size = node.get("size")
    before = (size - 1) // 2
    padded = xp.pad(xp.square(x), [(0, 0), (before, size - 1 - before)] + [(0, 0)] * (len(x.shape) - 2))
    running = xp.cumulative_sum(xp.pad(padded, [(0, 0), (1, 0)] + [(0, 0)] * (len(x.shape) - 2)), 1)
    c = int(x.shape[1])
    total = running[:, size : size + c] - running[:, :c]
    scale = node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * total
    return x / xp.pow(scale, node.get("beta", 0.75))


@operator("LpNormalization")
def lp_normalization(node: Node, x: Any) -> Any:
    """x over its norm along an axis, 0 where that is 0."""
    axis = node.get("axis", -1)
    size = xp.norm(x, axis, True) if node.get("p", 2) == 2 else xp.sum(xp.abs(x), axis, True)
    return x / xp.where(xp.equal(size, 0), xp.ones_like(size), size)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Any) -> Any:
    """(x - mean)/(√var + 1e-9) over the axes."""
    axes = tuple(node.get("axes") or (0, 2, 3))
    return (x - xp.mean(x, axes, True)) / (xp.std(x, axes, True) + 1e-9)
