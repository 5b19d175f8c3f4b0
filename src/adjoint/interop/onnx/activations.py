"""Activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.interop.onnx.elementwise import unary
from adjoint.interop.onnx.operators import Node, known, operator, position, together

for name, function in {
    "Relu": xp.relu, "Sigmoid": xp.sigmoid, "Softsign": xp.softsign, "HardSwish": xp.hardswish, "Mish": xp.mish,
    "Softplus": xp.softplus,
}.items():  # fmt: skip
    operator(name)(unary(function))


@operator("LeakyRelu")
def leaky_relu(node: Node, x: Any) -> Any:
    """x where x > 0, alpha · x elsewhere."""
    return xp.leaky_relu(x, node.get("alpha", 0.01))


@operator("PRelu")
def prelu(node: Node, x: Any, slope: Any) -> Any:
    """x where x > 0, slope · x elsewhere."""
    x, slope = together(x, slope)
    return xp.where(xp.greater(x, 0), x, slope * x)


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, x: Any) -> Any:
    """x where x > alpha, 0 elsewhere."""
    return xp.where(xp.greater(x, node.get("alpha", 1.0)), x, xp.zeros_like(x))


@operator("Elu")
def elu(node: Node, x: Any) -> Any:
    """x where x > 0, alpha (eˣ - 1) elsewhere."""
    return xp.elu(x, node.get("alpha", 1.0))


@operator("Celu")
def celu(node: Node, x: Any) -> Any:
    """x where x > 0, alpha (e^(x/alpha) - 1) elsewhere."""
    return xp.celu(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node: Node, x: Any) -> Any:
    """gamma · elu(x, alpha)."""
    return node.get("gamma", 1.0507010221481323) * xp.elu(x, node.get("alpha", 1.6732631921768188))


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Any) -> Any:
    """alpha x + beta limited to [0, 1]."""
    return xp.clip(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


@operator("Gelu")
def gelu(node: Node, x: Any) -> Any:
    """x Φ(x), or its approximation by a hyperbolic tangent."""
    return xp.gelu(x, node.get("approximate", "none"))


@operator("Swish")
def swish(node: Node, x: Any) -> Any:
    """x σ(alpha x)."""
    alpha = node.get("alpha", 1.0)
    return xp.silu(x) if alpha == 1.0 else x * xp.sigmoid(alpha * x)


@operator("SwiGLU")
def swiglu(node: Node, gate: Any, up: Any) -> Any:
    """gate σ(alpha · gate) · up, as given by the specification."""
    gate, up = together(gate, up)
    return gate * xp.sigmoid(node.get("alpha", 1.0) * gate) * up


@operator("Shrink")
def shrink(node: Node, x: Any) -> Any:
    """x moved towards 0 by the bias where |x| > lambd, 0 elsewhere."""
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    dtype = x.dtype
    zero = xp.zeros_like(x)
    y = xp.where(xp.greater(x, limit), x - bias, xp.where(xp.less(x, -limit), x + bias, zero))
    return y if y.dtype == dtype else xp.astype(y, dtype)


@operator("Softmax", "LogSoftmax")
def softmax(node: Node, x: Any) -> Any:
    """The softmax along an axis, or its logarithm; before version 13 over all axes from that one on, as one."""
    function = xp.softmax if node.op == "Softmax" else xp.log_softmax
    if node.opset >= 13:
        return function(x, node.get("axis", -1))
    shape = tuple(x.shape)
    axis = position(node.get("axis", 1), len(shape), node.op) if node.get("axis", 1) != len(shape) else len(shape)
    flat = xp.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    return xp.reshape(function(flat, -1), shape)


@operator("Hardmax")
def hardmax(node: Node, x: Any) -> Any:
    """1 at the first largest entry, 0 elsewhere."""
    shape = tuple(x.shape)
    axis = node.get("axis", -1 if node.opset >= 13 else 1)
    flat = x if node.opset >= 13 else xp.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
    axis = position(axis, len(shape), node.op) if node.opset >= 13 else 1
    best = xp.expand_dims(xp.argmax(flat, axis), axis)
    places = np.arange(flat.shape[axis]).reshape((-1,) + (1,) * (len(flat.shape) - axis - 1))
    best, places = together(best, places)
    return xp.reshape(xp.astype(xp.equal(best, places), x.dtype), shape)


@operator("Dropout", fixed=(1, 2))
def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """x itself and a mask of ones: a file in training mode is refused, for its random numbers are its runtime's own."""
    learning = training is not None and bool(known(training, "Dropout: training_mode"))
    if learning and (ratio is None or float(known(ratio, "Dropout: ratio")) > 0.0):
        raise NotImplementedError("Dropout: the file is in training mode: export it for inference.")
    mask = xp.full(x, tuple(x.shape), 1, "bool" if node.opset >= 10 else None)
    return x, mask
