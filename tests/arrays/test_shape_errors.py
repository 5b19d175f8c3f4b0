"""What does not fit is told by operation, shapes, axis and remedy, in the same words on every backend."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp

import adjoint as aj
from adjoint import arrays as xp
from adjoint.arrays.shapes import ShapeArray, count, like
from adjoint.errors import DtypeError, ShapeError

SOME_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, max_side=3)
RULE = "aligned from the right, sizes must be equal or 1."


def of(*shape: int) -> np.ndarray:
    return np.ones(shape)


def whole(*shape: int) -> np.ndarray:
    return np.zeros(shape, int)


def contract(spec: str) -> Any:
    return lambda *arrays: xp.einsum(spec, *arrays)


def joined(axis: int) -> Any:
    return lambda *arrays: xp.concatenate(list(arrays), axis)


BROADCASTING = [
    (xp.add, [of(4, 2), of(3)], f"add: (4, 2) and (3,) do not broadcast: axis -1 is 2 against 3; {RULE}"),
    (xp.add, [of(4, 2), of(4)], f"axis -1 is 2 against 4; {RULE} Add an axis: y[:, None] has shape (4, 1)."),
    (xp.multiply, [of(8), of(8, 5, 2)], f"against 2; {RULE} Add an axis: x[:, None, None] has shape (8, 1, 1)."),
    (xp.subtract, [of(8, 5, 2), of(8, 2)], "axis -2 is 5 against 8"),
    (xp.subtract, [of(8, 5, 2), of(8, 2)], "Add an axis: y[:, None, :] has shape (8, 1, 2)."),
    (xp.maximum, [of(3, 4), of(4, 3)], "Transpose the right operand: (3, 4)."),
    (xp.maximum, [of(4, 3), of(1, 4)], "Transpose the right operand: (4, 1)."),
    (
        xp.where,
        [of(2, 3) > 0, of(2, 3), of(4)],
        f"where: (2, 3), (2, 3), (4,) do not broadcast: axis -1 is 3 against 4; {RULE}",
    ),
    (xp.broadcast_to, [of(3), (3, 4)], f"broadcast_to: (3,) does not fit (3, 4): axis -1 is 3 against 4; {RULE}"),
    (xp.broadcast_to, [of(3), (3, 4)], "Add an axis: x[:, None] has shape (3, 1)."),
    (xp.broadcast_to, [of(2, 3), (3,)], "broadcasting adds axes and removes none"),
]
INNER = "inner dimensions differ, axis -1 of the left is 3, axis -2 of the right is 4."
PRODUCTS = [
    (xp.matmul, [of(2, 3), of(4, 3)], f"matmul: (2, 3) @ (4, 3): {INNER} Transpose the right operand: (3, 4)."),
    (xp.matmul, [of(2, 3), of(4, 5)], f"matmul: (2, 3) @ (4, 5): {INNER}"),
    (xp.matmul, [of(3, 2), of(3, 4)], "Transpose the left operand: (2, 3)."),
    (xp.matmul, [of(2, 3), of(5, 2)], "The product exists in the other order: (5, 2) @ (2, 3)."),
    (xp.matmul, [of(2, 3), of(2)], "axis -1 of the right is 2. Transpose the left operand: (3, 2)."),
    (xp.matmul, [of(5, 2, 3), of(4, 3, 6)], "batch axes do not broadcast, axis -3 is 5 against 4"),
    (xp.matmul, [of(2, 3), of()], "matmul: (2, 3) @ (): a scalar has no axis to sum over"),
    (
        contract("ij,jk"),
        [of(2, 3), of(4, 5)],
        "einsum: 'ij,jk' with (2, 3), (4, 5): index j is 3 in operand 0 but 4 in operand 1.",
    ),
    (contract("ijk->i"), [of(2, 3)], "'ijk' names 3 axes, operand 0 has 2"),
    (contract("ij->ik"), [of(2, 3)], "index k of the result is in no operand"),
    (contract("ij,jk"), [of(2, 3)], "2 terms for 1 arrays"),
]
LAYOUT = [
    (
        xp.reshape,
        [of(2, 3, 4), (5, -1)],
        "reshape: the 24 entries of (2, 3, 4) do not fit (5, -1): 24 is not divisible by 5.",
    ),
    (xp.reshape, [of(32, 28, 28), (784,)], "it takes 784. Keep the batch axis: (-1, 784) gives (32, 784)."),
    (xp.reshape, [of(4), (-1, -1)], "one size may be -1"),
    (xp.permute, [of(2, 3, 4), (0, 0, 1)], "permute: axes (0, 0, 1) are no permutation of the 3 axes of (2, 3, 4)"),
    (
        joined(1),
        [of(2, 3), of(4, 3)],
        "concatenate: (2, 3) and (4, 3) (array 1) differ on axis 0, 2 against 4; only axis 1",
    ),
    (joined(1), [of(2, 3), of(4, 3)], "Join along axis 0."),
    (
        joined(0),
        [of(2, 3), of(3)],
        "have 2 and 1 axes; all need the same number. Add an axis: array_1[None, :] has shape (1, 3).",
    ),
    (joined(2), [of(2, 3), of(2, 3)], "concatenate: axis 2 is out of range for (2, 3): use -2 to 1."),
    (joined(0), [of(), of()], "concatenate: array 0 is a scalar, which has no axis to join along: use stack."),
    (xp.pad, [of(2, 3), [(1, 1)] * 3], "for (2, 3): give one (before, after) for each of its 2 axes."),
    (xp.sum, [of(2, 3), 2], "sum: axis 2 is out of range for (2, 3): use -2 to 1."),
    (xp.max, [of(2, 0), 1], "max: axis 1 of (2, 0) is empty, and the max of nothing is not defined."),
    (xp.getitem, [of(2, 3), (0, 5)], "getitem: index 5 is out of bounds for axis 1 of (2, 3), of size 3: use -3 to 2."),
    (xp.getitem, [of(2, 3), (..., 4)], "index 4 is out of bounds for axis 1 of (2, 3)"),
    (
        xp.getitem,
        [of(2, 3), (0, 0, 0)],
        "getitem: 3 indices for (2, 3), which has 2 axes: leave some out, or add axes with None.",
    ),
    (
        xp.take_along,
        [of(4, 5), whole(4), 1],
        "take_along: (4, 5) and indices (4,): both need the same number of axes, 2 against 1.",
    ),
    (
        xp.segment_sum,
        [of(4, 5), whole(3), 3],
        "segment_sum: rows (4, 5) with indices (3,): u is (n, d) and there is one index a row",
    ),
]


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax", "shapes"])
@pytest.mark.parametrize(
    ("f", "operands", "message"),
    [
        *[pytest.param(*case, marks=pytest.mark.covers("V06", "V09")) for case in BROADCASTING],
        *[pytest.param(*case, marks=pytest.mark.covers("V04", "V08", "V09")) for case in PRODUCTS],
        *[pytest.param(*case, marks=pytest.mark.covers("V09")) for case in LAYOUT],
    ],
)
def test_operation_shapes_axis_and_remedy(f: Any, operands: Any, message: str, backend: str) -> None:
    module = importlib.import_module(f"adjoint.arrays.{backend}")
    moved = [module.from_numpy(x) if isinstance(x, np.ndarray) else x for x in operands]
    with pytest.raises(ShapeError) as caught:
        f(*moved)
    assert message in str(caught.value)


FEATURES = "but axis -1 of the input has 3 features, not 4."
LINEAR = f"linear: input (5, 3) by weight (3, 4): weight is (out, in) = (3, 4) {FEATURES}"
AFFINE = f"affine: input (5, 3) by weight (4, 3): weight is (in, out) = (4, 3) {FEATURES}"
SCORES = (
    "cross_entropy: scores (8, 5, 9) have their classes on axis 1, so the target is (8, 9), or probabilities (8, 5, 9)"
)
COARSE = [
    (xp.linear, [of(5, 3), of(3, 4), None], LINEAR),
    (xp.linear, [of(5, 3), of(3, 4), None], "Transpose the weight: (4, 3), or use affine, whose weight is (in, out)."),
    (xp.linear, [of(32, 28, 28), of(10, 784), None], "Flatten the input: (32, 784)."),
    (xp.linear, [of(4, 5), of(3, 4), None], "Transpose the input: (5, 4)."),
    (
        xp.linear,
        [of(5, 4), of(3, 4), of(4)],
        "linear: bias (4,) does not fit weight (out, in) = (3, 4): its shape is (out,) = (3,).",
    ),
    (xp.linear, [of(5, 4), of(4), None], "linear: weight is (out, in), two axes, got (4,)."),
    (xp.linear, [of(), of(3, 4), None], "linear: the input is a scalar; its last axis holds the 4 features"),
    (xp.affine, [of(5, 3), of(4, 3), None], AFFINE),
    (xp.affine, [of(5, 3), of(4, 3), None], "Transpose the weight: (3, 4), or use linear, whose weight is (out, in)."),
    (
        lambda *x: xp.stack(list(x)),
        [of(2, 3), of(3, 2)],
        "stack: array 0 is (2, 3) and array 1 is (3, 2); all must have one shape",
    ),
    (xp.split, [of(5, 3), 2], "split: axis 0 of (5, 3) has size 5, which does not divide into 2 equal parts"),
    (xp.swapaxes, [of(5, 3), 0, 2], "swapaxes: axis 2 is out of range for (5, 3): use -2 to 1."),
    (
        xp.expand_dims,
        [of(5, 3), 3],
        "expand_dims: axis 3 is out of range for the result, (5, 3) with a new axis: use -3 to 2.",
    ),
    (xp.take, [of(2, 3), whole(1), 2], "take: axis 2 is out of range for (2, 3): use -2 to 1."),
    (xp.take, [of(2, 3), 3, 1], "take: index 3 is out of bounds for axis 1 of (2, 3), of size 3: use -3 to 2."),
    (xp.softmax, [of(5, 3), 2], "softmax: axis 2 is out of range for (5, 3): use -2 to 1."),
    (
        xp.layer_norm,
        [of(5, 3), of(5)],
        "layer_norm: weight (5,) does not fit the input (5, 3): it normalizes over the last 1 axis",
    ),
    (xp.layer_norm, [of(2, 5, 3), of(5, 3)], "so weight is (3,). Normalize over the last 2: ndim=2."),
    (xp.layer_norm, [of(3), None, None, 2], "layer_norm: normalizes over the last 2 axes, but the input (3,) has 1."),
    (xp.embedding, [whole(3), of(7)], "embedding: weight is (n, d), one row an index, got (7,)."),
    (xp.cross_entropy, [of(8, 5, 9), whole(8, 5)], f"{SCORES}, not (8, 5)."),
    (xp.cross_entropy, [of(8, 5, 9), whole(8, 5)], "The classes seem to be last: aj.moveaxis(scores, -1, 1)."),
    (xp.cross_entropy, [of(8, 10), whole(8, 1)], "Reshape the target: (8,)."),
    (xp.nll_loss, [of(8, 10), of(8, 10)], "For probabilities as target use cross_entropy."),
]


@pytest.mark.covers("V09")
@pytest.mark.parametrize(("f", "operands", "message"), COARSE)
def test_coarse_functions_say_it_in_their_own_words(f: Any, operands: Any, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        f(*[like(x) for x in operands])
    assert message in str(caught.value)


@pytest.mark.covers("V09")
@pytest.mark.parametrize(
    "call",
    [
        lambda: aj.linear([[1.0, 2.0]], np.ones((3, 2))),
        lambda: aj.nn.Linear(2, 3)([[1.0, 2.0]]),
        lambda: aj.cross_entropy(np.ones((2, 3)), [0, 1]),
    ],
)
def test_a_list_is_no_array(call: Any) -> None:
    with pytest.raises(TypeError, match=r"(linear|cross_entropy): a list where an array is needed"):
        call()


def test_an_optimizer_update_names_the_parameter() -> None:
    p, m, v = ([like(of(2, 3))] for _ in range(3))
    adam: dict[str, Any] = {
        "t": 1,
        "lr": 1e-3,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled": True,
    }
    with pytest.raises(ShapeError, match=r"adam_update: parameter 0 is \(2, 3\), its gradient \(3, 2\)"):
        xp.adam_update(p, [like(of(3, 2))], m, v, **adam)
    with pytest.raises(ShapeError, match="sgd_update: 1 parameters but 0 gradients"):
        xp.sgd_update(p, [], None, lr=0.1, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0)


INTS, BITS = ShapeArray((2,), "int64"), ShapeArray((2,), "bool")


@pytest.mark.parametrize(
    ("f", "operands", "message"),
    [
        (xp.negative, [BITS], "negative: not defined for bool; cast with aj.astype(x, 'float32')."),
        (xp.negative, [np.ones(2, bool)], "negative: not defined for bool; cast with aj.astype(x, 'float32')."),
        (xp.subtract, [BITS, BITS], "subtract: not defined for bool and bool"),
        (
            xp.softmax,
            [INTS],
            "softmax: entries are int64, floating ones are needed: cast with aj.astype(x, 'float32').",
        ),
        (xp.softmax, [torch.ones(3, dtype=torch.int64)], "softmax: entries are int64, floating ones are needed"),
        (xp.gelu, [INTS], "gelu: entries are int64"),
        (xp.layer_norm, [INTS], "layer_norm: entries are int64"),
        (xp.take, [of(3), of(2)], "take: indices are float64; integers are needed, cast them to int64."),
        (xp.take_along, [of(3), of(2)], "take_along: indices are float64"),
        (xp.getitem, [of(3), of(2)], "getitem: float64 is no index; use integers, slices or masks."),
        (xp.getitem, [of(3), 1.5], "getitem: 1.5 is no index"),
    ],
)
def test_a_dtype_error_names_the_dtype_and_the_cast(f: Any, operands: Any, message: str) -> None:
    with pytest.raises(DtypeError) as caught:
        f(*operands)
    assert message in str(caught.value)


@pytest.mark.covers("V06")
@given(SOME_SHAPES, SOME_SHAPES)
def test_broadcasting_fails_where_numpys_does_and_its_remedy_works(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = np.ones(a), np.ones(b)
    try:
        expected = (x + y).shape
    except ValueError:
        with pytest.raises(ShapeError, match=r"add: .* do not broadcast: axis -") as caught:
            ShapeArray(a) + ShapeArray(b)
        if remedy := str(caught.value).partition("Add an axis: ")[2]:
            code, _, shape = remedy.rstrip(".").partition(" has shape ")
            symbol, _, index = code.rstrip("]").partition("[")
            key = tuple(slice(None) if part == ":" else None for part in index.split(", "))
            fixed, other = (x[key], y) if symbol == "x" else (y[key], x)
            assert str(fixed.shape) == shape
            assert (fixed + other).shape
    else:
        assert (ShapeArray(a) + ShapeArray(b)).shape == expected


@pytest.mark.covers("V04")
@given(SOME_SHAPES, SOME_SHAPES)
def test_a_product_exists_where_numpys_does(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        expected = np.matmul(np.ones(a), np.ones(b)).shape
    except ValueError:
        with pytest.raises(ShapeError, match=r"matmul: .* @ "):
            ShapeArray(a) @ ShapeArray(b)
    else:
        with count() as tally:
            assert (ShapeArray(a) @ ShapeArray(b)).shape == expected
        assert tally.matmul_flops == 2 * math.prod(expected) * a[-1]
