"""What a network costs: counted by running it on arrays that only have shapes."""

from adjoint.costs.counting import Cost, LayerCost, Pass, cost

__all__ = ["Cost", "LayerCost", "Pass", "cost"]
