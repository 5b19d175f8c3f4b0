"""The suite's own rules: what missing data does, and that a mark without a row is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.covered import ROOT


def run(folder: Path, source: str, **surroundings: str) -> str:
    """Run `source` as a test file under this suite's conftest, in a process of its own; return what pytest said."""
    (folder / "test_it.py").write_text(source, "utf-8")
    options = ["-p", "tests.conftest", "-c", ROOT / "pyproject.toml", "--rootdir", folder, "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, folder / "test_it.py"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | surroundings, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("required", "outcome"), [("0", "1 skipped"), ("1", "1 failed")])
def test_missing_data_skips_or_fails(tmp_path: Path, required: str, outcome: str) -> None:
    source = "def test_it(data_path): data_path('mnist')"
    said = run(tmp_path, source, ADJOINT_DATA="/nowhere", ADJOINT_REQUIRE_DATA=required)
    assert "real data is missing: /nowhere/mnist" in said
    assert outcome in said


def test_data_is_found_where_the_variable_says(tmp_path: Path) -> None:
    source = "def test_it(data_dir, data_path): assert data_path('test_it.py') == data_dir / 'test_it.py'"
    assert "1 passed" in run(tmp_path, source, ADJOINT_DATA=str(tmp_path))


def test_a_mark_without_a_row_is_refused(tmp_path: Path) -> None:
    said = run(tmp_path, "import pytest\n@pytest.mark.covers('Z99')\ndef test_it(): pass")
    assert "covers('Z99',): docs/coverage.md has no such row" in said
    assert "passed" not in said


def test_what_a_test_draws_does_not_depend_on_others(tmp_path: Path) -> None:
    source = """
import adjoint as aj, numpy as np, pytest, torch
RNG = np.random.default_rng(0)
draw = lambda: (RNG.random(), torch.rand(()).item(), aj.nn.Linear(1, 1).weight.item())
SEEN = []
@pytest.fixture(scope="module")
def before(): return draw()
@pytest.mark.parametrize("n", range(3))
def test_it(n, before): SEEN.append(draw())
def test_last(): assert len({draw(), *SEEN}) == 1
"""
    assert "4 passed" in run(tmp_path, source)
