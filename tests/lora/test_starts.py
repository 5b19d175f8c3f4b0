"""Initial adapters beside PEFT's: EVA from inputs, PiSSA and OLoRA from the weight, orthogonal ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

import adjoint as aj
from adjoint.errors import CheckpointError, ShapeError
from tests.lora.peft_peers import close

RNG = np.random.default_rng(0)
X = (RNG.standard_normal((24, 7)) * np.array([8, 5, 3, 1, 0.5, 0.3, 0.1]) + 4.0).astype("float32")


def pair() -> tuple[Any, Any]:
    """A network of PyTorch's and the same here, in float32: PEFT starts from the weight in no other."""
    torch.manual_seed(0)
    peer = torch.nn.Sequential(torch.nn.Linear(7, 9), torch.nn.Tanh(), torch.nn.Linear(9, 5))
    net = aj.nn.MLP((7, 9, 5), activation=aj.nn.Tanh)
    net.load_state_dict({name: p.detach().numpy() for name, p in peer.state_dict().items()})
    return peer, net


def adapted(peer: Any, start: Any, **options: Any) -> Any:
    """PEFT's adapters with a start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that EVA needs another step, which is made
        return peft.get_peft_model(
            peer, peft.LoraConfig(r=2, lora_alpha=5, target_modules=["0", "2"], init_lora_weights=start, **options)
        )


@pytest.mark.parametrize("batches", [1, 3])
def test_eva_is_pefts_up_to_signs(batches: int) -> None:
    peer, net = pair()
    model = adapted(peer, "eva", eva_config=peft.EvaConfig(rho=1.0, tau=0.9999))
    peft.initialize_lora_eva_weights(
        model,
        [torch.tensor(X)],
        forward_fn=lambda model, x: model(x),
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=lambda x, model_input, name: x[0],
        show_progress_bar=False,
    )
    parts = np.array_split(X, batches)
    net = aj.lora.add(net, 2, 5, ["0", "2"], init="eva", sample=lambda net: [net(x) for x in parts])
    for i in (0, 2):
        mine, theirs = net[i].adapters["default"], model.base_model.model[i]
        A = theirs.lora_A["default"].weight.detach().numpy()
        np.testing.assert_allclose(abs(mine.lora_A @ A.T), np.eye(2), atol=2e-4)
        assert not mine.lora_B.any()
    expected = np.linalg.svd((X - X.mean(0)).astype("float64"))[2][:2]
    np.testing.assert_allclose(abs(net[0].adapters["default"].lora_A @ expected.T), np.eye(2), atol=1e-6)


def test_eva_says_what_it_lacks() -> None:
    _, net = pair()
    with pytest.raises(ShapeError, match="saw 1 inputs on the sample, fewer than its rank 2"):
        aj.lora.add(net, 2, init="eva", sample=X[:1])
    with pytest.raises(ValueError, match="was not called on the sample"):
        aj.lora.add(net, 2, init="eva", sample=lambda net: net[0](X))
    with pytest.raises(ZeroDivisionError):
        aj.lora.add(net, 2, init="eva", sample=lambda net: 1 / 0)
    assert not aj.lora.adapted_layers(net)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_starts_from_the_weight_are_pefts(start: str) -> None:
    peer, net = pair()
    value = net(X)
    model = adapted(peer, start)
    net = aj.lora.add(net, 2, 5, ["0", "2"], init=start)
    for i in (0, 2):
        mine, theirs = net[i].adapters["default"], model.base_model.model[i]
        close(net[i].base_layer.weight, theirs.base_layer.weight, tolerance=1e-5)
        for part in ("lora_A", "lora_B"):  # up to the signs of singular vectors
            close(abs(getattr(mine, part)), abs(getattr(theirs, part)["default"].weight), part, 1e-4)
    close(net(X), value, tolerance=1e-5)


def test_orthogonal_starts_have_pefts_form() -> None:
    peer, net = pair()
    adapter = aj.lora.add(net, 4, 5, "0", init="orthogonal", rng=0)[0].adapters["default"]
    layer = peft.get_peft_model(
        peer, peft.LoraConfig(r=4, target_modules=["0"], init_lora_weights="orthogonal")
    ).base_model.model[0]
    theirs = [part["default"].weight.detach().numpy() for part in (layer.lora_A, layer.lora_B)]
    for A, B in ((adapter.lora_A, adapter.lora_B), theirs):
        assert abs(B @ A).max() < 1e-6
        assert np.linalg.matrix_rank(A) == np.linalg.matrix_rank(B) == 2
        assert 0.02 < np.sqrt((A**2).mean()) < 0.3


@pytest.mark.parametrize(
    ("layer", "sizes"), [("Linear", (400, 300)), ("Embedding", (400, 300)), ("Conv2d", (40, 300, 3))]
)
@pytest.mark.parametrize("start", [True, "gaussian"])
def test_drawn_starts_spread_as_pefts(layer: str, sizes: Any, start: Any) -> None:
    peer = torch.nn.Sequential(getattr(torch.nn, layer)(*sizes))
    config = peft.LoraConfig(r=16, target_modules=["0"], init_lora_weights=start)
    theirs = [p.detach().numpy() for n, p in peft.get_peft_model(peer, config).named_parameters() if "lora_" in n]
    net = aj.nn.Sequential(getattr(aj.nn, layer)(*sizes))
    net = aj.lora.add(net, 16, targets="0", init="gaussian" if start == "gaussian" else "zeros", rng=0)
    mine = list(net[0].adapters["default"].parameters())
    for found, expected in zip(mine, theirs, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.std(), expected.std(), rtol=0.05)
        np.testing.assert_allclose(abs(found).max(), abs(expected).max(), rtol=0.3)


def test_what_was_taken_out_of_the_weight_is_not_lost() -> None:
    _, net = pair()
    value = net(X)
    net = aj.lora.add(net, 2, 5, ["0", "2"], init="pissa")
    with pytest.raises(ValueError, match="taken out of the weight of 0"):
        aj.lora.remove(net)
    with pytest.raises(ValueError, match="another adapter stands"):
        aj.lora.add(net, 2, 5, "0", init="olora", name="b")
    plain = aj.lora.remove(aj.lora.merge(net))
    assert not aj.lora.adapted_layers(plain)
    close(plain(X), value, tolerance=1e-5)


def test_a_start_from_a_tied_weight_is_refused() -> None:
    for net in (aj.models.GPT(11, 8, 1, 2, 6, rng=0), aj.nn.Sequential(aj.models.GPT(11, 8, 1, 2, 6, rng=0))):
        with pytest.raises(ValueError, match="tied to another"):
            aj.lora.add(net, 2, targets=["lm_head"], init="pissa")


def test_a_start_from_a_weight_that_is_packed_is_refused(tmp_path: Path) -> None:
    aj.lora.save(aj.lora.add(aj.nn.MLP((64, 64), rng=0), 2, init="pissa"), tmp_path)
    net = aj.quantize(aj.nn.MLP((64, 64), rng=0))
    before = repr(net)
    with pytest.raises(CheckpointError, match="that of 0 is quantized or reparametrized"):
        aj.lora.load(net, tmp_path)
    assert repr(net) == before
