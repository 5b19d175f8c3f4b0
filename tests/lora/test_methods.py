"""Five ways to adapt a network, ready for `fit`: what learns, what is shared, what goes on from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.lora.methods import Budgeted

TRAIN, TEST = aj.data.digits().split(0.2, 0)
STEPS = 23


def net(dtype: str = "float32") -> Any:
    return aj.nn.MLP((64, 24, 16, 10), rng=0, dtype=dtype)


def trained(method: str, dtype: str = "float32", epochs: int = 2, **options: Any) -> aj.training.Trained:
    ready = aj.lora.prepare(
        net(dtype), method, rank=3, targets=["0", "2"], also="4", steps=STEPS * epochs, lr=1e-2, rng=0
    )
    return aj.fit(
        ready.net, TRAIN, optimizer=ready.optimizer, penalty=ready.penalty, epochs=epochs, batch_size=64,
        progress=False, validation=TEST, **options,
    )  # fmt: skip


@pytest.mark.covers("L06")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", aj.lora.METHODS)
def test_real_digits_are_learned_and_the_rest_stays(method: str, dtype: str) -> None:
    run = trained(method, dtype, 8)
    best = run.history[-1].validation_metric
    assert best is not None
    assert best > (0.4 if method in ("adalora", "dora") else 0.8)
    before = dict(net(dtype).named_arrays())
    for name, layer in aj.lora.adapted_layers(run.net).items():
        if method != "qlora":
            np.testing.assert_array_equal(layer.base_layer.weight, before[f"{name}.weight"])
    assert not np.array_equal(run.net[4].weight, before["4.weight"])


@pytest.mark.parametrize("method", aj.lora.METHODS)
def test_what_is_frozen_is_shared_and_what_learns_is_not(method: str) -> None:
    base = net()
    ready = aj.lora.prepare(base, method, rank=2, targets="0", also="4")
    assert ready.net[4].weight is not base[4].weight
    assert type(base[0]).__name__ == "Linear"
    assert not base[0]._frozen
    if method == "full":
        assert ready.net[0].weight is not base[0].weight
        assert ready.learning == aj.nn.count_parameters(base)
    else:
        assert ready.net[2].weight is base[2].weight
        extra = {"dora": 24, "adalora": 64 + 24 + 3}.get(method, 0)
        assert ready.learning == 2 * (64 + 24) + 10 * 17 + extra


def test_adalora_ends_at_its_rank_on_average() -> None:
    run = trained("adalora")
    found = aj.lora.adapted_layers(aj.lora.compact(run.net)).values()
    assert sum(layer.adapters["default"].rank for layer in found) == 2 * 3


def test_a_layer_of_which_no_rank_is_left_counts_as_unchanged() -> None:
    made = aj.lora.add(net("float64"), 2, targets=["0", "2"], adalora=True, rng=0)
    for k, values in ((0, [[0.0], [0.0]]), (2, [[1.0], [0.0]])):
        made[k].adapters["default"].lora_E = np.array(values)
    made = aj.lora.compact(made)
    assert [made[k].adapters["default"].rank for k in (0, 2)] == [0, 1]
    assert [x.name for x in aj.diff(made).moved] == ["2.weight"]
    np.testing.assert_array_equal(aj.lora.merge(made)[0].weight, net("float64")[0].weight)


def test_adalora_has_no_more_ranks_than_the_smallest_layer() -> None:
    ready = aj.lora.prepare(net(), "adalora", rank=10, targets=["0", "4"])
    assert [layer.adapters["default"].rank for layer in aj.lora.adapted_layers(ready.net).values()] == [10, 10]
    with pytest.warns(aj.lora.ScheduleWarning, match="no rank can ever be given up"):
        ready.optimizer(ready.net)


@pytest.mark.parametrize("method", aj.lora.METHODS)
def test_a_checkpoint_has_what_learns_and_goes_on_to_the_same_bits(method: str, tmp_path: Path) -> None:
    straight = trained(method)
    path = tmp_path / "run"
    ready = aj.lora.prepare(net(), method, rank=3, targets=["0", "2"], also="4", steps=STEPS * 2, lr=1e-2, rng=0)
    options: dict[str, Any] = {
        "optimizer": ready.optimizer, "penalty": ready.penalty, "batch_size": 64, "progress": False,
        "validation": TEST, "checkpoint": path,
    }  # fmt: skip
    aj.fit(ready.net, TRAIN, epochs=1, **options)
    stored = [name for name in aj.load(path) if name.startswith("net.")]
    assert method == "full" or not [n for n in stored if n.endswith(("base_layer.weight", "base_layer.bias"))]
    run = aj.fit(ready.net, TRAIN, epochs=2, **options)
    for (name, x), (_, y) in zip(run.net.named_arrays(), straight.net.named_arrays(), strict=True):
        np.testing.assert_array_equal(x, y, name)
    other = aj.lora.prepare(aj.nn.MLP((64, 24, 16, 10), rng=1), method, rank=3, targets=["0", "2"], also="4",
                            steps=STEPS * 2, lr=1e-2, rng=0)  # fmt: skip
    if method not in ("full", "qlora"):
        with pytest.raises(aj.CheckpointError, match="frozen weights was"):
            aj.fit(other.net, TRAIN, epochs=2, **options)


def test_an_allocator_goes_on_from_its_arrays() -> None:
    ready = aj.lora.prepare(net("float64"), "adalora", rank=2, targets=["0", "2"], steps=12, rng=0)

    def steps(start: Any, count: int) -> tuple[Any, Budgeted]:
        net, optimizer = start
        for _ in range(count):
            grads = aj.grad(lambda net: aj.cross_entropy(net(TRAIN.x[:32].astype("float64")), TRAIN.y[:32]))(net)
            net, optimizer = optimizer.step(net, grads, 1e-2)
        return net, optimizer

    def begin() -> tuple[Any, Any]:
        start = aj.to(ready.net, "numpy")
        return start, ready.optimizer(start)

    whole, _ = steps(begin(), 12)
    half, optimizer = steps(begin(), 5)
    again = ready.optimizer(half)
    again.load_state_dict(optimizer.state_dict())
    assert again.allocator.step == 5
    other, _ = steps((half, again), 7)
    for (name, x), (_, y) in zip(whole.named_arrays(), other.named_arrays(), strict=True):
        np.testing.assert_array_equal(x, y, name)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="the method is full, lora"):
        aj.lora.prepare(net(), "lokr")
    with pytest.raises(ValueError, match="matches no layer"):
        aj.lora.prepare(net(), "lora", targets="query")
    with pytest.raises(ValueError, match="rank 17 is above"):
        aj.lora.prepare(net(), "dora", rank=17)
    with pytest.raises(aj.BackendError, match=r"jax\.jit hides"):
        aj.lora.prepare(aj.to(net(), "jax"), "adalora", rank=2)


@pytest.mark.parametrize(
    ("method", "to"), [(m, to) for m in aj.lora.METHODS for to in ("torch", "jax") if (m, to) != ("adalora", "jax")]
)
def test_other_backends_learn_the_same(method: str, to: str) -> None:
    losses = []
    for home in ("numpy", to):
        ready = aj.lora.prepare(aj.to(net("float64"), home), method, rank=2, steps=6, rng=0)
        run = aj.fit(
            ready.net, TRAIN.take(slice(0, 96)), optimizer=ready.optimizer, penalty=ready.penalty, epochs=2,
            batch_size=32, progress=False,
        )  # fmt: skip
        losses.append([e.loss for e in run.history])
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)
