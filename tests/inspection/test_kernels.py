"""Convolutions in the report: against the matrix that PyTorch's convolution of a wrapped or a padded input is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.inspection import kernels
from adjoint.inspection.row import Row
from adjoint.inspection.sliding import Sliding
from tests.maps.test_symbol import Case, matrix

nn = aj.nn
SIDES = {1: 6, 2: 4, 3: 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def row_of(model: Any, name: str = "weight") -> Row:
    return aj.inspect(model, cache=False, progress=False).row(name)


LAYERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "1-D": (nn.Conv1d, torch.nn.Conv1d, {"kernel_size": 3}),
    "2-D": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": 3}),
    "3-D": (nn.Conv3d, torch.nn.Conv3d, {"kernel_size": 2}),
    "stride 2": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": 3, "stride": 2}),
    "stride 3": (nn.Conv1d, torch.nn.Conv1d, {"kernel_size": 5, "stride": 3}),
    "one stride an axis": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": (2, 3), "stride": (1, 2)}),
    "groups": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": 3, "groups": 2}),
    "depthwise, stride 2": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": 3, "stride": 2, "groups": 4}),
    "dilation": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": (2, 3), "dilation": (3, 1)}),
    "1×1, stride 2": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": 1, "stride": 2}),
    "patches": (nn.Conv2d, torch.nn.Conv2d, {"kernel_size": 3, "stride": 3}),
    "transposed": (nn.ConvTranspose2d, torch.nn.ConvTranspose2d, {"kernel_size": 3, "stride": 2}),
    "transposed, groups": (nn.ConvTranspose1d, torch.nn.ConvTranspose1d, {"kernel_size": 4, "stride": 2, "groups": 2}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_figure_is_that_of_the_operator(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "SIDES", SIDES)
    ours, theirs, options = LAYERS[name]
    net = ours(4, 8, **options, dtype=dtype, rng=0)
    layer = theirs(4, 8, **options, dtype=getattr(torch, dtype))
    layer.load_state_dict({key: torch.from_numpy(x) for key, x in net.state_dict().items()})
    row = row_of(net)
    assert row_of(layer) == row
    groups = options.get("groups", 1)
    positions = tuple(n // s for n, s in zip(row.torus, net.stride, strict=True))
    A = matrix(layer.weight.detach().double(), Case(row.shape, net.stride, net.dilation, groups, positions))
    assert row.operator == (A.T.shape if "transposed" in name else A.shape)
    values = np.linalg.svd(A, compute_uv=False)
    values = values[: row.most]
    p, energy = values / np.sum(values), np.cumsum(values**2) / np.sum(values**2)
    assert row.rank == np.linalg.matrix_rank(A) == row.most
    assert row.lost == 0
    assert row.nullity == row.operator[1] - row.rank
    assert abs(row.sigma_max - values[0]) <= row.bound + 1e-14 * values[0]
    assert abs(row.sigma_min - values[-1]) <= row.bound_min + 1e-14 * values[0]
    assert row.bound < 1e-12 * values[0]
    assert row.cond == pytest.approx(values[0] / values[-1], rel=1e-6)
    assert row.stable_rank == pytest.approx(np.sum(values**2) / values[0] ** 2, rel=1e-9)
    assert row.entropy_rank == pytest.approx(math.exp(-np.sum(p * np.log(p))), rel=1e-6)
    assert row.k90 is not None
    assert row.k99 is not None
    for share, k in ((0.90, row.k90), (0.99, row.k99)):  # values of conjugate frequencies are equal but for rounding
        assert energy[k - 1] >= share - 1e-9
        assert k == 1 or energy[k - 2] < share + 1e-9
    for k, value in row.spectrum:
        assert value == pytest.approx(values[k - 1], rel=1e-5)
    assert row.spectrum[-1][0] == row.most
    reshaped = np.linalg.svd(net.weight.reshape(len(net.weight), -1).astype(float), compute_uv=False)
    assert row.reshaped_norm == pytest.approx(reshaped[0], rel=1e-6)
    assert row.method.startswith("symbol, ")
    assert "assumed" not in row.method


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [5, 8, 13])
def test_zeros_around_the_input_exceed_no_bound(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "SIDES", SIDES)
    _, theirs, options = LAYERS[name]
    layer = theirs(4, 8, **options, padding=1, bias=False, dtype=torch.float64)
    axes = layer.weight.ndim - 2
    sizes = [size // 2 if axes == 3 else size] * axes
    basis = torch.eye(4 * math.prod(sizes), dtype=torch.float64).reshape(-1, 4, *sizes)
    A = layer(basis).detach().reshape(len(basis), -1)
    row = row_of(layer)
    assert np.linalg.norm(A, 2) <= row.padded_norm * (1 + 1e-9)
    assert row.padded_norm <= 2.1 * row.sigma_max


def test_a_reshaped_kernel_is_no_operator() -> None:
    row = row_of({"conv.weight": np.ones((1, 1, 3, 3), np.float32)}, "conv.weight")
    assert [row.sigma_max, row.reshaped_norm] == pytest.approx([9.0, 3.0])
    assert row.padded_norm == pytest.approx(9.0)
    assert row.matrix == (1, 9)


def test_a_lost_channel_is_lost_at_every_position() -> None:
    net = nn.Conv2d(40, 40, 3, rng=0)
    net.weight[5] = net.weight[6]
    net.weight[9] = 0.0
    report = aj.inspect(net, cache=False)
    (row,) = report.rows
    assert row.lost == 2 * 1024
    assert (row.repeated_rows.first, row.zero_rows.first) == ((6,), (9,))
    assert row.cond == math.inf
    assert report.verdict[0].answer == "lost"
    assert report.findings[0].told.startswith("2,048 of 40,960 directions are lost")


def test_a_frequency_that_is_lost_is_found() -> None:
    kernel = np.einsum("oc,i,j->ocij", random(20, 20), [1.0, 1.0], [1.0, 1.0]).astype(np.float32)  # 0 at f = 1/2
    report = aj.inspect(nn.Sequential(nn.Conv2d(20, 20, 2)), cache=False)
    assert report.rows[0].lost == 0
    net = nn.Conv2d(20, 20, 2)
    net.weight = kernel
    row = row_of(net)
    assert row.lost == 20 * (32 + 32 - 1)
    assert row.nullity == row.lost


def test_entries_that_a_kernel_skips_are_null_and_not_lost() -> None:
    net = nn.Conv2d(8, 16, 1, stride=2, rng=0)
    report = aj.inspect(net, cache=False)
    (row,) = report.rows
    assert (row.rank, row.lost, row.nullity) == (8 * 256, 0, 8 * 1024 - 8 * 256)
    assert report.findings == []


def test_only_a_weight_is_known() -> None:
    report = aj.inspect({"features.0.weight": random(8, 3, 3, 3), "conv.weight": random(6, 4, 5)}, cache=False)
    assert [row.method for row in report.rows] == [
        "symbol, 32×32 torus, stride 1 and one group assumed",
        "symbol, 256-point torus, stride 1 and one group assumed",
    ]
    assert "Stride 1 and one group are assumed for all." in " ".join(repr(report).split())
    shapes = {"experts.weight": (8, 3, 5), "pos_embed": (1, 4, 4, 6), "many.weight": (2, 2, 2, 2, 2, 2)}
    whole = aj.inspect({name: random(*shape) for name, shape in shapes.items()}, cache=False)
    assert [(row.torus, row.sigma_max > 0) for row in whole.rows] == [((), True)] * 3


def test_what_is_no_kernel_is_a_matrix() -> None:
    bilinear = aj.inspect(nn.Bilinear(3, 4, 5, rng=0), cache=False).rows[0]
    assert (bilinear.torus, bilinear.rank, bilinear.matrix) == ((), 5, (5, 12))
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 4, 3))
    assert all(not row.torus for row in aj.inspect(normed, cache=False).rows)  # no weight of the convolution's own


def test_programs_from_elsewhere_tell_how_their_kernels_slide() -> None:
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(4, 6, 3, stride=2, groups=2, dilation=(1, 2)),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(6, 4, 3, stride=(2, 1)),
    )

    class Wrapped(torch.nn.Module):  # opened as a program, not layer by layer
        def __init__(self) -> None:
            super().__init__()
            self.net = theirs

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.net(x) * 2.0
            return y

    ours = aj.open(Wrapped(), torch.randn(1, 4, 9, 9))
    found, known = aj.inspect(ours, cache=False), aj.inspect(theirs, cache=False)
    for name in ("0.weight", "2.weight"):
        here, there = found.row(f"net.{name}"), known.row(name)
        assert (here.operator, here.sigma_max, here.method) == (there.operator, there.sigma_max, there.method)


def test_onnx_tells_how_its_kernels_slide(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    h = onnx.helper
    w, t = random(6, 2, 3, 3), random(6, 2, 2, 2, seed=1)
    node = h.make_node("Conv", ["x", "w"], ["y"], strides=[2, 1], dilations=[1, 2], group=2)
    back = h.make_node("ConvTranspose", ["y", "t"], ["z"], strides=[2, 2])
    floats = onnx.TensorProto.FLOAT
    graph = h.make_graph(
        [node, back],
        "g",
        [h.make_tensor_value_info("x", floats, [1, 4, 9, 9])],
        [h.make_tensor_value_info("z", floats, None)],
        [onnx.numpy_helper.from_array(x, name) for name, x in (("w", w), ("t", t))],
    )
    path = tmp_path / "g.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), path)
    report = aj.inspect(aj.open(path), cache=False)
    theirs = torch.nn.Conv2d(4, 6, 3, stride=(2, 1), dilation=(1, 2), groups=2)
    theirs.weight.data = torch.from_numpy(w)
    here, there = report.row("w"), row_of(theirs)
    assert (here.operator, here.sigma_max) == (there.operator, there.sigma_max)
    transposed = torch.nn.ConvTranspose2d(6, 2, 2, stride=2)
    transposed.weight.data = torch.from_numpy(t)
    here, there = report.row("t"), row_of(transposed)
    assert (here.operator, here.sigma_max, here.method) == (there.operator, there.sigma_max, there.method)


def test_many_channels_are_judged_on_a_smaller_torus_and_so_told(monkeypatch: pytest.MonkeyPatch) -> None:
    w = {"weight": random(24, 20, 3, 3)}
    whole = row_of(w)
    monkeypatch.setattr(kernels, "WORK", 1e6)
    part = row_of(w)
    assert part.torus < whole.torus == (32, 32)
    assert part.method.startswith(f"symbol, {part.torus[0]}×{part.torus[1]} torus")
    assert part.sigma_max <= whole.padded_norm
    assert whole.sigma_max <= part.padded_norm
    monkeypatch.setattr(kernels, "WORK", 0.0)
    assert row_of(w).torus == (3, 3)  # it holds the kernel
    assert kernels.symbol((512, 512, 3, 3), Sliding((1, 1), (1, 1))).positions == (3, 3)


def test_kernels_that_would_take_too_long_are_judged_as_matrices_and_so_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "WORK", 0.0)
    monkeypatch.setattr(kernels, "MOST", 1e4)
    row = row_of({"weight": random(24, 20, 3, 3)})
    assert row.method == "svd of the reshaped kernel: its symbols are too large"
    assert (row.torus, row.most, row.nullity) == ((), 24, 180 - 24)
    assert row.factors == row.k99


def test_large_kernels_are_taken_in_parts() -> None:
    net = nn.Conv1d(3, 3, 3000, groups=3, rng=0)
    row = row_of(net)
    values = np.abs(np.fft.fft(net.weight[:, 0].astype(float), axis=-1))
    assert (row.torus, row.rank) == ((3000,), 9000)
    assert [row.sigma_max, row.sigma_min] == pytest.approx([values.max(), values.min()], rel=1e-9)


def test_how_it_slides_is_part_of_what_is_remembered(cache: Path) -> None:
    net = nn.Conv2d(3, 5, 3, rng=0)
    first = aj.inspect(net)
    assert aj.inspect(net).rows == first.rows
    assert aj.inspect(net).recalled == 1
    other = nn.Conv2d(3, 5, 3, stride=2, rng=0)
    found = aj.inspect(other)
    assert found.recalled == 0
    assert found.rows[0].operator != first.rows[0].operator
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_kernels(dtype: str) -> None:
    x = random(20, 18, 3, 3).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    row, wide = row_of({"weight": x}), row_of({"weight": x.astype(np.float64)})
    assert (row.dtype, row.rank, row.torus) == (dtype, wide.rank, (32, 32))
    assert abs(row.sigma_max - wide.sigma_max) <= row.bound + wide.bound
    assert abs(row.sigma_min - wide.sigma_min) <= row.bound_min + wide.bound_min


def test_kernels_of_zeros_and_of_numbers_that_are_not_finite() -> None:
    zeros = aj.inspect({"weight": np.zeros((4, 3, 3, 3))}, cache=False)
    assert (zeros.rows[0].rank, zeros.rows[0].sigma_max, zeros.rows[0].padded_norm) == (0, 0.0, 0.0)
    assert "all zeros" in repr(zeros)
    x = random(4, 3, 3, 3)
    x[0, 0, 0, :2] = np.nan, np.inf
    broken = aj.inspect({"weight": x}, cache=False)
    assert (broken.rows[0].nans, broken.rows[0].infs, broken.rows[0].rank) == (1, 1, None)
    assert "no spectrum was computed" in repr(broken)
    single = row_of({"weight": np.full((1, 1, 1, 1), 2.0)})
    assert (single.sigma_max, single.rank, single.nullity) == (2.0, 1024, 0)
    huge = row_of({"weight": random(3, 2, 3, 3).astype(np.float64) * 1e200})
    assert huge.rank == huge.most
    assert huge.bound < 1e-10 * huge.sigma_max


def test_factors_are_those_of_the_kernel_as_a_matrix() -> None:
    low = random(40, 2) @ random(2, 40 * 9, seed=1)
    report = aj.inspect({"conv.weight": low.reshape(40, 40, 3, 3)}, cache=False)
    row = report.rows[0]
    assert row.reshaped_k99 == row.factors == 2
    assert row.lost == 38 * 1024
    assert report.verdict[1].number == pytest.approx(2 * (40 + 360) / (40 * 360))
    assert report.layer("conv.weight").rank() == 2


def test_screen_page_and_json_tell_both_norms() -> None:
    import json

    report = aj.inspect(nn.Conv2d(3, 5, 3, rng=0), cache=False)
    line = next(line for line in report.table().splitlines() if line.startswith("weight") and "5×3×3×3" in line)
    assert f"{report.rows[0].reshaped_norm:.3g}"[:4] in line
    told = json.loads(report.to_json())["rows"][0]
    assert told["torus"] == [32, 32]
    assert told["padded_norm"] >= told["sigma_max"] >= told["reshaped_norm"]
    assert Row.from_dict(told) == report.rows[0]
    assert "reshaped" not in aj.inspect({"w": random(3, 3)}, cache=False).table()


def test_a_sample_tells_the_sizes() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, rng=0),
        nn.Conv2d(5, 4, 3, stride=2, rng=1),
        nn.ConvTranspose2d(4, 3, 2, stride=2, rng=2),
        nn.Conv2d(3, 2, 5, rng=3),
    )
    report = aj.inspect(net, random(2, 3, 10, 8), cache=False, progress=False)
    assert [row.torus for row in report.rows] == [(10, 8), (10, 8), (8, 6), (8, 6)]
    row = report.row("0.weight")
    assert row.operator == (5 * 80, 3 * 80)
    A = matrix(torch.from_numpy(net[0].weight).double(), Case(row.shape, (1, 1), (1, 1), 1, (10, 8)))
    assert abs(row.sigma_max - np.linalg.norm(A, 2)) <= row.bound + 1e-13
    theirs = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 3), torch.nn.Conv1d(4, 2, 3))
    found = aj.inspect(theirs, random(2, 3, 9), cache=False, progress=False)
    assert [row.torus for row in found.rows] == [(9,), (7,)]
    large = aj.inspect(net[:1], random(2, 3, 50, 40), cache=False, progress=False)
    assert large.rows[0].torus == (32, 32)
