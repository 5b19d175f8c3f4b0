"""The error for data that is not what it claims to be."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used as it stands: names the file or field and what is wrong with it.

    >>> import adjoint as aj
    >>> aj.data.Dataset([[0.0]], [0, 1])
    Traceback (most recent call last):
        ...
    adjoint.data.errors.DataError: Dataset: x (1, 1) and y (2,) differ in length, axis 0
    """
