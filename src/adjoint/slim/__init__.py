"""Networks made smaller: the best pairs of narrow matrices in place of wide ones."""

from adjoint.slim.truncation import Truncated, truncated

__all__ = ["Truncated", "truncated"]
