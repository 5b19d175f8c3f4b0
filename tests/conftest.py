"""What every test stands on: real data, threads that don't fight, float64 in JAX, no network, draws of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.covered import DOCUMENT, ROOT, rows

# Read by the libraries when they load, which is after this file.
SURROUNDINGS = {
    "ADJOINT_CACHE": "off",
    "HF_HUB_OFFLINE": "1",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "NUMBA_NUM_THREADS": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
for name, value in SURROUNDINGS.items():
    os.environ.setdefault(name, value)

# What is shown does not depend on the terminal of whoever runs the tests.
os.environ["COLUMNS"] = "80"
for name in ("FORCE_COLOR", "NO_COLOR", "PY_COLORS"):
    os.environ.pop(name, None)

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
    draw_anew(getattr(item, "module", None))


def pytest_collectstart(collector: pytest.Collector) -> None:
    """What a module draws while it is imported does not depend on those before it."""
    if isinstance(collector, pytest.Module):
        draw_anew(None)


@pytest.fixture(autouse=True)
def _draws_of_its_own(request: pytest.FixtureRequest) -> None:
    """After the fixtures of its module, which the first test of a run alone has before it."""
    draw_anew(getattr(request.node, "module", None))


FIRST: dict[int, Any] = {}  # how a module's generators were before its first test


def draw_anew(module: ModuleType | None) -> None:
    """Let a test draw the same numbers whichever ran before it: several workers deal tests out by luck."""
    for name, seed in {"adjoint": "seed", "torch": "manual_seed"}.items():
        if library := sys.modules.get(name):
            getattr(library, seed)(0)
    for x in () if module is None else vars(module).values():
        if type(x).__name__ == "Generator" and hasattr(x, "bit_generator"):
            x.bit_generator.state = FIRST.setdefault(id(x), x.bit_generator.state)


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
