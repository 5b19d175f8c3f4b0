"""The node cases of onnx's own backend test suite, by the operator that each is about."""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from adjoint.interop.onnx import OPERATORS
from adjoint.interop.onnx.graphs import unclaimed

NOT_HERE = {  # cases of claimed operators that are not claimed, each with its reason
    "test_equal_string": "text",
    "test_equal_string_broadcast": "text",
    "test_not_2d": "version 1 of ONNX's operators",
    "test_not_3d": "version 1 of ONNX's operators",
    "test_not_4d": "version 1 of ONNX's operators",
    "test_scan_sum": "version 8 of ONNX's operators, whose Scan is another operator",
    "test_training_dropout": "random numbers of onnx's own generator",
    "test_training_dropout_default": "random numbers of onnx's own generator",
    "test_training_dropout_default_mask": "random numbers of onnx's own generator",
    "test_training_dropout_mask": "random numbers of onnx's own generator",
}


class Case(NamedTuple):
    """A model, and what it is to give."""

    name: str
    model: Any
    inputs: list[Any]
    outputs: list[Any]

    @property
    def held(self) -> list[bool]:
        """For every input whether it decides shapes."""
        nodes = self.model.graph.node
        if len(nodes) > 1:
            return [not floating(x) for x in self.inputs]
        static = {nodes[0].input[i] for i in OPERATORS[nodes[0].op_type].static if i < len(nodes[0].input)}
        return [x.name in static or not floating(y) for x, y in zip(self.model.graph.input, self.inputs, strict=True)]


def floating(x: Any) -> bool:
    """Whether x is an array of floating numbers."""
    return "float" in str(getattr(x, "dtype", ""))


def array(x: Any) -> Any:
    """A tensor as an array."""
    return numpy_helper.to_array(x) if isinstance(x, TensorProto) else x


@functools.cache
def cases() -> tuple[dict[str, list[Case]], dict[str, list[str]]]:
    """(claimed cases by operator, names of the others by the operators that they lack)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx computes its own overflows to write the cases
        tests = load_model_tests(kind="node")
    subject = {t.name: t.model.graph.node[0].op_type for t in tests}
    claimed: dict[str, list[Case]] = {}
    others: dict[str, list[str]] = {}
    for test in tests:
        missing = sorted({op for op, _ in unclaimed(test.model.graph, range(len(test.model.graph.node)))})
        if missing:
            others.setdefault(" ".join(missing), []).append(test.name)
            continue
        key = subject.get(test.name.partition("_expanded")[0], subject[test.name])
        key = key if key in OPERATORS else subject[test.name]
        for inputs, outputs in test.data_sets:
            case = Case(test.name, test.model, [array(x) for x in inputs], [array(x) for x in outputs])
            claimed.setdefault(key, []).append(case)
    return claimed, others


EPS = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}


def assert_equal(found: Any, expected: Any, exact: bool = True) -> None:
    """Raise unless what was found is what is expected: its type, its shape, its entries to the dtype's precision."""
    if isinstance(expected, list):
        assert isinstance(found, list)
        for x, y in zip(found, expected, strict=True):
            assert_equal(x, y, exact)
        return
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if exact:
        assert found.dtype == expected.dtype
    if floating(expected):
        close(found.astype("float64"), expected.astype("float64"), EPS.get(expected.dtype.name, 1e-7))
    else:
        np.testing.assert_array_equal(found, expected)


def close(found: Any, expected: Any, eps: float) -> None:
    """To eps of the largest entry."""
    finite = np.abs(expected[np.isfinite(expected)])
    # onnx computes some references of float64 in float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=max(eps, 1e-7) * max(finite.max(initial=0.0), 1.0))
