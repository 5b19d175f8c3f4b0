"""Pooling layers with PyTorch's names and arguments: they have no parameters."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.pooling_windows import Ints
from adjoint.nn.module import Module


class _MaxPool(Module):
    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices


class MaxPool1d(_MaxPool):
    """The largest entry of every window: (…, channels, length); with return_indices (values, positions).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.MaxPool1d(3, stride=2)(np.arange(7.0).reshape(1, 7)).tolist()
    [[2.0, 4.0, 6.0]]
    """

    def __call__(self, x: Array) -> Any:
        """x pooled."""
        return xp.max_pool1d(x, *self._options())


class MaxPool2d(_MaxPool):
    """The largest entry of every window: (…, channels, height, width); with return_indices (values, positions).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.MaxPool2d(2)(np.ones((5, 32, 28, 28), "float32")).shape
    (5, 32, 14, 14)
    """

    def __call__(self, x: Array) -> Any:
        """x pooled."""
        return xp.max_pool2d(x, *self._options())


class MaxPool3d(_MaxPool):
    """The largest entry of every window: (…, channels, depth, height, width); with return_indices (values, positions).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.MaxPool3d(2, ceil_mode=True)(np.ones((1, 3, 4, 5, 6))).shape
    (1, 3, 2, 3, 3)
    """

    def __call__(self, x: Array) -> Any:
        """x pooled."""
        return xp.max_pool3d(x, *self._options())


class _MaxUnpool(Module):
    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding


class MaxUnpool1d(_MaxUnpool):
    """Zeros with the entries at the positions that MaxPool1d gave.

    >>> import numpy as np, adjoint as aj
    >>> y, indices = aj.nn.MaxPool1d(2, return_indices=True)(np.array([[1.0, 3.0, 5.0, 2.0]]))
    >>> aj.nn.MaxUnpool1d(2)(y, indices).tolist()
    [[0.0, 3.0, 5.0, 0.0]]
    """

    def __call__(self, x: Array, indices: Array, output_size: Any = None) -> Array:
        """x at its places in an array of output_size, or of the smallest size that was pooled to x's."""
        return xp.max_unpool1d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Zeros with the entries at the positions that MaxPool2d gave.

    >>> import numpy as np, adjoint as aj
    >>> y, indices = aj.nn.MaxPool2d(2, return_indices=True)(np.ones((1, 3, 5, 5)))
    >>> aj.nn.MaxUnpool2d(2)(y, indices, output_size=(5, 5)).shape
    (1, 3, 5, 5)
    """

    def __call__(self, x: Array, indices: Array, output_size: Any = None) -> Array:
        """x at its places in an array of output_size, or of the smallest size that was pooled to x's."""
        return xp.max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """Zeros with the entries at the positions that MaxPool3d gave.

    >>> import numpy as np, adjoint as aj
    >>> y, indices = aj.nn.MaxPool3d(2, return_indices=True)(np.ones((1, 3, 4, 4, 4)))
    >>> aj.nn.MaxUnpool3d(2)(y, indices).shape
    (1, 3, 4, 4, 4)
    """

    def __call__(self, x: Array, indices: Array, output_size: Any = None) -> Array:
        """x at its places in an array of output_size, or of the smallest size that was pooled to x's."""
        return xp.max_unpool3d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class AvgPool1d(Module):
    """The mean of every window: (…, channels, length).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AvgPool1d(2, padding=1)(np.array([[2.0, 4.0]])).tolist()
    [[1.0, 2.0]]
    """

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AvgPool(Module):
    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def _options(self) -> tuple[Any, ...]:
        return (
            self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class AvgPool2d(_AvgPool):
    """The mean of every window: (…, channels, height, width).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AvgPool2d(3, stride=2, padding=1)(np.ones((1, 8, 7, 7))).shape
    (1, 8, 4, 4)
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.avg_pool2d(x, *self._options())


class AvgPool3d(_AvgPool):
    """The mean of every window: (…, channels, depth, height, width).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AvgPool3d(2)(np.ones((1, 8, 4, 4, 4))).shape
    (1, 8, 2, 2, 2)
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.avg_pool3d(x, *self._options())


class _AdaptiveMaxPool(Module):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.output_size = output_size
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest entry of each of output_size windows that cover the length.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AdaptiveMaxPool1d(2)(np.arange(5.0).reshape(1, 5)).tolist()
    [[2.0, 4.0]]
    """

    def __call__(self, x: Array) -> Any:
        """x pooled."""
        return xp.adaptive_max_pool1d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest entry of each window, so many as output_size says; None keeps an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AdaptiveMaxPool2d((None, 3))(np.ones((1, 8, 7, 7))).shape
    (1, 8, 7, 3)
    """

    def __call__(self, x: Array) -> Any:
        """x pooled."""
        return xp.adaptive_max_pool2d(x, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest entry of each window, so many as output_size says; None keeps an axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AdaptiveMaxPool3d(2)(np.ones((1, 8, 3, 4, 5))).shape
    (1, 8, 2, 2, 2)
    """

    def __call__(self, x: Array) -> Any:
        """x pooled."""
        return xp.adaptive_max_pool3d(x, self.output_size, self.return_indices)


class _AdaptiveAvgPool(Module):
    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of output_size windows that cover the length; output_size 1 is global pooling.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AdaptiveAvgPool1d(1)(np.arange(5.0).reshape(1, 5)).tolist()
    [[2.0]]
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each window, so many as output_size says; None keeps an axis, 1 is global pooling.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AdaptiveAvgPool2d(1)(np.ones((5, 8, 7, 7))).shape
    (5, 8, 1, 1)
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each window, so many as output_size says; None keeps an axis, 1 is global pooling.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.AdaptiveAvgPool3d((2, None, 1))(np.ones((5, 8, 3, 4, 5))).shape
    (5, 8, 2, 4, 1)
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.adaptive_avg_pool3d(x, self.output_size)


class _LPPool(Module):
    def __init__(
        self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
    ) -> None:
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode


class LPPool1d(_LPPool):
    """(Σ xᵖ)^(1/p) of every window, p = norm_type: (…, channels, length).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LPPool1d(2.0, 2)(np.array([[3.0, 4.0]])).tolist()
    [[5.0]]
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.lp_pool1d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPool):
    """(Σ xᵖ)^(1/p) of every window, p = norm_type: (…, channels, height, width).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LPPool2d(2.0, 2)(np.ones((1, 2, 2))).tolist()
    [[[2.0]]]
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.lp_pool2d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPool):
    """(Σ xᵖ)^(1/p) of every window, p = norm_type: (…, channels, depth, height, width).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LPPool3d(1.0, 2)(np.ones((1, 2, 2, 2))).tolist()
    [[[[8.0]]]]
    """

    def __call__(self, x: Array) -> Array:
        """x pooled."""
        return xp.lp_pool3d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)
