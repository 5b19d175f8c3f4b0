"""What a network is like as linear maps: its weights, what each layer hides, where gradients grow or die."""

from adjoint.inspection.before_after import distributions
from adjoint.inspection.blocks import Block
from adjoint.inspection.blockwise import flow_by_block
from adjoint.inspection.changes import Change, Changes, diff
from adjoint.inspection.flow import Depth, gradient_flow
from adjoint.inspection.layers import Layer
from adjoint.inspection.network import inspect
from adjoint.inspection.report import Report
from adjoint.inspection.row import Row
from adjoint.inspection.unseen import Unseen
from adjoint.inspection.variance import Variance, VarianceThroughDepth, variance_through_depth

__all__ = [
    "Block",
    "Change",
    "Changes",
    "Depth",
    "Layer",
    "Report",
    "Row",
    "Unseen",
    "Variance",
    "VarianceThroughDepth",
    "diff",
    "distributions",
    "flow_by_block",
    "gradient_flow",
    "inspect",
    "variance_through_depth",
]  # fmt: skip
