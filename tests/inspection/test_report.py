"""The report on a network's weights: against NumPy's SVD, with faults planted in random networks."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.inspection import Report, remembered, running
from adjoint.inspection.row import Row
from adjoint.inspection.tails import marchenko_pastur, power_law

nn = aj.nn


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def random(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def one(x: Any, name: str = "w") -> Row:
    report = aj.inspect({name: x})
    assert len(report.rows) == 1, report.skipped
    return report.rows[0]


def told(report: Report) -> dict[str, str]:
    return {found.name: found.told for found in report.findings}


def transformer(layers: int = 4, width: int = 96) -> dict[str, np.ndarray]:
    """Weights of a random transformer."""
    shapes = {"attn.weight": (3 * width, width), "proj.weight": (width, width), "fc.weight": (4 * width, width)}
    net = {f"h.{i}.{n}": 0.02 * random(*s, seed=7 * i + len(n)) for i in range(layers) for n, s in shapes.items()}
    return net | {"wte.weight": random(500, width, seed=99), "ln.weight": np.ones(width, np.float32)}


# Figures


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (40, 64), (150, 90), (90, 150), (5000, 64), (70, 5000)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_spectrum_is_that_of_the_svd_in_float64_to_the_stated_bound(shape: tuple[int, int], dtype: str) -> None:
    x = random(*shape, seed=1).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    row = one(x)
    values = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    assert row.dtype == dtype
    assert row.rank == min(shape)
    assert row.nullity == shape[1] - min(shape)
    assert row.lost == 0
    assert abs(row.sigma_max - values[0]) <= row.bound + 1e-14 * values[0]
    assert abs(row.sigma_min - values[-1]) <= row.bound_min + 1e-14 * values[0]
    assert row.bound <= 1e-10 * values[0]
    p, energy = values / np.sum(values), np.cumsum(values**2) / np.sum(values**2)
    assert row.cond == pytest.approx(values[0] / values[-1], rel=1e-6)
    assert row.stable_rank == pytest.approx(np.sum(values**2) / values[0] ** 2, rel=1e-9)
    assert row.entropy_rank == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-6)
    assert energy[row.k90 - 1] >= 0.9 - 1e-12
    assert row.k90 == 1 or energy[row.k90 - 2] < 0.9
    assert energy[row.k99 - 1] >= 0.99 - 1e-12
    assert row.k99 == 1 or energy[row.k99 - 2] < 0.99


@pytest.mark.parametrize(("shape", "method"), [((65, 90), "gram in float64"), ((40, 90), "svd")])
def test_the_method_is_told(shape: tuple[int, int], method: str) -> None:
    assert one(random(*shape)).method == method
    assert one(random(*shape, dtype=np.float64)).method == "svd"


def test_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [one(random(300, 80)), one(random(80, 300))]
    monkeypatch.setattr("adjoint.inspection.weight.BLOCK", 1000)
    for row, x in zip(whole, [random(300, 80), random(80, 300)], strict=True):
        again = aj.inspect({"w": x}, cache=False).rows[0]
        assert again.sigma_max == pytest.approx(row.sigma_max, rel=1e-12)
        assert again.k90 == row.k90


@pytest.mark.parametrize("alpha", [2.0, 3.0, 4.5])
def test_the_exponent_of_a_power_law_is_found(alpha: float) -> None:
    u = np.random.default_rng(0).random(4000)
    exponent, tail = power_law(np.sqrt((1.0 - u) ** (-1.0 / (alpha - 1.0))))
    assert exponent == pytest.approx(alpha, rel=0.08)
    assert tail > 300


def test_a_tail_that_begins_late_is_found() -> None:
    rng = np.random.default_rng(0)
    squares = np.concatenate([rng.random(600), (1.0 - rng.random(600)) ** (-1.0 / 1.5)])
    exponent, tail = power_law(np.sqrt(squares))
    assert exponent == pytest.approx(2.5, rel=0.12)
    assert 300 < tail <= 660


def test_few_values_have_no_tail() -> None:
    row = one(random(31, 50))
    assert np.isnan(row.alpha)
    assert np.isnan(row.randomness)
    assert not row.random
    assert all(np.isnan(power_law(np.ones(100))[:1]))  # no spread, no exponent


@pytest.mark.parametrize("shape", [(40, 40), (100, 60), (300, 1000), (4000, 100)])
@pytest.mark.parametrize("kind", ["normal", "uniform", "signs"])
def test_independent_entries_of_any_distribution_are_random(shape: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(3)
    draws = {"normal": rng.standard_normal, "uniform": lambda s: rng.random(s) - 0.5}
    x = rng.choice([-1.0, 1.0], shape) if kind == "signs" else draws[kind](shape)
    distance, random = marchenko_pastur(np.linalg.svd(x, compute_uv=False), shape)
    assert random
    assert distance < 4.0 / min(shape)


def test_structure_is_not_random() -> None:
    decaying = random(100, 100) * (1.0 / np.arange(1, 101, dtype=np.float32))
    orthogonal = np.linalg.qr(random(100, 100))[0]
    assert not one(decaying).random
    assert not one(orthogonal).random
    assert one(random(100, 100)).random


# Faults, planted


def test_37_dead_directions_are_found_and_named() -> None:
    net = transformer()
    u, s, v = np.linalg.svd(net["h.2.proj.weight"])
    s[-37:] = 0.0
    net["h.2.proj.weight"] = (u * s) @ v
    report = aj.inspect(net)
    assert told(report) == {"h.2.proj.weight": "37 of 96 directions are lost (rank 59)"}
    row = report.row("h.2.proj.weight")
    assert (row.rank, row.lost, row.nullity, row.cond) == (59, 37, 37, float("inf"))
    assert report.verdict[0].answer == "lost"
    assert "37 of" in report.verdict[0].told
    assert report.layer("h.2.proj.weight").kernel().shape[1] >= 37
    assert report.layer("h.2.proj").shape == report.layer("h.2.proj.weight").shape


def test_repeated_rows_and_columns_are_found_and_named() -> None:
    net = transformer()
    net["h.1.fc.weight"][[7, 300]] = net["h.1.fc.weight"][3]
    net["h.3.proj.weight"][:, 5] = net["h.3.proj.weight"][:, 90]
    found = told(aj.inspect(net))
    assert found["h.1.fc.weight"] == "2 rows repeat others: 7, 300"
    assert found["h.3.proj.weight"] == "1 of 96 directions is lost (rank 95); 1 column repeats another: 90"
    assert len(found) == 2


def test_dead_rows_and_columns_are_found_and_named() -> None:
    net = transformer()
    net["h.0.fc.weight"][[2, 4, 8]] = 0.0
    net["h.2.fc.weight"][:, 11] = 0.0
    net["wte.weight"][0] = 0.0  # padding
    found = told(aj.inspect(net))
    assert found == {
        "h.0.fc.weight": "3 rows are zeros: 2, 4, 8",
        "h.2.fc.weight": "1 of 96 directions is lost (rank 95); 1 column is zeros: 11",
    }


@pytest.mark.parametrize("factor", [1000.0, 0.01])
def test_a_scaled_layer_is_found_among_its_peers(factor: float) -> None:
    net = transformer()
    net["h.1.attn.weight"] *= np.float32(factor)
    found = told(aj.inspect(net))
    assert (list(found) == ["h.1.attn.weight"] and "times" in found["h.1.attn.weight"]) or "1/" in found[
        "h.1.attn.weight"
    ]


def test_a_scaled_layer_is_found_among_others() -> None:
    net = nn.MLP((64, 128, 96, 10), rng=0)
    assert not aj.inspect(net).findings
    net[2].weight *= np.float32(1000.0)
    assert list(told(aj.inspect(net))) == ["2.weight"]


def test_numbers_that_are_not_finite_are_told_and_not_computed_on() -> None:
    net = transformer()
    net["h.0.proj.weight"][3, 4] = np.nan
    net["h.3.fc.weight"][0, :2] = np.inf, -np.inf
    report = aj.inspect(net)
    assert told(report) == {
        "h.0.proj.weight": "1 NaN among 9,216 numbers: no spectrum was computed",
        "h.3.fc.weight": "2 infinite among 36,864 numbers: no spectrum was computed",
    }
    assert report.row("h.0.proj.weight").rank is None
    assert report.verdict[0].answer == "broken"
    assert json.loads(report.to_json())["rows"][1]["sigma_max"] is None
    assert "NaN" in repr(report)


def test_zeros() -> None:
    report = aj.inspect({"w": np.zeros((70, 80), np.float32)})
    (row,) = report.rows
    assert (row.rank, row.lost, row.nullity, row.sigma_max, row.stable_rank) == (0, 70, 80, 0.0, 0.0)
    assert told(report) == {"w": "all zeros: nothing passes"}
    assert repr(report)


def test_one_direction_that_holds_all_energy_is_worth_a_look() -> None:
    (found,) = aj.inspect({"w": random(64, 64) + np.float32(20.0)}).findings
    assert found.told == "1 of 64 directions hold 99 % of the energy"
    assert found.gravity < 2


@pytest.mark.parametrize("seed", range(4))
def test_an_honest_random_network_raises_no_alarm(seed: int) -> None:
    nets = [
        nn.MLP((100, 300, 300, 300, 10), rng=seed),
        nn.Sequential(nn.Conv2d(3, 32, 3, rng=seed), nn.Conv2d(32, 32, 3, rng=seed + 9), nn.Linear(64, 10, rng=seed)),
        nn.TransformerEncoderLayer(96, 4, 200, rng=seed),
        nn.Sequential(nn.Embedding(300, 64, padding_idx=0, rng=seed), nn.Linear(64, 64, rng=seed)),
        {f"h.{i}.w": random(200, 200, seed=100 * seed + i) for i in range(12)},
    ]
    for net in nets:
        report = aj.inspect(net)
        assert report.findings == []
        assert report.verdict[0].answer == "kept"
        assert "No weight stands out." in repr(report)


def test_what_overflows_and_what_is_tiny_in_float64() -> None:
    assert one(random(10, 12, dtype=np.float64) * 1e-170).rank == 10
    report = aj.inspect({"w": random(10, 12, dtype=np.float64) * 1e200})
    assert report.rows[0].rank == 10
    assert report.rows[0].stable_rank > 1


# What is inspected, and what is not


def test_nothing_is_dropped_silently() -> None:
    arrays = {
        "w": random(4, 3),
        "q.weight": np.ones((4, 3), np.int8),
        "ids": np.arange(3),
        "b": np.ones(3),
        "s": np.float32(1.0),
        "none": np.ones((0, 3)),
        "c": np.ones((2, 2), complex),
    }
    report = aj.inspect(arrays)
    assert {"w"} | report.skipped.keys() == arrays.keys()
    assert report.skipped["q.weight"] == "int8: integers; if it is quantized, its scales are not known"
    assert report.skipped["c"].startswith("complex128")
    assert report.skipped["none"].startswith("empty")
    assert report.parameters == 12 + 12 + 3 + 3 + 1 + 4
    assert report.dtypes["int8"] == 12
    with pytest.raises(KeyError, match=r"q\.weight has no row: int8"):
        report.row("q.weight")


def test_tied_weights_count_once() -> None:
    net = nn.Sequential(nn.Embedding(10, 6, rng=0), nn.Linear(6, 10, bias=False, rng=0))
    net.tie("1.weight", "0.weight")
    report = aj.inspect(net)
    assert report.parameters == 60
    assert [row.tied for row in report.rows] == [("1.weight",)]
    assert report.skipped == {"1.weight": "tied: it is 0.weight"}
    assert report.row("1.weight").name == "0.weight"
    assert report.layer("1.weight").shape == (10, 6)


def test_buffers_and_shapes_alone() -> None:
    report = aj.inspect(nn.BatchNorm1d(4))
    assert report.parameters == 8
    assert report.buffers >= 8
    assert "a buffer: it is not learned" in report.skipped.values()
    with aj.nn.init.only_shapes():
        laid_out = nn.Linear(3, 2)
    assert aj.inspect(laid_out).skipped["weight"] == "no numbers: it only has a shape"


def test_pytorch_and_other_backends_agree() -> None:
    theirs = torch.nn.Sequential(torch.nn.Embedding(50, 40), torch.nn.Linear(40, 50))
    theirs[1].weight = theirs[0].weight
    report = aj.inspect(theirs)
    assert (report.parameters, len(report.rows), report.rows[0].kind) == (2050, 1, "embedding")
    assert report.rows[0].dtype == "float32"
    net = nn.MLP((70, 80, 90), rng=0)
    for backend in ("torch", "jax"):
        for here, there in zip(aj.inspect(net).rows, aj.inspect(aj.to(net, backend)).rows, strict=True):
            assert here.sigma_max == there.sigma_max
            assert here.rank == there.rank
    half = aj.to(nn.Linear(70, 80, rng=0), "torch", "bfloat16")
    assert aj.inspect(half).rows[0].dtype == "bfloat16"


def test_files_open(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    aj.save(path, {"fc.weight": random(70, 80), "fc.bias": np.ones(70, np.float32)})
    a, b = aj.inspect(path), aj.inspect(aj.interop.Weights(path))
    assert a.rows == b.rows
    assert a.name == b.name == "w.safetensors"
    assert a.parameters == 5670
    with pytest.raises(FileNotFoundError):
        aj.inspect(tmp_path / "missing.npz")


def test_what_cannot_be_inspected_is_told() -> None:
    with pytest.raises(TypeError, match="list has no weights: give a module"):
        aj.inspect([np.ones((2, 2))])
    with pytest.raises(ValueError, match="jobs is how many"):
        aj.inspect({}, jobs=0)
    with pytest.raises(KeyError, match=r"no weight 'h\.0\.prod', only h\.0\.proj\.weight"):
        aj.inspect(transformer(1)).layer("h.0.prod")
    with pytest.raises(ValueError, match=r"sorted by name, parameters, .*, not 'colour'"):
        aj.inspect(transformer(1)).table(sort="colour")
    assert aj.inspect({}).verdict[0].answer == "unknown"
    assert repr(aj.inspect({}))


def test_one_that_is_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adjoint.inspection.weight.LARGEST_GRAM", 50)
    report = aj.inspect({"w": random(60, 70), "v": random(50, 70)})
    assert report.skipped["w"].startswith("its whole spectrum would take a Gram matrix")
    assert len(report.rows) == 1


# What is given


def test_the_report_as_json_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    report = aj.inspect(transformer())
    told = json.loads(report.to_json())
    assert [Row.from_dict(row).as_dict() for row in told["rows"]] == told["rows"]
    assert told["parameters"] == report.parameters
    assert len(told["verdict"]) == 3
    lines = report.table(sort="parameters").splitlines()
    assert lines[0].startswith("weight")
    assert lines[1].startswith("wte.weight")
    assert len(lines) == 14
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_dataframe()


def test_the_report_as_a_dataframe() -> None:
    pandas = pytest.importorskip("pandas")
    frame = aj.inspect(transformer()).to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 13
    assert frame["zero_rows"].sum() == 0


def test_one_job_or_several_or_alone_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = transformer()
    several = aj.inspect(net, jobs=3, cache=False).rows
    assert aj.inspect(net, jobs=1, cache=False).rows == several
    monkeypatch.setattr(running, "SMALL", 0)
    for alone, row in zip(aj.inspect(net, cache=False).rows, several, strict=True):
        assert alone.sigma_max == pytest.approx(row.sigma_max, rel=1e-12)
        assert alone.rank == row.rank


def test_interrupted_it_gives_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    take, taken = running.Work._take, threading.Event()

    def interrupted(work: Any, source: Any, found: Any, advance: Any) -> None:
        take(work, source, found, advance)
        if not taken.is_set():
            taken.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(running.Work, "_take", interrupted)
    report = aj.inspect(transformer(), jobs=1, cache=False)
    assert not report.complete
    assert 1 <= len(report.rows) < 13
    assert "interrupted before it was examined" in report.skipped.values()
    assert "interrupted" in repr(report)
    assert not json.loads(report.to_json())["complete"]


# What is kept


def test_a_second_look_is_recalled(cache: Path) -> None:
    net = transformer()
    first, second = aj.inspect(net), aj.inspect(net)
    assert (first.recalled, second.recalled) == (0, 13)
    assert first.rows == second.rows
    assert len(list(cache.iterdir())) == 13
    assert not list(cache.glob("*.tmp"))
    net["h.0.fc.weight"][0, 0] += 1.0
    assert aj.inspect(net).recalled == 12


def test_nothing_is_kept_where_that_is_not_wanted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aj.inspect(transformer(1), cache=False)
    monkeypatch.setenv("ADJOINT_CACHE", "off")
    assert aj.inspect(transformer(1)).recalled == aj.inspect(transformer(1)).recalled == 0
    assert not cache.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": 3}', "\x00\xff", '{"rank": "many"}', "[" * 100_000])
def test_a_corrupt_cache_file_is_ignored(cache: Path, text: str) -> None:
    x = random(5, 6)
    first = one(x)
    (path,) = cache.iterdir()
    path.write_text(text, encoding="utf-8")
    assert aj.inspect({"w": x}).recalled == 0
    assert one(x) == first


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path / "file"))
    assert one(random(5, 6)).rank == 5


def test_the_folder_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADJOINT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr("sys.platform", "linux")
    assert remembered.folder() == Path("/somewhere/adjoint/weights")


def test_a_name_cannot_steer_the_terminal() -> None:
    report = aj.inspect({"\x1b[2Jw\n": np.zeros((3, 3)), "\x1b]0;b": np.ones(3)})
    assert "\x1b" not in repr(report)
    assert "\\x1b[2Jw\\n" in repr(report)


def test_rows_that_come_close_are_no_repetition() -> None:
    x = random(600, 40)
    x[1] = np.nextafter(x[0], np.float32(9.0), dtype=np.float32)  # every number one bit away
    x[2] = x[0]
    row = one(x)
    assert row.repeated_rows.first == (2,)
    assert one(np.full((600, 40), 3.0, np.float32)).repeated_rows.count == 599


def test_large_gram_matrices_are_decomposed_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    before = aj.inspect({"w": random(90, 120)}, cache=False).rows[0]
    monkeypatch.setattr("adjoint.maps.spectra.gram.IN_PLACE", 70)
    after = aj.inspect({"w": random(90, 120)}, cache=False).rows[0]
    assert after.sigma_max == pytest.approx(before.sigma_max, rel=1e-12)
    assert after.sigma_min == pytest.approx(before.sigma_min, rel=1e-9)


def test_a_direction_that_is_small_by_chance_raises_no_alarm_and_a_dependent_one_does() -> None:
    u, s, v = np.linalg.svd(random(200, 200, dtype=np.float64))
    s[-1] = 1e-5
    near = aj.inspect({"w": ((u * s) @ v).astype(np.float32)})
    assert near.rows[0].lost == 1
    assert near.rows[0].sigma_min == pytest.approx(1e-5, rel=0.05)
    assert near.findings == []
    assert near.verdict[0].answer == "kept"
    x = random(200, 200)
    x[:, 5] = x[:, 6] + x[:, 7]
    assert told(aj.inspect({"w": x})) == {"w": "1 of 200 directions is lost (rank 199)"}


def test_what_zeros_around_the_input_may_add_is_told_as_a_factor_where_it_is_much() -> None:
    report = aj.inspect({"c.weight": random(4, 4, 3, 3)}, cache=False)
    (row,) = report.rows
    for factor, told in ((1.5, "σ₁ is at most 50 % more"), (11.0, "σ₁ is up to 11 times as large")):
        wider = replace(report, rows=(replace(row, padded_norm=factor * row.sigma_max),))
        assert told in " ".join(repr(wider).split())


def test_beside_all_weights_a_scale_is_told_in_plain_words() -> None:
    weights = {f"w{'abcdefghij'[k]}.weight": random(8, 9 + k, seed=k) for k in range(10)}
    weights["wd.weight"] *= 1000.0
    assert re.search(r"times the median of all 10 weights$", aj.inspect(weights, cache=False).findings[0].told)
