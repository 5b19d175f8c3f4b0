"""`add`: low-rank adapters beside the layers of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array, is_floating
from adjoint.arrays.shapes.array import as_dtype
from adjoint.lora import initial
from adjoint.lora.adapters import AdaLoRA, DoRA, LoRA
from adjoint.lora.layers import Adapted, adapted, cast, layers
from adjoint.lora.placing import replace
from adjoint.lora.targets import Target, by_pattern, check_patterns, chosen, matches, tied
from adjoint.lora.using import names, remove, use
from adjoint.nn import init as begin
from adjoint.nn.module import Module

M = TypeVar("M", bound=Module)


def add(
    net: M, rank: int = 8, alpha: float = 16.0, targets: Target | Iterable[Target] | None = None, *,
    dropout: float = 0.0, init: str = "zeros", rslora: bool = False, dora: bool = False, adalora: bool = False,
    rank_pattern: Mapping[str, int] | None = None, alpha_pattern: Mapping[str, float] | None = None,
    also: Iterable[Target] = (), name: str = "default", sample: Any = None, dtype: Any = None, rng: Any = None,
) -> Any:  # fmt: skip
    """Put low-rank adapters beside layers: W becomes W + (α/r) B A, of which A and B alone learn. Returns the network.

    The network itself is changed, as by `nn.spectral_norm`; only where it is itself the layer that is adapted the
    result is another. Everything else in it is frozen, its gradients None, but what `also` names, which learns whole.
    `targets` are names ("q_proj" means all that end so), globs ("h.*.attn.*") or types; without them every `Linear` is
    one, but heads and tied layers. Each is to mean a layer that takes adapters: linear, embedding or convolution; other
    modules that a glob means too are passed over. Packed projections, as `in_proj_weight` of `nn.MultiheadAttention`,
    are no layer and take none. Patterns give single layers another rank or alpha, as PEFT's.

    `rslora` has α/√r, `dora` learns magnitudes too, `adalora` P Λ Q for an `Allocator`. `init`: "zeros", "gaussian",
    "orthogonal", "eva" (from the inputs on a `sample`), or "pissa" and "olora", which take the adapter out of the base
    weight: without the adapter the layer is what they left of it. Adapters have `dtype`, unless given that of the
    weight, float32 beside one of 16 bits or less. A second adapter of another `name` stands beside the first, and is
    the one in use.

    Raises ValueError, and changes nothing, for targets that match nothing, a rank below 1, above the layer's smaller
    side or not a multiple of a convolution's groups, and what does not go together. Hu et al. 2021 (arXiv 2106.09685).

    >>> import numpy as np, adjoint as aj
    >>> net = aj.lora.add(aj.nn.MLP((64, 32, 10), rng=0), rank=4, targets="0", rng=0)
    >>> grads = aj.grad(lambda net: aj.sum(net(np.ones((5, 64), "float32"))))(net)
    >>> grads[0].base_layer.weight is None, grads[0].adapters["default"].lora_B.shape
    (True, (32, 4))
    """
    if dora and adalora:
        raise ValueError("lora.add: dora and adalora exclude each other.")
    if adalora and (init != "zeros" or rslora):
        raise ValueError("lora.add: adalora has an initialization and a scale of its own: leave init and rslora.")
    if (init == "eva") != (sample is not None):
        raise ValueError("lora.add: init='eva' and a sample go together.")
    if not name or "." in name:
        raise ValueError(f"lora.add: an adapter's name has no dots and is not empty, unlike {name!r}.")
    if dtype is not None and not is_floating(dtype := as_dtype(dtype).name):
        raise ValueError(f"lora.add: adapters have floating numbers, not {dtype}.")
    rng = begin.generator(rng)
    found = chosen(net, targets)
    check_patterns("rank_pattern", rank_pattern, net, found)
    check_patterns("alpha_pattern", alpha_pattern, net, found)
    also = [also] if isinstance(also, (str, type)) else list(also)
    whole = _whole(net, also, found)
    made: dict[str, tuple[Adapted, Any, Any]] = {}
    known: dict[int, Adapted] = {}
    for key, layer in found.items():
        new = known[id(layer)] if id(layer) in known else adapted(layer)
        assert new is not None
        if id(layer) in known:
            continue
        known[id(layer)] = new
        r = by_pattern(rank_pattern, net, key, rank)
        kind = AdaLoRA if adalora else DoRA if dora else LoRA
        _check(net, key, new, r, name, init)
        initial.fits(kind, new, r, f"lora.add: {key or 'the layer'}")
        options = {"alpha": by_pattern(alpha_pattern, net, key, alpha), "rslora": rslora, "dropout": dropout}
        if not 0.0 < options["alpha"] < math.inf:
            raise ValueError(f"lora.add: alpha is a positive number, not {options['alpha']!r}.")
        made[key] = (new, *adapter(kind, new, r, init, dtype, rng, **options))
    return installed(net, made, known, name, whole, sample)


def installed(
    net: Any, made: Mapping[str, Any], known: Mapping[int, Adapted], name: str, whole: Any, sample: Any,
    biases: str = "none",
) -> Any:  # fmt: skip
    """The network with adapters in place, in use, and all else frozen but what is named and `biases` (see `freeze`)."""
    before = dict(layers(net))
    for layer, new, _ in made.values():
        layer.adapters = {**layer.adapters, name: new}
    net = replace(net, {key: known[id(module)] for key, module in before.items() if id(module) in known})
    if sample is not None:
        try:
            found = initial.from_inputs(net, {k: (layer, name) for k, (layer, _, _) in made.items()}, sample)
        except BaseException:
            remove(net, name)
            raise
        for key, (_, new, _) in made.items():
            new.lora_A = xp.asarray(new.lora_A, found[key], new.lora_A.dtype)
    for layer, _, left in made.values():
        if left is not None:
            layer.base_layer.weight = left
    freeze(net, whole, biases)
    return use(net, name)


def adapter(
    kind: type, layer: Adapted, rank: int, init: str, dtype: Any, rng: np.random.Generator, **options: Any
) -> tuple[Any, Any]:
    """(an adapter of a layer, what is left of the base weight or None)."""
    like = next((x for _, x in layer.base_layer.named_arrays()), None)
    W = stored(layer.base_layer)
    wide = width(W)  # in which it is drawn, whatever its own dtype
    A, B = initial.drawn("zeros" if init in (*initial.RESIDUAL, "eva") else init, layer, rank, wide, rng)
    extra: dict[str, Any] = {}
    if kind is AdaLoRA:
        shapes = initial.shapes(layer, rank)
        A, B = (begin.normal(s, 0.02, rng, wide) for s in shapes)
        extra["values"] = xp.asarray(like, begin.zeros((rank, 1), wide), wide)
    left = None
    A, B = (xp.asarray(like, x, wide) for x in (A, B))
    if init in initial.RESIDUAL:
        scale = LoRA(A, B, options["alpha"], rslora=options["rslora"]).scale
        A, B, left = initial.split(init, cast(layer.matrix(W), A), rank, scale)
        left = cast(layer.shaped(left, tuple(W.shape)), W)
        A, B = (xp.copy(x) for x in (A, B))
    if kind is DoRA:
        extra["magnitude"] = magnitude(layer, LoRA(A, B, options["alpha"], rslora=options["rslora"]), left)
    new = kind(A, B, init=init, rng=rng, **options, **extra)
    return new if dtype in (None, wide) else new.to(dtype=dtype), left


def stored(base: Any) -> Any:
    """The weight of a layer, packed where it is quantized: it is not to be unpacked to tell of its dtype."""
    packed = base.__dict__.get("packed")
    return base.weight if packed is None else packed


def width(W: Any) -> str:
    """The dtype that adapters of a weight have: its own, float32 beside one of 16 bits or less.

    >>> import numpy as np
    >>> width(np.ones(2, "float16")), width(np.ones(2))
    ('float32', 'float64')
    """
    return "float64" if is_array(W) and str(W.dtype).rpartition(".")[2] == "float64" else "float32"


def magnitude(layer: Adapted, start: LoRA, left: Any = None) -> Array:
    """‖W + s B A‖ of every row at the start, in the shape that PEFT gives it."""
    matrix = cast(layer.matrix(layer.base_layer.weight if left is None else left), start.lora_A)
    norm = DoRA(start.lora_A, start.lora_B, start.alpha, rslora=start.rslora, magnitude=None).norm(matrix)
    extra = len(start.lora_A.shape) - 2
    return xp.reshape(norm, (1, -1) + (1,) * extra) if extra else norm


def _check(net: Module, key: str, layer: Adapted, rank: int, name: str, init: str) -> None:
    """Raise where a layer cannot have such an adapter."""
    if name in layer.adapters:
        raise ValueError(
            f"lora.add: {key or 'the layer'} has an adapter {name!r} already: give another name, or remove it."
        )
    if layer.merged:
        raise ValueError("lora.add: adapters are merged into the weights: lora.unmerge first.")
    if type(rank) is not int or rank < 1:
        raise ValueError(f"lora.add: a rank is a positive integer, not {rank!r} (for {key or type(net).__name__}).")
    first, second = initial.shapes(layer, rank)
    most = min(int(np.prod(first[1:])), second[0])
    if rank > most:
        raise ValueError(
            f"lora.add: rank {rank} is above {most}, the rank that the weight of {key or 'the layer'} "
            f"{tuple(layer.base_layer.weight.shape)} can have: give it less by rank_pattern."
        )
    initial.check(init, layer, key, rank)
    if init in initial.RESIDUAL:
        stands_alone(net, key, layer, f"lora.add: init={init!r}")


def stands_alone(net: Module, key: str, layer: Adapted, what: str) -> None:
    """Raise ValueError where the weight of a layer cannot be changed, or not without changing something else too."""
    if not is_array(layer.base_layer.__dict__.get("weight")):
        raise ValueError(
            f"{what} leaves another base weight, and that of {key} is quantized or reparametrized: add the adapters "
            "to the plain network, then aj.quantize it."
        )
    if layer.adapters:
        raise ValueError(f"{what} changes the weight of {key}, beside which another adapter stands: remove that first.")
    if any(n.startswith(f"{key}.") for n in tied(net)):
        raise ValueError(f"{what} changes the weight of {key}, which is tied to another: leave it out.")


def _whole(net: Module, also: list[Target], found: Mapping[str, Any]) -> list[str]:
    """The names of the modules that learn whole."""
    result: list[str] = []
    for target in also:
        meant = [n for n, m in layers(net) if n and matches(target, n, m, net)]
        if not meant:
            raise ValueError(f"lora.add: also names {target!r}, which matches no module of {type(net).__name__}.")
        if twice := [n for n in meant for f in found if f == n or f.startswith(f"{n}.")]:
            raise ValueError(f"lora.add: {twice[0]} is to learn whole and by an adapter: name it once.")
        result += meant
    return result


def freeze(net: Module, whole: Iterable[str] = (), biases: str = "none") -> None:
    """Exclude all arrays from gradients but those of adapters and of the modules named.

    `biases` go on learning where they are "all", or "lora_only": those of adapted layers.

    >>> import adjoint as aj
    >>> net = aj.nn.MLP((2, 3, 1))
    >>> freeze(net, ["2"])
    >>> sorted(net[0]._frozen), sorted(net[2]._frozen)
    (['bias', 'weight'], [])
    """
    kept = tuple(whole)
    held = tuple(f"{name}." for name in kept)
    left = {id(m) for n, m in layers(net) if n in kept or n.startswith(held)}
    if len(names(net)) > 1:  # what was left to learn beside the first adapter goes on
        left |= {id(m) for _, m in layers(net) if not m._frozen}
    for _, module in layers(net):
        if isinstance(module, Adapted):
            for _, inner in module.base_layer.named_modules():
                _freeze_arrays(inner, biases != "none")
        elif id(module) not in left:
            _freeze_arrays(module, biases == "all")


def _freeze_arrays(module: Module, but_bias: bool) -> None:
    bare = [n for n in module.form().names if _bare(module.__dict__[n]) and n not in module._buffers]
    bare = [n for n in bare if not (but_bias and "bias" in n)]
    if bare:
        module.freeze(*bare)


def _bare(value: Any) -> bool:
    """Whether an attribute holds arrays and no modules."""
    if isinstance(value, Module):
        return False
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return all(_bare(part) for part in parts)
