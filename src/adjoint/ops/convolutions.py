"""Convolutions: linear in the input and in the weight, each adjoint a convolution again; columns."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.convolution_windows import fitting, fitting_transposed
from adjoint.arrays.convolutions import folded, kernel_of
from adjoint.maps.base import LinearMap
from adjoint.maps.columns import Unfold
from adjoint.maps.combinations import Composition
from adjoint.maps.convolution import Convolution, ConvolutionTranspose
from adjoint.maps.convolution_weighting import ConvolutionWeighting, TransposedWeighting
from adjoint.maps.layout import Broadcast, Reshape
from adjoint.ops.define import coarse, operation
from adjoint.ops.layout import shape_of


def of_bias(bias: Any, z: Any, ndim: int) -> LinearMap | None:
    """The bias (O,) repeated over the batch and the positions of z (N, O, *positions)."""
    if bias is None:
        return None
    (n,), big = shape_of(bias), shape_of(z)
    small = (n, *(1,) * ndim)
    return Composition([Broadcast(small, big), Reshape((n,), small)])


@coarse(xp.convolution)
def convolution(
    x: Any, weight: Any, bias: Any = None, stride: Any = (1,), padding: Any = ((0, 0),), dilation: Any = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    """The convolution in x; in the weight, x held."""
    w = (stride, padding, dilation, groups)
    z = xp.convolution(x, weight, bias, *w)
    in_x = Convolution(weight, shape_of(x)[1:], *w)
    return z, (in_x, ConvolutionWeighting(x, shape_of(weight), *w), of_bias(bias, z, len(stride)))


@coarse(xp.convolution_input)
def convolution_input(
    u: Any, weight: Any, bias: Any = None, stride: Any = (1,), padding: Any = ((0, 0),), dilation: Any = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    """The transposed convolution in u; in the weight, u held."""
    w = (stride, padding, dilation, groups)
    z = xp.convolution_input(u, weight, bias, *w)
    in_u = ConvolutionTranspose(Convolution(weight, shape_of(z)[1:], *w))
    in_weight = TransposedWeighting(u, shape_of(weight), shape_of(z)[2:], *w)
    return z, (in_u, in_weight, of_bias(bias, z, len(stride)))


@coarse(xp.convolution_weight)
def convolution_weight(
    x: Any, u: Any, stride: Any = (1,), padding: Any = ((0, 0),), dilation: Any = (1,), groups: int = 1
) -> Any:
    """The adjoints of the other two: in x the one that holds u, in u the one that holds x."""
    w = (stride, padding, dilation, groups)
    z = xp.convolution_weight(x, u, *w)
    in_x = TransposedWeighting(u, shape_of(z), shape_of(x)[2:], *w)
    return z, (in_x.T, ConvolutionWeighting(x, shape_of(z), *w).T)


# PyTorch's names, of a batch or of a single example


def single(x: Any, many: bool) -> Any:
    """x with a batch axis."""
    return x if many else xp.expand_dims(x, 0)


def without_batch(map: LinearMap, many: bool) -> LinearMap:
    """The map to a batch of one as one to the example itself."""
    return map if many else Composition([Reshape(map.out_shape, map.out_shape[1:]), map])


def named(function: Any, ndim: int) -> None:
    """conv1d, conv2d or conv3d as an operation."""

    @coarse(function)
    def trace(
        x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        z = function(x, weight, bias, stride, padding, dilation, groups)
        many, w = fitting(function.__name__, ndim, x, weight, bias, stride, padding, dilation, groups)
        in_x = Convolution(weight, shape_of(x)[-ndim - 1 :], *w, groups)
        in_weight = ConvolutionWeighting(single(x, many), shape_of(weight), *w, groups)
        return z, (in_x, without_batch(in_weight, many), of_bias(bias, z, ndim))


def named_transposed(function: Any, ndim: int) -> None:
    """conv_transpose1d, conv_transpose2d or conv_transpose3d as an operation."""

    @coarse(function)
    def trace(
        x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Any:  # fmt: skip
        z = function(x, weight, bias, stride, padding, output_padding, groups, dilation)
        options = (stride, padding, output_padding, dilation)
        many, w = fitting_transposed(function.__name__, ndim, x, weight, bias, *options, groups)
        in_x = ConvolutionTranspose(Convolution(weight, shape_of(z)[-ndim - 1 :], *w, groups))
        in_weight = TransposedWeighting(single(x, many), shape_of(weight), shape_of(z)[-ndim:], *w, groups)
        return z, (in_x, without_batch(in_weight, many), of_bias(bias, z, ndim))


for n, forth, back in (
    (1, xp.conv1d, xp.conv_transpose1d), (2, xp.conv2d, xp.conv_transpose2d), (3, xp.conv3d, xp.conv_transpose3d),
):  # fmt: skip
    named(forth, n)
    named_transposed(back, n)


# Columns


def _unfold(z: Any, x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> LinearMap:
    kernel = kernel_of("unfold", kernel_size)
    return Unfold(shape_of(x)[-len(kernel) - 1 :], kernel, dilation, padding, stride)


def _fold(
    z: Any, u: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> LinearMap:
    kernel, _, (stride, padding, dilation), _ = folded(
        "fold", shape_of(u), output_size, kernel_size, dilation, padding, stride
    )
    return Unfold(shape_of(z)[-len(kernel) - 1 :], kernel, dilation, padding, stride).T


unfold = operation(xp.unfold, _unfold)
fold = operation(xp.fold, _fold)
