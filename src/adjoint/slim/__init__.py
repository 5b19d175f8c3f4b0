"""Networks made smaller: pairs of narrow layers in place of wide ones.

>>> import adjoint as aj
>>> net, found = aj.factorize(aj.nn.MLP((64, 64, 10), rng=0), rank=4, targets="0")
>>> found.before.parameters, found.after.parameters
(4810, 1226)
"""

from adjoint.slim.factorizing import factorize
from adjoint.slim.loading import load
from adjoint.slim.pair import Pair
from adjoint.slim.record import Factorization, Factorized, Standing

__all__ = ["Factorization", "Factorized", "Pair", "Standing", "factorize", "load"]
