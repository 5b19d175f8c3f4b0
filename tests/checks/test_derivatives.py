"""aj.check: what is right passes, what is planted is found and named, what cannot be checked is said."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import arrays as xp
from adjoint.arrays.dispatch import composition
from adjoint.maps import Dense, Diagonal, LinearMap, Weighting
from adjoint.ops.define import OPERATIONS, elementwise, operation


@pytest.fixture(autouse=True)
def _no_new_operations() -> Any:
    """Operations that a test registers are gone after it."""
    operations, functions = dict(OPERATIONS), dict(xp.FUNCTIONS)
    yield
    for table, before in ((OPERATIONS, operations), (xp.FUNCTIONS, functions)):
        table.clear()
        table.update(before)


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


# What is right


@pytest.mark.covers("F07")
def test_right_derivatives_pass() -> None:
    report = aj.check(lambda x, w: aj.tanh(x @ w), normal(3, 4), normal(4, 2, seed=1))
    assert report
    assert report.ok
    assert [row.operand for row in report.rows] == ["x", "w"]
    assert [row.shape for row in report.rows] == [(3, 4), (4, 2)]
    for row in report.rows:
        assert row.dot <= row.dot_tolerance < 1e-12
        assert row.error <= 1e-10
        assert row.dense is not None
        assert row.dense <= 1e-10
        assert row.tolerance < 1e-9
    report.raise_if_wrong()


def test_report_reads_as_a_table() -> None:
    text = str(aj.check(aj.matmul, normal(2, 3), normal(3, 2)))
    head, first, second = text.splitlines()[2:5]
    assert text.startswith("derivative of matmul: right")
    for column in ("operand", "dot test", "tolerance", "differences"):
        assert column in head
    assert head.index("shape") == first.index("(2, 3)") == second.index("(3, 2)")
    assert first.startswith("✓  x ")
    assert second.startswith("✓  y ")
    assert repr(aj.check(aj.sin, 1.0)) == str(aj.check(aj.sin, 1.0))


def test_trees_modules_and_constants() -> None:
    net = aj.nn.MLP((3, 4, 2), rng=0)
    report = aj.check(
        lambda net, batch: aj.cross_entropy(net(batch["x"]), batch["t"]),
        net,
        {"x": normal(5, 3), "t": np.array([0, 1, 1, 0, 1])},
    )
    assert report, report
    assert [row.operand for row in report.rows] == [
        "net.0.weight",
        "net.0.bias",
        "net.2.weight",
        "net.2.bias",
        "batch['x']",
    ]
    assert "float32 were checked in float64" in str(report)


def test_a_module_brings_its_parameters() -> None:
    net = aj.nn.Linear(3, 2, rng=0)
    assert [row.operand for row in aj.check(net, normal(3)).rows] == ["x", "Linear.weight", "Linear.bias"]
    assert [row.operand for row in aj.check(net, normal(3), wrt=0).rows] == ["x"]
    assert [row.operand for row in aj.check(net.freeze("weight"), normal(3)).rows] == ["x", "Linear.bias"]


def test_outputs_that_are_trees_are_named() -> None:
    report = aj.check(lambda x: {"s": aj.sum(x), "p": [x * x, 3]}, normal(2))
    assert report
    assert report.rows[0].worst is not None
    assert report.rows[0].worst.output.startswith("value['")


@pytest.mark.parametrize("x", [np.zeros((0, 3)), 2.0, np.float32(1.5), np.array(0.5), normal(2, 3).T, normal(6)[::2]])
def test_operands_of_any_form(x: Any) -> None:
    assert aj.check(lambda x: aj.sin(x) * x, x)


def test_maps_and_numpys_functions() -> None:
    assert aj.check(Dense(normal(2, 3)), normal(3))
    assert aj.check(lambda x: np.exp(x) @ normal(3, 2), normal(3))


@pytest.mark.parametrize("move", [torch.tensor, jnp.asarray], ids=["torch", "jax"])
def test_other_backends(move: Any) -> None:
    x = move(normal(2, 3).astype("float32"))
    assert aj.check(lambda x: aj.softmax(x) * 2.0, x)
    wrong = aj.check(lambda x: aj.stop_gradient(aj.exp(x)) * x, x)
    assert "x[" in wrong.findings[0]
    assert type(x) in (torch.Tensor, type(jnp.ones(1)))


def test_float64_is_used_in_jax_and_then_no_longer() -> None:
    with jax.enable_x64(False):
        assert aj.check(lambda x: aj.sin(x), jnp.ones(3)).rows[0].error < 1e-10
        assert jnp.ones(3).dtype == "float32"


def test_same_seed_same_numbers() -> None:
    assert aj.check(aj.gelu, normal(3)) == aj.check(aj.gelu, normal(3))


# What is planted


def swish_with(factor: float) -> Any:
    @composition
    def swish(x: Any, /) -> Any:
        return x / (1.0 + xp.exp(-x))

    def rule(z: Any, x: Any) -> LinearMap:
        s = xp.sigmoid(x)
        return Diagonal(factor * (s + z * (1.0 - s)))

    return elementwise(swish, rule)


@pytest.mark.covers("F07")
@pytest.mark.parametrize("size", [(3, 4), (30, 40)])
@pytest.mark.parametrize("factor", [1.001, 0.999, 1.0 + 1e-7, -1.0, 0.0])
def test_a_wrong_map_is_caught_by_differences(size: tuple[int, ...], factor: float) -> None:
    report = aj.check(swish_with(factor), normal(*size))
    assert not report
    row = report.rows[0]
    assert row.dot <= row.dot_tolerance
    assert row.error > row.tolerance
    assert row.worst is not None
    assert row.worst.operand.replace("x", "value") == row.worst.output
    assert row.worst.derivative == pytest.approx(factor * row.worst.difference, rel=1e-8)
    assert f"∂{row.worst.output}/∂{row.worst.operand}" in str(report)
    with pytest.raises(aj.DerivativeError, match=r"WRONG in 1 of 1 operands"):
        report.raise_if_wrong()


def test_the_right_factor_passes() -> None:
    assert aj.check(swish_with(1.0), normal(3, 4))


class Skewed(Dense):
    """A dense map one direction of which has an entry 0.1 % too large."""

    __slots__ = ("entry", "forward")

    def __init__(self, weight: Any, entry: tuple[int, int], forward: bool) -> None:
        super().__init__(weight)
        self.entry = entry
        self.forward = forward

    def _wrong(self) -> Any:
        weight = np.array(self.weight)
        weight[self.entry] *= 1.001
        return weight

    def apply(self, v: Any) -> Any:
        return v @ (self._wrong() if self.forward else self.weight).T

    def adjoint(self, u: Any) -> Any:
        return u @ (self.weight if self.forward else self._wrong())

    T = LinearMap.T


def skewed(forward: bool) -> Any:
    @composition
    def layer(x: Any, weight: Any, /) -> Any:
        return xp.matmul(x, xp.swapaxes(weight, 0, 1))

    def rule(z: Any, x: Any, weight: Any) -> LinearMap:
        return Skewed(weight, (weight.shape[0] - 1, 1), forward) if isinstance(weight, np.ndarray) else Dense(weight)

    return operation(layer, rule, lambda z, x, weight: Weighting(x, weight.shape))


@pytest.mark.covers("F07")
@pytest.mark.parametrize("size", [4, 200])
def test_a_wrong_adjoint_is_caught_by_the_dot_test(size: int) -> None:
    report = aj.check(skewed(forward=False), normal(2, size), normal(3, size, seed=1))
    x, weight = report.rows
    assert weight.ok
    assert not x.ok
    assert x.dot > x.dot_tolerance
    assert x.error <= x.tolerance
    assert "J and Jᵀ disagree" in x.findings[0]
    assert x.findings[0].endswith("so Jᵀ is wrong")
    assert "2]/∂x[" in x.findings[0]
    assert ", 1] is" in x.findings[0]


@pytest.mark.covers("F07")
@pytest.mark.parametrize("size", [4, 200])
def test_a_wrong_pushforward_is_caught_too(size: int) -> None:
    report = aj.check(skewed(forward=True), normal(2, size), normal(3, size, seed=1))
    x, weight = report.rows
    assert weight.ok
    assert x.dot > x.dot_tolerance
    assert x.error > x.tolerance
    assert any(finding.endswith("so J is wrong") for finding in x.findings)
    assert x.worst is not None
    assert (x.worst.operand[-3:], x.worst.output[-3:]) == (" 1]", " 2]")


@pytest.mark.covers("F07")
@pytest.mark.parametrize("at", [(), (normal(4),), (normal(2, 4),)], ids=["nowhere", "element", "batch"])
def test_a_map_is_checked_by_its_own_directions(at: Any) -> None:
    assert aj.check(Dense(normal(3, 4)), *at)
    report = aj.check(Skewed(normal(3, 4), (2, 1), forward=False), *at)
    (row,) = report.rows
    assert row.dot > row.dot_tolerance
    assert row.findings[0].endswith("so Jᵀ is wrong")
    assert "2]/∂" in row.findings[0]
    assert ", 1] is" in row.findings[0] or "[1] is" in row.findings[0]


def test_a_map_with_a_wrong_matrix_or_that_is_not_linear() -> None:
    class Misprinted(Dense):
        __slots__ = ()

        def matrix(self) -> Any:
            return 1.001 * self.weight

    class Bent(Dense):
        __slots__ = ()

        def apply(self, v: Any) -> Any:
            return super().apply(v + 1e-2 * v * v)

    assert "J.dense() is wrong" in str(aj.check(Misprinted(normal(3, 3))))
    assert not aj.check(Bent(normal(3, 3)))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, jnp.asarray], ids=["numpy", "torch", "jax"])
def test_maps_of_other_backends(kind: Any) -> None:
    with jax.enable_x64(True):
        assert aj.check(Dense(kind(normal(2, 2))))


def test_a_map_of_single_precision() -> None:
    assert aj.check(Dense(normal(2, 2).astype("float32")))
    with pytest.raises(aj.DtypeError, match="operands of float32 are checked in float64, where Dense failed"):
        aj.check(Dense(torch.ones(2, 2)))


def test_maps_of_products_and_trees() -> None:
    net = aj.nn.MLP((3, 4, 2), rng=0)
    weights = aj.jacobian(lambda net: net(np.ones(3, "float32")), net)
    pair = aj.block([[Dense(normal(3, 4)), Dense(normal(3, 2))]])
    for map in (weights, weights.T, pair, pair.T, Dense(normal(3, 4)).T):
        assert aj.check(map)


def test_a_wrong_adjoint_of_a_product_names_the_operand() -> None:
    right, wrong = Dense(normal(3, 4)), Skewed(normal(3, 2), (2, 1), forward=False)
    first, second = aj.check(aj.block([[right, wrong]]), (normal(4), normal(2))).rows
    assert first.ok
    assert not second.ok


def test_a_broadcast_that_is_not_summed() -> None:
    @composition
    def plus(x: Any, y: Any, /) -> Any:
        return x + y

    sum_of = operation(plus, lambda z, x, y: aj.Identity(z.shape), lambda z, x, y: aj.Identity(z.shape))
    x, y = normal(2, 3), normal(3)
    first, second = aj.check(sum_of, x, y).rows
    assert first.ok
    assert second.findings == ("y: Jᵀ u has shape (2, 3), not (3,)",)
    with pytest.raises(aj.ShapeError, match=r"gradient of shape \(2, 3\) arrived at an argument of shape \(3,\)"):
        aj.grad(lambda y: aj.sum(aj.square(sum_of(x, y))))(y)


def test_an_adjoint_that_fails_is_a_finding() -> None:
    class Turned(Dense):
        __slots__ = ()

        def adjoint(self, u: Any) -> Any:
            return u @ self.weight.T

    assert aj.check(Turned(normal(3, 4))).findings[0].startswith("x: Jᵀ u fails: ")
    assert not aj.check(aj.block([[Dense(normal(3, 4)), Turned(normal(3, 2))]]))


def test_a_wrong_matrix_is_caught() -> None:
    class Misprinted(Diagonal):
        __slots__ = ()

        def matrix(self) -> Any:
            return 1.001 * super().matrix()

    @composition
    def double(x: Any, /) -> Any:
        return 2.0 * x

    report = aj.check(operation(double, lambda z, x: Misprinted(0.0 * x + 2.0)), normal(3))
    assert "J.dense() is wrong" in str(report)


def test_a_map_that_is_not_linear_is_caught() -> None:
    class Bent(Diagonal):
        __slots__ = ()

        def apply(self, v: Any) -> Any:
            return v + 1e-2 * v * v

    @composition
    def same(x: Any, /) -> Any:
        return 1.0 * x

    report = aj.check(operation(same, lambda z, x: Bent(0.0 * x + 1.0)), normal(3))
    assert "the map is not linear" in str(report)


def test_a_forgotten_path_is_caught() -> None:
    report = aj.check(lambda x: aj.stop_gradient(x) * x, normal(4))
    assert report.rows[0].worst is not None
    assert report.rows[0].worst.difference == pytest.approx(2 * report.rows[0].worst.derivative)


# What cannot be checked is said


def test_not_a_number_in_an_operand() -> None:
    report = aj.check(lambda a, b: a * b, np.array([1.0, 2.0]), np.array([[0.0], [np.nan]]))
    assert report.rows[1].findings == ("b[1, 0] is nan: 1 entries are not finite",)
    assert not report


def test_not_a_number_in_the_value() -> None:
    report = aj.check(aj.log, np.array([1.0, -1.0]))
    assert report.findings == ("x: value[1] is nan, so there is nothing to differentiate",)


@pytest.mark.parametrize(
    ("f", "x", "entry"),
    [(aj.sqrt, [4.0, 0.0], "x[1]"), (lambda x: aj.where(x > 0, x * aj.log(x), 0.0), [0.0, 1.0], "x[0]")],
)
def test_infinite_or_undefined_derivative(f: Any, x: list[float], entry: str) -> None:
    report = aj.check(f, np.array(x))
    assert report.findings[0].startswith(f"{entry}: the derivative (Jᵀ applied to ones) is ")


def test_a_rough_function_gets_a_wide_tolerance() -> None:
    smooth, rough = (aj.check(lambda x, c=c: (aj.tanh(x) + c) - c, normal(3)) for c in (1.0, 1e8))
    assert smooth.rows[0].tolerance < 1e-9
    assert 1e-7 < rough.rows[0].tolerance < 1e-3
    assert rough, rough


def test_a_function_too_rough_is_not_called_right() -> None:
    report = aj.check(lambda x: (aj.tanh(x) + 1e13) - 1e13, normal(3))
    assert not report


def test_single_precision_inside_is_said() -> None:
    report = aj.check(lambda x: aj.astype(aj.tanh(x), "float32"), normal(3))
    assert "f rounds to 1.2e-07 inside" in str(report)
    assert report.rows[0].tolerance > 1e-6


def test_no_argument_at_all() -> None:
    with pytest.raises(aj.DtypeError, match=r"give the arguments at which to check it"):
        aj.check(lambda x: x)


def test_integers_have_no_derivative() -> None:
    with pytest.raises(aj.DtypeError, match="no argument of sin holds a floating array"):
        aj.check(aj.sin, np.arange(3))
    with pytest.raises(aj.DtypeError, match="returned no floating array"):
        aj.check(lambda x: x > 0, np.ones(3))


def test_constants_left_behind_in_single_precision() -> None:
    weight = torch.ones(2, 3)
    with pytest.raises(aj.DtypeError, match="pass the arrays that it refers to as arguments too"):
        aj.check(lambda x: weight @ x, torch.ones(3))
    assert aj.check(lambda weight, x: weight @ x, weight, torch.ones(3))


def test_errors_of_the_function_pass_through() -> None:
    with pytest.raises(aj.ShapeError):
        aj.check(aj.matmul, normal(2, 3), normal(2, 3))
