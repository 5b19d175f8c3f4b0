"""What a layer cannot see of a sample: against NumPy's SVD, planted kernels, PyTorch's patches."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import arrays as xp
from adjoint.inspection import multiplied

nn = aj.nn


def blind(m: int, n: int, rank: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))).astype(dtype)


def inspected(layer: nn.Module, x: np.ndarray, name: str = "0") -> aj.inspection.Unseen:
    report = aj.inspect(nn.Sequential(layer), x, cache=False, progress=False, points=2)
    return report.unseen(name)


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.max(np.abs(expected)), 1e-30))


@pytest.mark.covers("M03")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(1, 7), (40, 7), (3, 5, 7)])
def test_a_linear_layer_against_numpys_svd(shape: tuple[int, ...], dtype: str) -> None:
    layer, x = nn.Linear(7, 6, dtype=dtype, rng=0), np.random.default_rng(1).standard_normal(shape).astype(dtype)
    layer.weight, layer.bias = blind(6, 7, 4, dtype=dtype), np.ones(6, dtype)
    found = inspected(layer, x)
    W, X = layer.weight.astype("float64"), x.reshape(-1, 7).astype("float64")
    _, s, vh = np.linalg.svd(W)
    kernel, energy, limit = vh[4:], np.sum(X**2), 1e-10 if dtype == "float64" else 1e-5
    assert (found.rank, found.nullity, found.rows, found.of) == (4, 3, len(X), "position")
    close(found.norm, s[0], limit)
    lost = X @ kernel.T
    close(found.share, np.sum(lost**2) / energy, limit)
    close(found.energies, np.linalg.svd(lost, compute_uv=False)[: len(X)] ** 2 / energy, limit)
    close(np.sum(found.energies), found.share)
    close(found.directions @ found.directions.T, np.eye(len(found.directions)))
    close(found.directions @ W.T / s[0] + 1, np.ones((len(found.directions), 6)), limit)
    _, sizes, principal = np.linalg.svd(X, full_matrices=False)
    close(found.spread, sizes**2 / energy)
    close(found.gains, np.linalg.norm(principal @ W.T, axis=1) / s[0], limit)
    close(found.hidden, np.sum((principal @ kernel.T) ** 2, axis=1), limit)


def test_a_planted_direction_is_found_and_a_full_rank_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(rng.standard_normal((8, 2)))[0].T
    layer = nn.Linear(8, 8, dtype="float64", rng=0)
    x = rng.standard_normal((50, 1)) * a + 0.1 * rng.standard_normal((50, 1)) * b
    assert inspected(layer, x).share == 0.0
    assert len(inspected(layer, x).directions) == 0
    layer.weight = layer.weight - np.outer(layer.weight @ a, a)  # blind to a alone
    found = inspected(layer, x)
    assert found.nullity == 1
    close(np.abs(found.directions @ a), np.ones(1))
    close(found.share, np.sum((x @ a) ** 2) / np.sum(x**2))


def test_the_tolerance_makes_a_near_kernel() -> None:
    layer, x = nn.Linear(3, 3, bias=False, dtype="float64"), np.diag([1.0, 2.0, 3.0])
    layer.weight = np.diag([1.0, 0.5, 1e-3])
    report = aj.inspect(nn.Sequential(layer), x, cache=False, progress=False)
    assert report.unseen("0").share == 0.0
    near = report.unseen("0.weight", tolerance=0.01)
    assert (near.rank, near.tolerance) == (2, 0.01)
    close(near.share, 9 / 14)
    assert near.directions.round(12).tolist() == [[0.0, 0.0, 1.0]]
    with pytest.raises(ValueError, match="not -1"):
        report.unseen("0", tolerance=-1.0)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2}, {"groups": 2}])
def test_a_convolution_by_patches_as_pytorch_unfolds_them(options: dict[str, Any]) -> None:
    layer, x = nn.Conv2d(4, 6, (2, 3), dtype="float64", rng=0, **options), np.random.default_rng(0).random((3, 4, 7, 8))
    found = inspected(layer, x)
    shape = {k: v for k, v in options.items() if k != "groups"}
    X = torch.nn.functional.unfold(torch.from_numpy(x), (2, 3), **shape).mT.reshape(-1, 24).numpy()
    W = torch.zeros(6, 24, dtype=torch.float64).numpy()
    groups = options.get("groups", 1)
    for o in range(6):  # its group's channels
        g, each = o // (6 // groups), 24 // groups
        W[o, g * each : (g + 1) * each] = layer.weight[o].reshape(-1)
    kernel = np.linalg.svd(W)[2][6:]
    assert (found.rows, found.of, found.shape, found.nullity) == (len(X), "patch", (6, 24), 18)
    close(found.share, np.sum((X @ kernel.T) ** 2) / np.sum(X**2))


def test_many_rows_take_no_more_memory_than_their_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = nn.Conv2d(2, 3, 3, dtype="float64", rng=0), np.random.default_rng(0).random((20, 2, 6, 6))
    expected = inspected(layer, x)
    monkeypatch.setattr(multiplied, "TOGETHER", 1)
    found = inspected(layer, x)
    assert found.rows == expected.rows == 320
    close(found.share, expected.share)
    close(found.energies, expected.energies)
    close(found.gains, expected.gains)
    close(np.abs(np.sum(found.directions * expected.directions, axis=1)), np.ones(len(found.directions)), 1e-8)
    rows = multiplied.Rows(4)
    for _ in range(9):
        rows.add(np.random.default_rng(0).random((5, 4)))
        assert sum(map(len, rows.held)) <= 8


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the logarithm
def test_what_is_not_finite_has_no_directions() -> None:
    class Logarithm(nn.Module):
        def __call__(self, x: Any) -> Any:
            return xp.log(x)

    net = nn.Sequential(Logarithm(), nn.Linear(3, 2, dtype="float64", rng=0))
    report = aj.inspect(net, -np.ones((4, 3)), cache=False, progress=False)
    with pytest.raises(aj.SpectrumError, match=r"what 1 \(Linear\) is given at the sample is not finite"):
        report.unseen("1")


def test_a_layer_that_is_the_same_everywhere_by_whole_examples() -> None:
    x = np.random.default_rng(0).standard_normal((4, 2, 6))
    found = inspected(nn.AvgPool1d(2), x)  # the mean of two, so that their difference is lost
    differences = x[..., 0::2] - x[..., 1::2]
    assert (found.of, found.shape, found.nullity) == ("example", (6, 12), 6)
    close(found.share, np.sum(differences**2) / 2 / np.sum(x**2))


def test_a_layer_used_twice_meets_all_it_was_given() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(5, 5, dtype="float64", rng=0)
            self.fc.weight = blind(5, 5, 3)

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return self.fc(nn.Tanh()(self.fc(x)))

    net, x = Twice(), np.random.default_rng(0).standard_normal((6, 5))
    found = aj.inspect(net, x, cache=False, progress=False).unseen("fc")
    X = np.concatenate([x, np.tanh(net.fc(x))])
    kernel = np.linalg.svd(net.fc.weight)[2][3:]
    assert found.rows == 12
    close(found.share, np.sum((X @ kernel.T) ** 2) / np.sum(X**2))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_say_the_same(backend: str) -> None:
    net, x = nn.Sequential(nn.Conv1d(2, 3, 3, dtype="float64", rng=0)), np.random.default_rng(0).random((4, 2, 9))
    here = aj.inspect(net, x, cache=False, progress=False).unseen("0")
    there = aj.inspect(aj.to(net, backend), aj.to(x, backend), cache=False, progress=False).unseen("0")
    close(there.energies, here.energies)
    close(there.gains, here.gains)


def test_of_programs_from_pytorch_and_onnx(tmp_path: object) -> None:
    onnx = pytest.importorskip("onnx")
    peer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(27, 5))
    x = np.random.default_rng(0).standard_normal((4, 2, 5, 5)).astype("float32")
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5))
    net.load_state_dict({k: w.detach().numpy() for k, w in peer.state_dict().items()})
    own = aj.inspect(net, x, cache=False, progress=False)
    opened = aj.inspect(aj.open(peer, x), x, cache=False, progress=False)
    for name in ("0", "3"):
        here, there = own.unseen(name), opened.unseen(name)
        assert (there.kind, there.of, there.shape, there.rank) == (here.kind, here.of, here.shape, here.rank)
        close(there.share, here.share, 1e-5)
    weight = onnx.numpy_helper.from_array(blind(7, 4, 2, dtype="float32"), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    values = [
        onnx.helper.make_tensor_value_info(k, onnx.TensorProto.FLOAT, s) for k, s in (("x", [3, 7]), ("y", [3, 4]))
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    onnx.save(model, f"{tmp_path}/m.onnx")
    x = np.random.default_rng(0).standard_normal((3, 7)).astype("float32")
    found = aj.inspect(aj.open(f"{tmp_path}/m.onnx"), x, cache=False, progress=False).unseen("product")
    kernel = np.linalg.svd(blind(7, 4, 2, dtype="float32").T.astype("float64"))[2][2:]
    assert (found.kind, found.shape, found.rank) == ("MatMul", (4, 7), 2)
    close(found.share, np.sum((x @ kernel.T) ** 2) / np.sum(x.astype("float64") ** 2), 1e-5)


def test_what_has_no_answer_is_said() -> None:
    net, x = nn.MLP((4, 3, 2), rng=0), np.random.default_rng(0).random((5, 4), "float32")
    report = aj.inspect(net, x, cache=False, progress=False)
    with pytest.raises(ValueError, match=r"1 \(ReLU\) is another map at every example"):
        report.unseen("1")
    with pytest.raises(KeyError, match="no layer '7' maps floating numbers to others at this sample, only 0, 1, 2"):
        report.unseen("7")
    with pytest.raises(ValueError, match=r"needs one: aj\.inspect\(net, x\)"):
        aj.inspect(net, cache=False).unseen("0")
    zero = aj.inspect(net, 0 * x, cache=False, progress=False).unseen("0")
    assert np.isnan(zero.share)
    assert len(zero.directions) == 0


def test_it_prints_and_is_plain_data() -> None:
    layer = nn.Linear(30, 4, rng=0)
    found = inspected(layer, np.random.default_rng(0).standard_normal((50, 30)).astype("float32"))
    text = str(found)
    assert "What 0 (Linear) cannot see of the sample" in text
    assert "26 of 30 directions to zero" in " ".join(text.split())
    assert "… and 18 more" in text
    assert max(map(len, text.splitlines())) <= 120
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (told["nullity"], len(told["directions"])) == (26, 26)
