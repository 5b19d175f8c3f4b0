"""The coverage list agrees with itself, and a mark that names no row is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import covered

DOCUMENT = """
- Step One: A01–A02, B01
- Step Two: B02

| id | what |
|---|---|
| A01 | first | evidence |
| A02 | second | evidence |
| B01 | third |
| B02 | fourth |
"""

TESTS = """
import pytest
pytestmark = pytest.mark.covers("A01")

@pytest.mark.covers("B01", "B02")
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.covers("A02"))])
def test_something(x): ...
"""


def test_rows_and_steps() -> None:
    assert covered.rows(DOCUMENT) == {"A01": "first", "A02": "second", "B01": "third", "B02": "fourth"}
    assert covered.steps(DOCUMENT) == {"One": ["A01", "A02", "B01"], "Two": ["B02"]}


def test_marks_count_wherever_they_stand() -> None:
    assert set(covered.marks(TESTS)) == {"A01", "A02", "B01", "B02"}


def test_marks_are_written_out() -> None:
    with pytest.raises(ValueError, match=r"page\.py:1: write the ids out"):
        list(covered.marks("pytest.mark.covers(*IDS)", "page.py"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("B01\n", "B01, A02\n", "A02"),
        ("Two: B02", "Two: B03", "B02, B03"),
        ("A01–A02", "A01-A02", "'A01-A02'"),
        ("| A02 ", "| A01 ", "twice: A01"),
    ],
    ids=["in two steps", "in none", "not a span", "twice"],
)
def test_a_list_that_disagrees_with_itself(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        covered.steps(DOCUMENT.replace(old, new))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the list above and one test, which carries step Two."""
    (tmp_path / "coverage.md").write_text(DOCUMENT, "utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text('@pytest.mark.covers("B02")\ndef test_it(): ...', "utf-8")
    monkeypatch.setattr(covered, "DOCUMENT", tmp_path / "coverage.md")
    monkeypatch.setattr(covered, "ROOT", tmp_path)
    return tmp_path


def test_the_report(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert covered.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Step One: 0 of 3 rows covered",
        "  A01  first",
        "  A02  second",
        "  B01  third",
        "Step Two: 1 of 1 rows covered",
    ]


def test_a_step_with_a_gap_fails(project: Path) -> None:
    assert covered.main(["--step", "One"]) == 1
    assert covered.main(["--step", "Two"]) == 0


def test_a_mark_without_a_row_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tests" / "test_more.py").write_text('@pytest.mark.covers("Z99")\ndef test_it(): ...', "utf-8")
    assert covered.main([]) == 1
    assert "name no row: Z99" in capsys.readouterr().out


def test_the_projects_own_list() -> None:
    document = covered.DOCUMENT.read_text("utf-8")
    assert covered.steps(document).keys() == {"A", "B", "C", "D", "E", "Book", "Lab"}
    assert covered.carried(covered.ROOT / "tests") <= covered.rows(document).keys()
