"""What the ranks of a plan follow: the gradients' singular values on a sample, or the effective ranks of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.inspection.watching import evaluated
from adjoint.lora.initial import shapes
from adjoint.lora.layers import Adapted, layers
from adjoint.maps.flat import to_numpy
from adjoint.maps.spectra.gram import by_gram
from adjoint.maps.spectra.spectrum import Spectrum
from adjoint.nn.module import Module
from adjoint.ops.losses import cross_entropy
from adjoint.transforms import grad


def matrix(layer: Adapted) -> tuple[int, int]:
    """(rows, columns) of a weight as an adapter sees it.

    >>> import adjoint as aj
    >>> matrix(aj.lora.add(aj.nn.Conv1d(3, 8, 5), 2))
    (8, 15)
    """
    first, second = shapes(layer, 1)
    return second[0], int(np.prod(first[1:]))


def most(size: tuple[int, int]) -> int:
    """The largest rank at which an adapter is no larger than its weight, 1 at least.

    >>> most((12, 48)), most((1, 5))
    (9, 1)
    """
    m, n = size
    return max(1, m * n // (m + n))


def effective(name: str, layer: Adapted) -> float:
    """The effective rank of a weight. Raises ValueError for numbers that are not finite."""
    values, bound = _values(name, to_numpy(layer.matrix(layer.base_layer.weight)), "weight")
    return float(Spectrum(matrix(layer), 2.0**-23, values, bound, "gram").effective_rank())


def gradients(net: Module, wrapped: Mapping[str, Adapted], sample: Any, loss: Any) -> dict[str, np.ndarray]:
    """σ² of the gradient of each layer's weight, largest first. Raises ValueError where one does not exist."""
    if callable(sample):
        measure = sample
    else:
        (x, t), between = pair(sample), loss or _cross_entropy
        measure = lambda n: between(n(x), t)  # noqa: E731
    learning = evaluated(net)
    for _, module in layers(learning):  # the weights of the targets alone, whatever was frozen
        module.freeze()
    own = dict(layers(learning))
    for name in wrapped:
        if "weight" not in own[name].form().names:
            raise ValueError(f"lora.plan: the weight of {name} is packed and has no gradient: plan before quantizing.")
        _reach(learning, name)
        own[name].unfreeze("weight")
    grads = dict(layers(grad(measure)(learning)))
    result = {}
    for name, layer in wrapped.items():
        G = getattr(grads[name], "weight", None)
        if G is None:
            raise ValueError(f"lora.plan: the loss on the sample does not depend on {name}: leave it out.")
        result[name] = _values(name, to_numpy(layer.matrix(G)), "gradient")[0] ** 2
    if not any(squares.any() for squares in result.values()):
        raise ValueError("lora.plan: all gradients on the sample are zero: there is nothing to follow.")
    return result


def _reach(net: Module, name: str) -> None:
    """Let gradients pass through the modules above a name."""
    parts = name.split(".") if name else []
    own = dict(net.named_modules())
    for k in range(len(parts)):
        module, inner = own.get(".".join(parts[:k])), parts[k]
        if module is not None and inner in module.form().names:
            module.__dict__["_frozen"] = module._frozen - {inner}
            module.__dict__["_form"] = None


def pair(sample: Any) -> tuple[Array, Array]:
    """(x, t) of a sample that is no function. Raises ValueError for what is none.

    >>> pair(np.array([[3, 1, 2]]))
    (array([[3, 1]]), array([[1, 2]]))
    """
    if isinstance(sample, tuple) and len(sample) == 2:
        return sample
    if not isinstance(sample, (tuple, list)) and "int" in str(getattr(sample, "dtype", "")) and len(sample.shape) == 2:
        return sample[:, :-1], sample[:, 1:]
    raise ValueError(
        "lora.plan: a sample is a pair (x, t) of inputs and targets, tokens (n, T) of text, or a function of the "
        "network that gives the loss."
    )


def _cross_entropy(y: Array, t: Array) -> Any:
    return cross_entropy(xp.reshape(y, (-1, y.shape[-1])), xp.reshape(t, (-1,)))


def _values(name: str, matrix: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    wide = matrix.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError(f"lora.plan: the {what} of {name or 'the layer'} has numbers that are not finite.")
    return by_gram(wide)


def share(squares: np.ndarray, rank: int) -> float:
    """Of all σ² that of the first.

    >>> share(np.array([3.0, 1.0]), 1)
    0.75
    """
    whole = float(np.sum(squares))
    return float(np.sum(squares[:rank])) / whole if whole else 0.0
