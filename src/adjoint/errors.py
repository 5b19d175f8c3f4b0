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
    """A dtype that cannot be used here: names the operation, the dtype and the cast that mends it.

    >>> import numpy as np, adjoint as aj
    >>> aj.grad(aj.sum)(np.array([1, 2]))
    Traceback (most recent call last):
        ...
    adjoint.errors.DtypeError: sum is to be differentiated in an array of int64...
    """


class BackendError(TypeError):
    """Arrays of different backends met, or a backend lacks an operation: names both and the remedy.

    >>> import adjoint as aj
    >>> aj.exp("1.0")
    Traceback (most recent call last):
        ...
    adjoint.errors.BackendError: no backend knows builtins.str: pass NumPy, PyTorch or JAX arrays.
    """


class TraceError(RuntimeError):
    """A traced value was used where it cannot be: outside its transform, as a number, or changed in place.

    >>> import adjoint as aj
    >>> aj.grad(lambda x: x * float(x))(2.0)
    Traceback (most recent call last):
        ...
    adjoint.errors.TraceError: float() of a traced value would lose its derivative...
    """


class InPlaceError(RuntimeError):
    """An array that a tape still needs was changed in place, so its gradient would be silently wrong.

    >>> import adjoint as aj
    >>> import torch
    >>> def loss(x, w=torch.ones(2)):
    ...     y = aj.sum(w * x)
    ...     w.add_(1.0)
    ...     return y
    >>> aj.grad(loss)(torch.ones(2))
    Traceback (most recent call last):
        ...
    adjoint.errors.InPlaceError: a tensor of shape (2,) was changed in place between the forward and the backward...
    """


class SpectrumError(ArithmeticError):
    """A spectral question that cannot be answered with a certificate: says why and what would answer it.

    >>> import numpy as np, adjoint as aj
    >>> aj.Dense(np.array([[1.0, 2.0], [2.0, 4.0]])).inverse()
    Traceback (most recent call last):
        ...
    adjoint.errors.SpectrumError: Dense: (2,) → (2,) is singular to working precision...
    """


class DerivativeError(AssertionError):
    """A derivative that is not its function's: the message is `aj.check`'s report.

    >>> import numpy as np, adjoint as aj
    >>> aj.check(lambda x: x * aj.stop_gradient(x), np.array([2.0])).raise_if_wrong()
    Traceback (most recent call last):
        ...
    adjoint.errors.DerivativeError: derivative of <lambda>: WRONG in 1 of 1 operands...
    """


class CheckpointError(ValueError):
    """A file of weights or of a training run that cannot be used: names the file, what is wrong and the remedy.

    >>> import tempfile, adjoint as aj
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     aj.load(folder)
    Traceback (most recent call last):
        ...
    adjoint.errors.CheckpointError: ... is a folder, not a safetensors file.
    """
