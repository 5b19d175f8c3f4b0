"""The spectral questions that any map answers; maps/spectra/ holds the answers, loaded with the first question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adjoint.maps.base import LinearMap
    from adjoint.maps.records import SVD, Count, Eigen, Number, Values
    from adjoint.maps.subspaces import Subspace


def _answer(question: str, map: Any, *options: Any) -> Any:
    from adjoint.maps import spectra
    from adjoint.maps.flat import refuse_complex

    refuse_complex(map.array())
    return getattr(spectra, question)(map, *options)


class Spectral:
    """What people ask of a map: each answer carries its tolerance, its method and an error bound.

    What cannot be certified without the matrix is refused by a `SpectrumError` that says why; complex numbers by a
    `DtypeError`.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        shape: Any

    def rank(self, tol: float | None = None) -> Count:
        """The dimension of the image: singular values above `tol`."""
        return _answer("rank", self, tol)

    def nullity(self, tol: float | None = None) -> Count:
        """The dimension of the kernel: n - rank."""
        return _answer("nullity", self, tol)

    def kernel(self, tol: float | None = None) -> Subspace:
        """What the map cannot see: an orthonormal basis of {x : A x = 0}."""
        return _answer("kernel", self, tol)

    def image(self, tol: float | None = None) -> Subspace:
        """What the map can reach: an orthonormal basis of {A x}."""
        return _answer("image", self, tol)

    def svd(self, k: int | None = None) -> SVD:
        """Singular values with both families of singular vectors, all or the k largest."""
        return _answer("svd", self, k)

    def svdvals(self, k: int | None = None) -> Values:
        """Singular values in descending order, all or the k largest."""
        return _answer("svdvals", self, k)

    def eig(self, k: int | None = None) -> Eigen:
        """Eigenvalues and eigenvectors of a map from a space to itself, all or the k largest in magnitude."""
        return _answer("eig", self, k)

    def norm(self) -> Number:
        """The spectral norm σ₁, the largest factor by which the map stretches a vector."""
        return _answer("norm", self)

    def frobenius(self) -> Number:
        """√Σσᵢ², the root of the sum of the squared entries."""
        return _answer("frobenius", self)

    def cond(self) -> Number:
        """σ₁ / σ_min, infinite when the kernel is larger than it must be."""
        return _answer("cond", self)

    def stable_rank(self) -> Number:
        """Σσᵢ² / σ₁²."""
        return _answer("stable_rank", self)

    def effective_rank(self) -> Number:
        """exp of the entropy of σᵢ / Σσ (Roy & Vetterli 2007)."""
        return _answer("effective_rank", self)

    def is_injective(self, tol: float | None = None) -> bool:
        """Whether only 0 is mapped to 0: rank = n."""
        return bool(self.rank(tol) == self.shape[1])

    def is_surjective(self, tol: float | None = None) -> bool:
        """Whether every output is reached: rank = m."""
        return bool(self.rank(tol) == self.shape[0])

    def is_isomorphism(self, tol: float | None = None) -> bool:
        """Whether the map is injective and surjective, that is, has an inverse."""
        m, n = self.shape
        return m == n and self.is_injective(tol)

    def inverse(self) -> LinearMap:
        """The map A⁻¹; raises `SpectrumError` with the reason when A is singular to working precision."""
        return _answer("inverse", self)
