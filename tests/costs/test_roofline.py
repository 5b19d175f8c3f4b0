"""The arithmetic of the roofline on a planted one, what is kept of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import adjoint as aj
from adjoint.costs import Pass, Roofline
from tests.costs.test_figures import GPT2

TOY = Roofline("toy", {"float32": 100.0, "float64": 50.0}, 10.0)
SMALL = {**GPT2, "n_layer": 2}


@pytest.mark.covers("E05")
def test_an_operation_is_bound_by_what_takes_longer() -> None:
    assert TOY.ridge() == 10.0
    for flops, moved, seconds, bound in ((1000, 50, 10.0, "compute"), (100, 50, 5.0, "memory"), (0, 20, 2.0, "memory")):
        spent = Pass(flops, 0, moved)
        assert (TOY.seconds(spent), TOY.bound(spent)) == (seconds, bound)
        assert (spent.intensity < TOY.ridge()) == (bound == "memory")


@pytest.mark.covers("E05")
def test_operations_add_up_to_components_and_passes() -> None:
    found = aj.cost(SMALL, batch=2, seq=16)
    for part in found.components:
        own = [x for x in found.operations if x.component == part.name]
        for side in ("forward", "backward"):
            whole = getattr(part, side)
            assert sum(getattr(x, side).flops for x in own) == whole.flops
            assert sum(getattr(x, side).bytes for x in own) == whole.bytes
            assert sum(getattr(x, side).matmul_flops for x in own) == whole.matmul_flops


@pytest.mark.covers("E05")
def test_products_compute_and_norms_wait() -> None:
    """A product of 1,024 by 768 with 768 by 3,072 does hundreds of FLOPs a byte, a normalization about one."""
    line = Roofline("usual", {"float32": 400e9}, 40e9)
    found = aj.cost(SMALL, batch=1, seq=1024)
    told = found.predicted(line)
    assert told.bounds["feed-forward", "linear"] == "compute"
    assert told.bounds["norms", "layer_norm"] == "memory"
    assert told.bounds["embeddings", "embedding"] == "memory"
    least = max(found.forward.flops / 400e9, found.forward.bytes / 40e9)
    assert least <= told.forward <= found.forward.flops / 400e9 + found.forward.bytes / 40e9
    assert told.forward == pytest.approx(sum(pair[0] for pair in told.components.values()))
    assert told.step == pytest.approx(found.step.bytes / 40e9)
    assert told.training == told.forward + told.backward + told.step


def test_it_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path))
    assert Roofline.remembered() is None
    with pytest.raises(ValueError, match="adjoint doctor"):
        aj.cost(aj.nn.Linear(3, 2), (1, 3)).predicted()
    from adjoint.costs.roofline import processor

    line = Roofline(processor(), {"float32": 1e9}, 1e8)
    assert line.keep()
    assert Roofline.remembered() == line
    assert aj.cost(aj.nn.Linear(3, 2), (1, 3)).predicted().forward > 0
    file = next(tmp_path.glob("*.json"))
    told = json.loads(file.read_text())
    for wrong in ({"version": 0}, {"machine": "another"}, {"bandwidth": -1.0}, {"bandwidth": "x"}, {"flops": 7}):
        file.write_text(json.dumps(told | wrong))
        assert Roofline.remembered() is None
    file.write_text("{")
    assert Roofline.remembered() is None
    monkeypatch.setenv("ADJOINT_CACHE", "off")
    assert not line.keep()


def test_what_is_refused() -> None:
    for rates, bandwidth in (({}, 1.0), ({"float32": 0.0}, 1.0), ({"float32": 1.0}, float("inf"))):
        with pytest.raises(ValueError, match="positive numbers"):
            Roofline("toy", rates, bandwidth)
    with pytest.raises(ValueError, match="measured in float32, float64, not in bfloat16"):
        aj.cost(SMALL, seq=4, dtype="bfloat16").predicted(TOY)
