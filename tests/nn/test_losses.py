"""Loss modules are PyTorch's namesakes: arguments and defaults, values, gradients, state; CTC at its edges."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.errors import ShapeError
from tests.ops.samples import SAMPLES

LOSSES = [getattr(aj.nn, name) for name in aj.nn.__all__ if name.endswith("Loss")]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", LOSSES, ids=lambda kind: kind.__name__)
def test_arguments_and_defaults_are_pytorchs(kind: Any) -> None:
    theirs = inspect.signature(getattr(torch.nn, kind.__name__)).parameters.values()
    expected = {p.name: p.default for p in theirs if p.name not in ("size_average", "reduce")}
    assert {f.name: f.default for f in dataclasses.fields(kind)} == expected
    keywords = {p.name for p in theirs if p.kind is p.KEYWORD_ONLY} | {"reduction"}
    ours = [f.name for f in dataclasses.fields(kind) if f.name not in keywords]
    assert ours == [name for name in expected if name not in keywords]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("kind", LOSSES, ids=lambda kind: kind.__name__)
def test_equals_pytorch_on_every_sample(kind: Any) -> None:
    """The function's samples, through the modules, with options by name."""
    names = {f.name for f in dataclasses.fields(kind)}
    function = kind.function.__name__
    tried = 0
    for sample in SAMPLES[function]:
        lengths = {k: v for k, v in sample.options.items() if k in ("targets", "input_lengths", "target_lengths")}
        options = {k: v for k, v in sample.options.items() if k not in lengths}
        if not options.keys() <= names:
            continue
        operands, tried = (*sample.make(), *lengths.values()), tried + 1
        given = {k: torch.as_tensor(v) if isinstance(v, (np.ndarray, list)) else v for k, v in options.items()}
        expected = getattr(torch.nn, kind.__name__)(**given)(
            *(x if isinstance(x, float) else torch.as_tensor(x) for x in operands)
        )
        got = kind(**{k: np.asarray(v) if isinstance(v, list) else v for k, v in options.items()})(*operands)
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert tried >= 2


def test_weights_are_buffers_that_load_both_ways() -> None:
    weight = RNG.uniform(0.5, 2.0, 4)
    ours, theirs = (
        aj.nn.CrossEntropyLoss(weight, label_smoothing=0.1),
        torch.nn.CrossEntropyLoss(torch.ones(4).double()),
    )
    theirs.load_state_dict({k: torch.from_numpy(x) for k, x in ours.state_dict().items()})
    again = aj.nn.CrossEntropyLoss(np.ones(4))
    again.load_state_dict(theirs.state_dict())
    assert (again.weight == weight).all()
    assert not list(ours.parameters())
    assert repr(aj.nn.CrossEntropyLoss(ignore_index=3)) == (
        "CrossEntropyLoss(weight=None, ignore_index=3, reduction='mean', label_smoothing=0.0)"
    )
    x, y = RNG.normal(size=(5, 4)), RNG.integers(0, 4, 5)
    on_jax = jax.jit(aj.to(ours, "jax"))(*aj.to((x, y), "jax"))
    assert float(on_jax) == pytest.approx(float(ours(x, y)), rel=1e-14)


# Cross-entropy


@given(
    labels=st.lists(st.sampled_from([-100, 0, 1, 2]), min_size=1, max_size=7),
    smoothing=st.sampled_from([0.0, 0.3]),
    weighted=st.booleans(),
)
def test_cross_entropy_leaves_entries_out_as_pytorch_does(labels: list[int], smoothing: float, weighted: bool) -> None:
    x, y = np.random.default_rng(len(labels)).normal(size=(len(labels), 3)), np.array(labels)
    weight = np.array([0.5, 0.0, 2.0]) if weighted else None
    how = {"label_smoothing": smoothing, "weight": weight}
    value, gradient = aj.value_and_grad(lambda x: aj.cross_entropy(x, y, **how))(x)
    leaf = torch.from_numpy(x).requires_grad_()
    how["weight"] = None if weight is None else torch.from_numpy(weight)
    expected = F.cross_entropy(leaf, torch.from_numpy(y), **how)
    expected.backward()
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-12)
    if np.isfinite(value):
        np.testing.assert_allclose(gradient, leaf.grad, rtol=0, atol=1e-14)
    np.testing.assert_allclose(aj.cross_entropy(x, y, label_smoothing=smoothing, weight=weight), value, rtol=1e-12)


def test_masked_logits_and_weights_do_not_meet() -> None:
    """A class that a mask rules out, -∞, has no part in the loss of another, whatever the weights."""
    x, y = np.array([[0.0, -np.inf, 1.0]]), np.array([2])
    for weight in (None, np.array([1.0, 2.0, 3.0])):
        value, gradient = aj.value_and_grad(lambda x, w=weight: aj.cross_entropy(x, y, weight=w))(x)
        assert float(value) == pytest.approx(np.log1p(np.exp(-1.0)))
        assert np.isfinite(gradient).all()


def test_what_does_not_fit_is_said() -> None:
    x, y = np.zeros((4, 3)), np.array([0, 1, -1, 2])
    for f in (aj.cross_entropy, aj.grad(aj.cross_entropy), aj.nll_loss):
        with pytest.raises(IndexError, match="class -1 is negative: classes count from 0; ignore_index=-100 marks"):
            f(x, y)
        with pytest.raises(IndexError, match="there is no class 9: the scores have 3 classes, which count from 0"):
            f(x, np.array([0, 9, 1, 3]))
    for f in (aj.cross_entropy, aj.nll_loss):  # the mark of what is left out may be any number
        assert float(f(x + np.log(1 / 3), np.array([0, 9, 1, 9]), ignore_index=9)) == pytest.approx(np.log(3.0))
    assert float(aj.cross_entropy(x, y, ignore_index=-1)) == pytest.approx(np.log(3.0))
    with pytest.raises(ShapeError, match=r"the weight has one number for each of the 3 classes, not \(2,\)"):
        aj.cross_entropy(x, np.abs(y), weight=np.ones(2))
    with pytest.raises(ValueError, match="weights go by name"):
        aj.cross_entropy(x, np.abs(y), "all")
    with pytest.raises(ShapeError, match=r"gaussian_nll_loss: var \(3,\) fits no x \(4, 3\)"):
        aj.gaussian_nll_loss(x, x, np.ones(3))
    with pytest.raises(ValueError, match="negative entries"):
        aj.gaussian_nll_loss(x, x, x - 1.0)


def test_a_variance_below_its_floor_finds_its_way_out() -> None:
    x, t, var = np.array([1.0]), np.array([3.0]), np.array([1e-9])
    leaf = torch.from_numpy(var).requires_grad_()
    F.gaussian_nll_loss(torch.from_numpy(x), torch.from_numpy(t), leaf, eps=1e-3).backward()
    slope = aj.grad(lambda var: aj.gaussian_nll_loss(x, t, var, eps=1e-3))(var)
    np.testing.assert_allclose(slope, leaf.grad, rtol=1e-12)
    assert slope < 0


# Connectionist temporal classification


def ctc_case(seed: int, steps: int, n: int, classes: int, size: int) -> Any:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(steps, n, classes))
    return logits, rng.integers(1, classes, (n, size)), rng.integers(0, steps + 1, n), rng.integers(0, size + 1, n)


@given(
    seed=st.integers(0, 99),
    steps=st.integers(1, 9),
    n=st.integers(1, 4),
    size=st.integers(1, 4),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_ctc_equals_pytorch(seed: int, steps: int, n: int, size: int, reduction: str) -> None:
    logits, targets, lengths, sizes = ctc_case(seed, steps, n, 4, size)
    lengths = np.maximum(lengths, 1)
    how = {"reduction": reduction, "zero_infinity": True}
    leaf = torch.from_numpy(logits).requires_grad_()
    expected = F.ctc_loss(
        torch.log_softmax(leaf, -1),
        torch.from_numpy(targets),
        torch.from_numpy(lengths),
        torch.from_numpy(sizes),
        **how,
    )
    u = np.ones(tuple(expected.shape))
    expected.backward(torch.from_numpy(u))

    def loss(x: Any) -> Any:
        return aj.ctc_loss(aj.log_softmax(x, -1), targets, lengths, sizes, **how)

    value, pullback = aj.vjp(loss, logits)
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(pullback(u)[0], leaf.grad, rtol=0, atol=1e-10)
    joined = np.concatenate([row[:k] for row, k in zip(targets, sizes, strict=True)])
    for how_long in (sizes, sizes.tolist()):
        again = aj.ctc_loss(aj.log_softmax(logits, -1), joined, lengths, how_long, **how)
        np.testing.assert_allclose(again, value, rtol=1e-12, atol=1e-13)


def test_ctc_that_cannot_be_said() -> None:
    """Two equal symbols need a blank between them: three steps. Probabilities of 0 rule symbols out."""
    log_probs = np.log(np.full((2, 1, 3), 1 / 3))
    target = np.array([[1, 1]])
    assert aj.ctc_loss(log_probs, target, [2], [2]) == np.inf
    value, gradient = aj.value_and_grad(lambda x: aj.ctc_loss(x, target, [2], [2], zero_infinity=True))(log_probs)
    assert value == 0.0
    assert (gradient == 0.0).all()
    with np.errstate(divide="ignore"):
        sure = np.log(np.eye(3)[[1, 0, 1]])
    assert aj.ctc_loss(sure, np.array([1, 1]), 3, 2) == 0.0
    assert aj.ctc_loss(sure, np.array([2]), 3, 1) == np.inf
    assert np.isfinite(aj.grad(lambda x: aj.ctc_loss(x, np.array([1, 1]), 3, 2))(sure)).all()


def test_ctc_says_what_does_not_fit() -> None:
    log_probs = np.zeros((3, 2, 4))
    with pytest.raises(ShapeError, match="blank=4 is none of the 4 classes"):
        aj.ctc_loss(log_probs, np.ones((2, 1), int), [3, 3], [1, 1], blank=4)
    with pytest.raises(ShapeError, match=r"are 2 sequences and need as many targets and lengths, not targets \(3, 1\)"):
        aj.ctc_loss(log_probs, np.ones((3, 1), int), [3, 3], [1, 1])


def test_ctc_on_long_input_under_jit_and_in_float32() -> None:
    logits, targets, *_ = ctc_case(0, 120, 3, 9, 20)
    lengths, sizes = np.array([120, 90, 60]), np.array([20, 15, 3])

    def loss(x: Any, t: Any, a: Any, b: Any) -> Any:
        return aj.ctc_loss(aj.log_softmax(x, -1), t, a, b)

    value, gradient = aj.value_and_grad(loss)(logits, targets, lengths, sizes)
    there = aj.to((logits, targets, lengths, sizes), "jax")
    on_jax, its = jax.jit(aj.value_and_grad(loss))(*there)
    assert float(on_jax) == pytest.approx(float(value), rel=1e-12)
    np.testing.assert_allclose(its, gradient, rtol=0, atol=1e-12)
    single = aj.grad(loss)(logits.astype("float32"), targets, lengths, sizes)
    assert single.dtype == "float32"
    np.testing.assert_allclose(single, gradient, rtol=0, atol=1e-5)


@pytest.mark.parametrize("weight", [None, np.array([0.5, 1.5, 2.5])])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_where_all_is_ignored_the_loss_is_nan_and_its_slope_0(name: str, weight: Any) -> None:
    x, target = np.log(RNG.dirichlet(np.ones(3), 2)), np.array([-100, -100])
    value, grad = aj.value_and_grad(lambda x: getattr(aj, name)(x, target, weight=weight))(x)
    leaf = torch.tensor(x, requires_grad=True)
    theirs = getattr(F, name)(leaf, torch.tensor(target), weight=None if weight is None else torch.tensor(weight))
    theirs.backward()
    assert np.isnan(value)
    assert np.isnan(theirs.item())
    np.testing.assert_array_equal(grad, leaf.grad)
