"""The error of a truncation is the tail's energy; bad requests are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjoint.slim import truncated


@pytest.mark.parametrize("shape", [(37, 20), (20, 37), (9, 9), (1, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_error_is_the_tail(shape: tuple[int, int], dtype: str) -> None:
    m = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    s = np.linalg.svd(m.astype(np.float64), compute_uv=False)
    for r in range(1, min(shape) + 1):
        found = truncated(m, rank=r)
        off = np.linalg.norm(m - found.left @ found.right)
        assert abs(off - np.sqrt(np.sum(s[r:] ** 2))) < 1e-10 * s[0]
        assert abs(found.error - off) < 1e-10 * s[0]


def test_energy_finds_the_least_rank() -> None:
    rng = np.random.default_rng(1)
    planted = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 30))
    assert truncated(planted, energy=1.0 - 1e-12).rank == 5
    s = np.linalg.svd(planted, compute_uv=False)
    for share in (0.3, 0.7, 0.9):
        found = truncated(planted, energy=share)
        assert found.kept >= share
        assert found.rank == 1 or np.sum(s[: found.rank - 1] ** 2) < share * np.sum(s**2)
    assert truncated(np.zeros((3, 4)), energy=0.9).error == 0.0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "one of the two"),
        ({"rank": 1, "energy": 0.5}, "one of the two"),
        ({"rank": 0}, "1 to 3"),
        ({"rank": 4}, "1 to 3"),
        ({"rank": True}, "1 to 3"),
        ({"energy": 1.5}, "up to 1"),
        ({"energy": float("nan")}, "up to 1"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        truncated(np.ones((3, 4)), **options)


def test_bad_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        truncated(np.full((3, 4), np.nan), rank=1)
    with pytest.raises(ValueError, match="rows and columns"):
        truncated(np.ones(3), rank=1)
