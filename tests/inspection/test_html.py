"""The report as a page: safe, small, in order, with the report's own numbers, written as a whole or not at all."""

from __future__ import annotations

import copy
import csv
import io
import math
import os
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.inspection import Report
from adjoint.inspection.html import render
from adjoint.inspection.html.columns import WEIGHTS, weights
from adjoint.inspection.html.figures import edges, floor, spectrum
from adjoint.inspection.row import Row

VOID = {"meta", "input", "br", "link", "img"}
EVIL = '<script>alert("x")</script>.weight'


class Page(HTMLParser):
    """The elements of a page; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.table: list[list[str]] = []
        self.texts: list[str] = []
        self._cell = False
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.elements.append((tag, told))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr" and re.fullmatch(r"w\d+", told.get("id", "")):
            self.table.append([])
            self._cell = True
        if self._cell and tag in ("td", "th"):
            self.table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "tr":
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.table[-1][-1] += data
        if self.open[-1:] != ["script"] and self.open[-1:] != ["style"]:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [told for name, told in self.elements if name == tag]


def planted() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    net = {f"h.{i}.fc.weight": rng.standard_normal((40, 60), dtype=np.float32) for i in range(5)}
    net["h.3.fc.weight"][:, 7] = 0.0
    net["h.3.fc.weight"][12] = net["h.3.fc.weight"][11]
    net["broken.weight"] = np.full((3, 4), np.nan, np.float32)
    net["one.weight"] = np.ones((1, 1))
    net["zeros.weight"] = np.zeros((4, 5))
    return net | {EVIL: np.eye(6), "ln.weight": np.ones(40, np.float32), "ids": np.arange(4)}


@pytest.fixture(scope="module")
def report() -> Report:
    return aj.inspect(planted(), cache=False)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return render(report)


def test_the_table_has_every_weight_with_the_report_s_numbers(report: Report, text: str) -> None:
    page, heads = Page(text), [column.key for column in weights()]
    assert [cells[0] for cells in page.table] == [row.name for row in report.rows]
    for cells, row in zip(page.table, report.rows, strict=True):
        told = dict(zip(heads, cells, strict=True))
        assert told["rank"] == ("–" if row.rank is None else f"{row.rank}")
        assert told["parameters"] == f"{row.parameters:,}"
        assert told["method"] == row.method
        for key in ("sigma_max", "sigma_min", "stable_rank", "entropy_rank"):
            value = getattr(row, key)
            if np.isnan(value):
                assert told[key] == "–"
            else:
                assert float(told[key].replace(",", "")) == pytest.approx(value, rel=6e-3 if value > 1e-4 else 0.05)
    assert dict(zip(heads, page.table[3], strict=True))["cond"] == "∞"
    assert dict(zip(heads, page.table[3], strict=True))["zero_columns"] == "1: 7"


def test_every_field_of_a_row_has_a_column_that_is_explained(text: str) -> None:
    keys = [column.key for column in weights()]
    told = Row("w", "matrix", (1, 1), "float32", (1, 1)).as_dict()
    assert set(keys) == told.keys() - {"spectrum"}
    assert set(keys) == {column.key for column in WEIGHTS}, "a column without a header and an explanation of its own"
    buttons = [told for told in Page(text).all("button") if "title" in told]
    assert len(buttons) >= len(keys)
    assert all(len(told["title"]) > 12 for told in buttons)


def test_sections_stand_in_order(text: str) -> None:
    page = Page(text)
    ids = [told["id"] for tag, told in page.elements if tag in ("section", "dl") and "id" in told]
    assert ids == ["identity", "verdict", "worst", "weights", "spectra"]
    told = "".join(page.texts)
    for expected in ("12,113", "1 of 40 directions is lost", "12 NaN among 12 numbers", "int64: integers"):
        assert expected in told


def test_nothing_is_fetched(text: str) -> None:
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    page = Page(text)
    for _, told in page.elements:
        assert "src" not in told
        assert told.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in told)
    (policy,) = [told["content"] for told in page.all("meta") if told.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    ids = [told["id"] for _, told in page.elements if "id" in told]
    assert len(ids) == len(set(ids))
    assert {told["href"][1:] for told in page.all("a")} <= set(ids)


def test_names_are_text(text: str) -> None:
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert EVIL in [cells[0] for cells in page.table]
    hostile = '"><img src=x onerror=alert(1)>\x1b[2J{{ 7*7 }}'
    page = Page(render(aj.inspect({hostile: np.eye(3), "=1+1": np.eye(2)}, cache=False)))
    assert not page.all("img")
    assert page.table[0][0] == hostile.replace("\x1b", "\\x1b")


def test_the_script_is_small_and_the_policy_s_own(text: str) -> None:
    import base64
    import hashlib

    script = text.split("<script>")[1].split("</script>")[0]
    assert len(script.encode()) < 30_000
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in text


def test_a_model_of_70_layers_fits_in_3_mb() -> None:
    rng = np.random.default_rng(0)
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    net = {
        f"model.layers.{i}.self_attn.{part}.weight": rng.standard_normal((64 + i, 70), dtype=np.float32)
        for i in range(72)
        for part in parts
    }
    cost = aj.cost(aj.models.GPT(50, 64, n_layer=72, n_head=2, n_embd=8), batch=1, seq=16)
    heads = [Circuit(f"model.layers.{i}.self_attn", k, "OV", 16, 1.5, 0.2) for i in range(72) for k in range(64)]
    text = given(aj.inspect(net, cache=False), cost=cost, circuits=heads)
    page = Page(text)
    assert len(page.table) == 504
    assert len([told for told in page.all("figure") if "data-of" in told]) == 504
    assert len(text.encode()) <= 3_000_000


def test_spectra_are_those_of_the_svd(report: Report, text: str) -> None:
    page = Page(text)
    figures = {told["data-of"]: told["data-csv"] for told in page.all("figure") if "data-of" in told}
    for i, row in enumerate(report.rows):
        if row.rank is None:
            assert str(i) not in figures
            continue
        values = np.linalg.svd(planted()[row.name].astype(np.float64), compute_uv=False)
        told = list(csv.reader(io.StringIO(figures[str(i)])))
        assert told[0] == ["k", "sigma"]
        assert 1 <= len(told) - 1 <= 64
        assert (int(told[1][0]), int(told[-1][0])) == (1, len(values))
        for k, value in told[1:]:
            assert float(value) == pytest.approx(values[int(k) - 1], rel=1e-5, abs=1e-12)


def test_the_edges_of_a_random_matrix_hold_its_spectrum() -> None:
    x = 0.3 * np.random.default_rng(0).standard_normal((600, 200))
    (row,) = aj.inspect({"w": x}, cache=False).rows
    low, high = edges(row) or (0.0, 0.0)
    assert low == pytest.approx(0.3 * (600**0.5 - 200**0.5), rel=0.01)
    assert high == pytest.approx(0.3 * (600**0.5 + 200**0.5), rel=0.01)
    assert row.sigma_max == pytest.approx(high, rel=0.03)
    drawn = spectrum(row, floor([row]), "s").svg
    assert 'class="edge"' in drawn
    assert 'class="mark"' in drawn
    assert 'class="lost"' not in drawn


def test_lost_directions_are_shaded(report: Report) -> None:
    drawn = spectrum(report.row("h.3.fc.weight"), 1e-3, "s").svg
    assert 'class="lost"' in drawn
    assert "NaN" not in drawn
    assert "nan" not in spectrum(report.row("zeros.weight"), 1e-3, "s").svg


def test_a_model_without_weights_and_one_that_is_whole() -> None:
    assert "No weight was examined." in render(aj.inspect({"b": np.ones(3)}, cache=False))
    assert "No weight stands out." in render(aj.inspect({"w": np.eye(3)}, cache=False))


def test_a_failure_leaves_the_old_file(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="disk full"):
            report.to_html(path)
    assert path.read_text() == "before"
    assert [x.name for x in tmp_path.iterdir()] == ["report.html"]
    assert report.to_html(str(path)) == path
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [x.name for x in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OSError, match="report"):
        report.to_html(path / "report.html")


def given(report: Report, **sections: Any) -> str:
    """The page of a report with more sections than its weights."""
    more = copy.copy(report)
    for name, found in sections.items():
        object.__setattr__(more, name, found)
    return render(more)


def lines(text: str, name: str) -> list[list[str]]:
    """The file of a figure."""
    (told,) = [told["data-csv"] for told in Page(text).all("figure") if told.get("data-name") == name]
    return list(csv.reader(io.StringIO(told)))


def test_cost_and_its_growth(report: Report) -> None:
    found = aj.cost(aj.models.GPT(50, 64, n_layer=2, n_head=2, n_embd=8), batch=1, seq=16)
    text = given(report, cost=found)
    page = Page(text)
    ids = [told["id"] for tag, told in page.elements if tag == "section"]
    assert ids == ["verdict", "worst", "cost", "weights", "spectra", "growth"]
    told = {line[0]: [int(x) for x in line[1:]] for line in lines(text, "cost-by-component")[1:]}
    for part in found.components:
        one = part.forward
        assert told[part.name] == [one.flops, one.multiply_adds, one.bytes, part.backward.flops]
    assert sum(x[0] for x in told.values()) == found.forward.flops
    texts = "".join(page.texts)
    for layer in found.layers:
        assert f"{layer.forward.flops:,}" in texts
    head, *rows = lines(text, "cost-against-length")
    growth = found.polynomial("seq")
    assert len(rows) > 20
    for row in rows:
        for name, value in zip(head[1:], row[1:], strict=True):
            assert int(value) == growth.components[name](int(row[0]))
    assert "overtakes the feed-forward part at 32 tokens (scores alone), 16 tokens (with projections)" in texts


def test_a_cost_without_a_sequence_has_no_growth(report: Report) -> None:
    text = given(report, cost=aj.cost(aj.nn.MLP((3, 4, 2)), (1, 3)))
    assert 'id="cost"' in text
    assert 'id="growth"' not in text
    assert 'id="cost"' in given(report, cost=aj.cost(aj.nn.Linear(3, 2), (1, 3)))


def test_gradient_flow_stands_worst_first(report: Report) -> None:
    factors = [1.0, 1.1, 12.0, 0.9, 0.02, math.nan, math.inf, 0.0]
    verdicts = ["", "", "explodes", "", "vanishes", "", "", ""]
    found = [
        Block(f"h.{i}<b>", "Block", 2.0 + i, factor, verdict)
        for i, (factor, verdict) in enumerate(zip(factors, verdicts, strict=True))
    ]
    text = given(report, flow=found)
    order = [line[0] for line in lines(text, "gradient-flow")[1:]]
    assert order[:2] == ["h.4<b>", "h.2<b>"]
    assert set(order) == {block.name for block in found}
    assert "h.2<b> explodes; h.4<b> vanishes." in "".join(Page(text).texts)
    assert text.count('class="alarm"') == 2
    assert "h.2<b>" not in text
    quiet = given(report, flow=found[:2])
    assert "No block makes gradients explode or vanish." in quiet


def test_circuits_are_a_table_with_every_field(report: Report) -> None:
    found = [Circuit("h.0.attn", head, kind, 16, 1.5, 0.25) for head in range(3) for kind in ("QK", "OV")]
    page = Page(given(report, circuits=found))
    keys = [told["data-key"] for told in page.all("th") if "data-key" in told]
    assert keys[-6:] == ["name", "head", "kind", "rank", "sigma_max", "copying"]
    assert "".join(page.texts).count("OV") >= 3


def test_thousands_of_circuits_are_cut_and_it_says_so(report: Report) -> None:
    found = [Circuit(f"h.{i}.attn", head, "OV", 16, 64.0 * i + head, 0.25) for i in range(20) for head in range(64)]
    text = given(report, circuits=found)
    texts = "".join(Page(text).texts)
    assert "the 600 of 1,280 with the largest σ₁" in texts
    assert "h.19.attn" in texts
    assert "h.2.attn" not in texts


@dataclass(frozen=True)
class Circuit:
    """As much of a circuit as the page needs, and one field that it does not know."""

    name: str
    head: int
    kind: str
    rank: int
    sigma_max: float
    copying: float


@dataclass(frozen=True)
class Block:
    """As much of a block of the gradient flow as the page needs."""

    name: str
    kind: str
    norm: float
    factor: float
    verdict: str
