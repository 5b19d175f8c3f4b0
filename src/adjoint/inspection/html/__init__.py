"""The report as one page of HTML: everything in it, nothing fetched, light and dark, by mouse or keyboard."""

from adjoint.inspection.html.page import render

__all__ = ["render"]
