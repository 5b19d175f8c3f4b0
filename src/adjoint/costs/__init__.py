"""What a network costs: counted by running it on arrays that only have shapes."""

from adjoint.costs.components import Component, LayerCost
from adjoint.costs.counting import Cost, cost
from adjoint.costs.growth import Growth, Polynomial
from adjoint.costs.memory import Alive, Memory
from adjoint.costs.passes import Pass

__all__ = ["Alive", "Component", "Cost", "Growth", "LayerCost", "Memory", "Pass", "Polynomial", "cost"]
