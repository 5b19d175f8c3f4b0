"""Networks from ONNX files: a real one against its reference outputs, PyTorch's own exports against PyTorch."""

from __future__ import annotations

import copy
import functools
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray
from adjoint.interop.onnx import from_onnx

torch = pytest.importorskip("torch")


# Basic Pitch (Spotify, ICASSP 2022), which hears the notes of a recording


@pytest.fixture(scope="module")
def pitch(data_path: Callable[[str], Path]) -> tuple[Path, Any, dict[str, Any]]:
    """Return the file, the network's input, and its reference outputs in the order of the graph's."""
    folder = data_path("onnx")
    golden = np.load(folder / "basic_pitch_nmp_golden.npz")
    path = folder / "basic_pitch_nmp.onnx"
    names = [x.name for x in onnx.load(path).graph.output]
    (given,) = [golden[k] for k in golden if k.startswith("in:")]
    return path, given, {name: golden[f"out:{name}"] for name in names}


def assert_close(found: Any, expected: dict[str, Any]) -> None:
    for x, (name, y) in zip(found, expected.items(), strict=True):
        np.testing.assert_allclose(np.asarray(x), y, rtol=0, atol=1e-4, err_msg=name)


def test_a_real_network_gives_its_reference_outputs(pitch: Any) -> None:
    path, x, expected = pitch
    net = from_onnx(path)
    assert_close(net(x), expected)
    assert all(y.dtype == np.float32 for y in net(x))
    held = {t.name for t in onnx.load(path).graph.initializer if t.data_type == 1}
    assert set(net.state_dict()) <= held
    assert len(net.state_dict()) == 24


def test_in_float64(pitch: Any) -> None:
    path, x, expected = pitch
    found = from_onnx(path, dtype="float64")(x.astype("float64"))
    assert all(y.dtype == np.float64 for y in found)
    assert_close(found, expected)


def test_on_torch(pitch: Any) -> None:
    path, x, expected = pitch
    assert_close(from_onnx(path).to("torch")(torch.from_numpy(x)), expected)


def test_under_jit_with_its_arrays_as_arguments(pitch: Any) -> None:
    jax = pytest.importorskip("jax")
    path, x, expected = pitch
    assert_close(jax.jit(lambda net, x: net(x))(from_onnx(path).to("jax"), x), expected)


def test_its_cost_is_counted_from_shapes_alone(pitch: Any) -> None:
    path, x, expected = pitch
    net = from_onnx(path)
    found = net(ShapeArray(x.shape, "float32"))
    assert [y.shape for y in found] == [y.shape for y in expected.values()]
    assert aj.cost(net, x.shape).forward.matmul_flops > 1e8


def test_its_derivatives(pitch: Any) -> None:
    """Of all 24 arrays and of the sound: equal to PyTorch's autograd of the same program, one to differences as well,
    and the pushforward is the pullback's adjoint."""
    path, x, _ = pitch
    rng = np.random.default_rng(0)
    net = from_onnx(path, dtype="float64").to("torch")
    x = torch.from_numpy(x.astype("float64"))
    weights = [torch.from_numpy(rng.standard_normal(tuple(y.shape))) for y in net(x)]

    def heard(net: Any, x: Any) -> Any:
        return functools.reduce(aj.add, [aj.sum(y * w) for y, w in zip(net(x), weights, strict=True)])

    grads, of_sound = aj.grad(heard, (0, 1))(net, x)
    peers = {name: p.clone().requires_grad_() for name, p in net.named_parameters()}
    peer = from_onnx(path, dtype="float64").to("torch")
    peer.load_state_dict(peers, assign=True)
    leaf = x.clone().requires_grad_()
    heard(peer, leaf).backward()
    largest = max(float(p.grad.abs().max()) for p in (*peers.values(), leaf))  # a scale before a normalization has 0
    for name, p in (*peers.items(), ("the sound", leaf)):
        mine = of_sound if name == "the sound" else grads[name]
        assert p.grad is not None
        torch.testing.assert_close(mine, p.grad, rtol=1e-10, atol=1e-10 * largest, msg=lambda m, n=name: f"{n}: {m}")
    assert len(peers) == 24
    name = "const_fold_opt__707"
    direction = torch.from_numpy(rng.standard_normal(tuple(net[name].shape)))
    at = []
    for step in (1e-7, -1e-7):
        peer.load_state_dict({name: net[name] + step * direction}, strict=False, assign=True)
        at.append(float(heard(peer, x).detach()))
    slope = float(torch.sum(grads[name] * direction))
    assert (at[0] - at[1]) / 2e-7 == pytest.approx(slope, rel=1e-4)
    v = torch.from_numpy(rng.standard_normal(tuple(x.shape)))
    _, pushed = aj.jvp(lambda x: heard(net, x), (x,), (v,))
    assert float(pushed) == pytest.approx(float(torch.sum(of_sound * v)), rel=1e-9)


# PyTorch's exports


class Images(torch.nn.Module):
    """Convolutions of all kinds, normalizations, pooling, resampling."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.group = nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.slope = nn.PReLU(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        f = torch.nn.functional
        x = f.silu(self.norm(self.first(x)))
        x = x + f.gelu(self.group(self.depth(x)))
        x = torch.cat([f.max_pool2d(x, 3, 1, 1), f.avg_pool2d(x, 3, 1, 1)], 1)[:, 4:12]
        x = self.slope(self.up(x))
        x = f.interpolate(x, scale_factor=1.5, mode="bilinear", align_corners=False)
        return f.log_softmax(self.head(f.adaptive_avg_pool2d(x, 1).flatten(1)), -1)


class Words(torch.nn.Module):
    """An embedding, attention written out, a mask from the shape, layer normalization, index arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.embed = nn.Embedding(11, 12)
        self.place = nn.Parameter(torch.zeros(9, 12))
        self.qkv = nn.Linear(12, 36)
        self.out = nn.Linear(12, 12)
        self.norm = nn.LayerNorm(12)

    def forward(self, ids: Any) -> Any:
        n, t = ids.shape
        x = self.embed(ids) + self.place[:t]
        q, k, v = (y.view(n, t, 3, 4).transpose(1, 2) for y in self.qkv(self.norm(x)).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / 2.0
        seen = torch.tril(torch.ones(t, t, dtype=torch.bool))
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, 12))
        return torch.einsum("ntc,vc->ntv", self.norm(x), self.embed.weight)


class Sounds(torch.nn.Module):
    """Recurrent networks in both directions, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.lstm = nn.LSTM(4, 5, 2, bidirectional=True)
        self.gru = nn.GRU(10, 3, bidirectional=True)
        self.rnn = nn.RNN(6, 3, nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        y, (h, c) = self.lstm(x)
        z = self.rnn(self.gru(y)[0])[0]
        return torch.cat([z.flatten(), h.flatten(), torch.tanh(c).flatten()])


def exported(module: Any, x: Any, opset: int) -> bytes:
    """PyTorch's own ONNX file of a module."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is an old one, and says so
        torch.onnx.export(
            module, (x,), file, dynamo=False, opset_version=opset, do_constant_folding=False, input_names=["x"]
        )
    return file.getvalue()


def randomized(module: Any) -> Any:
    """The module in float64, every parameter and statistic random."""
    generator = torch.Generator().manual_seed(3)
    module = module.double().eval()
    for p in module.parameters():
        torch.nn.init.uniform_(p, -0.7, 0.7, generator=generator)
    for name, b in module.named_buffers():
        if b.is_floating_point():
            torch.nn.init.uniform_(b, 0.5 if "var" in name else -0.5, 1.5, generator=generator)
    return module


NETWORKS = {
    "images": (Images, torch.linspace(-2, 2, 2 * 3 * 9 * 10, dtype=torch.float64).sin().reshape(2, 3, 9, 10)),
    "words": (Words, torch.tensor([[1, 5, 3, 10, 0, 2, 7], [4, 4, 9, 8, 6, 1, 10]])),
    "sounds": (Sounds, torch.linspace(-3, 3, 6 * 2 * 4, dtype=torch.float64).cos().reshape(6, 2, 4)),
}


@pytest.mark.parametrize(
    ("name", "opset"),  # before these versions PyTorch's exporter lacks the triangle, or resamples at other places
    [
        *[("words", k) for k in (14, 17, 20)],
        *[("images", k) for k in (11, 13, 18, 20)],
        *[("sounds", k) for k in (9, 11, 14, 20)],
    ],
)
def test_what_pytorch_exports_is_the_same_network(name: str, opset: int) -> None:
    """Outputs, and gradients of the input and of all parameters that keep their name, equal PyTorch's to 1e-10."""
    make, x = NETWORKS[name]
    module = randomized(make())
    net = from_onnx(exported(module, x, opset))
    x = x.clone().requires_grad_() if x.is_floating_point() else x
    expected = module(x)
    weights = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).reshape(expected.shape)
    (expected * weights).sum().backward()
    given = x.detach().numpy()
    np.testing.assert_allclose(net(given), expected.detach().numpy(), rtol=1e-10, atol=1e-10)

    def functional(net: Any, x: Any) -> Any:
        return aj.sum(net(x) * weights.numpy())

    if x.is_floating_point():
        grads, of_input = aj.grad(functional, (0, 1))(net, given)
        np.testing.assert_allclose(of_input, x.grad.numpy(), rtol=1e-9, atol=1e-10)
    else:
        grads = aj.grad(functional)(net, given)
    own = dict(module.named_parameters())
    kept = [n for n, _ in net.named_parameters() if n in own and tuple(own[n].shape) == tuple(net[n].shape)]
    for n in kept:
        np.testing.assert_allclose(grads[n], own[n].grad.numpy(), rtol=1e-9, atol=1e-10, err_msg=n)
    assert len(kept) >= {"images": 9, "words": 5, "sounds": 0}[name]
    assert {n for n, _ in net.named_buffers()} == (
        {"norm.running_mean", "norm.running_var"} if name == "images" else set()
    )


def test_a_network_with_shape_arithmetic_runs_under_jit() -> None:
    jax = pytest.importorskip("jax")
    make, x = NETWORKS["words"]
    module = randomized(make())
    net = from_onnx(exported(module, x, 17)).to("jax")
    found = jax.jit(lambda net, x: net(x))(net, x.numpy())
    np.testing.assert_allclose(np.asarray(found), module(x).detach().numpy(), rtol=1e-10, atol=1e-10)


# Graphs inside nodes, sequences


def model(text: str, opset: int = 21) -> Any:
    """A model from onnx's own text form."""
    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}')


LOOP = """
net (double[n] x, int64 trips) => (double[n] last, double[k, n] all) <double[1] w = {0.5}> {
    go = Constant <value_int = 1> ()
    cond = Cast <to = 9> (go)
    last, all = Loop (trips, cond, x) <
      body = step (int64 i, bool c, double[n] h) => (bool again, double[n] new, double[n] out) <double[1] v = {2.0}> {
        a = Mul (h, w)
        b = Mul (a, v)
        new = Add (b, x)
        again = Identity (c)
        out = Sin (new)
    }>
}
"""


def test_loops_unroll_and_their_arrays_have_gradients() -> None:
    net = from_onnx(model(LOOP))
    x, trips = np.array([0.3, -0.7]), np.array(3)
    assert sorted(net.state_dict()) == ["v", "w"]
    h, found = x, []
    for _ in range(3):
        h = h * 0.5 * 2.0 + x
        found.append(np.sin(h))
    last, out = copy.deepcopy(net)(x, trips)
    np.testing.assert_allclose(last, h)
    np.testing.assert_allclose(out, found)
    report = aj.check(lambda net, x: aj.sum(net(x, trips)[1] ** 2), net, x)
    assert report.ok, report


BRANCH = """
net (double[n] x, bool c) => (double[n] y) <double[1] w = {3.0}> {
    y = If (c) <
      then_branch = a () => (double[n] p) { p = Mul (x, w) },
      else_branch = b () => (double[n] q) { r = Mul (w, w) q = Sub (x, r) }
    >
}
"""


@pytest.mark.parametrize(("c", "slope"), [(True, [3.0, 3.0]), (False, [1.0, 1.0])])
def test_branches(c: bool, slope: list[float]) -> None:
    net = from_onnx(model(BRANCH))
    x = np.array([1.0, 4.0])
    assert net(x, np.array(c)).tolist() == ([3.0, 12.0] if c else [-8.0, -5.0])
    assert aj.grad(lambda x: aj.sum(net(x, np.array(c))))(x).tolist() == slope


def test_a_branch_that_depends_on_unknown_data_is_refused_by_name() -> None:
    jax = pytest.importorskip("jax")
    net = from_onnx(model(BRANCH)).to("jax")
    with pytest.raises(aj.TraceError, match="If: input 0 decides shapes or which way to go"):
        jax.jit(lambda x, c: net(x, c))(np.ones(2), np.array(True))


def test_sequences() -> None:
    net = from_onnx(
        model("""
    net (double[2] x, double[3] y) => (double[k] all, double[3] second, int64 n, int64 none) {
        nothing = SequenceEmpty <dtype = 11> ()
        none = SequenceLength (nothing)
        s = SequenceConstruct (x, y, x)
        first = Constant <value_int = 0> ()
        t = SequenceErase (s, first)
        one = Constant <value_int = -2> ()
        second = SequenceAt (t, one)
        n = SequenceLength (t)
        all = ConcatFromSequence <axis = 0> (t)
    }""")
    )
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    found, second, n, none = net(x, y)
    assert (found.tolist(), second.tolist(), int(n), int(none)) == ([3.0, 4.0, 5.0, 1.0, 2.0], y.tolist(), 2, 0)
    slope = aj.grad(lambda y: aj.sum(net(x, y)[0] ** 2))(y)
    assert slope.tolist() == (2 * y).tolist()


def test_norm_pooling_over_everything() -> None:
    net = from_onnx(model("net (double[1, 2, n] x) => (double[1, 2, 1] y) { y = GlobalLpPool <p = 3> (x) }"))
    x = np.array([[[1.0, -2.0, 2.0], [0.5, 0.0, 1.0]]])
    np.testing.assert_allclose(net(x), np.linalg.norm(x, 3, axis=-1, keepdims=True))


def test_optional_values() -> None:
    net = from_onnx(model("net (double[2] x) => (double[2] y) { o = Optional (x) y = OptionalGetElement (o) }"))
    assert net(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_functions_are_written_out() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>
    net (double[n] x) => (double[n] y) <double[1] w = {2.0}> { y = mine.twice (x, w) }
    <domain: "mine", opset_import: ["" : 21, "mine" : 1]>
    twice (x, w) => (y) { z = mine.once (x, w) y = mine.once (z, w) }
    <domain: "mine", opset_import: ["" : 21]> once (x, w) => (y) { y = Mul (x, w) }
    """
    net = from_onnx(parser.parse_model(text))
    assert net(np.array([1.0, 3.0])).tolist() == [4.0, 12.0]
    assert aj.grad(lambda net: aj.sum(net(np.array([1.0, 3.0]))))(net)["w"].tolist() == [16.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_loads_and_runs(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    w = np.array([[1.0, -2.5], [0.375, 4.0]]).astype(kind)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["z"]), onnx.helper.make_node("Sigmoid", ["z"], ["y"])],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.helper.np_dtype_to_tensor_dtype(kind), [None, 2])],
        [onnx.helper.make_tensor_value_info("y", onnx.helper.np_dtype_to_tensor_dtype(kind), [None, 2])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    file = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)]).SerializeToString()
    net = from_onnx(file)
    assert net["w"].dtype == kind
    y = net(np.ones((1, 2), kind))
    assert y.dtype == kind
    exact = 1.0 / (1.0 + np.exp(-w.astype("float64").sum(0)))
    np.testing.assert_allclose(y.astype("float64")[0], exact, rtol=2e-2)
    wide = from_onnx(file, dtype="float64")
    np.testing.assert_allclose(wide(np.ones((1, 2)))[0], exact, rtol=1e-12)


def test_old_files_through_onnx_s_own_converter() -> None:
    """PyTorch's layers as of 2017 (version 6), converted as the error advises."""
    from onnx.backend.test.loader import load_model_tests
    from onnx.version_converter import convert_version

    count = 0
    for case in load_model_tests(kind="pytorch-converted"):
        if "PReLU" in case.name and "multiparam" in case.name:
            continue  # the converter leaves a slope a channel as it was
        folder = Path(case.model_dir)
        old = onnx.load(folder / "model.onnx")
        net = from_onnx(convert_version(old, 13) if old.opset_import[0].version < 7 else old)
        (given,), (expected,) = ([tensor(p) for p in sorted(folder.glob(f"*/{k}_*.pb"))] for k in ("input", "output"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = net(given)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=case.name)
        count += 1
    assert count == 79


def tensor(path: Path) -> Any:
    """The array of a tensor's file."""
    found = onnx.TensorProto()
    found.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(found)


def test_a_network_from_a_file_learns() -> None:
    net = from_onnx(model("net (float[n, 2] x) => (float[n, 1] y) <float[2, 1] w = {1.0, -2.0}> { y = MatMul (x, w) }"))
    x, target = np.array([[1.0, 2.0], [0.5, -1.0]], "float32"), np.array([[3.0], [0.0]], "float32")

    def loss(net: Any) -> Any:
        return aj.mean((net(x) - target) ** 2)

    start, optimizer = float(loss(net)), aj.optim.AdamW(net, 0.1)
    for _ in range(20):
        net, optimizer = optimizer.step(net, aj.grad(loss)(net))
    assert float(loss(net)) < start / 4
