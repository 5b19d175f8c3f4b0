"""What the layers of a network are given on a sample: the second moments of their inputs, and their shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.inspection.watching import watch
from adjoint.lora.layers import _with
from adjoint.maps.flat import to_numpy
from adjoint.nn.convolution import Conv
from adjoint.nn.layers import Sequential
from adjoint.nn.module import Module

RIDGE = 1e-6  # of the mean square of an input, added to each, so that directions not in the sample count, too


@dataclass
class Inputs:
    """Of one layer: `moments` XᵀX/N of its N input rows (a convolution's are its windows), the `shape` of one call."""

    moments: Any
    count: int
    shape: tuple[int, ...]

    def root(self) -> np.ndarray:
        """The Cholesky factor L of XᵀX/N + λI (n, n), λ a millionth of the mean square; ‖E L‖ is what E does."""
        C = self.moments / self.count
        scale = float(np.trace(C)) / len(C) or 1.0
        return np.linalg.cholesky(C + RIDGE * scale * np.eye(len(C)))


def gathered(net: Module, sample: Any, names: Mapping[str, Any]) -> dict[str, Inputs]:
    """The inputs of layers by name, summed over all of their calls on a sample, in evaluation mode.

    `sample` is what the network is called with: an array, a tuple of arguments, or a function of the network. Raises
    ValueError for a layer that is not called on it, or with numbers that are not finite.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((3, 2), rng=0)
    >>> gathered(net, np.ones((4, 3), "float32"), {"0": net[0]})["0"].moments.tolist()
    [[4.0, 4.0, 4.0], [4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]
    """
    found: dict[str, Inputs] = {}

    alone = "" in names  # the network is itself the layer, which is watched inside of another

    def around(name: str, module: Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        name = "" if alone else name
        if name in names:
            X = rows(module, args[0])
            known = found.setdefault(name, Inputs(0.0, 0, tuple(args[0].shape)))
            known.moments, known.count = known.moments + X.T @ X, known.count + len(X)
        return call(*args)

    seen = watch(Sequential(net) if alone else net, around)
    if callable(sample):
        sample(seen)
    else:
        seen(*(sample if isinstance(sample, tuple) else (sample,)))
    for name in names:
        if name not in found:
            raise ValueError(f"factorize: {name} is not called on the sample: leave it out of the targets.")
        if not np.isfinite(found[name].moments).all():
            raise ValueError(f"factorize: on the sample, {name} is given numbers that are not finite.")
    return found


def rows(layer: Any, x: Any) -> np.ndarray:
    """The inputs of a linear layer (N, in), or the windows of a convolution (N, in · kernel), in float64.

    >>> import numpy as np, adjoint as aj
    >>> rows(aj.nn.Conv1d(1, 5, 2), np.arange(4.0).reshape(1, 1, 4)).tolist()
    [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    if isinstance(layer, Conv):
        n = int(np.prod(layer.weight.shape[1:]))
        picks = xp.asarray(x, np.eye(n).reshape(n, *layer.weight.shape[1:]), x.dtype)
        windows = np.moveaxis(to_numpy(_with(layer, picks)(x)), -1 - layer.ndim, -1)
        return windows.reshape(-1, n).astype(np.float64)
    return np.asarray(to_numpy(x), np.float64).reshape(-1, x.shape[-1])
