"""Times are positive, of the network as it stands, and held to no clock; the numbers drawn for it suit it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.costs import Measured, Predicted, measure
from adjoint.costs.subjects import example
from adjoint.costs.timing import ROUNDS, sample
from tests.costs.test_subjects import SMALL

CNN = aj.nn.Sequential(aj.nn.Conv2d(1, 3, 3), aj.nn.ReLU(), aj.nn.Flatten(), aj.nn.Linear(108, 5))


@pytest.mark.parametrize(
    ("net", "given"),
    [
        (aj.nn.MLP((7, 5, 3), rng=0), {"x": (4, 7)}),
        (CNN, {"x": np.ones((2, 1, 8, 8), "float32")}),
        (aj.models.GPT(11, 16, n_layer=1, n_head=2, n_embd=8, rng=0), {"batch": 2, "seq": 5}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_backward_and_step(net: Any, given: dict[str, Any], dtype: str) -> None:
    net = aj.to(net, dtype=dtype)
    before = {name: np.array(x) for name, x in net.state_dict().items()}
    training = net.training
    took = measure(net, **given, budget=0.01)
    assert min(took.forward, took.step) > 0
    assert took.backward >= 0
    assert took.training == took.forward + took.backward + took.step
    assert ROUNDS[0] <= took.rounds <= ROUNDS[1]
    assert net.training == training
    assert all(np.array_equal(x, before[name]) for name, x in net.state_dict().items())


def test_what_is_frozen_takes_no_backward_pass() -> None:
    took = measure(aj.nn.MLP((7, 3), rng=0).freeze(), (4, 7), budget=0.01)
    assert (took.backward, took.step) == (0.0, 0.0)
    assert took.forward > 0


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends(backend: str) -> None:
    assert measure(aj.nn.MLP((7, 3), rng=0).to(backend), (4, 7), budget=0.01).training > 0


@pytest.mark.parametrize("name", SMALL)
def test_numbers_suit_every_model(name: str) -> None:
    """Tokens lie within the table where they are looked up, and are not all the same; images are normal numbers."""
    net = aj.models.from_config(SMALL[name], rng=0)
    for shape, drawn in zip(example(net, 3), sample(net, example(net, 3)), strict=True):
        assert drawn.shape == shape.shape
        assert str(drawn.dtype) == str(shape.dtype)
        assert drawn.dtype.kind == "f" or (drawn.min() == 0 and drawn.max() == 30)


def test_ratios_of_planted_times() -> None:
    told = Predicted(1.0, 4.0, 0.0, {}, {})
    assert Measured(2.0, 4.0, 1.0, 3).over(told) == {"forward": 2.0, "backward": 1.0, "training": 7.0 / 5.0}


def test_what_cannot_be_measured() -> None:
    with aj.nn.init.only_shapes():
        net = aj.nn.MLP((7, 3))
    with pytest.raises(ValueError, match="this network only has shapes; build it outside only_shapes"):
        measure(net, (4, 7))
    with pytest.raises(TypeError, match="a module of this library is timed, not dict"):
        measure({"model_type": "gpt2"}, batch=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give x, or batch and seq, not both"):
        measure(CNN, (1, 1, 8, 8), batch=3)
    with pytest.raises(ValueError, match="what MLP is given is not known; give x"):
        measure(aj.nn.MLP((7, 3)), batch=3)
    with pytest.raises(aj.ShapeError, match="linear"):
        measure(aj.nn.MLP((7, 3)), (4, 6))
