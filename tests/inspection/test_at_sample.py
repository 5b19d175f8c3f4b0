"""The sample's side of the report: gradients of a loss, programs from elsewhere, interruptions, NaN, odd networks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import adjoint as aj
import adjoint.inspection.network
from adjoint import arrays as xp
from adjoint.inspection import sampled
from adjoint.inspection.blockwise import flow_by_block
from adjoint.inspection.flow import gradient_flow
from adjoint.inspection.watching import calls

nn = aj.nn


def inputs(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def look(net: Any, sample: Any, **options: Any) -> aj.inspection.Report:
    return aj.inspect(net, sample, cache=False, progress=False, **options)


def peer(*sizes: int, dtype: torch.dtype = torch.float64) -> torch.nn.Sequential:
    """A network of PyTorch's with tanh between layers."""
    torch.manual_seed(0)
    layers = [m for a, b in itertools.pairwise(sizes) for m in (torch.nn.Linear(a, b), torch.nn.Tanh())]
    return torch.nn.Sequential(*layers[:-1]).to(dtype)


def own(theirs: torch.nn.Sequential, *sizes: int) -> nn.Sequential:
    net = nn.MLP(sizes, activation=nn.Tanh, dtype="float64", rng=0)
    net.load_state_dict({name: w.detach().numpy() for name, w in theirs.state_dict().items()})
    return net


# A loss


@pytest.mark.covers("N06")
@pytest.mark.parametrize("n", [1, 5])
def test_gradients_of_a_loss_are_pytorchs(n: int) -> None:
    theirs, x, target = peer(4, 6, 3), inputs(n, 4), np.arange(n) % 3
    at = [torch.from_numpy(x).requires_grad_()]
    for module in theirs:
        at.append(module(at[-1]))
        at[-1].retain_grad()
    loss: Any = torch.nn.functional.cross_entropy(at[-1], torch.from_numpy(target))
    loss.backward()
    value = float(loss.detach())
    norms = [float(torch.linalg.vector_norm(h.grad, dim=1).median()) for h in at]
    report = look(own(theirs, 4, 6, 3), (x, target), loss=nn.CrossEntropyLoss())
    for k, block in enumerate(report.flow):
        np.testing.assert_allclose((block.gradient_in, block.gradient), norms[k : k + 2], rtol=1e-10)
    assert report.sample is not None
    np.testing.assert_allclose(report.sample.value, value, rtol=1e-12)
    told = report.to_json()
    assert json.loads(told)["sample"]["loss"] == "CrossEntropyLoss"
    assert f"gradients of CrossEntropyLoss ({value:.4g})" in str(report)
    assert f"that of CrossEntropyLoss ({value:.4g});" in " ".join(str(report).split())


def test_a_function_of_output_and_target_is_a_loss_too() -> None:
    net, x, target = nn.MLP((3, 4, 2), dtype="float64", rng=0), inputs(6, 3), inputs(6, 2)

    def distance(y: Any, target: Any) -> Any:
        return xp.sum((y - target) ** 2)

    found = look(net, (x, target), loss=distance, points=4)
    expected = np.median(np.linalg.norm(2 * (net(x[:4]) - target[:4]), axis=1))
    np.testing.assert_allclose(found.flow[-1].gradient, expected, rtol=1e-12)
    assert found.sample is not None
    assert found.sample.loss == "distance"
    assert "random unit cotangent" in str(look(net, x))


def test_a_loss_that_does_not_fit_is_said() -> None:
    net, x = nn.MLP((3, 4, 2), dtype="float64", rng=0), inputs(6, 3)
    with pytest.raises(TypeError, match=r"needs the target beside the sample"):
        look(net, x, loss=nn.MSELoss())
    with pytest.raises(TypeError, match=r"a pair \(x, target\) is for a loss"):
        look(net, (x, x))
    with pytest.raises(aj.ShapeError, match=r"a target for each of the 6 examples, not \(5, 2\)"):
        look(net, (x, inputs(5, 2)), loss=nn.MSELoss())
    with pytest.raises(ValueError, match=r"the loss is of shape \(6, 2\) and has to be one number"):
        look(net, (x, inputs(6, 2)), loss=nn.MSELoss(reduction="none"))
    with pytest.raises(ValueError, match="the loss is nan at these examples"):
        look(net, (x, np.full((6, 2), np.nan)), loss=nn.MSELoss())
    with pytest.raises(TypeError, match="a loss's target is an array, not list"):
        look(net, (x, [1.0] * 6), loss=nn.MSELoss())
    with pytest.raises(TypeError, match="the sample is an array of examples, not str"):
        look(net, "x.npy")


def test_labels_that_do_not_fit_are_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjoint.inspection.network, "report", lambda *_: pytest.fail("it began"))
    tokens = np.random.default_rng(0).integers(0, 11, (4, 5))
    gpt = aj.models.GPT(11, 16, n_layer=1, n_head=2, n_embd=8, rng=0)
    for target, loss, told in (
        (
            tokens[:, 1:],
            nn.CrossEntropyLoss(),
            r"Loss does not take .*, \(4, 5, 11\), with this target, int64 \(4, 4\)",
        ),
        (tokens, nn.CrossEntropyLoss(), r"The classes seem to be last: aj\.moveaxis"),
        (tokens, nn.MSELoss(), r"MSELoss does not take .*, \(4, 5, 11\), with this target, int64 \(4, 5\)"),
        (tokens + 11, lambda y, t: aj.cross_entropy(aj.moveaxis(y, -1, 1), t), "the scores have 11 classes"),
    ):
        with pytest.raises(ValueError, match=told):
            look(gpt, (tokens, target), loss=loss)


def test_a_network_that_needs_more_than_a_sample_is_told_by_what() -> None:
    t5 = aj.models.T5(11, 8, 16, num_layers=1, num_heads=2, d_kv=3, rng=0)
    tokens = np.zeros((2, 3), int)
    for sample, loss in ((tokens, None), ((tokens, tokens), nn.CrossEntropyLoss())):
        with pytest.raises(TypeError, match="T5 takes tokens and decoder_tokens, and a sample is one array: wrap it"):
            look(t5, sample, loss=loss)

    class Held(nn.Module):
        def __init__(self) -> None:
            self.inner = t5

        def __call__(self, tokens: np.ndarray) -> np.ndarray:
            return self.inner(tokens, np.zeros((tokens.shape[0], 4), int))

    assert look(Held(), tokens).flow


# Programs read from PyTorch and ONNX


@pytest.mark.parametrize("n", [1, 4])
def test_a_module_of_pytorch_is_told_as_the_same_layers_here(n: int) -> None:
    theirs, x = peer(5, 7, 6, 3), inputs(n, 5)
    here, there = look(own(theirs, 5, 7, 6, 3), x), look(aj.open(theirs, x), x)
    assert [(a.name, a.kind, a.map) for a in there.layers] == [(a.name, a.kind, a.map) for a in here.layers]
    for a, b in zip((*here.layers, here.network), (*there.layers, there.network), strict=True):
        assert a is not None
        assert b is not None
        assert (a.in_shape, a.out_shape, a.rank, a.nullity, a.parameters) == (
            b.in_shape, b.out_shape, b.rank, b.nullity, b.parameters
        )  # fmt: skip
        np.testing.assert_allclose(b.svdvals, a.svdvals, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(b.hidden, a.hidden, rtol=1e-9, atol=1e-12)
    for p, q in zip(here.depths, there.depths, strict=True):
        assert (p.name, p.size) == (q.name, q.size)
        np.testing.assert_allclose((q.norm, q.low, q.gain), (p.norm, p.low, p.gain), rtol=1e-10)
    for r, s in zip(here.flow, there.flow, strict=True):
        assert (r.name, r.kind) == (s.name, s.kind)
        np.testing.assert_allclose((r.gradient, r.norm, r.gain), (s.gradient, s.norm, s.gain), rtol=1e-8)


def test_a_module_of_pytorch_is_opened_with_its_sample() -> None:
    theirs, x = peer(4, 5, 2), inputs(3, 4)
    found = look(theirs, x)
    assert (found.name, [layer.name for layer in found.layers]) == ("Sequential", ["0", "1", "2"])
    assert repr(found.layers) == repr(look(aj.open(theirs, x), x).layers)


def test_repeated_blocks_of_a_program_are_its_blocks() -> None:
    layer = torch.nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dtype=torch.float64)
    theirs = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    for name, p in theirs.named_parameters():
        torch.manual_seed(len(name))
        torch.nn.init.normal_(p, std=0.3)
    x = inputs(2, 3, 6)
    net = aj.open(theirs, x)
    found = look(net, x, points=1)
    assert [(b.name, b.kind) for b in found.flow] == [(f"layers.{i}", "TransformerEncoderLayer") for i in range(3)]
    assert {layer.name for layer in found.layers if layer.level} >= {"layers.0.self_attn", "layers.2.norm2"}
    one = next(call for call in calls(net, x)[1] if call.name == "layers.2")
    module: Any = theirs.layers[2]
    autograd: Any = torch.autograd
    J = autograd.functional.jacobian(module, torch.from_numpy(one.input[:1])).reshape(18, 18)
    (told,) = [layer for layer in found.layers if layer.name == "layers.2"]
    np.testing.assert_allclose(told.svdvals, torch.linalg.svdvals(J), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        theirs.layers[1].linear2.weight *= 100
        theirs.layers[1].norm2.weight *= 100
    verdicts = {b.name: b.verdict for b in flow_by_block(aj.open(theirs, x), x)}
    assert verdicts["layers.1"] == "explodes"


def test_examples_that_are_not_along_the_leading_axis_are_not_taken_apart() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(6, 2, 8, dtype=torch.float64)  # takes positions first
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 6, dtype=torch.float64), layer).eval()
    x = inputs(4, 2, 6)
    found = look(aj.open(theirs, x), x)
    told = "what comes out for one example depends on others"
    assert {name for name, why in found.skipped.items() if why == told} == {
        "(1 at the sample)", "(1.self_attn at the sample)", "(the Jacobians from each depth to the output)",
    }  # fmt: skip
    assert "0" in {layer.name for layer in found.layers}
    assert found.network is None
    whole = next(call for call in calls(aj.open(theirs, x), x)[1] if call.name == "1")
    J = aj.jacobian(whole.function, whole.input)
    block = next(block for block in found.flow if block.name == "1")
    assert abs(block.norm - float(J.norm())) <= block.bound + 1e-9 * block.norm


def test_a_free_batch_takes_any_number_and_a_fixed_one_says_so() -> None:
    theirs, x = peer(4, 5, 2), inputs(6, 4)
    batch = torch.export.Dim("batch", min=2, max=64)
    free = aj.open(theirs, x, dynamic_shapes=({0: batch},))
    np.testing.assert_allclose(look(free, x).layers[0].norm, look(aj.open(theirs, x), x).layers[0].norm, rtol=1e-10)
    fixed = aj.open(theirs, x[:2])
    found = look(fixed, x)
    assert found.skipped["(4 of 6 examples)"].startswith("this program takes 2 at once, as it was exported: open it")
    assert found.sample is not None
    assert found.sample.x.shape == (2, 4)
    for what in (look, flow_by_block, gradient_flow):
        with pytest.raises(aj.ShapeError, match=r"takes 2 examples at once.*x has 1: give 2, or open it with a free"):
            what(fixed, x[:1])
    targets = np.arange(6) % 2
    assert look(fixed, (x, targets), loss=nn.CrossEntropyLoss()).flow


def exported(module: torch.nn.Module, x: np.ndarray, path: Path) -> Any:
    """A module of PyTorch's by way of an ONNX file."""
    pytest.importorskip("onnx")
    module = module.eval()
    torch.onnx.export(module, (torch.from_numpy(x),), path, input_names=["x"], dynamo=False)
    return aj.open(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's exporter, about itself
def test_an_onnx_file_is_told_by_its_modules(tmp_path: Path) -> None:
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(27, 4))
    x = inputs(3, 1, 5, 5, dtype="float32")
    net = exported(theirs, x, tmp_path / "m.onnx")
    found, expected = look(net, x), look(aj.open(theirs, x), x)
    assert [(layer.name, layer.kind) for layer in found.layers] == [
        ("0", "Conv"), ("1", "Relu"), ("2", "Flatten"), ("3", "Gemm"),
    ]  # fmt: skip
    for a, b in zip(found.layers, expected.layers, strict=True):
        np.testing.assert_allclose(a.norm, b.norm, rtol=1e-5)
        assert a.rank == b.rank
    np.testing.assert_allclose([b.norm for b in found.flow], [b.norm for b in expected.flow], rtol=1e-4)


def test_a_real_onnx_network(data_path: Callable[[str], Path]) -> None:
    folder = data_path("onnx")
    golden = np.load(folder / "basic_pitch_nmp_golden.npz")
    (x,) = [golden[k] for k in golden if k.startswith("in:")]
    net = aj.open(folder / "basic_pitch_nmp.onnx")
    y, seen = calls(net, x)
    for found, expected in zip(y, net(x), strict=True):
        np.testing.assert_array_equal(found, expected)
    kinds = [call.kind for call in seen]
    assert (kinds.count("Conv"), kinds.count("Sigmoid"), kinds.count("Relu")) == (32, 3, 3)
    assert all(call.input.shape[0] == call.output.shape[0] == 1 for call in seen)
    with pytest.raises(aj.ShapeError):
        look(net, x[:, :100])


# Progress and interruption


@pytest.mark.parametrize("after", [0, 2, 4, 7, 9])
def test_interrupted_it_gives_what_is_there(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = nn.MLP((4, 4, 4), activation=nn.Tanh, dtype="float64", rng=0), inputs(3, 4)
    whole = look(net, x)
    work = sampled.AtSample._work

    def interrupted(at: sampled.AtSample) -> Any:
        for k, cost in enumerate(work(at)):
            if k == after:
                raise KeyboardInterrupt
            yield cost

    monkeypatch.setattr(sampled.AtSample, "_work", interrupted)
    found = look(net, x)
    assert not found.complete
    assert repr(found.rows) == repr(whole.rows)
    if found.flow:
        assert repr(found.flow) == repr(whole.flow[len(whole.flow) - len(found.flow) :])
    assert repr(found.layers) == repr(whole.layers[: len(found.layers)])
    assert "what follows is what was found at the sample until then" in str(found)
    assert any("interrupted before they were examined" in why for why in found.skipped.values()) == (after < 9)


def test_the_bar_reaches_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    told: list[float] = []

    @contextmanager
    def bar(what: str, shown: bool, total: float) -> Any:
        assert (what, shown) == ("examining the sample", True)
        told.append(total)
        yield lambda cost: told.append(-cost)

    monkeypatch.setattr(sampled, "bar", bar)
    aj.inspect(nn.MLP((4, 4, 4), rng=0), inputs(3, 4, dtype="float32"), cache=False)
    assert len(told) > 4
    np.testing.assert_allclose(sum(told) / told[0], 0.0, atol=0.05)


# Odd samples and networks


def test_a_sample_with_nan_is_refused_by_place_and_layer() -> None:
    x = inputs(3, 4)
    x[1, 2], x[2, 0] = np.nan, np.inf
    match = r"2 of its 12 numbers are NaN or infinite, the first in example 1; the first layer that .* is 0 \(Linear\)"
    with pytest.raises(aj.SpectrumError, match=match):
        look(nn.MLP((4, 3, 2), dtype="float64", rng=0), x)


class Logarithm(nn.Module):
    """log x, which is NaN where x is negative."""

    def __call__(self, x: Any) -> Any:
        return xp.log(x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the logarithm
def test_the_layer_where_nan_arises_is_the_first_finding() -> None:
    linear = nn.Linear(3, 3, bias=False, dtype="float64")
    linear.weight = np.diag([1.0, 1.0, -1.0])
    net = nn.Sequential(nn.Sequential(linear, Logarithm()), nn.Linear(3, 2, dtype="float64", rng=0))
    found = look(net, np.ones((4, 3)))
    assert (found.worst[0].name, found.worst[0].gravity) == ("0.1", 4.0)
    assert "4 of the 12 numbers of its output are NaN or infinite, though its input is finite" in found.worst[0].told
    assert found.skipped["(gradient flow)"] == "the output is not finite, from 0.1 on"
    assert [layer.name for layer in found.layers] == ["0.0"]
    assert not found.flow
    assert not found.depths


def test_no_examples_and_one() -> None:
    net = nn.MLP((4, 3, 2), dtype="float64", rng=0)
    with pytest.raises(aj.ShapeError, match=r"inspect: x is a batch of examples.*\(0, 4\)\."):
        look(net, inputs(0, 4))
    found = look(net, inputs(1, 4))
    assert len(found.flow) == len(found.layers) == 3
    assert "1 example of 4, float64" in str(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_token_ids(dtype: str) -> None:
    net = aj.models.GPT(vocab_size=31, block_size=8, n_layer=3, n_head=2, n_embd=8, rng=0)
    net = aj.to(net, dtype=dtype)
    tokens = np.random.default_rng(0).integers(0, 31, (3, 4))
    target = np.roll(tokens, -1, 1)

    def loss(logits: Any, target: Any) -> Any:
        return xp.cross_entropy(xp.reshape(logits, (-1, 31)), target.reshape(-1))

    found = look(net, (tokens, target), loss=loss)
    assert [block.name for block in found.flow] == ["h.0", "h.1", "h.2"]
    assert found.network is None
    assert found.unseen("h.0.mlp.c_proj").rows == 12
    assert found.sample is not None
    np.testing.assert_allclose(found.sample.value, float(loss(net(tokens), target)), rtol=1e-5)


class Twice(nn.Module):
    """A layer that is used twice, and a block that gives a pair."""

    def __init__(self, dtype: str = "float64") -> None:
        self.shared = nn.Linear(4, 4, dtype=dtype, rng=0)
        self.pair = Pair()

    def __call__(self, x: Any) -> Any:
        h, _ = self.pair(self.shared(x))
        return self.shared(h)


class Pair(nn.Module):
    """(tanh x, x)."""

    def __call__(self, x: Any) -> Any:
        return xp.tanh(x), x


def test_a_layer_used_twice_and_a_module_that_gives_a_tuple() -> None:
    net, x = Twice(), inputs(5, 4)
    found = look(net, x)
    assert [(layer.name, layer.nth) for layer in found.layers] == [("shared", 0), ("pair", 0), ("shared", 1)]
    assert [(b.name, b.nth) for b in found.flow] == [("shared", 0), ("pair", 0), ("shared", 1)]
    W = net.shared.weight
    slopes = 1 - np.tanh(net.shared(x)) ** 2
    norms = {(d.name, d.nth): d.norm for d in found.depths}
    np.testing.assert_allclose(norms["shared", 1], 1.0)
    np.testing.assert_allclose(norms["pair", 0], np.linalg.norm(W, 2), rtol=1e-12)
    first = np.median([np.linalg.norm(W * s, 2) for s in slopes])
    np.testing.assert_allclose(norms["shared", 0], first, rtol=1e-12)
    np.testing.assert_allclose(found.flow[1].norm, np.median(slopes.max(axis=1)), rtol=1e-10)
    assert "shared Linear (call 2)" in str(found)


def test_a_named_tuple_stays_one() -> None:
    class Both(NamedTuple):
        y: Any
        x: Any

    class Named(nn.Module):
        def __call__(self, x: Any) -> Both:
            return Both(xp.tanh(x), x)

    class Net(nn.Module):
        def __init__(self) -> None:
            self.named = Named()

        def __call__(self, x: Any) -> Any:
            return self.named(x).y

    x = inputs(3, 4)
    (block,) = look(Net(), x).flow
    np.testing.assert_allclose(block.norm, np.median((1 - np.tanh(x) ** 2).max(axis=1)), rtol=1e-10)


def test_an_output_of_several_arrays_flows_back_from_all() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            self.body = nn.Linear(4, 5, dtype="float64", rng=0)
            self.a, self.b = nn.Linear(5, 2, dtype="float64", rng=1), nn.Linear(5, 3, dtype="float64", rng=2)

        def __call__(self, x: Any) -> Any:
            h = self.body(x)
            return {"a": self.a(h), "b": self.b(h), "n": np.arange(len(x))}

    net, x = Heads(), inputs(3, 4)
    found = look(net, x)
    rng = np.random.default_rng(0)
    u = np.concatenate([rng.standard_normal((3, k)) for k in (2, 3)], axis=1)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    expected = np.linalg.norm(u @ np.concatenate([net.a.weight, net.b.weight]), axis=1)
    np.testing.assert_allclose(found.flow[0].gradient, np.median(expected), rtol=1e-12)
    assert found.network is None
    assert found.skipped["(the Jacobians from each depth to the output)"].startswith("the output is no one array")


def test_a_dictionary_with_one_array_is_told_as_that_array() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            self.net = nn.MLP((4, 5, 3), activation=nn.Tanh, dtype="float64", rng=0)

        def __call__(self, x: Any) -> Any:
            return {"n": np.arange(len(x)), "logits": self.net(x)}

    net, x = Named(), inputs(3, 4)
    found, plain = look(net, x), look(net.net, x)
    assert [d.norm for d in found.depths[:3]] == [d.norm for d in plain.depths[:3]]
    assert found.network is not None
    assert plain.network is not None
    assert (found.network.svdvals, found.network.out_shape) == (plain.network.svdvals, (3,))


def test_other_arguments_that_go_with_the_examples_stay_beside_them() -> None:
    class Gated(nn.Module):
        def __call__(self, x: Any, gate: Any) -> Any:
            return x * gate

    class Net(nn.Module):
        def __init__(self) -> None:
            self.gated = Gated()

        def __call__(self, x: Any) -> Any:
            return self.gated(x, xp.tanh(x))

    x = inputs(3, 4)
    (layer,) = look(Net(), np.concatenate([x, inputs(5, 4, seed=1)]), points=3).layers
    np.testing.assert_allclose(layer.svdvals, np.median(-np.sort(-np.abs(np.tanh(x)), axis=1), axis=0), rtol=1e-12)


def test_layers_of_other_shapes_are_not_compared() -> None:
    sizes = (3, 50, 2, 80, 4)  # growth differs by shape alone
    net = nn.Sequential(*(nn.Linear(a, b, dtype="float64", rng=a) for a, b in itertools.pairwise(sizes)))
    assert all(np.isnan(b.factor) and not b.verdict for b in flow_by_block(net, inputs(4, 3)))
