"""The command line: help, version, JSON, and what it says when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import adjoint
from adjoint import cli
from tests.patience import HANGS

MAIN = "from adjoint.cli import main; main()"


def run(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["adjoint", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_version_and_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["--version"], capsys, monkeypatch)[:2] == (0, f"adjoint {adjoint.__version__}\n")
    status, out, _ = run(["--help"], capsys, monkeypatch)
    assert status == 0
    assert "demo" in out
    assert "doctor" in out
    status, out, _ = run(["demo", "-h"], capsys, monkeypatch)
    assert status == 0
    for option in ("--out", "--epochs", "--seed", "--folds"):
        assert option in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["nothing"], "nothing"), (["demo", "--epochs", "0"], "--epochs"), (["demo", "--folds", "x"], "--folds")],
)
def test_a_wrong_call_is_refused_with_status_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = run(arguments, capsys, monkeypatch)
    assert status == 2
    assert named in err


def test_a_folder_that_cannot_be_written_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file" / "inside"):
        status, told, err = run(["demo", "--out", str(out)], capsys, monkeypatch)
        assert (status, told) == (1, "")
        assert err.startswith(f"adjoint: cannot write to {out} (")
        assert err.endswith("name another folder with --out\n")
        assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "not a folder"


def test_missing_digits_are_told_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    status, _, err = run(["demo", "--out", str(tmp_path)], capsys, monkeypatch)
    assert status == 1
    assert (
        err.splitlines()[-1] == "adjoint: digits() reads the data that scikit-learn carries: `pip install scikit-learn`"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_speaks_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from adjoint.cli import doctor

    monkeypatch.setattr(doctor, "examine", lambda tell: {"remedies": [], "clock_ghz": None})
    status, out, _ = run(["doctor", "--json"], capsys, monkeypatch)
    assert status == 0
    assert json.loads(out) == {"remedies": [], "clock_ghz": None}


def test_commands_do_not_hide_their_modules() -> None:
    for name in ("demo", "doctor"):
        assert (
            not hasattr(cli, name) or hasattr(getattr(cli, name), "__path__") or hasattr(getattr(cli, name), "__file__")
        )


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = (
        f"import sys\nsys.argv = ['adjoint', '--help']\ntry:\n    {MAIN}\nexcept SystemExit:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"jax", "jinja2", "matplotlib", "numba", "scipy", "sklearn", "torch"}
