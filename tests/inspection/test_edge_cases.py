"""Weights of every kind and fault, each with a row that says what it is, or a reason why it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import adjoint as aj
from adjoint.inspection import Report
from adjoint.inspection.row import Row

F = np.float32


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(F)


def inspected(x: Any) -> Report:
    return aj.inspect({"w": x}, cache=False, progress=False)


def line(report: Report, name: str = "w") -> str:
    return next(x for x in report.table().splitlines() if x.startswith(f"{name} "))


def broken(n: int) -> np.ndarray:
    x = random(100, 100)
    x.flat[:n] = np.nan
    return x


@pytest.mark.parametrize("count", [1, 10_000])
def test_numbers_that_are_nan(count: int) -> None:
    report = inspected(broken(count))
    assert (report.rows[0].nans, report.rows[0].rank) == (count, None)
    assert line(report).split()[:4] == ["w", "100×100", "–", "–"]
    assert f"{count:,} NaN among 10,000 numbers: no spectrum was computed" in repr(report)


def test_numbers_that_are_infinite() -> None:
    x = random(100, 100)
    x[0, 0], x[5, 5] = np.inf, -np.inf
    report = inspected(x)
    assert (report.rows[0].infs, report.rows[0].rank) == (2, None)
    assert "2 infinite among 10,000 numbers" in repr(report)


@pytest.mark.parametrize("shape", [(8, 9), (1, 1), (300, 400)])
def test_zeros(shape: tuple[int, int]) -> None:
    report = inspected(np.zeros(shape, F))
    row = report.rows[0]
    assert (row.rank, row.nullity, row.sigma_max, row.cond) == (0, shape[1], 0.0, float("inf"))
    assert row.zero_rows.count == shape[0]
    assert "all zeros: nothing passes" in repr(report)


@pytest.mark.parametrize(("shape", "nullity"), [((1, 100), 99), ((100, 1), 0), ((1, 1), 0)])
def test_one_row_one_column_one_element(shape: tuple[int, int], nullity: int) -> None:
    x = random(*shape)
    report = inspected(x)
    row = report.rows[0]
    assert (row.rank, row.nullity, row.lost, row.cond, row.k99) == (1, nullity, 0, 1.0, 1)
    assert row.sigma_max == pytest.approx(float(np.linalg.norm(x.astype(float))), rel=1e-12)
    assert report.findings == []


def test_a_tall_embedding_by_the_gram_matrix_of_its_short_side() -> None:
    """As many rows as GPT-2's 50,257 words, a quarter as wide; the memory is measured in test_memory."""
    x = random(50_257, 192)
    report = aj.inspect({"wte.weight": x}, cache=False, progress=False)
    row = report.rows[0]
    values = np.sqrt(np.linalg.eigvalsh(x.T.astype(float) @ x.astype(float))[::-1])
    assert (row.kind, row.rank, row.nullity) == ("embedding", 192, 0)
    assert [row.sigma_max, row.sigma_min] == pytest.approx([values[0], values[-1]], rel=1e-10)
    assert "50257×192" in line(report, "wte.weight")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", ">f4", "longdouble"])
def test_floats_of_other_widths_and_orders(dtype: str) -> None:
    x = random(70, 80).astype(getattr(ml_dtypes, dtype, dtype))
    row = inspected(x).rows[0]
    values = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    assert row.dtype == {">f4": "float32", "longdouble": np.dtype("longdouble").name}.get(dtype, dtype)
    assert (row.rank, row.parameters) == (70, 5600)
    assert [row.sigma_max, row.sigma_min] == pytest.approx([values[0], values[-1]], rel=1e-9)


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (np.ones((3, 4), np.int8), "int8: integers; if it is quantized, its scales are not known"),
        (np.ones((3, 4), ml_dtypes.int4), "int4: integers; if it is quantized, its scales are not known"),
        (np.arange(5), "int64: integers"),
        (np.ones((3, 4), bool), "bool: no floating numbers"),
        (np.ones((3, 4), complex), "complex128: complex numbers"),
        (np.zeros((0, 5), F), "empty: its shape is (0, 5)"),
        (np.zeros((5, 0), F), "empty: its shape is (5, 0)"),
        (np.zeros((2, 0, 3, 3), F), "empty: its shape is (2, 0, 3, 3)"),
        (np.ones(5, F), "one axis: a bias, gain or the like"),
        (F(3.0), "a single number"),
        (np.array([["a"]]), "str32: no floating numbers"),
    ],
)
def test_what_has_no_row_says_why(x: Any, why: str) -> None:
    report = inspected(x)
    assert report.rows == ()
    assert report.skipped == {"w": why}
    assert report.parameters == x.size
    assert why in " ".join(repr(report).split())


def test_repeated_rows_and_37_dead_directions() -> None:
    x = random(100, 120)
    x[[3, 90]] = x[7]
    u, s, v = np.linalg.svd(random(100, 120, seed=1), full_matrices=False)
    s[-37:] = 0.0
    report = aj.inspect({"twice": x, "dead": (u * s) @ v}, cache=False, progress=False)
    assert report.row("twice").repeated_rows.first == (7, 90)
    assert (report.row("twice").rank, report.row("dead").rank, report.row("dead").lost) == (98, 63, 37)
    assert "37 of 100 directions are lost (rank 63)" in repr(report)
    assert "2 rows repeat others: 7, 90" in repr(report)


def test_views_that_are_not_contiguous() -> None:
    x = random(80, 90)
    for view in (np.asfortranarray(x), np.ascontiguousarray(x.T).T, np.repeat(x, 2, 0)[::2]):
        found = inspected(view).rows[0]
        assert found.sigma_max == pytest.approx(inspected(x).rows[0].sigma_max, rel=1e-12)


# Integers beside their scales


def quantized_graph(path: Path) -> dict[str, np.ndarray]:
    """An ONNX file with quantized weights, and the numbers that they stand for."""
    onnx = pytest.importorskip("onnx")
    h, rng = onnx.helper, np.random.default_rng(0)
    w, m, b = (rng.integers(-127, 127, shape).astype(np.int8) for shape in ((6, 4, 3, 3), (6, 5), (5, 7)))
    arrays: dict[str, Any] = {
        "w": w, "w_scale": (0.01 + rng.random(6)).astype(F), "w_zero": np.arange(6, dtype=np.int8),
        "m": m, "m_scale": F(0.02), "b": b, "b_scale": (0.01 + rng.random(7)).astype(F), "b_zero": np.ones(7, np.int8),
        "s": F(0.1), "z": np.int8(0), "u": m.T.copy(),
    }  # fmt: skip
    nodes = [
        h.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["conv.weight"], axis=0),
        h.make_node("Conv", ["x", "conv.weight"], ["y"], strides=[2, 2]),
        h.make_node("GlobalAveragePool", ["y"], ["p"]),
        h.make_node("Flatten", ["p"], ["f"]),
        h.make_node("DequantizeLinear", ["m", "m_scale"], ["fc.weight"]),
        h.make_node("MatMul", ["f", "fc.weight"], ["g"]),
        h.make_node("QuantizeLinear", ["g", "s", "z"], ["q"]),
        h.make_node("QLinearMatMul", ["q", "s", "z", "b", "b_scale", "b_zero", "s", "z"], ["r"]),
        h.make_node("DequantizeLinear", ["r", "s", "z"], ["out"]),
        h.make_node("MatMulInteger", ["q", "u"], ["v"]),
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["k"]),
        h.make_node("QLinearConv", ["k", "s", "z", "w", "w_scale", "w_zero", "s", "z"], ["c"], strides=[1, 2]),
    ]
    floats, ints = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", floats, [1, 4, 9, 9])],
        [
            h.make_tensor_value_info("out", floats, None),
            h.make_tensor_value_info("v", ints, None),
            h.make_tensor_value_info("c", onnx.TensorProto.INT8, None),
        ],
        [onnx.numpy_helper.from_array(np.asarray(x), name) for name, x in arrays.items()],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), path)
    kernel = (w.astype(float) - np.arange(6).reshape(6, 1, 1, 1)) * arrays["w_scale"].reshape(6, 1, 1, 1)
    return {
        "conv.weight": kernel,
        "fc.weight": m.astype(float) * 0.02,
        "r.weight": (b.astype(float) - 1.0) * arrays["b_scale"],
        "c.weight": kernel,
    }


def test_integers_whose_file_tells_their_scales_are_unpacked(tmp_path: Path) -> None:
    meant = quantized_graph(tmp_path / "q.onnx")
    report = aj.inspect(aj.open(tmp_path / "q.onnx"), cache=False, progress=False)
    assert [row.name for row in report.rows] == list(meant)
    for row in report.rows:
        x = meant[row.name]
        reshaped = np.linalg.svd(x.reshape(len(x), -1), compute_uv=False)[0]
        assert (row.dtype, row.shape) == ("int8", x.shape)
        assert (row.reshaped_norm if row.torus else row.sigma_max) == pytest.approx(reshaped, rel=1e-5)
    conv: Row = report.row("conv.weight")
    assert conv.torus == (32, 32)
    assert conv.operator == (6 * 256, 4 * 1024)
    assert report.row("c.weight").operator == (6 * 512, 4 * 1024)
    assert report.skipped["v.weight"] == "int8: integers; if it is quantized, its scales are not known"
    assert report.dtypes["int8"] == 2 * 6 * 4 * 9 + 30 + 35 + 30
    assert np.allclose(report.layer("fc.weight").dense(), meant["fc.weight"], atol=1e-6)
