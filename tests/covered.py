"""Which rows of docs/coverage.md the tests carry; `python -m tests.covered` lists those that none does."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "coverage.md"

ROW = re.compile(r"^\| ([A-Z]\d\d) \| (.*?) \|", re.MULTILINE)
STEP = re.compile(r"^- Step (\w+): (.*)$", re.MULTILINE)
SPAN = re.compile(r"([A-Z])(\d\d)(?:–\1(\d\d))?")


def rows(document: str) -> dict[str, str]:
    """Return what each row is about, by id."""
    found = ROW.findall(document)
    if repeated := sorted({i for i, _ in found if [j for j, _ in found].count(i) > 1}):
        raise ValueError(f"rows that occur twice: {', '.join(repeated)}")
    return dict(found)


def steps(document: str) -> dict[str, list[str]]:
    """Return the ids of each step's rows; every row belongs to exactly one step."""
    found = {step: [i for span in spans.split(", ") for i in _ids(span)] for step, spans in STEP.findall(document)}
    listed = [i for ids in found.values() for i in ids]
    if wrong := sorted(i for i in {*listed, *rows(document)} if listed.count(i) != 1 or i not in rows(document)):
        raise ValueError(f"rows that are not in exactly one step, or do not exist: {', '.join(wrong)}")
    return found


def _ids(span: str) -> list[str]:
    match = SPAN.fullmatch(span)
    if match is None:
        raise ValueError(f"{span!r} is neither a row nor a span of rows: write M03 or M01–M09")
    letter, first, last = match.groups()
    return [f"{letter}{n:02}" for n in range(int(first), int(last or first) + 1)]


def marks(source: str, name: str = "<source>") -> Iterator[str]:
    """Yield the ids in every `pytest.mark.covers(…)` of a test file, wherever the mark stands."""
    for node in ast.walk(ast.parse(source, name)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="covers"), args=args):
                for arg in args:
                    if not (isinstance(arg, ast.Constant) and isinstance(arg.value, str)):
                        raise ValueError(f'{name}:{node.lineno}: write the ids out: covers("M03", "M04")')
                    yield arg.value


def carried(folder: Path) -> set[str]:
    """Return the ids that the test files under `folder` carry."""
    return {i for path in folder.rglob("test_*.py") for i in marks(path.read_text("utf-8"), str(path))}


def main(arguments: list[str] | None = None) -> int:
    """Print the rows without a test; return 1 where the step asked for has one, or a mark names no row."""
    document = DOCUMENT.read_text("utf-8")
    every, by_step, seen = rows(document), steps(document), carried(ROOT / "tests")
    parser = argparse.ArgumentParser(prog="python -m tests.covered", description="List the rows that no test carries.")
    parser.add_argument("--step", choices=by_step, help="only this step's rows; fail if there are any")
    asked = parser.parse_args(arguments).step

    missing = {step: [i for i in by_step[step] if i not in seen] for step in ([asked] if asked else by_step)}
    for step, ids in missing.items():
        total = len(by_step[step])
        print(f"Step {step}: {total - len(ids)} of {total} rows covered")
        for i in ids:
            print(f"  {i}  {every[i]}")
    unknown = sorted(seen - every.keys())
    if unknown:
        print(f"Marks that name no row: {', '.join(unknown)}")
    return 1 if unknown or (asked and missing[asked]) else 0


if __name__ == "__main__":
    sys.exit(main())
