"""Modules with PyTorch's names: trees of arrays that any transform takes.

>>> import numpy as np, adjoint as aj
>>> net = aj.nn.Sequential(aj.nn.Linear(3, 2, rng=0), aj.nn.Tanh())
>>> net(np.ones((5, 3), "float32")).shape
(5, 2)
>>> aj.grad(lambda net: aj.sum(net(np.ones((5, 3), "float32"))))(net)[0].weight.shape
(2, 3)
"""

from adjoint.nn import init
from adjoint.nn.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    Tanhshrink,
)
from adjoint.nn.layers import MLP, Embedding, Flatten, Identity, LayerNorm, Linear, Residual, RMSNorm, Sequential
from adjoint.nn.module import Module, count_parameters

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "MLP",
    "SELU",
    "Embedding",
    "Flatten",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "Module",
    "PReLU",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "count_parameters",
    "init",
]
