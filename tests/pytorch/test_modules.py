"""PyTorch's own samples of its modules (ModuleInfo): values, all gradients and state dictionaries equal here.

Every parameter is drawn at random; where a sample names a dtype or a device, this library's module is made without.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing._internal.common_modules import FunctionInput, ModuleInput, module_db

import adjoint as aj
from adjoint import trees

LEFT_OUT = {
    "FractionalMaxPool2d": "draws its windows at random",
    "FractionalMaxPool3d": "draws its windows at random",
    "LinearCrossEntropyLoss": "a private fusion of a linear layer with its loss",
}
VALUE_ONLY = {"CTCLoss": "PyTorch's gradient is right behind log_softmax alone: tests/nn/test_losses.py"}
HELD = {  # whose targets are constants here
    "KLDivLoss": "PyTorch's samples have negative probabilities as targets",
    "PoissonNLLLoss": "PyTorch's gradient in the target is NaN",
    "SoftMarginLoss": "PyTorch knows no derivative in the target",
}
NAMES = {info.module_cls.__name__: info for info in module_db if not info.is_lazy}
CASES = [
    (name, training)
    for name, info in NAMES.items()
    if name not in LEFT_OUT
    for training in ((True, False) if info.train_and_eval_differ else (True,))
]
MOVED = {"dtype", "device"}


def samples(name: str, training: bool) -> list[ModuleInput]:
    info = NAMES[name]
    torch.manual_seed(0)
    every = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
    return [sample for sample in every if not scalar_axis(name, sample)]


def scalar_axis(name: str, sample: ModuleInput) -> bool:
    """PyTorch lets a scalar pass for an array with one axis; here it has none."""
    return name in ("Softmax", "LogSoftmax", "Softmin") and not sample.forward_input.args[0].shape


def here(x: Any) -> Any:
    """PyTorch's tensors as NumPy's arrays, through lists and tuples."""
    if isinstance(x, torch.Tensor):
        return x.detach().numpy().copy()
    if isinstance(x, (list, tuple)):
        return type(x)(here(part) for part in x)
    if isinstance(x, torch.nn.TransformerEncoderLayer):
        return aj.nn.TransformerEncoderLayer(
            x.self_attn.embed_dim,
            x.self_attn.num_heads,
            x.linear1.out_features,
            x.dropout.p,
            x.activation.__name__,
            batch_first=x.self_attn.batch_first,
            norm_first=x.norm_first,
            bias=x.linear1.bias is not None,
            dtype="float64",
        )
    return x


def made(kind: Any, sample: ModuleInput) -> Any:
    """The module of this library with the sample's arguments."""
    given = sample.constructor_input
    options = {k: here(v) for k, v in given.kwargs.items() if k not in MOVED}
    if "dtype" in inspect.signature(kind).parameters:
        options["dtype"] = "float64"
    return kind(*map(here, given.args), **options)


def floats(x: Any) -> list[Any]:
    return [part for part in trees.flatten(x)[0] if getattr(part, "dtype", None) == np.float64]


def compared(mine: Any, theirs: Any, what: str) -> None:
    theirs = np.asarray(theirs.detach() if isinstance(theirs, torch.Tensor) else theirs)
    assert np.shape(mine) == theirs.shape, what
    scale = max(1.0, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)))
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-10 * scale, err_msg=what)


def tensors(x: Any) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for part in x for t in tensors(part)] if isinstance(x, (list, tuple)) else []


def check(name: str, sample: ModuleInput, training: bool) -> None:
    theirs = NAMES[name].module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).double()
    theirs.train(training)
    mine = made(getattr(aj.nn, name), sample).train(training)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    state = theirs.state_dict()
    assert mine.state_dict().keys() == state.keys()
    mine.load_state_dict(state)

    given = sample.forward_input
    if "input" in given.kwargs:  # the name of the first argument is each module's own here
        given = FunctionInput(given.kwargs.pop("input"), *given.args, **given.kwargs)
    arguments, options = here(given.args), {k: here(v) for k, v in given.kwargs.items()}
    leaves, tree = trees.flatten((arguments, options))
    places = [k for k, x in enumerate(leaves) if getattr(x, "dtype", None) == np.float64]
    if name in HELD:
        places = places[:1]

    def forward(net: Any, parts: list[Any]) -> Any:
        filled = list(leaves)
        for k, part in zip(places, parts, strict=True):
            filled[k] = part
        args, kwargs = tree.unflatten(filled)
        return net(*args, **kwargs)

    inputs = [t for t in tensors((list(given.args), list(given.kwargs.values()))) if t.dtype == torch.float64]
    inputs = [t.detach().clone().requires_grad_(k < len(places)) for k, t in enumerate(inputs)]
    fresh = iter(inputs)

    def there(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return next(fresh) if x.dtype == torch.float64 else x
        return type(x)(there(part) for part in x) if isinstance(x, (list, tuple)) else x

    expected = theirs(*there(tuple(given.args)), **{k: there(v) for k, v in given.kwargs.items()})
    learnt = dict(theirs.named_parameters())
    outputs = [t for t in tensors(expected) if t.requires_grad]
    parts = [leaves[k] for k in places]
    if not learnt and not parts:
        value = forward(mine, parts)
        for a, b in zip(trees.flatten(value)[0], tensors(expected), strict=True):
            compared(a, b, f"{name}: value")
        return
    subject = (mine, parts) if learnt else (None, parts)
    value, pullback = aj.vjp(lambda both: forward(both[0] if learnt else mine, both[1]), subject)
    found = trees.flatten(value)[0]
    assert len(found) == len(tensors(expected))
    for a, b in zip(found, tensors(expected), strict=True):
        compared(a, b, f"{name}: value")
    if name in VALUE_ONLY:
        return
    rng = np.random.default_rng(1)
    cotangents = [rng.normal(size=t.shape) for t in tensors(expected)]
    _, shape = trees.flatten(value)
    (grads,) = pullback(
        shape.unflatten([u.astype(np.asarray(y).dtype) for u, y in zip(cotangents, found, strict=True)])
    )
    wanted = [*learnt.values(), *inputs[: len(places)]]
    reached = torch.autograd.grad(
        outputs,
        wanted,
        [torch.from_numpy(u) for t, u in zip(tensors(expected), cotangents, strict=True) if t.requires_grad],
        allow_unused=True,
        materialize_grads=True,
    )
    named = dict(grads[0].named_parameters()) if learnt else {}
    for (key, parameter), g in zip(learnt.items(), reached, strict=False):
        assert parameter.shape == named[key].shape
        compared(named[key], g, f"{name}: gradient of {key}")
    for k, (a, b) in enumerate(zip(grads[1], reached[len(learnt) :], strict=True)):
        compared(a, b, f"{name}: gradient of input {k}")
    for key, buffer in theirs.named_buffers():
        compared(dict(mine.named_buffers())[key], buffer, f"{name}: buffer {key}")
    back = NAMES[name].module_cls(*sample.constructor_input.args, **sample.constructor_input.kwargs).double()
    back.load_state_dict({k: torch.as_tensor(np.array(v)) for k, v in mine.state_dict().items()})


def test_every_module_of_pytorchs_list_is_here() -> None:
    assert [name for name in NAMES if not hasattr(aj.nn, name) and name not in LEFT_OUT] == []


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@pytest.mark.parametrize(("name", "training"), CASES, ids=lambda x: x if isinstance(x, str) else ["eval", "train"][x])
def test_module(name: str, training: bool) -> None:
    every = samples(name, training)
    assert every
    with np.errstate(invalid="ignore"):  # fractional powers of negative numbers are NaN there and here
        for sample in every:
            check(name, sample, training)


CLEAR = (ValueError, TypeError, IndexError, RuntimeError)  # ShapeError is a ValueError
PROMOTED = "expected scalar type|input dtype .* does not match"  # floats and doubles meet here by NumPy's rules
REFUSING = [name for name, info in NAMES.items() if info.module_error_inputs_func and name not in LEFT_OUT]


@pytest.mark.parametrize("name", REFUSING)
def test_error_inputs(name: str) -> None:
    """What PyTorch refuses when a module is made, or called, is refused here in words of its own."""
    info = NAMES[name]
    every = info.module_error_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=False, training=True)
    assert every
    for wrong in every:
        sample = wrong.module_error_input
        if re.search(PROMOTED, wrong.error_regex):
            continue
        call: Any = functools.partial(made, getattr(aj.nn, name), sample)
        if wrong.error_on.name == "FORWARD_ERROR":
            given = sample.forward_input
            call = functools.partial(call(), *here(given.args), **{k: here(v) for k, v in given.kwargs.items()})
        with pytest.raises(CLEAR) as raised:
            call()
        assert len(str(raised.value)) > 20, f"{name}: {raised.value!r} says too little; there: {wrong.error_regex}"
