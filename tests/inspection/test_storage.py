"""What weights would lose in NF4 and int8, against bitsandbytes and PyTorch's own quantization."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.inspection.html.columns import weights
from adjoint.inspection.legend import legend
from adjoint.inspection.row import Row
from adjoint.inspection.storage import errors

bnb: Any = import_module("bitsandbytes.functional")


def relative(found: Any, x: Any) -> float:
    x = np.asarray(x, "float64")
    return float(np.linalg.norm(np.asarray(found, "float64") - x) / np.linalg.norm(x))


def theirs(x: np.ndarray) -> tuple[float, float]:
    """Through bitsandbytes' codes, and PyTorch's scale and zero point of each row."""
    W = torch.tensor(x)
    codes, state = bnb.quantize_4bit(W.flatten(), quant_type="nf4", blocksize=64, compress_statistics=True)
    scale = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    each = torch.stack([codes.flatten() >> 4, codes.flatten() & 15], 1).flatten()[: W.numel()]
    nf4 = (state.code[each.int()] * scale[torch.arange(W.numel()) // 64]).reshape(W.shape)
    rows = W.reshape(len(W), -1)
    observer: Any = torch.ao.quantization.PerChannelMinMaxObserver(0, torch.quint8, torch.per_channel_affine)
    observer(rows)
    step, zero = (part[:, None] for part in observer.calculate_qparams())
    int8 = (torch.clamp(torch.round(rows / step) + zero, 0, 255) - zero) * step
    return relative(nf4, x), relative(int8, rows)


@pytest.mark.parametrize("shape", [(5, 3), (64, 64), (33, 65), (257, 129), (8, 3, 3, 3)], ids=str)
def test_errors_are_those_of_bitsandbytes_and_pytorch(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    x[1] *= 5.0
    nf4, int8 = theirs(x)
    row = aj.inspect({"w": x}, cache=False).rows[0]
    assert abs(row.nf4_error - nf4) <= 1e-3 * nf4  # scales quantized from another mean by one rounding
    assert abs(row.int8_error - int8) <= 1e-4 * int8
    assert errors(x) == {"nf4_error": row.nf4_error, "int8_error": row.int8_error}


@pytest.mark.parametrize("size", [1e-200, 1e-40, 1e30, 1e200])
def test_size_does_not_matter(size: float) -> None:
    x = np.random.default_rng(1).standard_normal((40, 30))
    small, plain = errors(x * size), errors(x)
    for name in plain:
        assert abs(small[name] - plain[name]) <= 1e-3 * plain[name]


def test_nothing_is_lost_of_zeros_and_nothing_told_of_nan(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path))
    bad = np.ones((3, 4))
    bad[1, 2] = np.nan
    for _ in range(2):  # measured, and remembered
        zeros, unknown, plain = aj.inspect({"z": np.zeros((3, 4)), "nan": bad, "w": np.eye(3)}).rows
        assert (zeros.nf4_error, zeros.int8_error) == (0.0, 0.0)
        assert np.isnan(unknown.nf4_error)
        assert np.isnan(unknown.int8_error)
        assert plain.nf4_error < 1e-6
    assert '"nf4_error": null' in aj.inspect({"nan": bad}).to_json()


def test_the_page_has_a_column_for_each() -> None:
    headers = {column.key: column.header for column in weights()}
    assert headers["nf4_error"] == "as NF4"
    assert headers["int8_error"] == "as int8"
    assert {"nf4_error", "int8_error"} <= set(Row.__dataclass_fields__)


def test_the_table_has_both_where_there_is_room() -> None:
    x = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
    report = aj.inspect({"w": x}, cache=False)
    lines = report.table(width=160).splitlines()
    assert lines[0].split()[-2:] == ["NF4", "int8"]
    assert lines[1].split()[-2:] == [f"{report.rows[0].nf4_error:.1%}", f"{report.rows[0].int8_error:.1%}"]
    assert "int8" not in report.table(width=80)


def test_half_precision_is_taken_as_it_is() -> None:
    x = np.random.default_rng(2).standard_normal((30, 50)).astype("float16")
    assert errors(x) == errors(x.astype("float32"))


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((300, 301), "float32", 1.0),
        ((300, 301), "float32", 1e-40),
        ((300, 301), "float64", 1e200),
        ((400, 401), "float16", 1.0),
        ((130, 768), "float32", 1.0),
        ((1, 50_001), "float32", 1.0),
        ((50_001, 1), "float32", 1.0),
        ((3, 257, 65), "float32", 1.0),
    ],
    ids=str,
)
def test_errors_are_those_of_the_codes_that_are_not_stored(shape: tuple[int, ...], dtype: str, size: float) -> None:
    x = (np.random.default_rng(3).standard_normal(shape) * size).astype(dtype)
    x[0] *= 7.0
    x[-1] = abs(x[-1])
    if shape == (130, 768):
        x[3], x[4] = 0.0, -1.0
        x = np.asfortranarray(x)
    rows = x.reshape(len(x), -1)
    if size != 1.0:
        rows = rows / np.asarray(np.max(abs(rows)), rows.dtype)
    found = errors(x)
    for name, format in (("nf4_error", "nf4"), ("int8_error", "int8")):
        expected = aj.quantize(rows, format).error(rows)
        assert abs(found[name] - expected) <= 1e-11 * expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_large_array_that_is_not_finite_is_refused(bad: float) -> None:
    x = np.ones((200, 200), "float32")
    x[5, 7] = bad
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="NaN, infinite or beyond float32"):
        errors(x)


def test_the_legend_tells_the_most_where_there_is_no_room() -> None:
    rng = np.random.default_rng(0)
    report = aj.inspect({"flat": rng.uniform(-1, 1, (64, 64)), "tailed": rng.standard_cauchy((64, 64))}, cache=False)
    nf4, int8 = max(row.nf4_error for row in report.rows), max(row.int8_error for row in report.rows)
    narrow = " ".join(legend(report, ("NF4", "int8")).split())
    assert f"NF4 would lose {nf4:.1%} of ‖W‖ at most, of " in narrow
    assert f"int8 would lose {int8:.1%} of ‖W‖ at most, of " in narrow
    assert "would lose" not in legend(report)
    assert "at most" not in legend(aj.inspect({"w": np.eye(3)}, cache=False), ("NF4", "int8")).partition("NF4")[2]
