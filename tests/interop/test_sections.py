"""Programs divided into the modules of their source: the same values, each module with what it alone takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import arrays as xp
from adjoint.inspection.watching import calls, evaluated
from adjoint.interop.graph import Graph, Step, Value
from adjoint.interop.sections import batch_of, divide, source_name
from adjoint.nn.module import count_parameters


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


class Mixed(torch.nn.Module):
    """A tied weight, a buffer, a module used twice, one that gives two arrays, one without floating inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.shared = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
        self.split = Split()
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.norm(self.embed(ids)))
        a, b = self.split(x)
        return self.head(self.shared(a * b))


class Split(torch.nn.Module):
    """(x + w, x - w)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + self.w, torch.sin(x) - self.w


def mixed() -> tuple[Any, Any, np.ndarray]:
    torch.manual_seed(0)
    theirs, ids = Mixed().double().eval(), np.array([1, 5, 2])
    for p in theirs.parameters():
        torch.nn.init.normal_(p)
    return theirs, aj.open(theirs, ids), ids


def test_the_values_and_gradients_stay() -> None:
    theirs, net, ids = mixed()
    own = evaluated(net)
    np.testing.assert_array_equal(own(ids), net(ids))
    np.testing.assert_allclose(own(ids), theirs(torch.from_numpy(ids)).detach(), rtol=1e-10)
    assert [name for name, _ in net.named_modules()] == [""]  # the network itself is as it was
    assert count_parameters(own) == count_parameters(net) == sum(p.numel() for p in theirs.parameters())


def test_modules_have_names_kinds_and_what_they_alone_take() -> None:
    _, net, ids = mixed()
    found: dict[str, Any] = {name: module for name, module in evaluated(net).named_modules() if name}
    assert {name: module.plan.kind for name, module in found.items()} == {
        "embed@0": "Embedding", "norm@0": "BatchNorm1d", "shared.0@0": "Linear", "shared.1@0": "Tanh",
        "split@0": "Split", "shared.0@1": "Linear", "shared.1@1": "Tanh", "head@0": "Linear",
    }  # fmt: skip
    assert {name: count_parameters(module) for name, module in found.items()} == {
        "embed@0": 28, "norm@0": 8, "shared.0@0": 20, "shared.1@0": 0, "split@0": 4, "shared.0@1": 20, "shared.1@1": 0,
        "head@0": 28,
    }  # fmt: skip
    told = [(call.name, call.nth) for call in calls(net, ids)[1]]
    assert told == [
        ("norm", 0),
        ("shared.0", 0),
        ("shared.1", 0),
        ("split", 0),
        ("shared.0", 1),
        ("shared.1", 1),
        ("head", 0),
    ]


def test_a_divided_program_is_not_divided_again() -> None:
    net = mixed()[1]
    own: Any = evaluated(net)
    names = [name for name, _ in own.named_modules()]
    divide(own)
    assert [name for name, _ in own.named_modules()] == names == [name for name, _ in evaluated(own).named_modules()]


def test_steps_that_nothing_takes_or_that_take_no_input_stay_outside() -> None:
    scope = (("a", "A"),)
    steps = [
        Step(xp.exp, (Value("w"),), {}, ("v",), "exp", (("b", "B"),)),  # of an array alone
        Step(xp.exp, (Value("x"),), {}, ("dead",), "exp", (("c", "C"),)),
        Step(xp.multiply, (Value("x"), Value("v")), {}, ("h",), "mul", scope),
        Step(xp.exp, (Value("h"),), {}, ("y",), "exp"),
        Step(xp.multiply, (Value("y"), Value("v")), {}, ("z",), "mul", scope),  # apart from the other step
    ]
    net = Graph(["x"], Value("z"), steps, {"w": np.array(0.0)})
    before = net(np.array(2.0))
    divide(net)
    assert [name for name, _ in net.named_modules()] == ["", "a@0", "a@1"]
    assert net(np.array(2.0)) == before


def test_errors_name_every_module_around() -> None:
    def fail(x: Any) -> Any:
        raise ValueError("no")

    step = Step(fail, (Value("x"),), {}, ("y",), "aten.fail", (("layers.0", "Layer"), ("layers.0.fc", "Linear")))
    net = Graph(["x"], Value("y"), [step], {})
    divide(net)
    with pytest.raises(ValueError, match="no") as caught:
        net(np.ones(2))
    assert caught.value.__notes__ == ["in aten.fail", "in layers.0.fc (Linear)", "in layers.0 (Layer)"]


def test_how_many_examples_a_program_takes(tmp_path: Path) -> None:
    theirs, x = torch.nn.Linear(3, 2).double(), inputs(4, 3)
    assert batch_of(aj.open(theirs, x)) == (4, 4)
    batch = torch.export.Dim("batch", min=2, max=9)
    assert batch_of(aj.open(theirs, x, dynamic_shapes=({0: batch},))) == (2, 9)
    assert batch_of(aj.nn.Linear(3, 2)) == (0, math.inf)
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    for size, expected in ((5, (5, 5)), ("n", (0, math.inf))):
        values = [make.make_tensor_value_info(k, 1, [size, 3]) for k in "xy"]
        graph = make.make_graph([make.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
        onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 20)]), tmp_path / "m.onnx")
        assert batch_of(aj.open(tmp_path / "m.onnx")) == expected


def test_the_name_in_the_source() -> None:
    assert source_name("a@0.b.0@12") == "a.b.0"
    assert source_name("mail@home") == "mail@home"
