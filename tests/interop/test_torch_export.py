"""What an exported module is to its user: calls, errors, backends, dynamic sizes, ties, buffers, fallbacks."""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import adjoint as aj
from adjoint.errors import DtypeError, ShapeError
from adjoint.interop.foreign import Foreign
from adjoint.interop.torch_export import ExportError, from_torch
from tests.interop.test_torch_modules import MODULES
from tests.interop.torch_peers import arrays, close, compare, floating, leaves, randomized

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


def mlp() -> nn.Module:
    return randomized(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)))


def loss(net: Any, *args: Any) -> Any:
    return sum(aj.sum(v * v) for _, v in floating(net(*args)))


# Backends


@pytest.mark.parametrize("name", ["views", "picks", "cnn", "lstm", "bags", "masked encoder"])
def test_it_runs_and_differentiates_on_every_backend(name: str) -> None:
    module, *args = MODULES[name]
    kwargs = args.pop() if isinstance(args[-1], dict) else {}
    net = from_torch(randomized(module), *copy.deepcopy(args), **kwargs)
    plain, named = arrays(args), arrays(kwargs)
    reference, grads = net(*plain, **named), dict(aj.grad(lambda n: loss_of(n, plain, named))(net).named_parameters())
    there = net.to("torch")
    on_torch = there(*copy.deepcopy(args), **kwargs)
    here, on_jax = net.to("jax"), [jnp.asarray(x) for x in plain]
    jax_named = {k: jnp.asarray(x) for k, x in named.items()}
    compiled = jax.jit(lambda n, *a: n(*a, **jax_named))(here, *on_jax)
    for got in (on_torch, compiled):
        expected = dict(leaves(reference))
        for path, x in leaves(got):
            close(x, expected.pop(path), 1e-5, path)
        assert not expected
    torch_grads = aj.grad(lambda n: loss_of(n, args, kwargs))(there)
    jax_grads = jax.jit(aj.grad(lambda n: loss_of(n, on_jax, jax_named)))(here)
    for found in (torch_grads, jax_grads):
        for path, g in found.named_parameters():
            close(g, grads[path], 1e-4, path)  # another order of summation, squared


def loss_of(net: Any, args: Any, kwargs: Any) -> Any:
    return sum(aj.sum(v * v) for _, v in floating(net(*args, **kwargs)))


def test_only_shapes_are_enough_to_count() -> None:
    cost = aj.cost(from_torch(mlp(), X), X.numpy())
    assert cost.parameters == 26
    assert cost.forward.matmul_flops == 2 * (2 * 3 * 4 + 2 * 4 * 2)


def test_a_module_without_memory_is_laid_out_by_its_shapes() -> None:
    with torch.device("meta"):
        peer = nn.Linear(3, 2)
        net = from_torch(peer, torch.empty(2, 3))
    assert repr(net["weight"]) == "ShapeArray((2, 3), float32)"


def test_the_jacobian_is_a_map() -> None:
    net = from_torch(mlp(), X).to(dtype="float64")
    y, J = aj.linearize(net, X.double().numpy())
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal(J.in_shape), rng.standard_normal(J.out_shape)
    np.testing.assert_allclose(np.sum(y), np.sum(net(X.double().numpy())))
    np.testing.assert_allclose(np.sum((J @ v) * u), np.sum(v * (J.T @ u)), rtol=1e-12)
    assert aj.check(net, X.double().numpy()).ok


# Calls and results


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Named:
    first: Any
    rest: Any


class Nested(nn.Module):
    """Takes and gives nests."""

    def forward(self, pair: Any, options: Mapping[str, Any], scale: float = 2.0, *, flag: bool = False) -> Any:
        a, (b,) = pair
        y = scale * a + b + options["bias"]
        return {"y": y, "pair": (a, [b]), "point": Point(y, y + 1.0), "nothing": None, "size": a.shape[0], "flag": flag}


def test_nests_come_and_go() -> None:
    a, b, c = (np.full((2, 3), k, "float32") for k in (1.0, 2.0, 3.0))
    net = from_torch(Nested(), (X, [X]), {"bias": X}, 3.0, flag=True)
    got = net((a, [b]), options={"bias": c}, scale=3.0)
    np.testing.assert_allclose(got["y"], 3.0 * a + b + c)
    assert (got["nothing"], got["size"], got["flag"], type(got["point"])) == (None, 2, True, tuple)
    assert type(got["pair"][1]) is list
    with pytest.raises(ValueError, match=r"scale was 3\.0 when the program was exported"):
        net((a, [b]), {"bias": c}, 2.0)
    with pytest.raises(TypeError, match=r"pair\[1\] is to be a sequence of 1"):
        net((a, [b, b]), {"bias": c})
    with pytest.raises(TypeError, match=r"options\['bias'\] is missing"):
        net((a, [b]), {})
    with pytest.raises(TypeError, match=r"options\['more'\] was not given"):
        net((a, [b]), {"bias": c, "more": c})
    with pytest.raises(TypeError, match=r"options is to be a dict with bias, not ndarray"):
        net((a, [b]), c)


def test_a_registered_dataclass_comes_back_as_a_dict() -> None:
    if Named not in torch.utils._pytree.SUPPORTED_NODES:
        torch.export.register_dataclass(Named, serialized_type_name="tests.Named")

    class Gives(nn.Module):
        def forward(self, x: Tensor) -> Named:
            return Named(x + 1.0, [x])

    got = from_torch(Gives(), X)(X.numpy())
    assert list(got) == ["first", "rest"]
    assert type(got["rest"]) is list


def test_examples_may_be_numpys() -> None:
    np.testing.assert_allclose(from_torch(mlp(), X.numpy())(X.numpy()), from_torch(mlp(), X)(X.numpy()))


def test_an_input_changed_in_place_is_left_as_it_is() -> None:
    class Changes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x += 1.0
            return x * 2.0

    x = X.numpy().copy()
    np.testing.assert_allclose(from_torch(Changes(), X.clone())(x), 2.0 * (X.numpy() + 1.0))
    np.testing.assert_array_equal(x, X.numpy())


def test_a_value_written_where_a_condition_holds_needs_no_places() -> None:
    """How many they are depends on values, which a compiler and arrays of shapes alone do not know."""

    class Zeroed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2.0
            y[y < 0] = 0.5
            y[:, x[0] > 0] = 3.0
            return y

    x = X.numpy()
    net = from_torch(Zeroed(), X)
    assert aj.cost(net, x).forward.flops
    expected = Zeroed()(X).numpy()
    np.testing.assert_array_equal(net(x), expected)
    np.testing.assert_array_equal(jax.jit(net.to("jax"))(jnp.asarray(x)), expected)
    np.testing.assert_array_equal(aj.grad(lambda x: aj.sum(net(x)))(x), 2.0 * ((x >= 0) & (x[0] <= 0)))


# Sizes that vary


def test_sizes_may_vary_where_the_export_permits() -> None:
    peer = randomized(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    net = from_torch(peer, torch.ones(2, 3, 8), dynamic_shapes={"src": {0: Dim("batch"), 1: Dim("time", max=64)}})
    for shape in ((1, 5, 8), (4, 2, 8)):
        x = torch.randn(shape)
        close(net(x.numpy()), peer(x).detach(), 1e-5, "y")
    with pytest.raises(ShapeError, match="src has 65 on axis 1; the program takes 0 to 64"):
        net(np.ones((2, 65, 8), "float32"))
    with pytest.raises(ShapeError, match="axis 2 of size 8 only"):
        net(np.ones((2, 3, 7), "float32"))


def test_equal_sizes_are_to_be_equal() -> None:
    class Adds(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y + torch.arange(x.shape[0], dtype=x.dtype)[:, None]

    n = Dim("n")
    net = from_torch(Adds(), X, X, dynamic_shapes={"x": {0: n}, "y": {0: n}})
    assert net(np.ones((5, 3), "float32"), np.ones((5, 3), "float32"))[4].tolist() == [6.0] * 3
    with pytest.raises(ShapeError, match="y has 4 on axis 0, where axis 0 of Adds: x has 5"):
        net(np.ones((5, 3), "float32"), np.ones((4, 3), "float32"))


# Arrays by name


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.again = nn.Linear(3, 5)
        self.head.weight = self.again.weight = self.embed.weight
        self.again.bias.requires_grad_(False)
        self.register_buffer("mask", torch.tensor([1.0, 2.0, 3.0]), persistent=False)
        self.register_buffer("shift", torch.tensor(0.5))
        self.plain = torch.tensor([1.0, 0.0, 1.0])

    def forward(self, i: Tensor) -> Tensor:
        x = self.embed(i) * self.mask + self.shift + self.plain
        return self.head(x) + self.again(x)


def test_tied_frozen_and_fixed_arrays_are_what_they_were() -> None:
    peer, i = Tied(), torch.tensor([[0, 3, 1]])
    net = compare(peer, i)
    assert net.state_dict().keys() == peer.state_dict().keys()
    assert {"mask", "plain"} <= dict(net.named_arrays()).keys()
    assert net["head.weight"] is net["again.weight"] is net["embed.weight"]
    grads = aj.grad(loss)(net, i.numpy())
    assert grads["head.weight"] is grads["again.weight"] is grads["embed.weight"]
    assert grads["again.bias"] is None
    assert aj.nn.count_parameters(net) == 20
    net.load_state_dict(peer.state_dict())


def test_the_peer_is_left_in_its_mode_and_its_arrays_are_copies() -> None:
    peer = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    peer[0].eval()
    before = peer[0].weight.detach().clone()
    net = from_torch(peer, X)
    assert (peer.training, peer[0].training, peer[1].training) == (True, False, True)
    net["0.weight"][...] = 0.0
    assert torch.equal(peer[0].weight, before)


def test_running_statistics_are_written_back_in_training() -> None:
    peer = nn.BatchNorm1d(3)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    net = from_torch(peer, x, training=True)
    close(net(x.numpy()), peer(x).detach(), 1e-5, "y")
    for name, buffer in peer.named_buffers():
        close(net[name], buffer, 1e-5, name)
    grads, tracked = aj.grad(lambda n: loss(n, x.numpy()))(net), int(net["num_batches_tracked"])
    assert tracked == 2
    assert np.isfinite(grads["weight"]).all()


def test_a_buffer_that_counts_calls() -> None:
    module, x = MODULES["branch"]
    net = from_torch(module, x)
    net(x.numpy())
    net(x.numpy())
    assert float(net["calls"]) == float(module.calls + 1.0 + 1.0)  # rounded as often


def test_a_region_without_gradients_has_none() -> None:
    class Region(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([2.0, 3.0, 4.0]))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                scale = self.w * x
            return self.w * scale + (self.w * 5.0).detach()

    compare(Region(), X)


def test_half_precision_keeps_its_dtype() -> None:
    net = from_torch(nn.Linear(3, 2).bfloat16(), X.bfloat16())
    assert str(net["weight"].dtype) == "bfloat16"


# Fallbacks


class Gamma(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        spectrum = torch.fft.rfft(y)
        return torch.lgamma(y.exp()), (spectrum * 2.0j).abs(), torch.linalg.qr(y).R.abs()


def test_what_has_no_operation_here_is_pytorchs_and_named() -> None:
    peer = randomized(Gamma())
    with pytest.warns(UserWarning, match=r"PyTorch computes it and its derivative") as told:
        net = from_torch(peer, X)
    names = sorted(where.partition(" ")[0] for where in net.fallbacks)
    assert names == [
        "aten._fft_r2c.default", "aten.abs.default", "aten.lgamma.default", "aten.linalg_qr.default",
        "aten.mul.Tensor",
    ]  # fmt: skip
    assert len(told) == len(net.fallbacks)
    place = r"aten.lgamma.default in the module \(Gamma\), .*test_torch_export.py:\d+"
    assert any(re.search(place, where) for where in net.fallbacks)


@pytest.mark.filterwarnings("ignore:.*has no operation here")  # the subject of the test above
def test_fallbacks_pass_the_dot_test_on_every_backend() -> None:
    peer = randomized(Gamma()).double()
    net = compare(peer, X, dtype="float64")
    x = X.double().numpy()
    for part in range(3):
        assert aj.check(lambda x, part=part: net(x)[part], x).ok
    here = net.to("jax")
    compiled = jax.jit(lambda n, x: n(x))(here, jnp.asarray(x))
    for got, expected in zip(compiled, net(x), strict=True):
        close(got, expected, 1e-10, "y")
    jitted = jax.jit(aj.grad(loss))(here, jnp.asarray(x))["linear.weight"]
    close(jitted, aj.grad(loss)(net, x)["linear.weight"], 1e-10, "gradient")
    assert aj.cost(net, x).parameters == 12


def test_a_foreign_function_has_second_derivatives() -> None:
    lgamma, x = Foreign(torch.lgamma, "lgamma"), np.array([1.5, 2.0])
    trigamma = aj.grad(lambda x: aj.sum(aj.grad(lambda x: aj.sum(lgamma(x)))(x)))(x)
    np.testing.assert_allclose(trigamma, torch.polygamma(1, torch.tensor(x)), rtol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_an_operator_may_leave_parts_out(backend: str) -> None:
    """As convolution_backward does, which gives None for what is not asked for."""
    given = Foreign(lambda x: (None, x**3), "second alone")
    x = aj.to(X.numpy(), backend)
    assert given(x)[0] is None
    close(np.asarray(aj.grad(lambda x: aj.sum(given(x)[1]))(x)), 3.0 * X.numpy() ** 2, 1e-5, "gradient")


def test_an_operator_that_only_knows_autograd_serves() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, u: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3.0 * x * x * u

    cube, x = Foreign(Cube.apply, "cube"), np.array([1.0, 2.0])
    _, J = aj.linearize(cube, x)
    np.testing.assert_allclose(J.T @ np.ones(2), 3.0 * x * x)
    np.testing.assert_allclose(J @ np.ones(2), 3.0 * x * x)


# Errors


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # a branch on a value
            return x
        return -x


def test_a_branch_on_values_is_refused_with_its_place_and_the_remedy() -> None:
    lines = Path(__file__).read_text("utf-8").splitlines()
    line = 1 + next(n for n, text in enumerate(lines) if "# a branch on a value" in text)
    said = rf"Decides cannot be exported, at .*test_torch_export.py:{line}: .*\n.*torch.cond"
    with pytest.raises(ExportError, match=said):
        from_torch(Decides(), X)


def test_a_cache_beside_the_result_is_told_with_the_remedy() -> None:
    class KeysCache:
        pass

    class Caches(nn.Module):
        def forward(self, x: Tensor, use_cache: bool = True) -> Any:
            return (x * 2.0, KeysCache()) if use_cache else (x * 2.0,)

    with pytest.raises(ExportError, match=r"Caches gives a cache .* use_cache=False"):
        from_torch(Caches(), X)
    np.testing.assert_array_equal(from_torch(Caches(), X, use_cache=False)(X.numpy())[0], 2.0 * X.numpy())


def test_bad_examples_are_named() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'input': example inputs are passed as to Linear"):
        from_torch(nn.Linear(3, 2))
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module, not function"):
        from_torch(lambda x: x, X)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"got \[2, 3\] X \[4, 2\]"):
        from_torch(nn.Linear(4, 2), X)


def test_bad_calls_are_named() -> None:
    net = from_torch(mlp(), X)
    x = X.numpy()
    bad: list[tuple[Any, Any, type[Exception], str]] = [
        ((), {}, TypeError, "Sequential: input is missing"),
        ((x, x), {}, TypeError, "too many positional arguments; it takes input"),
        ((x,), {"more": x}, TypeError, "unexpected keyword argument 'more'"),
        ((x[:1],), {}, ShapeError, r"input has the shape \(1, 3\); the program was exported for \(2, 3\), axis 0"),
        ((x[0],), {}, ShapeError, r"input has the shape \(3,\)"),
        ((x.astype(int),), {}, DtypeError, "input has integers"),
        ((1.0,), {}, TypeError, "input is to be an array"),
    ]
    for args, kwargs, kind, message in bad:
        with pytest.raises(kind, match=message):
            net(*args, **kwargs)


def test_random_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout.default in 1 \(Dropout\).* draws random numbers"):
        from_torch(nn.Sequential(nn.Linear(3, 2), nn.Dropout()), X, training=True)


def test_names_that_mean_something_else_are_refused() -> None:
    class Plan(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plan = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.plan * x

    with pytest.raises(ExportError, match="an array named 'plan'"):
        from_torch(Plan(), X)


def test_an_error_inside_names_the_operator_and_its_place() -> None:
    net = from_torch(mlp(), X)
    setattr(net, "2.weight", np.ones((2, 5), "float32"))
    with pytest.raises(ShapeError) as caught:
        net(X.numpy())
    assert any("aten.linear.default in 2 (Linear)" in note for note in caught.value.__notes__)


def test_pytorch_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, adjoint.interop.torch_export; sys.exit('torch' in sys.modules or 'jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_several_ties_in_one_part_hold_together() -> None:
    names, program = ["a", "b", "c"], from_torch(mlp(), X)
    for order in itertools.permutations(names):
        net = program.to()
        for name in names:
            setattr(net, name, np.ones(3))
        for second in order[1:]:
            net.tie(second, order[0])
        moved = net.to("torch")
        assert moved[order[0]] is moved[order[1]] is moved[order[2]]
