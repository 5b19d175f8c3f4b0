"""The inverse of a map, by structure or by the LU decomposition of its matrix."""

from __future__ import annotations

from adjoint.errors import SpectrumError
from adjoint.maps.algebra import compose, factor
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.combinations import Composition, Kronecker
from adjoint.maps.elementary import Cast, Diagonal, Identity, Negate, Scale
from adjoint.maps.inverses import Inverse
from adjoint.maps.layout import Concatenate, Flatten
from adjoint.maps.spaces import Space, size
from adjoint.maps.spectra import budget
from adjoint.maps.spectra.values import spectrum
from adjoint.program import Door


def inverse(map: LinearMap) -> LinearMap:
    """A⁻¹ of a map whose rank is full at the default tolerance; the parts' inverses where the map is made of parts."""
    m, n = map.shape
    if m != n:
        raise SpectrumError(
            f"{map!r}: only a map between spaces of one dimension has an inverse, these have {n} and {m}; a "
            "pseudo-inverse is not given: solve least squares, for instance scipy.sparse.linalg.lsqr(A.to_scipy(), y)."
        )
    if isinstance(map, Door):
        return Door(inverse(map.verified()), map.out_tree, map.in_tree)
    if isinstance(map, Adjoint):
        return inverse(map.map).T
    if "orthogonal" in map.properties or isinstance(map, (Concatenate, Cast)):
        return map.T
    if isinstance(map, Composition) and all(part.shape == map.shape for part in map.maps):
        return Composition([inverse(part) for part in map.maps[::-1]])
    if isinstance(map, Kronecker) and map.left.shape[0] == map.left.shape[1]:
        return Kronecker(inverse(map.left), inverse(map.right))
    _refuse_singular(map)
    if isinstance(map, (Scale, Negate)):
        return Scale(1.0 / factor(map), map.in_shape)
    if isinstance(map, Diagonal):
        return Diagonal(1.0 / map.d)
    if not budget.affordable(m, n):
        raise budget.refusal(map, "inverse()")
    flat_in, flat_out = flatten(map.in_shape), flatten(map.out_shape)
    solved = Inverse(compose(compose(flat_out, map), flat_in.T))
    return compose(compose(flat_in.T, solved), flat_out)


def flatten(space: Space) -> LinearMap:
    """The space's elements as vectors."""
    return Identity(space) if space == (size(space),) else Flatten(space)


def _refuse_singular(map: LinearMap) -> None:
    found = spectrum(map, "inverse()", gram=False)
    rank, n = found.rank(None), map.shape[1]
    if rank < n:
        raise SpectrumError(
            f"{map!r} is singular to working precision: its rank is {rank!r}, {n - rank} short of {n}; "
            "kernel() spans what it loses."
        )
