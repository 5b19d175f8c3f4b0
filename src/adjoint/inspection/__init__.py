"""What a network is like as linear maps: its weights, what each layer hides, where gradients grow or die."""

from adjoint.inspection.before_after import distributions
from adjoint.inspection.blocks import Block
from adjoint.inspection.changes import Change, Changes, diff
from adjoint.inspection.flow import Depth, gradient_flow
from adjoint.inspection.layers import Layer
from adjoint.inspection.network import Inspection, inspect
from adjoint.inspection.passing import passing
from adjoint.inspection.report import Report
from adjoint.inspection.row import Row
from adjoint.inspection.variance import Variance, VarianceThroughDepth, variance_through_depth

__all__ = [
    "Block", "Change", "Changes", "Depth", "Inspection", "Layer", "Report", "Row", "Variance", "VarianceThroughDepth",
    "diff", "distributions", "gradient_flow", "inspect", "passing", "variance_through_depth",
]  # fmt: skip
