"""The error for data that is not what it claims to be."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used as it stands: names the file or field and what is wrong with it."""
