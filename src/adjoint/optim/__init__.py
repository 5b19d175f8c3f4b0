"""Optimizers, schedules and clipping."""

from adjoint.optim.optimizers import SGD, Adam, AdamW, Optimizer
