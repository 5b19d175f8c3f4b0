"""Optimizers, schedules and clipping."""

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
