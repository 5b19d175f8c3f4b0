"""PyTorch's own samples (OpInfo): values, all gradients and errors of every operation that exists on both sides.

An operation's samples are run through the entry for PyTorch's name in `adjoint.arrays.torch_names`, on NumPy, and
through PyTorch's own function on traced tensors. What is left out, and why, is listed in `opinfo_table.py`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import adjoint as aj
from adjoint.arrays import protocols
from adjoint.arrays.dispatch import FUNCTIONS, backend, is_array
from adjoint.arrays.torch_names import TORCH, TORCH_METHODS
from tests.pytorch.opinfo_table import AFTER, ERRORS_LEFT_OUT, NEAR, OPERATIONS_LEFT_OUT, OURS, SAMPLES_LEFT_OUT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

MOST = 10  # samples an operation: where there are more, this many are taken at even distances, the first and last too
FEW = 2  # on PyTorch, where NumPy's have shown the operation right
CLEAR = (ValueError, TypeError, IndexError, ArithmeticError)  # ShapeError and SpectrumError among them


def title(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def short(op: Any) -> str:
    name = op.name.removeprefix("nn.functional.").removeprefix("special.").replace("linalg.", "linalg_")
    return {"logsigmoid": "log_sigmoid"}.get(name, name)


def entry(op: Any) -> Callable[..., Any] | None:
    """What stands here for PyTorch's function."""
    for table, name in ((OURS, title(op)), (OURS, op.name), (TORCH, short(op)), (TORCH_METHODS, short(op))):
        if name in table:
            return table[name]
    return None


OPERATIONS = {title(op): op for op in op_db if torch.float64 in op.dtypes}
REACHED = TORCH.keys() | TORCH_METHODS.keys()  # what PyTorch's functions find on traced tensors
TRIED = {name: op for name, op in OPERATIONS.items() if name not in OPERATIONS_LEFT_OUT and entry(op)}


# Completeness


def test_every_namesake_is_tried_or_left_out_for_a_reason() -> None:
    """An operation that is here by PyTorch's name, but in no table of PyTorch's names, needs an entry in OURS."""
    missing = [
        name
        for name, op in OPERATIONS.items()
        if name not in TRIED and name not in OPERATIONS_LEFT_OUT and (short(op) in FUNCTIONS or hasattr(aj, short(op)))
    ]
    assert not missing, f"give {missing} an entry in OURS or in OPERATIONS_LEFT_OUT of tests/pytorch/opinfo_table.py"


def test_what_is_left_out_exists() -> None:
    names = {*OPERATIONS, *(op.name for op in op_db)}
    for table in (OURS, AFTER, OPERATIONS_LEFT_OUT, SAMPLES_LEFT_OUT, ERRORS_LEFT_OUT):
        assert set(table) <= names, sorted(set(table) - names)
    assert not [name for name in OPERATIONS_LEFT_OUT if not OPERATIONS_LEFT_OUT[name]]


# Samples


def samples(op: Any, most: int) -> list[Any]:
    """The operation's samples less those that are left out, thinned evenly."""
    kept = every(title(op))
    return [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int))]


@functools.cache
def every(name: str) -> list[Any]:
    """All samples that are not left out."""
    op = OPERATIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        made = op.sample_inputs("cpu", torch.float64, requires_grad=op.supports_autograd)
        rules = [rule for key in {name, op.name} for _, rule in SAMPLES_LEFT_OUT.get(key, ())]
        return [s for s in made if not any(rule(Sample(s)) for rule in rules)]


class Sample:
    """What a rule that leaves samples out may look at."""

    def __init__(self, sample: Any) -> None:
        self.args = (sample.input, *sample.args)
        self.kwargs = sample.kwargs
        self.input = sample.input
        self.tensors = [x for x in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(x, torch.Tensor)]


def in_numpy(x: Any) -> Any:
    if isinstance(x, torch.Tensor):
        return x.detach().resolve_conj().numpy().copy()
    return str(x).removeprefix("torch.") if isinstance(x, torch.dtype) else x


def in_torch(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, torch.Tensor) else x


def outputs(y: Any) -> list[Any]:
    return [x for x in pytree.tree_leaves(y) if is_array(x) or isinstance(x, (bool, int, float))]


def plain(x: Any) -> np.ndarray:
    if isinstance(x, (bool, int, float)):
        return np.asarray(x)
    x = aj.ops.define.plain(x)
    return np.asarray(backend(type(x)).to_numpy(x))


def is_real(x: Any) -> bool:
    return "float" in str(getattr(x, "dtype", "")) or isinstance(x, float)


def expected(op: Any, sample: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """PyTorch's values, the cotangents tried, and the gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = op.gradcheck_wrapper(op.op, sample.input, *sample.args, **sample.kwargs)
    values = outputs(after(op)(y))
    leaves = [x for x in pytree.tree_leaves((sample.input, sample.args, sample.kwargs)) if needs_gradient(x)]
    rng = np.random.default_rng(0)
    cotangents = [torch.tensor(rng.normal(size=x.shape), dtype=x.dtype) if needs_gradient(x) else None for x in values]
    pairs = [(x, u) for x, u in zip(values, cotangents, strict=True) if u is not None]
    if not pairs or not leaves:
        return values, cotangents, []
    of, along = [x for x, _ in pairs], [u for _, u in pairs]
    found = torch.autograd.grad(of, leaves, along, allow_unused=True, materialize_grads=True)
    return values, cotangents, list(found)


def needs_gradient(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.requires_grad and x.is_floating_point()


def after(op: Any) -> Callable[[Any], Any]:
    return AFTER.get(title(op)) or AFTER.get(op.name) or (lambda y: y)


def check(op: Any, sample: Any, f: Callable[..., Any], move: Callable[[Any], Any]) -> None:
    values, cotangents, gradients = expected(op, sample)
    leaves, spec = pytree.tree_flatten(((sample.input, *sample.args), sample.kwargs))
    moved = [move(x) for x in leaves]
    places = [i for i, x in enumerate(leaves) if needs_gradient(x)]

    def of(*floats: Any) -> Any:
        given = list(moved)
        for i, x in zip(places, floats, strict=True):
            given[i] = x
        args, kwargs = pytree.tree_unflatten(given, spec)
        return outputs(after(op)(f(*args, **kwargs)))

    if places:
        y, pullback = aj.vjp(of, *[moved[i] for i in places])
    else:
        y, pullback = of(), None
    near = NEAR[title(op)][0] if title(op) in NEAR else 1e-10
    compare(y, values, "value", near)
    if pullback is None or not any(u is not None for u in cotangents):
        return
    like = moved[places[0]]
    u = [np.zeros(np.shape(x)) if u is None else u.numpy() for x, u in zip(y, cotangents, strict=True)]
    found = pullback([like_of(like, part) if is_real(x) else x for x, part in zip(y, u, strict=True)])
    compare(list(found), gradients, "gradient", near)


def like_of(like: Any, u: np.ndarray) -> Any:
    return backend(type(like)).from_numpy(np.asarray(u))


def compare(found: list[Any], wanted: list[Any], what: str, near: float) -> None:
    assert len(found) == len(wanted), f"{len(found)} {what}s, PyTorch has {len(wanted)}"
    for a, b in zip(found, wanted, strict=True):
        b = b if isinstance(b, (bool, int, float)) else b.detach()
        a, b = plain(a), plain(b)
        assert a.shape == b.shape, f"{what}: shape {a.shape}, PyTorch's {b.shape}"
        finite = np.abs(b[np.isfinite(b)]) if b.dtype.kind == "f" else np.zeros(0)
        least = max(near, 32.0 * float(np.finfo(b.dtype).eps)) if b.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(a, b, least, least * max(1.0, finite.max(initial=0.0)), err_msg=what)


def each(op: Any, most: int, f: Callable[..., Any], move: Callable[[Any], Any]) -> None:
    tried, wrong = 0, []
    for sample in samples(op, most):
        tried += 1
        try:
            check(op, sample, f, move)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            wrong.append(f"{sample.summary()}\n    {text}")
    assert not wrong, f"{len(wrong)} of {tried} samples:\n" + "\n".join(wrong)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRIED)
def test_on_numpy(name: str) -> None:
    op = TRIED[name]
    f = entry(op)
    each(op, MOST, lambda *args, **kwargs: protocols._call(f"torch.{name}", f, args, kwargs), in_numpy)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, op in TRIED.items() if op.supports_autograd and short(op) in REACHED])
def test_by_pytorchs_function_on_traced_tensors(name: str) -> None:
    op = TRIED[name]
    each(op, FEW, lambda *args, **kwargs: op.gradcheck_wrapper(op.op, *args, **kwargs), in_torch)


# Errors

EVERYWHERE: list[Callable[[Sample], bool]] = [
    lambda s: any(t.is_complex() for t in s.tensors),  # complex numbers are no arrays of adjoint's
    lambda s: any(t.ndim > 64 for t in s.tensors),  # NumPy has no more axes
    lambda s: "out" in s.kwargs,  # nothing is written in place
]
WITH_ERRORS = [name for name, op in TRIED.items() if op.error_inputs_func]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WITH_ERRORS)
def test_errors(name: str) -> None:
    op = TRIED[name]
    f = entry(op)
    accepted = []
    left_out = [rule for key in {name, op.name} for _, rule in ERRORS_LEFT_OUT.get(key, ())]
    for case in op.error_inputs("cpu"):
        sample = case.sample_input
        if any(rule(Sample(sample)) for rule in [*left_out, *EVERYWHERE]):
            continue
        args, kwargs = pytree.tree_map(in_numpy, ((sample.input, *sample.args), sample.kwargs))
        try:
            protocols._call(f"torch.{name}", f, args, kwargs)
        except CLEAR:
            continue
        accepted.append(f"{sample.summary()}\n    {case.error_regex}")
    assert not accepted, f"{len(accepted)} accepted:\n" + "\n".join(accepted)
