"""Optimizers, schedules, clipping, averages, accumulation and mixed precision.

>>> import numpy as np, adjoint as aj
>>> net = {"w": np.array([4.0])}
>>> opt = aj.optim.SGD(net, lr=0.25)
>>> for _ in range(3):
...     grads = aj.grad(lambda net: aj.sum(aj.square(net["w"])))(net)
...     net, opt = opt.step(net, grads)
>>> net
{'w': array([0.5])}
"""

from adjoint.optim.accumulation import accumulate
from adjoint.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from adjoint.optim.adaptive import Adadelta, Adafactor, Adagrad, RMSprop
from adjoint.optim.averaging import AveragedModel
from adjoint.optim.base import Optimizer
from adjoint.optim.clipping import clip_grad_norm, clip_grad_value, normalize_grad
from adjoint.optim.descent import ASGD, SGD, Lion, Rprop
from adjoint.optim.muon import Muon
from adjoint.optim.plateau import Plateau
from adjoint.optim.precision import GradScaler, autocast
from adjoint.optim.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exponential,
    linear,
    multi_step,
    one_cycle,
    polynomial,
    sequential,
    step_decay,
    warmed,
)

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AveragedModel",
    "GradScaler",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "Plateau",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Schedule",
    "accumulate",
    "autocast",
    "clip_grad_norm",
    "clip_grad_value",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "linear",
    "multi_step",
    "normalize_grad",
    "one_cycle",
    "polynomial",
    "sequential",
    "step_decay",
    "warmed",
]
