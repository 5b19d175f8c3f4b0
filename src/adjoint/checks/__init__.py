"""Is a derivative right, is a function linear? Evidence from outside the tape: inner products and differences."""

from adjoint.checks.derivatives import check
from adjoint.checks.linearity import Linearity, is_linear
from adjoint.checks.report import Report, Row

__all__ = ["Linearity", "Report", "Row", "check", "is_linear"]
