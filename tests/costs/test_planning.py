"""Plans over devices against the ZeRO paper's example, Megatron's count and cases made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import adjoint as aj
from adjoint.costs import Alive, Memory
from tests.costs.test_figures import GPT2

SMALL = {**GPT2, "n_layer": 4}


@pytest.mark.parametrize(("layout", "gigabytes"), [("data", 120.0), ("zero1", 31.4), ("zero2", 16.6), ("fsdp", 1.9)])
def test_zeros_example(layout: str, gigabytes: float) -> None:
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters, 64 devices, 2 + 2 + 12 bytes each."""
    n = 7_500_000_000
    mixed = Memory(2 * n, 2 * n, 12 * n, Alive(0, 2 * n), None)
    found = replace(aj.cost(aj.nn.Linear(3, 2), (1, 3)), memory=mixed)
    plan = found.plan(64, layout)
    assert round(plan.memory / 1e9, 1) == gigabytes
    # section 7: the traffic of stages 1 and 2 is that of data parallelism, that of the third half as much again
    assert plan.traffic / found.plan(64, "data").traffic == pytest.approx(1.5 if layout == "fsdp" else 1.0)


def test_megatrons_all_reduces() -> None:
    """Shoeybi et al. 2019, section 3: two all-reduces of b·s·d a block in each pass."""
    found, n = aj.cost(SMALL, batch=2, seq=64), 8
    ring = 2 * (n - 1) / n * 2 * 64 * 768 * 4
    assert found.plan(n, "tensor").traffic == 4 * 4 * ring
    assert found.plan(n, "tensor").weights * n == pytest.approx(found.memory.weights, abs=n)


def test_a_pipeline() -> None:
    found = aj.cost(SMALL, batch=8, seq=64)
    plan = found.plan(4, "pipeline")
    block = 4 * (12 * 768**2 + 13 * 768)
    assert [x.weights for x in found.blocks] == [block] * 4
    assert plan.weights == found.memory.weights - 3 * block
    assert plan.traffic == 2 * 8 * 64 * 768 * 4
    assert plan.bubble == 3 / 11
    assert found.plan(4, "pipeline", microbatches=1).bubble == 3 / 4
    logits = 8 * 64 * SMALL["vocab_size"] * 4
    kept = found.memory.passes.kept
    assert (kept + logits) / 2 < found.plan(3, "pipeline").activations < kept  # two of four blocks, and the head
    assert found.plan(4, "pipeline").activations < found.plan(3, "pipeline").activations


@pytest.mark.parametrize("layout", ["data", "zero1", "zero2", "fsdp", "tensor", "pipeline"])
@pytest.mark.parametrize("batch", [1, 16])
def test_one_device_holds_the_training_counted(layout: str, batch: int) -> None:
    """Gradients are the most of a small batch's peak, activations of a large one's: both are held at once here."""
    found = aj.cost(SMALL, batch=batch, seq=64)
    plan, own = found.plan(1, layout, link=1e9), found.memory
    assert own.training <= plan.memory
    assert own.passes.kept <= plan.activations
    assert plan.memory == own.weights + own.gradients + own.optimizer + plan.activations
    assert (plan.traffic, plan.bubble, plan.batches, plan.link_seconds) == (0, 0.0, 1, 0.0)
    assert plan.fits(plan.memory)
    assert not plan.fits(plan.memory - 1)


@pytest.mark.parametrize("layout", ["data", "zero1", "zero2", "fsdp"])
def test_activations_do_not_hide_below_gradients(layout: str) -> None:
    """Of a short sequence gradients outweigh activations; dividing them leaves each device its own batch's."""
    found = aj.cost(SMALL, batch=1, seq=64)
    assert found.memory.passes.kept < found.memory.gradients
    assert found.plan(64, layout).activations >= found.memory.passes.kept


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((0, "data"), "devices is a positive integer, not 0"),
        ((2.0, "data"), "devices is a positive integer"),
        ((2, "ring"), "the layout is data, zero1"),
        ((5, "pipeline"), "this network has 4"),
        ((2, "pipeline", 0), "microbatches is a positive integer"),
        ((2, "data", None, -1.0), "link is a bandwidth"),
    ],
)
def test_what_is_refused(given: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        aj.cost(SMALL, seq=4).plan(*given)


def test_a_network_without_blocks_cannot_be_laid_out_by_them() -> None:
    with pytest.raises(ValueError, match="this network has 0"):
        aj.cost(aj.nn.MLP((3, 4, 2)), (1, 3)).plan(2, "tensor")
