"""What a network costs: counted by running it on arrays that only have shapes."""

from adjoint.costs.components import Component, LayerCost
from adjoint.costs.counting import Cost, cost
from adjoint.costs.growth import Growth, Polynomial
from adjoint.costs.memory import Alive, Memory
from adjoint.costs.passes import Pass
from adjoint.costs.planning import Block, Plan, plan
from adjoint.costs.roofline import Operation, Predicted, Roofline
from adjoint.costs.sizes import sweep
from adjoint.costs.timing import Measured, measure

__all__ = [
    "Alive", "Block", "Component", "Cost", "Growth", "LayerCost", "Measured", "Memory", "Operation", "Pass", "Plan",
    "Polynomial", "Predicted", "Roofline", "cost", "measure", "plan", "sweep",
]  # fmt: skip
