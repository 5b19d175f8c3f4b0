"""Every node case of onnx's backend test suite whose operators are claimed: values, backends, shapes, derivatives."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray
from adjoint.errors import TraceError
from adjoint.interop.onnx import OPERATORS, from_onnx
from adjoint.interop.onnx.claims import document
from tests.interop.onnx_cases import NOT_HERE, Case, assert_equal, cases, floating

NUMBERS = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"}
UNTESTED = {  # operators without a node case of their own; the tests of this folder run them
    "ConcatFromSequence", "GlobalLpPool", "Optional", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
    "SequenceErase", "SequenceLength",
}  # fmt: skip
ELSEWHERE = ("BitCast", "Cast", "CastLike")  # eight bits and fewer, and bits themselves, are NumPy's alone
each_operator = pytest.mark.parametrize("op", sorted(OPERATORS))


def chosen(op: str, plain: bool = True) -> list[Case]:
    """The cases of an operator; `plain` ones have arrays of common dtypes alone, and are not written out again."""
    found = [case for case in cases()[0].get(op, []) if case.name not in NOT_HERE]
    if not plain:
        return found
    return [
        case
        for case in found
        if "_expanded" not in case.name
        and "training_dropout" not in case.name  # whether it drops depends on a floating input
        and all(str(getattr(x, "dtype", "")) in NUMBERS for x in case.inputs)
    ]


def listed(found: Any) -> list[Any]:
    """The outputs as a list."""
    return list(found) if isinstance(found, tuple) else [found]


def every(these: list[Case], check: Callable[[Case], None]) -> None:
    """Run a check on every case, and say of all which fail."""
    failures = []
    for case in these:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # overflows and 0/0 that the cases are about
                check(case)
        except Exception as error:
            failures.append(f"{case.name}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


@each_operator
def test_values(op: str) -> None:
    def check(case: Case) -> None:
        found = listed(from_onnx(case.model)(*case.inputs))
        for x, y in zip(found, case.outputs, strict=True):
            assert_equal(x, y)

    every(chosen(op, plain=False), check)


def test_the_claim() -> None:
    claimed, others = cases()
    run = sum(len(chosen(op, plain=False)) for op in OPERATORS)
    assert (run, sum(map(len, others.values()))) == (1806, 68)
    assert set(OPERATORS) - set(claimed) == UNTESTED
    assert set(NOT_HERE) <= {case.name for group in claimed.values() for case in group}
    assert len(NOT_HERE) == 10


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "onnx.md"
    assert page.read_text("utf-8") == document(), "write it anew: Path('docs/onnx.md').write_text(document())"


@each_operator
def test_on_torch(op: str) -> None:
    torch = pytest.importorskip("torch")

    def check(case: Case) -> None:
        inputs = [torch.from_numpy(np.array(x)) for x in case.inputs]
        found = listed(from_onnx(case.model).to("torch")(*inputs))
        for x, y in zip(found, case.outputs, strict=True):
            x = x.numpy() if isinstance(x, torch.Tensor) else x
            assert_equal(x, y, exact=not isinstance(x, list))

    every(
        [case for case in chosen(op) if str(getattr(case.outputs[0], "dtype", "")) in NUMBERS and op != "BitCast"],
        check,
    )


@each_operator
def test_shapes_alone(op: str) -> None:
    """The same program on arrays without values, where shapes do not depend on them."""

    def check(case: Case) -> None:
        inputs = [x if held else ShapeArray(x.shape, x.dtype) for x, held in zip(case.inputs, case.held, strict=True)]
        for x, y in zip(listed(from_onnx(case.model)(*inputs)), case.outputs, strict=True):
            if not isinstance(y, list):
                assert (tuple(x.shape), str(x.dtype)) == (np.shape(y), str(np.asarray(y).dtype))

    if op not in ("BitCast", "NonZero", "Range", "Unique"):
        every(chosen(op), check)


@each_operator
def test_compiled(op: str) -> None:
    """JAX traces the program with floating inputs unknown: shapes and dtypes of the outputs are right."""
    jax = pytest.importorskip("jax")

    def check(case: Case) -> None:
        free = [i for i, held in enumerate(case.held) if not held]

        def run(net: Any, *given: Any) -> Any:
            inputs = list(case.inputs)
            for i, x in zip(free, given, strict=True):
                inputs[i] = x
            return net(*inputs)

        specs = [jax.ShapeDtypeStruct(case.inputs[i].shape, case.inputs[i].dtype) for i in free]
        found = jax.eval_shape(run, from_onnx(case.model).to("jax"), *specs)
        for x, y in zip(listed(found), case.outputs, strict=True):
            if not isinstance(y, list):
                assert (tuple(x.shape), str(x.dtype)) == (np.shape(y), str(np.asarray(y).dtype))

    if op not in ("BitCast", "NonZero", "Range", "Unique"):
        every([case for case in chosen(op) if op not in ELSEWHERE or str(case.outputs[0].dtype) in NUMBERS], check)


@each_operator
def test_derivatives(op: str) -> None:
    """The gradient of a random functional of the outputs, in a random direction, against a central difference."""
    if op in ("BitCast", "DynamicQuantizeLinear", "QuantizeLinear"):
        return  # no derivative is claimed: see docs/onnx.md
    rng = np.random.default_rng(zlib.crc32(op.encode()))

    def check(case: Case) -> None:
        net = from_onnx(case.model, dtype="float64")
        free = [i for i, held in enumerate(case.held) if not held]
        points = [case.inputs[i] + 0.013 * rng.standard_normal(case.inputs[i].shape) for i in free]  # beside kinks
        points = [np.asarray(x, "float64") for x in points]

        def outputs(*given: Any) -> list[Any]:
            inputs = [np.asarray(x, "float64") if floating(x) else x for x in case.inputs]
            for i, x in zip(free, given, strict=True):
                inputs[i] = x
            return [y for y in listed(net(*inputs)) if floating(y)]

        values = outputs(*points)
        if not points or not values or max(x.size for x in points) > 4096:  # so many maxima are beside a kink
            return
        weights = [rng.standard_normal(y.shape) * bool(np.all(np.isfinite(y))) for y in values]

        def functional(*given: Any) -> Any:
            total = 0.0
            for y, w in zip(outputs(*given), weights, strict=True):
                total = total + aj.sum(y * w) if np.any(w) else total
            return total

        if not any(np.any(w) for w in weights):
            return
        grads = aj.grad(functional, tuple(range(len(points))))(*points)
        steps = [1e-6 * rng.standard_normal(x.shape) for x in points]
        ahead, behind = ([x + s * d for x, d in zip(points, steps, strict=True)] for s in (1.0, -1.0))
        difference = (functional(*ahead) - functional(*behind)) / 2e-6
        slope = sum(float(np.sum(g * d)) for g, d in zip(grads, steps, strict=True)) / 1e-6
        assert abs(difference - slope) <= 1e-4 * max(1.0, abs(slope)), f"{slope} is not {difference}"

    every([case for case in chosen(op) if op not in ELSEWHERE or str(case.outputs[0].dtype) in NUMBERS], check)


def test_shapes_that_depend_on_data_are_refused_by_name() -> None:
    (case,) = [case for case in chosen("NonZero") if case.name == "test_nonzero_example"]
    with pytest.raises(TraceError, match="NonZero: x decides shapes") as caught:
        from_onnx(case.model)(ShapeArray(case.inputs[0].shape, "bool"))
    assert caught.value.__notes__ == ["in NonZero (node 1 of 1)"]
