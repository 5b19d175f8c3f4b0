"""Modules with PyTorch's names: trees of arrays that any transform takes."""

from adjoint.nn import init
from adjoint.nn.activations import *  # noqa: F403
from adjoint.nn.layers import MLP, Embedding, Flatten, Identity, LayerNorm, Linear, Residual, RMSNorm, Sequential
from adjoint.nn.module import Module, count_parameters
