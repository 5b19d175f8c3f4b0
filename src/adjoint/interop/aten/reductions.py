"""Sums, means, extrema and their positions, softmax, running sums, orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import Array
from adjoint.interop.aten.promotion import cast, floating, is_integral, name_of
from adjoint.ops.define import plain

Entry = Callable[..., Any]


def axes(dim: Any) -> Any:
    """The axes as the seam takes them: none named means all."""
    if dim is None or isinstance(dim, int):
        return dim
    return tuple(dim) if len(dim) else None


def total(self: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    """Σ; integers are summed in 64 bits."""
    x = cast(self, dtype) if dtype else cast(self, "int64") if is_integral(self) else self
    return xp.sum(x, _within(x, dim), keepdim)


def _within(x: Array, dim: Any) -> Any:
    """The axes; an array without axes also answers to 0 and -1."""
    return None if not x.shape else axes(dim)


def _mean(self: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    x = cast(self, dtype) if dtype else self
    return xp.mean(x, _within(x, dim), keepdim)


def _nansum(self: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return total(self if is_integral(self) else xp.where(xp.isnan(self), 0.0, self), dim, keepdim, dtype)


def _prod(self: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    x = cast(self, dtype) if dtype else cast(self, "int64") if is_integral(self) else self
    return xp.prod(x, _within(x, dim), keepdim)


def _reduction(f: Entry) -> Entry:
    return lambda self, dim=None, keepdim=False: f(self, _within(self, dim), keepdim)


def _of_truth(f: Entry) -> Entry:
    return lambda self, dim=None, keepdim=False: f(xp.not_equal(self, 0), _within(self, dim), keepdim)


def moments(square_root: bool) -> Entry:
    """The variance, or its root, by each of PyTorch's signatures."""
    f: Entry = xp.std if square_root else xp.var

    def entry(
        self: Array, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None
    ) -> Array:
        if isinstance(dim, bool):  # the oldest signature, (self, unbiased)
            dim, unbiased = None, dim
        how = float(unbiased if correction is None else correction)
        return f(self, _within(self, dim), keepdim, how)

    return entry


def _with_mean(square_root: bool) -> Entry:
    spread = moments(square_root)

    def entry(self: Array, dim: Any = None, unbiased: Any = True, keepdim: bool = False, **how: Any) -> Any:
        own = None if isinstance(dim, bool) else dim
        return spread(self, dim, unbiased, keepdim, **how), xp.mean(self, _within(self, own), keepdim)

    return entry


def _extremum(extreme: Entry, position: Entry, pairwise: Entry) -> Entry:
    def entry(self: Array, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return extreme(self)
        if not isinstance(dim, int):
            return pairwise(self, dim)
        if not self.shape:
            return self, cast(xp.zeros(plain(self), ()), "int64")
        indices = position(plain(self), dim)
        places = xp.expand_dims(indices, dim)
        values = xp.take_along(self, places, dim)
        return (values, places) if keepdim else (xp.squeeze(values, dim), indices)

    return entry


def _position(position: Entry) -> Entry:
    def entry(self: Array, dim: int | None = None, keepdim: bool = False) -> Array:
        if not self.shape:
            return cast(xp.zeros(plain(self), ()), "int64")
        found = position(plain(self), dim)
        if not keepdim:
            return found
        return xp.reshape(found, (1,) * len(self.shape)) if dim is None else xp.expand_dims(found, dim)

    return entry


def _running(self: Array, dim: int, dtype: Any = None) -> Array:
    x = cast(self, dtype) if dtype else cast(self, "int64") if is_integral(self) else self
    return xp.cumulative_sum(x, dim) if x.shape else x


def _softmax(f: Entry) -> Entry:
    """f along an axis; the third argument is a dtype, or whether half precision is to become float32."""

    def entry(self: Array, dim: int, dtype: Any = None) -> Array:
        x = cast(self, "float32" if dtype is True else dtype) if dtype else floating(self)
        return f(x, dim) if x.shape else xp.reshape(f(xp.reshape(x, (1,)), 0), ())

    return entry


def _safe_softmax(self: Array, dim: int, dtype: Any = None) -> Array:
    """Softmax, 0 throughout where all entries are -∞."""
    x = cast(self, dtype) if dtype else self
    nothing = xp.all(xp.equal(x, -float("inf")), dim, True)
    return xp.where(nothing, 0.0, xp.softmax(xp.where(nothing, 0.0, x), dim))


def _sorted(self: Array, dim: int = -1, descending: bool = False) -> Any:
    if not self.shape:
        return self, cast(xp.zeros(plain(self), ()), "int64")
    order = xp.sort_order(plain(self), dim, descending)
    return xp.take_along(self, order, dim), order


def _stably_sorted(self: Array, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    return _sorted(self, dim, descending)


def _topk(self: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not self.shape:
        return _sorted(self)
    order = xp.sort_order(plain(self), dim, largest)
    first = xp.getitem(order, (*(slice(None),) * (dim % len(self.shape)), slice(0, k)))
    return xp.take_along(self, first, dim), first


def _kthvalue(self: Array, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if not self.shape:
        return _sorted(self)
    order = xp.sort_order(plain(self), dim)
    place = xp.getitem(order, (*(slice(None),) * (dim % len(self.shape)), slice(k - 1, k)))
    values = xp.take_along(self, place, dim)
    return (values, place) if keepdim else (xp.squeeze(values, dim), xp.squeeze(place, dim))


def _median(self: Array, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower one of the two in the middle."""
    if dim is None:
        flat = xp.reshape(self, (-1,))
        return _kthvalue(flat, (flat.shape[0] + 1) // 2)[0]
    return _kthvalue(self, (self.shape[dim] + 1) // 2, dim, keepdim)


def _norm(self: Array, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    x = cast(self, dtype) if dtype else self
    return names.vector_norm(x, 2 if p is None else p, _within(x, dim), keepdim)


def _count_nonzero(self: Array, dim: Any = None) -> Array:
    return total(xp.not_equal(self, 0), dim)


def _logcumsumexp(self: Array, dim: int) -> Array:
    top = xp.max(plain(self), dim, True)
    return xp.log(xp.cumulative_sum(xp.exp(self - top), dim)) + top


def _running_product(self: Array, dim: int, dtype: Any = None) -> Array:
    """Running products: entry i is the product of row i of the matrix with x below the diagonal and 1 above."""
    x = cast(self, dtype) if dtype else cast(self, "int64") if is_integral(self) else self
    if not x.shape:
        return x
    last, n = xp.moveaxis(x, dim, -1), x.shape[dim]
    below = xp.tril(xp.full(plain(x), (n, n), 1.0, "float32"))
    square = xp.where(xp.not_equal(below, 0.0), xp.expand_dims(last, -2), xp.full(plain(x), (), 1, None))
    return xp.moveaxis(xp.prod(square, -1), -1, dim % len(x.shape))


def _histogram(self: Array, bins: int = 100, min: Any = 0, max: Any = 0) -> Array:
    """How many entries lie in each of equal bins from min to max, the last one closed."""
    if min == max:
        raise NotImplementedError("histc without bounds takes them from the values: give min and max.")
    x = xp.reshape(floating(plain(self)), (-1,))
    place = xp.minimum(xp.floor((x - float(min)) * (bins / (max - min))), float(bins - 1))
    inside = xp.logical_and(xp.greater_equal(x, float(min)), xp.less_equal(x, float(max)))
    place = cast(xp.where(inside, place, 0.0), "int64")
    counts = xp.segment_sum(xp.expand_dims(cast(inside, name_of(x.dtype)), 1), place, bins)
    return cast(xp.reshape(counts, (bins,)), name_of(self.dtype))


REDUCTIONS: dict[str, Entry] = {
    "sum": total,
    "mean": _mean,
    "nansum": _nansum,
    "prod": _prod,
    "amax": _reduction(xp.max),
    "amin": _reduction(xp.min),
    "aminmax": lambda self, dim=None, keepdim=False: (
        xp.min(self, axes(dim), keepdim), xp.max(self, axes(dim), keepdim)
    ),
    "any": _of_truth(xp.any),
    "all": _of_truth(xp.all),
    "logsumexp": lambda self, dim, keepdim=False: xp.logsumexp(floating(self), _within(self, dim), keepdim),
    "var": moments(False),
    "std": moments(True),
    "var_mean": _with_mean(False),
    "std_mean": _with_mean(True),
    "max": _extremum(xp.max, xp.argmax, xp.maximum),
    "min": _extremum(xp.min, xp.argmin, xp.minimum),
    "argmax": _position(xp.argmax),
    "argmin": _position(xp.argmin),
    "cumsum": _running,
    "cumprod": _running_product,
    "logcumsumexp": _logcumsumexp,
    "softmax": _softmax(xp.softmax),
    "_softmax": _softmax(xp.softmax),
    "special_softmax": _softmax(xp.softmax),
    "_safe_softmax": _safe_softmax,
    "log_softmax": _softmax(xp.log_softmax),
    "_log_softmax": _softmax(xp.log_softmax),
    "special_log_softmax": _softmax(xp.log_softmax),
    "sort": _sorted,
    "sort.stable": _stably_sorted,
    "argsort": lambda self, dim=-1, descending=False: _sorted(self, dim, descending)[1],
    "argsort.stable": lambda self, stable=True, dim=-1, descending=False: _sorted(self, dim, descending)[1],
    "topk": _topk,
    "kthvalue": _kthvalue,
    "median": _median,
    "norm": _norm,
    "linalg_vector_norm": lambda self, ord=2, dim=None, keepdim=False, dtype=None: _norm(
        self, ord, dim, keepdim, dtype
    ),
    "count_nonzero": _count_nonzero,
    "histc": _histogram,
}  # fmt: skip
