"""What every test stands on: real data, threads that don't fight, float64 in JAX, and marks that name real rows."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.covered import DOCUMENT, ROOT, rows

# Read by the libraries when they load, which is after this file.
SURROUNDINGS = {
    "ADJOINT_CACHE": "off",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "NUMBA_NUM_THREADS": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
for name, value in SURROUNDINGS.items():
    os.environ.setdefault(name, value)

# A job in the background may begin with Ctrl-C ignored; the tests of interruptions need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The first example may compile a kernel, so neither the time of one nor that of generating them says anything.
settings.register_profile(
    "adjoint",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=40,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("adjoint")


ROWS = rows(DOCUMENT.read_text("utf-8"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a `covers` mark that names no row."""
    named = [i for mark in item.iter_markers("covers") for i in mark.args]
    if unknown := [i for i in named if i not in ROWS]:
        pytest.fail(f"covers{(*unknown,)}: docs/coverage.md has no such row", pytrace=False)


@pytest.fixture(scope="session")
def data_path() -> Callable[[str], Path]:
    """Return a function that finds real data by its path, as `data_path("mnist")`, and skips where it is missing."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("ADJOINT_DATA", ROOT.parent / "shared" / "data")) / name
        if not path.exists():
            missing = f"real data is missing: {path} (ADJOINT_DATA names the folder that holds it)"
            if os.environ.get("ADJOINT_REQUIRE_DATA") == "1":
                pytest.fail(missing)
            pytest.skip(missing)
        return path

    return find


@pytest.fixture(scope="session")
def data_dir(data_path: Callable[[str], Path]) -> Path:
    """Return the folder with real data."""
    return data_path("")
