"""This library's modules in PyTorch: the same layers where it has them, else gradients of any order by our maps."""

from __future__ import annotations

import copy
import io
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch.func import functional_call

import adjoint as aj
from adjoint.interop.graph import Graph, Step, Value
from adjoint.interop.torch_modules import Computed
from adjoint.nn import Linear, Module, Residual, Sequential
from tests.pytorch.test_modules import CASES, NAMES, made, samples

# PyTorch's forward mode compiles its decompositions with it, at its first use
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning",
    "ignore:enable_nested_tensor:UserWarning",
    "ignore:reduction. 'mean' divides the total loss:UserWarning",
)
RANDOM = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")


def randomized(net: Any, seed: int = 0) -> Any:
    """The net, every floating parameter and buffer drawn anew (a variance is positive, a key stays)."""
    rng = np.random.default_rng(seed)
    for name, x in net.named_arrays():
        if x.dtype.kind == "f":
            x[...] = rng.uniform(0.5, 1.5, x.shape) if "var" in name else rng.normal(0.0, 0.5, x.shape)
    return net


def flat(x: Any) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for part in x for t in flat(part)] if isinstance(x, (list, tuple)) else []


class Held(Module):
    """A module that PyTorch does not have, of one that it may have."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


@pytest.mark.parametrize(("name", "training"), CASES, ids=lambda x: x if isinstance(x, str) else ["eval", "train"][x])
def test_every_layer_of_pytorchs_list(name: str, training: bool) -> None:
    """PyTorch's samples: the layer is PyTorch's own, made alike; held in a module of ours it gives the same by maps."""
    for sample in samples(name, training):
        given = sample.constructor_input
        theirs = NAMES[name].module_cls(*given.args, **given.kwargs).double().train(training)
        mine = randomized(made(getattr(aj.nn, name), sample).train(training))
        home, held = mine.to_torch(), Held(mine).train(training).to_torch()
        assert type(held) is Computed
        assert [*home.state_dict()] == [*mine.state_dict()]
        assert [*held.state_dict()] == [f"inner.{key}" for key in mine.state_dict()]
        assert home.training == held.training == training
        assert type(home) is NAMES[name].module_cls
        assert repr(home) == repr(theirs)
        theirs.load_state_dict(home.state_dict())
        if training and (name in RANDOM or getattr(theirs, "dropout", 0.0) not in (0.0, None)):
            continue
        compare(name, sample.forward_input, theirs, [home, held])


def compare(name: str, given: Any, theirs: Any, ours: list[Any]) -> None:
    """Values, gradients of inputs and parameters, and buffers."""

    def run(net: Any, named: bool) -> tuple[list[torch.Tensor], list[Any]]:
        kwargs = dict(given.kwargs)
        args = given.args if named or "input" not in kwargs else (kwargs.pop("input"), *given.args)
        inputs = [t for t in flat((list(args), list(kwargs.values()))) if t.requires_grad]
        values = flat(net(*args, **kwargs))
        learnt = [t for t in values if t.requires_grad]
        wanted = [*net.parameters(), *inputs]
        if not learnt or not wanted or name == "CTCLoss":
            return values, []
        cotangents = [torch.linspace(-1.0, 1.0, t.numel(), dtype=t.dtype).reshape(t.shape) for t in learnt]
        return values, [*torch.autograd.grad(learnt, wanted, cotangents, allow_unused=True, materialize_grads=True)]

    expected = run(theirs, True)
    for net in ours:
        found = run(net, net is ours[0])
        for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
            scale = 1.0 + float(b.detach().nan_to_num(0.0, 0.0, 0.0).abs().max()) if b.numel() else 1.0
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * scale, equal_nan=True)
        for a, b in zip(net.buffers(), theirs.buffers(), strict=False):
            if a.shape == b.shape:
                torch.testing.assert_close(a, b)


# What PyTorch does not have


OURS: dict[str, tuple[Any, Any]] = {  # a module, and its input
    "gpt": (lambda: aj.models.GPT(11, 6, n_layer=2, n_head=2, n_embd=8, rng=0), np.arange(12).reshape(2, 6) % 11),
    "residual": (lambda: Residual(Linear(3, 3, rng=0), aj.nn.LayerNorm(3), False), np.ones((2, 3))),
    "feed_forward": (lambda: aj.nn.FeedForward(4, 6, "swiglu", rng=0), np.ones((2, 3, 4))),
    "separable": (lambda: aj.nn.DepthwiseSeparableConv2d(2, 3, 3, rng=0), np.ones((1, 2, 5, 4))),
    "positions": (lambda: aj.nn.LearnedPositions(4, 3, rng=0), np.ones((2, 4, 3))),
    "sinusoids": (lambda: aj.nn.PositionalEncoding(4), np.ones((2, 5, 4))),
    "weight_norm": (lambda: aj.nn.weight_norm(Linear(3, 2, rng=0)), np.ones((2, 3))),
    "spectral_norm": (lambda: aj.nn.spectral_norm(Linear(3, 2, rng=0), rng=0), np.ones((2, 3))),
    "functions": (lambda: Sequential(Linear(3, 4, rng=0), aj.tanh, lambda x: x * x, np.sin), np.ones((2, 3))),
    "batch_norm": (lambda: Residual(aj.nn.BatchNorm1d(3)), np.random.default_rng(0).standard_normal((4, 3))),
    "group_norm": (lambda: aj.nn.GroupNorm(2, 4, bias=False), np.random.default_rng(0).standard_normal((3, 4, 2))),
    "activation": (
        lambda: aj.nn.TransformerEncoderLayer(4, 2, 6, 0.0, aj.tanh, rng=0),
        np.random.default_rng(0).standard_normal((3, 2, 4)),
    ),
    "graph": (
        lambda: Graph(
            ["x"],
            Value("y"),
            [Step(aj.multiply, (Value("fc.weight"), Value("x")), {}, ("y",), "mul")],
            {"fc.weight": np.array([2.0, 3.0])},
        ),
        np.array([1.0, 10.0]),
    ),
}
every_one = pytest.mark.parametrize("which", OURS)


def prepared(which: str) -> tuple[Any, Any, torch.Tensor]:
    """The module in float64, its gradients' reference, and the input as a tensor."""
    make, x = OURS[which]
    net = randomized(make().to(dtype="float64"))
    return net, x, torch.tensor(x, requires_grad=x.dtype.kind == "f")


@every_one
def test_values_gradients_and_buffers_are_ours(which: str) -> None:
    net, x, tensor = prepared(which)
    home, again = net.to_torch(), net.to("numpy")
    assert home.state_dict().keys() == net.state_dict().keys()
    assert {n for n, _ in home.named_parameters(remove_duplicate=False)} == {n for n, _ in net.named_parameters()}
    y = home(tensor)
    u = torch.linspace(-1.0, 1.0, y.numel(), dtype=y.dtype).reshape(y.shape)
    y.backward(u)
    value, pullback = aj.vjp(net, x) if x.dtype.kind == "f" else (net(x), None)
    compared(y, value)
    if pullback is not None:
        compared(tensor.grad, pullback(u.numpy())[0])
    named: dict[str, Any] = {}
    if [*net.parameters()]:
        named = dict(aj.grad(lambda net: aj.sum(net(x) * u.numpy()))(again).named_parameters())
    for name, parameter in home.named_parameters(remove_duplicate=False):
        compared(parameter.grad, named[name])
    moved = dict(net.named_buffers())
    for name, buffer in home.named_buffers():
        compared(buffer, moved[name])


def compared(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    scale = 1.0 + float(np.abs(expected).max(initial=0.0)) if expected.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(found.detach().numpy(), expected, 0, 1e-10 * scale)


@every_one
def test_second_derivatives(which: str) -> None:
    net, _, tensor = prepared(which)
    home = net.eval().to_torch()
    names = [name for name, _ in home.named_parameters()]
    parameters = [p.detach().clone().requires_grad_() for _, p in home.named_parameters()]

    def f(*parts: torch.Tensor) -> Any:
        inputs, parts = (parts[:1], parts[1:]) if tensor.requires_grad else ((tensor,), parts)
        return functional_call(home, dict(zip(names, parts, strict=True)), inputs)

    inputs = [*([tensor] if tensor.requires_grad else []), *parameters]
    assert torch.autograd.gradcheck(f, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, inputs, fast_mode=True)


def test_a_training_loop_of_pytorch() -> None:
    """Ten steps of PyTorch's AdamW on a GPT with tied weights go as they do here."""
    net = aj.models.GPT(7, 4, n_layer=1, n_head=2, n_embd=8, rng=0)
    home = net.to_torch()
    assert home.lm_head.weight is home.wte.weight
    tokens = np.random.default_rng(0).integers(0, 7, (3, 5))
    mine, theirs = aj.optim.AdamW(net, 1e-2), torch.optim.AdamW(home.parameters(), 1e-2)
    for _ in range(10):
        loss, grads = aj.value_and_grad(lambda net: net.loss(tokens[:, :-1], tokens[:, 1:]))(net)
        net, mine = mine.step(net, grads)
        theirs.zero_grad()
        logits = home(torch.tensor(tokens[:, :-1]))
        found = torch.nn.functional.cross_entropy(logits.reshape(-1, 7), torch.tensor(tokens[:, 1:]).reshape(-1))
        found.backward()
        theirs.step()
        assert abs(found.item() - float(loss)) < 1e-4


def test_modes_ties_frozen_arrays_and_copies() -> None:
    net = Residual(Sequential(Linear(3, 3, rng=0), aj.nn.Dropout(0.5, rng=0), Linear(3, 3, rng=1)))
    net.tie("inner.2.weight", "inner.0.weight")
    net.inner[0].freeze("bias")
    home = net.to_torch()
    assert home.inner[0].weight is home.inner[2].weight
    assert [n for n, p in home.named_parameters() if not p.requires_grad] == ["inner.0.bias"]
    x = torch.ones(2, 3)
    first, second = home(x), home(x)
    assert not torch.equal(first, second)  # the key of the dropout moves
    home.eval()
    assert torch.equal(home(x), home(x))
    np.testing.assert_allclose(home(x).detach().numpy(), net.eval()(x.numpy()), 1e-6)
    again = copy.deepcopy(home)
    assert again.inner[0].weight is again.inner[2].weight
    with torch.no_grad():
        again.inner[0].weight.zero_()
    assert not torch.equal(again(x), home(x))
    wide = copy.deepcopy(home).double()
    assert wide(x.double()).dtype == torch.float64
    home(x).sum().backward()
    assert home.inner[0].bias.grad is None
    home.inner[0].bias.requires_grad_()
    home(x).sum().backward()
    assert home.inner[0].bias.grad is not None
    assert not net.eval().to_torch().inner[1].training


@pytest.mark.parametrize("source", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_from_every_backend_in_every_dtype(source: str, dtype: str) -> None:
    net = Residual(Linear(3, 3, rng=0))
    home = (net.to(source) if source != "numpy" else net).to(dtype=dtype).to_torch()
    expected = torch.tensor(net.inner.weight).to(getattr(torch, dtype))
    assert torch.equal(home.inner.weight, expected)
    assert home(torch.ones(2, 3, dtype=expected.dtype)).dtype == expected.dtype
    home.inner.weight.data.zero_()
    assert float(abs(net.inner.weight).min()) > 0.0  # a copy


def test_namesakes_are_ordinary_networks() -> None:
    """They compile to TorchScript and export, as modules of PyTorch alone do."""
    net = Sequential(aj.nn.Conv2d(1, 2, 3, rng=0), aj.nn.BatchNorm2d(2), aj.nn.ReLU(), aj.nn.Flatten(), Linear(8, 3))
    home, x = net.eval().to_torch(), torch.ones(2, 1, 4, 4)
    scripted = torch.jit.script(home)
    torch.testing.assert_close(scripted(x), home(x))
    torch.testing.assert_close(torch.export.export(home, (x,)).module()(x), home(x))


def test_wrong_use_is_explained() -> None:
    home = Residual(Linear(3, 3, rng=0)).to_torch()
    with pytest.raises(aj.BackendError, match="arrays of jax and torch in one call"):
        home(aj.to(np.ones((2, 3), "float32"), "jax"))
    with pytest.raises(aj.ShapeError, match=r"linear"):
        home(torch.ones(2, 4))
    with aj.nn.init.only_shapes():
        layout = Sequential(Linear(3, 3))
    with pytest.raises(aj.BackendError, match=r"0\.weight only has a shape: load its numbers first"):
        layout.to_torch()
    with pytest.raises(aj.BackendError, match=r"a Linear of torch\.nn stands in a module of this library"):
        Sequential(Linear(3, 3), torch.nn.Linear(3, 3)).to_torch()  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'relu' of type str stands where a layer is called"):
        Sequential(Linear(3, 3), "relu").to_torch()  # type: ignore[arg-type]
    broken = Sequential(Linear(3, 3, rng=0), lambda x: float(x.sum())).to_torch()
    with pytest.raises(aj.TraceError, match=r"float\(\) of a traced value would lose its derivative"):
        broken(torch.ones(2, 3))
    home.inner = torch.nn.Identity()
    with pytest.raises(KeyError, match="Identity has no 'weight' any more"):
        home(torch.ones(2, 3))


def test_changes_in_place_and_second_uses_are_noticed() -> None:
    home, x = Residual(Sequential(Linear(3, 3, rng=0), aj.nn.Tanh())).to_torch(), torch.ones(2, 3)
    y = home(x)
    with torch.no_grad():
        home.inner[0].weight.add_(1.0)
    with pytest.raises((RuntimeError, aj.InPlaceError), match=r"in ?place|changed in place"):
        y.sum().backward()
    y = home(x)
    y.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = home(x).sum()
    y.backward(retain_graph=True)
    first = home.inner[0].weight.grad.clone()
    y.backward()
    torch.testing.assert_close(home.inner[0].weight.grad, 2.0 * first)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("adjoint.maps.torch", "adjoint.maps.jax", "adjoint.interop.torch_modules"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    A = aj.Dense(np.ones((2, 2)))
    for call in [A.to_torch, Linear(2, 2).to_torch] if name == "torch" else [A.to_jax]:
        with pytest.raises(ImportError, match=rf"pip install 'adjoint\[{name}\]'"):
            call()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # PyTorch's compiler looks at it
def test_what_pytorch_does_with_modules() -> None:
    """Saved whole, checkpointed, under autocast, and left out by its compiler: values and gradients stay."""
    inner = Residual(Linear(3, 3, rng=0)).to_torch()
    net, x = torch.nn.Sequential(torch.nn.Linear(3, 3), inner, torch.nn.ReLU()), torch.ones(2, 3)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    saved = torch.load(file, weights_only=False)
    compiled = torch.compile(copy.deepcopy(net), backend="eager")
    net(x).sum().backward()
    for other in (saved, compiled):
        torch.testing.assert_close(other(x), net(x))
        other(x).sum().backward()
        found = dict(other.named_parameters())
        (grad,) = [p.grad for name, p in found.items() if name.endswith("1.inner.weight")]
        torch.testing.assert_close(grad, inner.inner.weight.grad)
    again = torch.utils.checkpoint.checkpoint(inner, x, use_reentrant=False)
    torch.testing.assert_close(again, inner(x))
    with torch.autocast("cpu", torch.bfloat16):
        inner(x).float().sum().backward()
    assert inner.inner.weight.grad.dtype == torch.float32
