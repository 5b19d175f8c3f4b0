"""Planted changes are found and named: of rank 5, of full rank, none at all, and new leading directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint as aj
from adjoint.inspection.tails import random_values


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def of_rank(r: int, m: int, n: int, size: float, seed: int = 1) -> np.ndarray:
    """A change of rank r and Frobenius norm `size`."""
    change = drawn(m, r, seed=seed) @ drawn(r, n, seed=seed + 1)
    return size * change / np.linalg.norm(change)


@settings(max_examples=15)
@given(
    r=st.integers(1, 9),
    shape=st.tuples(st.integers(40, 90), st.integers(40, 90)),
    size=st.floats(0.1, 10.0),
    dtype=st.sampled_from(["float32", "float64", "bfloat16"]),
)
def test_the_rank_of_a_planted_change_is_found(r: int, shape: tuple[int, int], size: float, dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    scale = 100.0 if dtype == "bfloat16" else 1.0  # what rounding to eight bits does not drown
    w = drawn(*shape).astype(kind).astype(np.float64)
    change = scale * of_rank(r, *shape, size)
    found = aj.diff({"w": w.astype(kind)}, {"w": (w + change).astype(kind)}).changes[0]
    if dtype == "bfloat16":
        assert found.rank <= r
    else:
        assert found.rank == r
    values = np.linalg.svd(change, compute_uv=False)
    if dtype != "bfloat16":  # whose rounding adds energy of its own
        assert found.k90 == np.searchsorted(np.cumsum(values**2), 0.9 * np.sum(values**2)) + 1
    assert found.norm == pytest.approx(np.linalg.norm(change), rel=0.1 if dtype == "bfloat16" else 1e-4)
    assert found.low_rank


def test_a_full_rank_change_passed_off_as_lora_is_called_out() -> None:
    base = {f"h.{i}.q.weight": drawn(96, 64, seed=i).astype("float32") for i in range(3)}
    tuned = {name: (w + of_rank(4, 96, 64, 3.0)).astype("float32") for name, w in base.items()}
    tuned["h.1.q.weight"] = base["h.1.q.weight"] + 0.03 * drawn(96, 64, seed=9).astype("float32")
    found = aj.diff(base, tuned)
    assert [x.low_rank for x in found.changes] == [True, False, True]
    assert found.verdict == "3 of 3 weights changed; for h.1.q.weight an update of low rank would not do"
    assert "an update of low rank would not do" in repr(found)
    assert found.changes[0].told == "of rank 4"


def test_what_did_not_change_is_told_apart_from_rounding() -> None:
    w = drawn(50, 40).astype("float32")
    rounded = w.astype(ml_dtypes.bfloat16)
    same, off = aj.diff({"w": w}, {"w": w}).changes[0], aj.diff({"w": w}, {"w": rounded}).changes[0]
    assert (same.told, off.told) == ("unchanged", "unchanged but for rounding")
    assert (same.norm, same.rank, off.rank) == (0.0, 0, 0)
    assert aj.diff({"w": w}, {"w": w}).verdict == "nothing changed in 1 weight"


@pytest.mark.parametrize("shape", [(400, 300), (300, 300), (128, 1000)])
def test_the_random_baseline_is_what_samples_show(shape: tuple[int, int]) -> None:
    sample = np.linalg.svd(drawn(*shape), compute_uv=False)
    law = random_values(shape)
    assert np.max(np.abs(sample - law)) < 0.02 * law[0]
    found = aj.diff({"w": np.zeros(shape)}, {"w": drawn(*shape)}).changes[0]
    assert abs(found.k90 - found.random90) <= 2
    assert found.relative == np.inf


def test_intruders_are_new_leading_directions() -> None:
    w = drawn(60, 50)
    u, s, vh = np.linalg.svd(w)
    new = np.linalg.qr(drawn(60, 3, seed=5))[0] @ np.linalg.qr(drawn(50, 3, seed=6))[0].T
    after = w + 5 * s[0] * new
    cosines = np.abs(vh @ np.linalg.svd(after)[2][:10].T)
    found = aj.diff({"w": w}, {"w": after}).changes[0].intruders
    assert found == np.sum(cosines.max(0) < 0.6)
    assert found is not None
    assert found >= 3
    grown = w + s[0] * np.outer(u[:, 0], vh[0])  # the leading direction, larger
    assert aj.diff({"w": w}, {"w": grown}).changes[0].intruders == 0
    assert aj.diff({"w": w}, {"w": grown}, intruders=False).changes[0].intruders is None


def test_what_cannot_be_compared_is_told() -> None:
    base = {"w": drawn(4, 3), "old": drawn(4, 3), "b": drawn(4), "e": drawn(5, 3), "bad": drawn(3, 3)}
    tuned = {"w": drawn(4, 3), "new": drawn(4, 3), "b": drawn(4), "e": drawn(6, 3), "bad": np.full((3, 3), np.nan)}
    found = aj.diff(base, tuned)
    assert [x.name for x in found.changes] == ["w"]
    assert found.skipped == {
        "b": "one axis: a bias, gain or the like",
        "old": "only in arrays",
        "new": "only in arrays",
        "e": "of another shape: (5, 3) and (6, 3)",
        "bad": "it has numbers that are not finite",
    }
    with pytest.raises(ValueError, match="no weight is in both models"):
        aj.diff({"a": drawn(3, 3)}, {"b": drawn(3, 3)})
    with pytest.raises(TypeError, match="has no weights"):
        aj.diff(3, {"b": drawn(3, 3)})


def test_modules_files_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from adjoint.cli import app

    net: Any = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.ReLU(), torch.nn.Linear(30, 35))
    aj.save(tmp_path / "base.safetensors", {k: v.numpy().copy() for k, v in net.state_dict().items()})
    with torch.no_grad():
        net[2].weight += torch.from_numpy(of_rank(2, 35, 30, 1.0).astype("float32"))
    aj.save(tmp_path / "tuned.safetensors", {k: v.numpy().copy() for k, v in net.state_dict().items()})
    both = [str(tmp_path / f"{name}.safetensors") for name in ("base", "tuned")]
    run = CliRunner().invoke(app, ["diff", *both])
    assert run.exit_code == 0, run.output
    assert "1 of 2 weights changed, by updates of low rank" in " ".join(run.output.split())
    told = json.loads(CliRunner().invoke(app, ["diff", *both, "--json"]).output)
    assert [x["rank"] for x in told["changes"]] == [0, 2]
    found = aj.diff(both[0], net)
    assert [x.rank for x in found.changes] == [0, 2]
    aj.save(tmp_path / "other.safetensors", {"x": drawn(3, 3)})
    failed = CliRunner().invoke(app, ["diff", both[0], str(tmp_path / "other.safetensors")])
    assert failed.exit_code == 1
    assert "no weight is in both models" in failed.output
