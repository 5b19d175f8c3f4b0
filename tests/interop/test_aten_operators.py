"""Every operator of the table against PyTorch's: on its own samples, and on ours for those its dispatcher hides."""

from __future__ import annotations

import collections
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from adjoint.interop.aten import CREATION, OPERATORS, RANDOM, find
from adjoint.interop.torch_program import SILENT
from tests.interop.aten_samples import SAMPLES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

Call = tuple[Any, Any, Any, Any]
SAMPLES_EACH, CALLS_EACH = {torch.float32: 5, torch.int64: 2}, 10
SLOW = ("linalg.", "fft.", "masked.", "signal.", "sparse.", "special.", "_refs.", "svd", "torch.ops.", "ormqr", "geqrf")
FIRST = ("native_", "_native_batch_norm", "_embedding_bag", "_linalg", "log_sigmoid_forward", "nll_loss")
ARBITRARY = {"topk": "the place of equal entries", "kthvalue": "the place of equal entries"}
LEFT_OUT = {
    "integers times a fraction are truncated": {"addbmm", "addmv", "baddbmm", "addr", "addmm"},
    "integers are not averaged": {"avg_pool1d", "avg_pool2d", "avg_pool3d"},
    "bounds by the values": {"histc"},
    "what is not initialized": {
        "empty",
        "empty_permuted",
        "empty_like",
        "new_empty",
        "empty_strided",
        "new_empty_strided",
    },
}


def short(op: Any) -> str:
    return f"{op.namespace}.{op._opname}.{op._overloadname}".removeprefix("aten.")


class Recorder(TorchDispatchMode):
    """Notes the operators that PyTorch runs, with copies of their operands."""

    def __init__(self, calls: dict[str, list[Call]]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = short(func)
        wanted = not func._schema.is_mutable and len(self.calls[name]) < CALLS_EACH
        given = copied((args, kwargs or {})) if wanted else None
        out = func(*args, **(kwargs or {}))
        if given is not None:
            self.calls[name].append((func, *given, copied(out)))
        return out


def copied(x: Any) -> Any:
    return tree_map(lambda t: t.detach().clone() if isinstance(t, torch.Tensor) else t, x)


class Unsupported(Exception):
    """Complex numbers, bfloat16, sparse tensors."""


def plain(x: Any) -> Any:
    """Operands as the table takes them."""
    if isinstance(x, torch.Tensor):
        if x.is_complex() or x.layout != torch.strided or x.dtype == torch.bfloat16:
            raise Unsupported
        return x.detach().numpy().copy()
    if isinstance(x, (list, tuple)):
        return [plain(part) for part in x]
    if isinstance(x, torch.dtype):
        if x.is_complex:
            raise Unsupported
        return str(x).removeprefix("torch.")
    if isinstance(x, complex):
        raise Unsupported
    return x


def run(name: str, args: Any, kwargs: Any) -> Any:
    entry = find(name, OPERATORS)
    kwargs = {k: plain(v) for k, v in kwargs.items() if k not in SILENT}
    if entry is not None:
        return entry(*plain(args), **kwargs)
    return find(name, CREATION)(np.zeros(()), *plain(args), **kwargs)  # type: ignore[misc]


def check(name: str, got: Any, expected: Any) -> None:
    many = isinstance(expected, list)
    pairs = zip(got if many else [got], expected if many else [expected], strict=True)
    if name.startswith(FIRST) or name.partition(".")[0] in ARBITRARY:
        pairs = itertools.islice(pairs, 1)
    for x, y in pairs:
        if not isinstance(y, np.ndarray):
            assert y is None or x == y
            continue
        x = np.asarray(x)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        if y.dtype.kind == "f":
            limit = 2e-4 if y.dtype == np.float32 else 1e-9
            finite = np.abs(y[np.isfinite(y)]).max(initial=1.0)
            np.testing.assert_allclose(x, y, rtol=limit, atol=limit * finite)
        else:
            np.testing.assert_array_equal(x, y)


def excused(name: str, args: Any) -> bool:
    plain_name = name.partition(".")[0]
    integral = not any(x.is_floating_point() for x in args if isinstance(x, torch.Tensor))
    return any(
        plain_name in names and (integral or not reason.startswith("integers")) for reason, names in LEFT_OUT.items()
    ) or (plain_name == "scatter_reduce" and args[0].dtype == torch.bool)


@pytest.fixture(scope="module")
def calls() -> dict[str, list[Call]]:
    """What PyTorch's own samples run."""
    found: dict[str, list[Call]] = collections.defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        for op in op_db:
            if op.name.startswith(SLOW):
                continue
            for dtype, most in SAMPLES_EACH.items():
                if dtype in op.dtypes:
                    for sample in samples(op, dtype, most):
                        with Recorder(found):
                            attempt(op, sample)
    return found


def samples(op: Any, dtype: Any, most: int) -> Iterator[Any]:
    made = op.sample_inputs_func(op, "cpu", dtype, False)
    try:
        yield from itertools.islice(itertools.islice(made, 0, None, 3), most)
    except (RuntimeError, ImportError):  # a sample that this build of PyTorch cannot make
        return


def attempt(op: Any, sample: Any) -> None:
    try:
        op(sample.input, *sample.args, **sample.kwargs)
    except Exception:  # what was run before it failed is of use all the same
        return


def test_operators_on_pytorchs_own_samples(calls: dict[str, list[Call]]) -> None:
    wrong, right = [], collections.Counter[str]()
    for name in sorted(calls):
        if find(name, OPERATORS) is None and find(name, CREATION) is None:
            continue
        for _, args, kwargs, out in calls[name]:
            if excused(name, args):
                continue
            try:
                with np.errstate(all="ignore"):
                    check(name, run(name, args, kwargs), plain(out))
                right[name] += 1
            except Unsupported:
                continue
            except Exception as error:
                shapes = [tuple(x.shape) if isinstance(x, torch.Tensor) else x for x in args]
                wrong.append(f"{name} {shapes}: {type(error).__name__} {str(error).strip()[:200]}")
    assert not wrong, "\n".join(wrong)
    assert len(right) >= 250
    assert sum(right.values()) >= 1500


@pytest.mark.parametrize("name", SAMPLES)
def test_operators_hidden_from_the_dispatcher(name: str) -> None:
    for args, kwargs in SAMPLES[name]:
        op = getattr(torch.ops.aten, name)
        expected = op(*args, **kwargs)
        overload = "input" if name in ("rnn_tanh", "rnn_relu", "gru", "lstm") else "vec" if "upsample" in name else "x"
        check(name, run(f"{name}.{overload}", args, kwargs), plain(expected))


def every() -> Iterator[Any]:
    """All of PyTorch's operators, each with its overloads."""
    titles = {name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names() if name[:6] == "aten::"}
    for title in sorted(titles):
        name, _, overload = title.partition(".")
        yield getattr(getattr(torch.ops.aten, name), overload or "default")


def test_every_name_is_one_of_pytorchs() -> None:
    names = {name for op in every() for name in (short(op), short(op).rpartition(".")[0])}
    unknown = {name for name in (*OPERATORS, *CREATION, *RANDOM) if "." not in name and name not in names}
    assert not unknown


def test_core_operators_are_covered() -> None:
    """All of PyTorch's core operators but what draws random numbers, is a backward pass, or is complex."""
    core = [op for op in every() if torch.Tag.core in op.tags and not op._schema.is_mutable]
    missing = {short(op) for op in core if not (find(short(op), OPERATORS) or find(short(op), CREATION))}
    missing = {n for n in missing if "_backward" not in n and not n.startswith("sym_")}
    missing = {n for n in missing if n.partition(".")[0] not in RANDOM}
    assert missing == {
        "_fft_c2r.default", "_fft_r2c.default", "_local_scalar_dense.default", "grid_sampler_2d.default",
    }  # fmt: skip
    assert len(core) - len(missing) >= 170


def test_an_index_outside_is_an_error() -> None:
    with pytest.raises(IndexError, match="axis 1, which has 3"):
        OPERATORS["index"](np.ones((2, 3)), [np.array([0]), np.array([3])])
