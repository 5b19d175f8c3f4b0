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
from adjoint.inspection.changes_screen import HEADERS
from adjoint.inspection.screen import text
from adjoint.inspection.tails import random_values
from adjoint.inspection.turning import turning


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rank_five_is_found_as_five_within_the_rounding_of_the_file(dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    w = drawn(120, 80).astype(kind).astype(np.float64)
    directions = np.linalg.qr(drawn(120, 5, seed=1))[0], np.linalg.qr(drawn(80, 5, seed=2))[0]
    change = 2.0 * directions[0] * np.arange(1.0, 6.0) @ directions[1].T
    found = aj.diff({"w": w.astype(kind)}, {"w": (w + change).astype(kind)}).changes[0]
    assert (found.rank, found.k90, found.told) == (5, 3, "of rank 5, 3 hold 90 %")


@pytest.mark.covers("L07")
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


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)])
@pytest.mark.parametrize("ranks", [(40, 40), (30, 30), (12, 20), (20, 12), (3, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_image_and_kernel_turn_by_the_principal_angles(
    shape: tuple[int, int], ranks: tuple[int, int], dtype: str
) -> None:
    from scipy.linalg import null_space, orth, subspace_angles

    def made(r: int, seed: int) -> np.ndarray:
        return (drawn(shape[0], r, seed=seed) @ drawn(r, shape[1], seed=seed + 1)).astype(dtype).astype(np.float64)

    w, after = made(ranks[0], 1), made(ranks[1], 3)
    eps = float(np.finfo(dtype).eps)
    found = turning(w, after, eps)
    assert found.ranks == ranks
    assert found.nullities == tuple(shape[1] - r for r in ranks)
    loose = {"rcond": 1e-5} if dtype == "float32" else {}
    for told, basis, size in ((found.image, orth, shape[0]), (found.kernel, null_space, shape[1])):
        a, b = basis(w, **loose), basis(after, **loose)
        if min(a.shape[1], b.shape[1]) and max(a.shape[1], b.shape[1]) < size:
            expected = np.degrees(subspace_angles(a, b)[0])
            assert told == pytest.approx(expected, abs=1e-3 if dtype == "float32" else 1e-6)
        else:
            assert told == 0.0


def test_small_angles_are_told() -> None:
    w = drawn(30, 80)
    change = 1e-7 * drawn(30, 80, seed=1)
    from scipy.linalg import null_space, subspace_angles

    expected = np.degrees(subspace_angles(null_space(w), null_space(w + change))[0])
    for eps in (2.0**-52, 2.0**-23):
        assert turning(w, w + change, eps).kernel == pytest.approx(expected, rel=1e-6)


@pytest.mark.covers("L07", "L08")
def test_adapters_are_compared_with_the_network_without_them() -> None:
    net = aj.nn.Sequential(
        aj.nn.Embedding(50, 40, rng=0), aj.nn.Linear(40, 60, rng=1), aj.nn.Conv2d(3, 30, 4, rng=2),
        aj.nn.Linear(7, 8, rng=3),
    )  # fmt: skip
    plain = aj.to(net)
    net = aj.lora.add(net, 5, targets=["0", "1", "2"], rng=0)
    for i in range(3):
        adapter = net[i].adapters["default"]
        adapter.lora_A = drawn(*adapter.lora_A.shape, seed=i).astype("float32")
        adapter.lora_B = 1e-9 * drawn(*adapter.lora_B.shape, seed=i + 9).astype("float32")  # far below rounding
    alone, pair = aj.diff(net), aj.diff(plain, net)
    assert alone.changes == pair.changes
    for x in alone.changes[:3]:
        assert (x.rank, x.adapter, x.low_rank) == (5, 5, True)
        assert x.told.startswith("of rank 5 (its adapters have r = 5)")
    assert (alone.changes[3].told, alone.changes[3].adapter) == ("unchanged", None)
    assert not alone.skipped.keys() - {"1.bias", "2.bias", "3.bias"}
    assert alone.verdict.startswith("3 of 4 weights changed, by adapters of r = 5: ")
    delta = net[1].adapters["default"].delta().astype("float64")
    assert alone.changes[1].norm == pytest.approx(np.linalg.norm(delta), rel=1e-5)
    back = aj.diff(net, plain).changes[1]
    assert (back.rank, back.adapter) == (5, 5)
    for i in range(3):
        net[i].adapters["default"].lora_B *= 1e-3
    assert [x.rank for x in aj.diff(net).changes[:3]] == [5, 5, 5]
    merged = aj.diff(aj.lora.merge(net))
    assert [x.rank for x in merged.changes[:3]] == [0, 0, 0]  # the float32 weight has lost the change
    assert "its adapters" not in merged.changes[0].told
    with pytest.raises(ValueError, match="Sequential has no adapters: give the model after training"):
        aj.diff(plain)


@pytest.mark.parametrize("decay", [0.3, 1.0])
def test_adapters_that_use_all_of_their_rank_are_told(decay: float) -> None:
    net = aj.lora.add(aj.nn.Linear(200, 160, rng=0), 8, init="orthogonal", rng=0)
    adapter = net.adapters["default"]
    adapter.lora_A = np.linalg.qr(drawn(200, 8))[0].T.astype("float32")
    adapter.lora_B = (np.linalg.qr(drawn(160, 8))[0] * decay ** np.arange(8)).astype("float32")
    found = aj.diff(net)
    assert found.changes[0].rank == 8
    assert found.changes[0].low_rank
    assert found.changes[0].k90 == (1 if decay < 1.0 else 8)
    assert ("nearly all of their r" in found.verdict) == (decay == 1.0)


def test_adapters_that_take_half_the_size_are_no_change_of_low_rank() -> None:
    net = aj.lora.add(aj.nn.Linear(40, 40, rng=0), 30, init="gaussian", rng=0)
    net.adapters["default"].lora_B = drawn(40, 30).astype("float32")
    found = aj.diff(net)
    assert not found.changes[0].low_rank
    assert "an update of low rank would not do" in found.changes[0].told


@pytest.mark.parametrize("kind", ["dora", "adalora"])
def test_other_adapters_are_told_by_what_they_compute(kind: str) -> None:
    net = aj.lora.add(aj.nn.Linear(60, 50, rng=0), 4, rng=0, dora=kind == "dora", adalora=kind == "adalora")
    adapter = net.adapters["default"]
    adapter.lora_B = drawn(50, 4).astype("float32")
    if kind == "adalora":
        adapter.lora_E = drawn(4, 1, seed=3).astype("float32")
    found = aj.diff(net).changes[0]
    delta = net.weight.astype("float64") - net.base_layer.weight
    assert found.norm == pytest.approx(np.linalg.norm(delta), rel=1e-5)
    assert (found.rank == 4) == (kind == "adalora")  # DoRA's norms change every row


def test_adapters_beside_packed_weights() -> None:
    net = aj.lora.add(aj.quantize(aj.nn.MLP((64, 64), rng=0)), 2, init="gaussian", rng=0)
    net[0].adapters["default"].lora_B = drawn(64, 2).astype("float32")
    found = aj.diff(net).changes[0]
    assert (found.rank, found.adapter, found.turning is None) == (2, 2, False)


def test_the_command_takes_a_folder_of_adapters(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from adjoint.cli import app

    config = {"model_type": "gpt2", "vocab_size": 40, "n_positions": 16, "n_embd": 32, "n_layer": 1, "n_head": 2}
    net = aj.models.from_config(config)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(config), "utf-8")
    aj.save(tmp_path / "base" / "model.safetensors", net.state_dict())
    net = aj.lora.add(net, 2, targets="c_fc", rng=0)
    net.h[0].mlp.c_fc.adapters["default"].lora_B = drawn(128, 2).astype("float32")
    aj.lora.save(net, tmp_path / "adapter")
    run = CliRunner().invoke(app, ["diff", str(tmp_path / "base"), str(tmp_path / "adapter"), "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.output)
    assert (told["base"], told["tuned"]) == ("base", "adapter")
    moved = [x for x in told["changes"] if x["rank"]]
    assert [(x["name"], x["rank"], x["adapter"]) for x in moved] == [("h.0.mlp.c_fc.weight", 2, 2)]
    assert moved[0]["turned"].startswith("its image of 32 in 128 turned by up to")
    run = CliRunner().invoke(app, ["diff", str(tmp_path / "base"), str(tmp_path / "adapter")])
    assert "turned" in run.output
    lost = CliRunner().invoke(app, ["diff", str(tmp_path / "adapter"), str(tmp_path / "adapter")])
    assert lost.exit_code == 1


def test_a_narrow_screen_leaves_out_columns_and_their_explanation() -> None:
    base = {f"model.layers.{i}.self_attn.q_proj.weight": drawn(128, 64, seed=i) for i in range(3)}
    found = aj.diff(base, {name: w + 0.3 * drawn(128, 64, seed=9) for name, w in base.items()})
    for width, columns in ((60, ["ΔW/W", "rank", "k₉₀", "intruders", "turned"]), (100, list(HEADERS))):
        shown = text(found, width)
        header = next(line for line in shown.splitlines() if line.startswith("weight "))
        assert header.split()[1:] == [x for x in columns if x != "r"]
        assert ("random: k₉₀ of a random" in shown) == ("random" in columns)
        assert "ΔW/W: ‖ΔW‖_F over ‖W‖_F; " in shown
