"""Layers replaced by pairs: the errors are the tails of the spectra, the counts are the networks' own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.optim import AdamW
from adjoint.slim.candidates import candidates
from adjoint.slim.spreading import by_budget

RNG = np.random.default_rng(0)
CONVOLUTIONS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "1d": (lambda: aj.nn.Conv1d(4, 6, 5, stride=2, padding=2, dtype="float64", rng=0), (2, 4, 13)),
    "2d": (lambda: aj.nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2), dtype="float64", rng=0), (2, 3, 9, 8)),
    "same": (lambda: aj.nn.Conv2d(5, 4, 3, padding="same", dilation=2, dtype="float64", rng=0), (1, 5, 9, 8)),
    "circular": (lambda: aj.nn.Conv2d(5, 4, 3, padding=1, padding_mode="circular", dtype="float64", rng=0), (5, 7, 6)),
    "reflect": (
        lambda: aj.nn.Conv2d(5, 4, 3, padding=2, padding_mode="reflect", bias=False, dtype="float64", rng=0),
        (2, 5, 7, 6),
    ),
    "3d": (lambda: aj.nn.Conv3d(2, 7, 2, dtype="float64", rng=0), (1, 2, 4, 3, 5)),
    "1x1": (lambda: aj.nn.Conv2d(12, 10, 1, stride=2, dtype="float64", rng=0), (1, 12, 5, 5)),
}


def near(a: Any, b: Any, tolerance: float = 1e-10) -> None:
    assert a.shape == b.shape
    assert np.max(np.abs(a - b)) <= tolerance * np.max(np.abs(b))


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_pair_is_the_convolution_with_its_weight(kind: str) -> None:
    made, shape = CONVOLUTIONS[kind]
    layer, x = made(), RNG.standard_normal(shape)
    for way in candidates(layer):
        pair = way.pair(layer, len(way.values))
        near(pair(x), layer(x))
        near(pair.weight, layer.weight)
        assert pair.bias is layer.bias
        for r in range(1, len(way.values)):
            pair = way.pair(layer, r)
            whole = made()
            whole.weight = pair.weight
            near(pair(x), whole(x))
            tail = np.linalg.norm(pair.weight - layer.weight) / np.linalg.norm(layer.weight)
            assert tail == pytest.approx(np.sqrt(way.lost[r - 1]), rel=1e-9)
            assert sum(int(p.weight.size) for p in (pair.first, pair.second)) == r * way.cost


def test_a_separable_kernel_is_found() -> None:
    layer = aj.nn.Conv2d(1, 1, 5, padding=2, dtype="float64", rng=0)
    layer.weight = np.outer(RNG.standard_normal(5), RNG.standard_normal(5))[None, None]
    small, found = aj.factorize(layer, energy=1.0)
    assert (found.layers[0].kind, found.layers[0].rank, found.layers[0].parameters) == ("separable", 1, (25, 10))
    x = RNG.standard_normal((2, 1, 9, 9))
    near(small(x), layer(x))


def test_the_error_is_the_tail_and_the_counts_are_the_networks() -> None:
    net = aj.nn.MLP((40, 50, 30, 10), rng=0, dtype="float64")
    before = net.state_dict()
    small, found = aj.factorize(net, rank=8)
    assert all(net.state_dict()[k] is x for k, x in before.items())
    own, new = (dict[str, Any](n.named_modules()) for n in (net, small))
    for row in found.replaced:
        W, pair = own[row.name].weight, new[row.name]
        values = np.linalg.svd(W, compute_uv=False)
        tail = float(np.linalg.norm(values[8:]) / np.linalg.norm(values))
        assert row.error == pytest.approx(tail, rel=1e-9)
        assert np.linalg.norm(W - pair.weight) == pytest.approx(tail * np.linalg.norm(W), rel=1e-9)
        assert row.flops == (2 * W.size, 2 * 8 * sum(W.shape))
    assert [x.kind for x in found.layers] == ["linear", "linear", ""]  # 8 (30 + 10) is more than 30 · 10
    assert found.after.parameters == aj.nn.count_parameters(small)
    assert found.before.parameters - found.after.parameters == sum(
        x.parameters[0] - x.parameters[1] for x in found.replaced
    )
    assert "two linear" in repr(found)


@pytest.mark.parametrize("energy", [0.3, 0.8, 0.99])
def test_energy_is_kept_by_every_layer(energy: float) -> None:
    net = aj.nn.MLP((40, 50, 30), rng=0, dtype="float64")
    for layer in (net[0], net[2]):
        layer.weight = layer.weight * 0.8 ** np.arange(layer.weight.shape[1])
    _, found = aj.factorize(net, energy=energy)
    own = dict[str, Any](net.named_modules())
    for row in found.replaced:
        values = np.linalg.svd(own[row.name].weight, compute_uv=False)
        curve = np.cumsum(values**2) / np.sum(values**2)
        assert curve[row.rank - 1] >= energy
        assert row.rank == 1 or curve[row.rank - 2] < energy


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: aj.nn.Linear(12, 20, dtype="float64", rng=0), (64, 12)),
    "fewer inputs than columns": (lambda: aj.nn.Linear(12, 20, dtype="float64", rng=0), (2, 4, 12)),
    "conv1d": (lambda: aj.nn.Conv1d(4, 16, 3, padding=1, dtype="float64", rng=0), (5, 4, 11)),
    "conv2d": (lambda: aj.nn.Conv2d(3, 16, 3, stride=2, padding=1, dtype="float64", rng=0), (4, 3, 9, 8)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_with_a_sample_the_outputs_are_nearer_than_by_the_plain_svd(kind: str, rank: int) -> None:
    made, shape = LAYERS[kind]
    layer = made()
    mixing = np.diag(0.5 ** np.arange(shape[-1])) + 0.1 * RNG.standard_normal((shape[-1], shape[-1]))
    x = RNG.standard_normal(shape) @ mixing
    plain, _ = aj.factorize(layer, rank=rank, targets=type(layer))
    aware, found = aj.factorize(layer, rank=rank, sample=x)
    y = layer(x)
    if kind.startswith("conv"):  # by channels both times
        way = candidates(layer)[0]
        plain = way.pair(layer, rank)
    off = [float(np.linalg.norm(pair(x) - y)) for pair in (plain, aware)]
    assert off[1] <= off[0]
    # the tail of W L, an optimum known in closed form: of all outputs of that rank, the nearest to XWᵀ
    bias = 0.0 if layer.bias is None else layer.bias.reshape(-1, *(1,) * (y.ndim - 2)) if y.ndim > 2 else layer.bias
    clean = y - (layer.bias if kind.startswith(("linear", "fewer")) else bias)
    axis = 1 if kind.startswith("conv") else -1
    values = np.linalg.svd(np.moveaxis(clean, axis, -1).reshape(-1, clean.shape[axis]), compute_uv=False)
    tail = float(np.linalg.norm(values[rank:]))
    assert off[1] == pytest.approx(tail, rel=1e-3, abs=1e-3 * float(values[0]))
    assert off[1] >= tail * (1.0 - 1e-9)
    assert found.layers[0].error == pytest.approx(off[1] / np.linalg.norm(values), rel=2e-2, abs=2e-3)
    assert found.sampled


def test_a_sample_counts_flops_of_convolutions() -> None:
    net = aj.nn.Sequential(aj.nn.Conv2d(3, 16, 3, padding=1, rng=0), aj.nn.ReLU(), aj.nn.Conv2d(16, 16, 3, rng=1))
    x = RNG.standard_normal((2, 3, 8, 8)).astype("float32")
    small, found = aj.factorize(net, rank=4, sample=x)
    first = found.layers[0]
    assert first.flops == (2 * 2 * 64 * 16 * 27, 2 * 2 * 64 * 4 * (27 + 16))
    total = aj.cost(small, x).forward.matmul_flops
    assert total == sum(x.flops[1] for x in found.layers if x.flops)
    assert aj.factorize(net, rank=4)[1].layers[0].flops is None
    called = aj.factorize(net, rank=4, sample=lambda n: n(x))[1]
    assert called == found


def test_a_budget_is_spread_as_well_as_can_be() -> None:
    layers = [aj.nn.Linear(9, 7, dtype="float64", rng=k) for k in range(3)]
    for k, layer in enumerate(layers):
        layer.weight = layer.weight * (0.4 + 0.25 * k) ** np.arange(9)
    ways, dense = [candidates(x) for x in layers], [63] * 3
    for budget in (48, 80, 112, 144, 189):
        chosen = by_budget(ways, dense, budget)
        spent = sum(x.parameters(63) for x in chosen)
        assert spent <= budget

        def lost(choice: Any) -> float:
            return 0.0 if choice.candidate is None else float(choice.candidate.lost[choice.rank - 1])

        options = [[(63, 0.0), *((16 * r, float(w[0].lost[r - 1])) for r in range(1, 4))] for w in ways]
        least = min(sum(y for _, y in c) for c in product(*options) if sum(n for n, _ in c) <= budget)
        # a Lagrangian reaches the convex hull of what can be: within the largest single step of the optimum
        step = max(abs(a[1] - b[1]) for o in options for a, b in pairwise(o[1:]))
        assert least - 1e-12 <= sum(map(lost, chosen)) <= least + step
    assert sum(x.candidate is None for x in by_budget(ways, dense, 189)) == 3


@pytest.mark.parametrize("share", [0.15, 0.4, 0.9])
def test_a_budget_is_kept(share: float) -> None:
    net = aj.nn.Sequential(
        aj.nn.Conv2d(3, 16, 3, padding=1, rng=0),
        aj.nn.Flatten(),
        aj.nn.Linear(256, 64, rng=1),
        aj.nn.Linear(64, 9, rng=2),
    )
    whole = aj.nn.count_parameters(net)
    small, found = aj.factorize(net, budget=share)
    assert aj.nn.count_parameters(small) == found.after.parameters <= share * whole
    assert aj.factorize(net, budget=int(share * whole))[1] == found
    assert small(RNG.standard_normal((2, 3, 4, 4)).astype("float32")).shape == (2, 9)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_pairs_learn_on_every_backend(backend: str) -> None:
    net = aj.to(aj.nn.MLP((20, 30, 10), rng=0), backend)
    x = aj.to(RNG.standard_normal((4, 20)).astype("float32"), backend)
    small, _ = aj.factorize(net, rank=3, targets="0")
    grads = aj.grad(lambda n: aj.sum(n(x)))(small)
    assert grads[0].first.weight.shape == (3, 20)
    assert type(grads[0].second.bias) is type(x)


def test_a_model_that_takes_its_weights_itself_goes_on() -> None:
    config = {"model_type": "gpt2", "vocab_size": 40, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    net = aj.models.from_config(config)
    tokens = RNG.integers(0, 40, (2, 9))
    small, found = aj.factorize(net, energy=1.0 - 1e-12)
    assert not found.replaced  # random weights are of full rank
    near(small(tokens), net(tokens), 1e-5)
    small, found = aj.factorize(net, rank=4, sample=tokens)
    assert {x.name.rpartition(".")[2] for x in found.replaced} == {"c_attn", "c_proj", "c_fc"}
    assert small(tokens).shape == (2, 9, 40)
    with pytest.raises(ValueError, match="target 'lm_head' matches no linear layer"):
        aj.factorize(net, rank=4, targets="lm_head")  # tied


def test_layers_that_stand_at_two_places_stay() -> None:
    shared = aj.nn.Linear(20, 20, rng=0)
    net = aj.nn.Sequential(shared, aj.nn.Linear(20, 20, rng=1), shared)
    _, found = aj.factorize(net, rank=3)
    assert [x.name for x in found.layers] == ["1"]


def test_pairs_are_saved_and_go_to_pytorch() -> None:
    net = aj.nn.Sequential(aj.nn.Conv2d(3, 16, 3, padding=1, rng=0), aj.nn.Flatten(), aj.nn.Linear(256, 64, rng=1))
    small, _ = aj.factorize(net, rank=3)
    again, _ = aj.factorize(net, rank=3)
    again.load_state_dict({k: np.ones_like(x) for k, x in small.state_dict().items()})
    x = RNG.standard_normal((2, 3, 4, 4)).astype("float32")
    theirs = small.to_torch()(torch.as_tensor(x)).detach().numpy()
    near(theirs, small(x), 1e-5)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any, Any]:
    """(a CNN that was trained on real digits, training images, test images)."""
    train, test = aj.data.digits().reshape(1, 8, 8).split(0.25, seed=0)
    net = aj.nn.Sequential(
        aj.nn.Conv2d(1, 16, 3, padding=1, rng=0), aj.nn.ReLU(), aj.nn.Conv2d(16, 32, 3, padding=1, rng=1), aj.nn.ReLU(),
        aj.nn.MaxPool2d(2), aj.nn.Flatten(), aj.nn.Linear(512, 64, rng=2), aj.nn.ReLU(), aj.nn.Linear(64, 10, rng=3),
    )  # fmt: skip
    run = aj.fit(
        net, train, loss=aj.cross_entropy, optimizer=lambda n: AdamW(n, lr=3e-3), epochs=8, batch_size=64, seed=0
    )
    return run.net.eval(), train, test


def test_digits_are_still_read_at_a_third_of_the_parameters(digits: tuple[Any, Any, Any]) -> None:
    net, train, test = digits

    def right(n: Any) -> float:
        return float(np.mean(np.argmax(n(test.x), -1) == test.y))

    scores, first = {}, 0.0
    for share in (0.6, 0.35, 0.2):
        for told, sample in (("plain", None), ("aware", train.x[:256])):
            _, found = aj.factorize(net, budget=share, sample=sample, evaluate=right)
            scores[share, told], first = found.after.score or 0.0, found.before.score or 0.0
            assert first > 0.95
            assert found.after.seconds is not None
    assert scores[0.35, "aware"] > first - 0.02, scores
    assert scores[0.2, "aware"] > scores[0.2, "plain"] + 0.1, scores  # seen: 0.960 beside 0.477


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ValueError, "give one of energy, rank and budget"),
    ({"rank": 2, "energy": 0.5}, ValueError, "give one of"),
    ({"rank": 2.0}, TypeError, "an integer"),
    ({"rank": 0}, ValueError, "at least 1"),
    ({"rank": 7}, ValueError, "rank 7 is above 5"),
    ({"energy": 1.5}, ValueError, "up to 1"),
    ({"budget": 20}, ValueError, r"budget of 20 is too small: the layers take 21 .*, and all else in the network 10"),
    ({"budget": 1.5}, ValueError, "a number of parameters or a share"),
    ({"budget": True}, ValueError, "a number of parameters or a share"),
    ({"rank": 2, "targets": "nope"}, ValueError, "target 'nope' matches no linear layer"),
    ({"rank": 2, "targets": aj.nn.ReLU}, ValueError, "target ReLU matches no"),
    ({"rank": 2, "sample": np.full((3, 5), np.nan, "float32")}, ValueError, "0 is given numbers that are not finite"),
    ({"rank": 2, "sample": lambda n: None}, ValueError, "0 is not called on the sample"),
]


@pytest.mark.parametrize(("wish", "kind", "told"), WRONG)
def test_wishes_that_cannot_be_met_are_refused(wish: dict[str, Any], kind: type[Exception], told: str) -> None:
    net = aj.nn.MLP((5, 6, 4), rng=0)
    before = net.state_dict()
    with pytest.raises(kind, match=told):
        aj.factorize(net, **wish)
    assert all(net.state_dict()[k] is x for k, x in before.items())


def test_weights_that_are_none_are_refused() -> None:
    net = aj.nn.MLP((5, 6, 4), rng=0)
    net[2].weight = net[2].weight * np.inf
    with pytest.raises(ValueError, match="weight of 2 has numbers that are not finite"):
        aj.factorize(net, rank=2)
    with pytest.raises(ValueError, match="Sequential has no linear layer"):
        aj.factorize(aj.nn.Sequential(aj.nn.ReLU()), rank=2)
    with aj.nn.init.only_shapes():
        empty = aj.nn.MLP((5, 6, 4))
    with pytest.raises(aj.SpectrumError, match="only has a shape"):
        aj.factorize(empty, rank=2)


@pytest.mark.parametrize("change", [aj.lora.add, aj.quantize, lambda net: aj.factorize(net, rank=1)])
def test_a_program_without_layers_says_what_to_do(change: Callable[[Any], Any]) -> None:
    net = aj.open(torch.nn.Sequential(torch.nn.Linear(4, 3)), torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"program read from PyTorch.*load_state_dict"):
        change(net)
