"""What a network is like as linear maps: what each layer hides, and where gradients grow or die."""

from adjoint.inspection.flow import Depth, gradient_flow
from adjoint.inspection.layers import Layer
from adjoint.inspection.network import Inspection, inspect

__all__ = ["Depth", "Inspection", "Layer", "gradient_flow", "inspect"]
