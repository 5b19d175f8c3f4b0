"""Optimizers, schedules and clipping.

>>> import numpy as np, adjoint as aj
>>> net = {"w": np.array([4.0])}
>>> opt = aj.optim.SGD(net, lr=0.25)
>>> for _ in range(3):
...     grads = aj.grad(lambda net: aj.sum(aj.square(net["w"])))(net)
...     net, opt = opt.step(net, grads)
>>> net
{'w': array([0.5])}
"""

from adjoint.optim.clipping import clip_grad_norm, clip_grad_value
from adjoint.optim.optimizers import SGD, Adam, AdamW, Optimizer
from adjoint.optim.schedules import Schedule, constant, cosine

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "Schedule",
    "clip_grad_norm",
    "clip_grad_value",
    "constant",
    "cosine",
]
