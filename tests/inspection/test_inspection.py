"""Layers and depths in numbers, against NumPy's SVD, closed forms and PyTorch's Jacobians."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import adjoint as aj
from adjoint.cli.facts import plain
from adjoint.inspection import gradient_flow, inspect
from adjoint.inspection.table import table

nn = aj.nn
EPS = float(np.finfo(np.float32).eps)


def inputs(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def low_rank(m: int, n: int, r: int, seed: int) -> nn.Linear:
    """A linear layer of known rank, in integers so that products are exact."""
    rng = np.random.default_rng(seed)
    layer = nn.Linear(n, m, rng=seed)
    layer.weight = (rng.integers(-2, 3, (m, r)) @ rng.integers(-2, 3, (r, n))).astype(np.float32)
    return layer


@pytest.mark.covers("M03", "M04")
@given(m=st.integers(1, 9), n=st.integers(1, 9), r=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_linear_layer_is_its_weight(m: int, n: int, r: int, seed: int) -> None:
    layer, x = low_rank(m, n, min(m, n, r), seed), inputs(6, n, seed=seed)
    W = layer.weight.astype(np.float64)
    (found,) = inspect(nn.Sequential(layer), x).layers
    _, s, vh = np.linalg.svd(W)
    rank = np.linalg.matrix_rank(W, tol=found.tolerance)
    assert (found.rank, found.nullity, found.affine) == (rank, n - rank, True)
    assert rank == np.linalg.matrix_rank(W)
    assert (found.in_shape, found.out_shape, found.parameters) == ((n,), (m,), m * n + m)
    np.testing.assert_allclose(found.svdvals, s, atol=1e-12 * (1 + s[0]))
    np.testing.assert_allclose(found.norm, s[0], rtol=1e-12)
    hidden = np.mean(np.sum((x @ vh[rank:].T) ** 2, 1) / np.sum(x.astype(np.float64) ** 2, 1))
    np.testing.assert_allclose(found.hidden, hidden, atol=8 * EPS)
    assert found.cond == (pytest.approx(s[0] / s[-1]) if rank == min(m, n) else np.inf)


def test_a_layer_that_is_not_linear_is_told_by_medians() -> None:
    x = inputs(5, 4)
    (found,) = inspect(nn.Sequential(nn.Tanh()), x).layers
    slopes = -np.sort(-(1 - np.tanh(x.astype(np.float64)) ** 2), axis=1)
    assert not found.affine
    assert (found.rank, found.nullity, found.hidden, found.parameters) == (4, 0, 0.0, 0)
    np.testing.assert_allclose(found.svdvals, np.median(slopes, axis=0), rtol=32 * EPS)
    np.testing.assert_allclose(found.norm, np.median(slopes[:, 0]), rtol=32 * EPS)
    np.testing.assert_allclose(found.cond, np.median(slopes[:, 0] / slopes[:, -1]), rtol=64 * EPS)


def test_relu_hides_what_is_negative() -> None:
    x = np.array([[3.0, -4.0], [1.0, 2.0], [-1.0, -1.0], [0.0, 5.0]], np.float32)
    (found,) = inspect(nn.Sequential(nn.ReLU()), x).layers
    # shares 16/25, 0, 1, 0; where x = 0 the slope is 0 too
    np.testing.assert_allclose(found.hidden, (16 / 25 + 0 + 1 + 0) / 4, rtol=8 * EPS)
    assert (found.rank, found.nullity) == (1, 1)


def test_points_limit_what_is_opened_and_zero_inputs_hide_nothing() -> None:
    x = np.array([[0.0, 0.0], [3.0, -4.0], [5.0, 5.0]], np.float32)
    (found,) = inspect(nn.Sequential(nn.ReLU()), x, points=2).layers
    np.testing.assert_allclose(found.hidden, 16 / 25, rtol=8 * EPS)


def test_layer_norm_loses_the_mean() -> None:
    x = inputs(8, 6).astype(np.float64)
    (found,) = inspect(nn.Sequential(nn.LayerNorm(6, dtype="float64")), x).layers
    assert (found.rank, found.nullity, found.cond) == (5, 1, np.inf)
    share = 6 * x.mean(1) ** 2 / np.sum(x**2, 1)
    np.testing.assert_allclose(found.hidden, share.mean(), rtol=1e-9)
    # in float32 the direction of x, which ε keeps from being lost too, is hard to tell from the kernel
    (rounded,) = inspect(nn.Sequential(nn.LayerNorm(6)), x.astype(np.float32)).layers
    assert (rounded.rank, rounded.nullity) == (5, 1)
    np.testing.assert_allclose(rounded.hidden, share.mean(), atol=8 * EPS / 1e-5)


def test_a_block_is_identity_plus_branch_and_counts_its_parameters() -> None:
    net = nn.Sequential(nn.Residual(nn.Linear(3, 3, rng=0)))
    block, branch = inspect(net, inputs(4, 3)).layers
    assert (block.map, branch.map, block.level, branch.level) == ("[I + Dense]", "Dense", 0, 1)
    W = np.eye(3) + net[0].inner.weight.astype(np.float64)
    np.testing.assert_allclose(block.svdvals, np.linalg.svd(W, compute_uv=False), rtol=32 * EPS)
    assert block.parameters == branch.parameters == 12
    assert block.affine


@pytest.mark.covers("M06")
def test_a_chain_of_linear_layers_is_one_matrix_from_every_depth() -> None:
    net = nn.Sequential(*(nn.Linear(n, m, rng=n) for n, m in ((5, 4), (4, 6), (6, 3))))
    found = inspect(net, inputs(3, 5))
    J, expected = np.eye(3), []
    for layer in reversed(net.layers):
        expected.append(J)
        J = J @ layer.weight.astype(np.float64)
    expected = [J, *reversed(expected)]
    assert [(depth.name, depth.size) for depth in found.depths] == [("", 5), ("0", 4), ("1", 6), ("2", 3)]
    for depth, matrix in zip(found.depths, expected, strict=True):
        np.testing.assert_allclose(depth.norm, np.linalg.norm(matrix, 2), rtol=32 * EPS)
        np.testing.assert_allclose(depth.gain, np.sum(matrix**2) / matrix.shape[1], rtol=32 * EPS)
        assert depth.low == depth.high == depth.norm
    assert found.network is not None
    np.testing.assert_allclose(found.network.svdvals, np.linalg.svd(J, compute_uv=False), rtol=64 * EPS)


def test_flow_equals_pytorchs_jacobians() -> None:
    net, x = nn.MLP((5, 7, 6, 3), activation=nn.Tanh, rng=0, dtype="float64"), inputs(4, 5).astype(np.float64)
    peer = torch.nn.Sequential(
        *(
            module
            for i in (0, 2, 4)
            for module in (torch.nn.Linear(*net[i].weight.shape[::-1]).double(), torch.nn.Tanh())
        )
    )[:-1]
    peer.load_state_dict({name: torch.from_numpy(w) for name, w in net.state_dict().items()})
    norms: list[list[float]] = []
    gains: list[list[float]] = []
    for row in torch.from_numpy(x):
        depths = [row]
        for module in peer:
            depths.append(module(depths[-1]))
        jacobians: list[Any] = [torch.autograd.functional.jacobian(peer[k:], h) for k, h in enumerate(depths)]
        norms.append([float(torch.linalg.matrix_norm(J, 2)) for J in jacobians])
        gains.append([float(torch.sum(J**2) / J.shape[1]) for J in jacobians])
    found = gradient_flow(net, x)
    np.testing.assert_allclose([depth.norm for depth in found], np.median(norms, axis=0), rtol=1e-12)
    np.testing.assert_allclose([depth.low for depth in found], np.min(norms, axis=0), rtol=1e-12)
    np.testing.assert_allclose([depth.high for depth in found], np.max(norms, axis=0), rtol=1e-12)
    np.testing.assert_allclose([depth.gain for depth in found], np.mean(gains, axis=0), rtol=1e-12)


def test_gain_is_the_mean_growth_of_random_directions() -> None:
    net, x = nn.MLP((40, 30, 20), rng=0), inputs(1, 40)
    J = aj.jacobian(net, x[0])
    v = np.random.default_rng(0).standard_normal((4000, 40))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    grown = np.sum(np.asarray(J(v.astype(np.float32))) ** 2, axis=1)
    spread = grown.std() / np.sqrt(len(grown))
    assert abs(gradient_flow(net, x)[0].gain - grown.mean()) < 5 * spread


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_say_the_same(backend: str) -> None:
    net = aj.to(
        nn.Sequential(nn.Linear(4, 3, rng=0), nn.Residual(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3, rng=1)))),
        dtype="float64",
    )
    x = inputs(3, 4).astype(np.float64)
    here, there = inspect(net, x), inspect(aj.to(net, backend), aj.to(x, backend))
    for a, b in zip((*here.layers, here.network), (*there.layers, there.network), strict=True):
        assert a is not None
        assert b is not None
        assert (a.name, a.rank, a.nullity, a.parameters, a.affine) == (
            b.name,
            b.rank,
            b.nullity,
            b.parameters,
            b.affine,
        )
        np.testing.assert_allclose(a.svdvals, b.svdvals, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(a.hidden, b.hidden, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose([d.norm for d in here.depths], [d.norm for d in there.depths], rtol=1e-12)


def test_integer_inputs_have_no_jacobian_but_what_follows_has() -> None:
    net = nn.Sequential(nn.Embedding(9, 4, rng=0), nn.Linear(4, 2, rng=0))
    found = inspect(net, np.array([[1, 2, 3], [4, 5, 6]]))
    assert found.network is None
    assert [layer.kind for layer in found.layers] == ["Linear"]
    assert found.layers[0].in_shape == (3, 4)
    assert [depth.kind for depth in found.depths] == ["Linear"]


def test_one_example_is_no_batch() -> None:
    net = nn.MLP((4, 2), rng=0)
    with pytest.raises(
        aj.ShapeError, match=r"inspect: x is a batch.*has shape \(4,\); for a single example pass x\[None\]"
    ):
        inspect(net, inputs(4))
    with pytest.raises(aj.ShapeError, match=r"gradient_flow: x is a batch.*\(0, 4\)"):
        gradient_flow(net, inputs(0, 4))
    assert not inspect(net, inputs(1, 4)).layers[0].affine  # one point tells nothing about others


def test_nan_is_refused() -> None:
    with pytest.raises(aj.SpectrumError, match="NaN"):
        inspect(nn.Sequential(nn.Tanh()), np.full((2, 3), np.nan, np.float32))


def test_the_table_fits_eighty_columns() -> None:
    net = nn.Sequential(nn.Linear(64, 16, rng=0), nn.Residual(nn.Sequential(nn.LayerNorm(16), nn.GELU())))
    found = inspect(net, inputs(4, 64))
    console = Console(file=io.StringIO(), width=80)
    console.print(table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    assert [line.split()[:2] for line in lines[1:3]] == [["0", "Linear"], ["1", "Residual"]]
    assert lines[3].startswith("  0 LayerNorm")
    assert lines[0] in [line.rstrip() for line in str(found).splitlines()]


def test_an_inspection_is_plain_data() -> None:
    found = inspect(nn.Sequential(nn.LayerNorm(4)), inputs(3, 4))
    told = json.loads(json.dumps(plain({"layers": found.layers}), allow_nan=False))
    assert told["layers"][0]["cond"] is None
    assert told["layers"][0]["svdvals"] == list(found.layers[0].svdvals)
