"""Classical linear learning on linear maps: principal components, least squares, ridge, lasso."""

from adjoint.classical.components import Components, pca
from adjoint.classical.shrinkage import lasso
from adjoint.classical.squares import Minimum, least_squares, ridge

__all__ = ["Components", "Minimum", "lasso", "least_squares", "pca", "ridge"]
