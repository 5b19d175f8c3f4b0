"""Counts against closed forms and PyTorch's FlopCounterMode."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import adjoint as aj
from adjoint.arrays.dispatch import FUNCTIONS
from adjoint.arrays.shapes import ShapeArray, count
from adjoint.costs import Pass, cost

nn = aj.nn
sizes = st.lists(st.integers(1, 9), min_size=2, max_size=5)


@pytest.mark.covers("F09")
@given(sizes=sizes, batch=st.integers(1, 7), inputs=st.booleans())
def test_products_of_an_mlp_are_its_closed_form(sizes: list[int], batch: int, inputs: bool) -> None:
    found = cost(nn.MLP(sizes), (batch, sizes[0]), inputs=inputs)
    products = [2 * batch * n * m for n, m in itertools.pairwise(sizes)]
    assert found.forward.matmul_flops == sum(products)
    assert found.backward.matmul_flops == 2 * sum(products) - (0 if inputs else products[0])
    assert found.parameters == sum(n * m + m for n, m in itertools.pairwise(sizes))
    linear = [layer for layer in found.layers if layer.kind == "Linear"]
    assert [layer.forward.matmul_flops for layer in linear] == products
    assert sum(layer.backward.matmul_flops for layer in linear) == found.backward.matmul_flops


@pytest.mark.covers("E01", "F09")
def test_pytorch_counts_the_same_products() -> None:
    torch.manual_seed(0)
    peer = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 3))
    x = torch.randn(256, 512)
    with FlopCounterMode(display=False) as forward:
        y = peer(x)
    with FlopCounterMode(display=False) as backward:
        y.sum().backward()
    found = cost(nn.Sequential(nn.Linear(512, 1024), nn.GELU(), nn.Linear(1024, 3)), (256, 512))
    assert found.forward.matmul_flops == forward.get_total_flops()
    assert found.backward.matmul_flops == backward.get_total_flops()
    assert found.layers[0].forward.matmul_flops == 2 * 134_217_728


def test_a_linear_layer_moves_its_operands_once() -> None:
    found = cost(nn.Linear(3, 2), np.zeros((5, 3), np.float32))
    assert found.forward == Pass(flops=2 * 5 * 3 * 2 + 5 * 2, matmul_flops=60, bytes=4 * (15 + 6 + 2 + 10))
    assert found.inference_bytes == 4 * 10
    # the output, its cotangent and both gradients, with the loss; the input is the caller's
    assert 4 * (6 + 2) <= found.training_bytes <= 4 * (10 + 10 + 6 + 2 + 6 + 1)


def test_nothing_is_computed_and_only_shapes_are_read() -> None:
    net = nn.MLP((4, 3))
    net[0].weight[:] = np.nan
    by_array = cost(net, np.full((2, 4), np.nan, np.float32))
    assert by_array == cost(net, (2, 4)) == cost(net, ShapeArray((2, 4), "float32"))
    wide = cost(aj.to(net, dtype="float64"), ShapeArray((2, 4), "float64"))
    assert wide.forward.bytes == 2 * by_array.forward.bytes
    assert wide.forward.flops == by_array.forward.flops


def test_cost_grows_with_the_batch_but_not_the_parameters() -> None:
    net = nn.MLP((8, 16, 4))
    one, many = cost(net, (1, 8)), cost(net, (64, 8))
    assert many.parameters == one.parameters == 8 * 16 + 16 + 16 * 4 + 4
    assert many.forward.flops == 64 * one.forward.flops
    assert cost(net, (0, 8)).forward == Pass(0, 0, 4 * one.parameters)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_cost_the_same(backend: str) -> None:
    net = nn.MLP((4, 8, 2), rng=0)
    assert cost(aj.to(net, backend), (3, 4)) == cost(net, (3, 4))


def test_frozen_parts_need_no_gradient_of_their_own() -> None:
    net = nn.MLP((4, 8, 2))
    net[2].freeze()
    full, part = cost(nn.MLP((4, 8, 2)), (3, 4)), cost(net, (3, 4))
    assert part.forward == full.forward
    assert full.backward.matmul_flops - part.backward.matmul_flops == 2 * 3 * 8 * 2
    assert part.layers[2].backward.matmul_flops == 2 * 3 * 8 * 2
    net.freeze()
    assert cost(net, (3, 4)).backward == Pass(0, 0, 0)


def test_tied_weights_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(4, 4, bias=False)
            self.b = nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight

        def __call__(self, x: Any) -> Any:
            return self.b(self.a(x))

    found = cost(Tied(), (1, 4))
    assert found.parameters == 16
    assert found.forward.matmul_flops == 2 * 32


def test_layers_inside_a_block_are_listed_under_it() -> None:
    net = nn.Sequential(nn.Residual(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4))))
    found = cost(net, (2, 4))
    assert [(layer.name, layer.level) for layer in found.layers] == [("0", 0), ("0.inner.0", 1), ("0.inner.1", 1)]
    block, norm, linear = found.layers
    assert block.forward.flops == norm.forward.flops + linear.forward.flops + 2 * 4
    # the input of the network is that of the block and of its first layer: no gradient of it is asked for
    assert block.backward.matmul_flops == linear.backward.matmul_flops == 2 * linear.forward.matmul_flops


def test_the_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(aj.ShapeError, match=r"linear"):
        cost(nn.MLP((4, 2)), (3, 5))


def test_a_layer_with_several_results() -> None:
    """The products of an LSTM: 4·h·(i + h) multiply-adds a step and example, those of the gradient beside them."""
    steps, n, i, h = 5, 2, 4, 3
    found = aj.cost(aj.nn.LSTM(i, h, rng=0), (steps, n, i))
    assert found.forward.matmul_flops == 2 * steps * n * 4 * h * (i + h)
    assert found.backward.matmul_flops == 2 * steps * n * 4 * h * (i + 2 * h)
    assert found.training_bytes > found.inference_bytes


def test_slopes_computed_beside_the_values_count_as_backward() -> None:
    """The gradient of GELU is its slope, counted by itself, times a cotangent, whenever the slope is computed."""
    x = ShapeArray((3, 4))
    with count() as slope:
        FUNCTIONS["gelu_slope"](x)
    found = aj.cost(aj.nn.GELU(), (3, 4), inputs=True)
    assert found.backward.flops == slope.flops + 12
    assert found.backward.bytes > 0
