"""To JAX: a map as a function that `grad`, `jvp`, `vmap`, `jit` and `linear_transpose` treat as the map it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

try:
    import jax
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir
except ModuleNotFoundError:
    raise ImportError("to_jax needs JAX: pip install 'adjoint[jax]'.") from None

import numpy as np

from adjoint.errors import TraceError
from adjoint.maps.base import LinearMap
from adjoint.maps.moving import moved
from adjoint.maps.spaces import factors, is_product, lead_of

product_p = Primitive("adjoint_product")  # one for all maps, so that JAX knows: linear, its transpose is Aᵀ
product_p.multiple_results = True


def product(*parts: Any, map: LinearMap, back: bool) -> list[Any]:
    """A x, or Aᵀ x where `back`; a map that only NumPy can apply is called back by what JAX compiles.

    (A.T itself is not made here: while JAX traces, an array of its own would be traced.)
    """
    source, target = (map.out_shape, map.in_shape) if back else (map.in_shape, map.out_shape)
    apply = map.adjoint if back else map.apply
    try:
        y = apply(parts if is_product(source) else parts[0])
    except jax.errors.TracerArrayConversionError:
        lead = lead_of(parts[0], factors(source)[0])
        found = [jax.ShapeDtypeStruct((*lead, *s), parts[0].dtype) for s in factors(target)]
        return jax.pure_callback(lambda *x: product(*[np.asarray(v) for v in x], map=map, back=back), found, *parts)
    return list(y) if isinstance(y, tuple) else [y]


def _abstract(*parts: Any, **how: Any) -> list[Any]:
    found = jax.eval_shape(lambda *x: product(*x, **how), *parts)
    return [jax.core.ShapedArray(y.shape, y.dtype) for y in found]


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], **how: Any) -> Any:
    filled = [ad.instantiate_zeros(v) for v in tangents]
    return product_p.bind(*primals, **how), product_p.bind(*filled, **how)


def _transpose(cotangents: Sequence[Any], *parts: Any, map: LinearMap, back: bool) -> list[Any]:
    found = product_p.bind(*[ad.instantiate_zeros(u) for u in cotangents], map=map, back=not back)
    return [u if ad.is_undefined_primal(x) else None for u, x in zip(found, parts, strict=True)]


def _batch(parts: Sequence[Any], dims: Sequence[Any], **how: Any) -> Any:
    n = next(x.shape[d] for x, d in zip(parts, dims, strict=True) if d is not None)
    front = [batching.bdim_at_front(x, d, n) for x, d in zip(parts, dims, strict=True)]
    out = product_p.bind(*front, **how)
    return out, [0] * len(out)


product_p.def_impl(product)
product_p.def_abstract_eval(_abstract)
ad.primitive_jvps[product_p] = _jvp
ad.primitive_transposes[product_p] = _transpose
batching.primitive_batchers[product_p] = _batch
mlir.register_lowering(product_p, mlir.lower_fun(product, multiple_results=True))


def to_jax(map: LinearMap) -> Callable[[Any], Any]:
    """x ↦ A x for JAX's arrays: see `LinearMap.to_jax`."""
    here: LinearMap = moved(map, "jax")
    if isinstance(here.array(), jax.core.Tracer):
        raise TraceError(
            "to_jax: JAX is tracing an array of this map, whose derivative would be lost: make the function outside of "
            "jit and grad, or call A(x) there, whose operations JAX sees."
        )

    def bound(x: Any) -> Any:
        out = product_p.bind(*(x if is_product(here.in_shape) else (x,)), map=here, back=False)
        return tuple(out) if is_product(here.out_shape) else out[0]

    def apply(x: Any) -> Any:
        return here.through(bound, x)

    return apply
