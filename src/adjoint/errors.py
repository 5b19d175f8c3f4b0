"""Errors that say which operation, which shapes, which axis, and what to do."""

from __future__ import annotations


class ShapeError(ValueError):
    """Shapes that do not fit: names the operation, both shapes, the axis at fault and the likely remedy.

    >>> import numpy as np, adjoint as aj
    >>> try:
    ...     aj.matmul(np.ones((2, 3)), np.ones((4, 5)))
    ... except aj.ShapeError as error:
    ...     print(error)
    matmul: (2, 3) @ (4, 5): inner dimensions differ, axis -1 of the left is 3, axis -2 of the right is 4.
    """


class DtypeError(TypeError):
    """A dtype that cannot be used here: names the operation, the dtype and the cast that mends it."""


class BackendError(TypeError):
    """Arrays of different backends met, or a backend lacks an operation: names both and the remedy."""


class TraceError(RuntimeError):
    """A traced value was used where it cannot be: outside its transform, as a number, or changed in place."""


class InPlaceError(RuntimeError):
    """An array that a tape still needs was changed in place, so its gradient would be silently wrong."""


class SpectrumError(ArithmeticError):
    """A spectral question that cannot be answered with a certificate: says why and what would answer it."""


class DerivativeError(AssertionError):
    """A derivative that is not its function's: the message is `aj.check`'s report."""


class CheckpointError(ValueError):
    """A file of weights or of a training run that cannot be used: names the file, what is wrong and the remedy."""
