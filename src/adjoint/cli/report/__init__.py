"""The demo's report: one page of HTML with everything in it, readable offline, on a phone, in the dark."""

from adjoint.cli.report.page import render

__all__ = ["render"]
