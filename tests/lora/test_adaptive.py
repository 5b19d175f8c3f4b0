"""AdaLoRA's budget, importance and pruning step by step beside PEFT's RankAllocator."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from tests.lora.peft_peers import adapted, close, saved

RNG = np.random.default_rng(0)
X, U = RNG.standard_normal((2, 8, 6))


def pair(folder: Any) -> tuple[Any, Any]:
    """PEFT's network and the same here, with the same AdaLoRA adapters."""
    m, n = torch.nn, aj.nn
    peer = m.Sequential(m.Linear(6, 9), m.Tanh(), m.Linear(9, 5), m.Tanh(), m.Linear(5, 6, bias=False))
    model = adapted(peer, "adalora", target_modules=["0", "2", "4"], r=4)
    net = n.Sequential(n.Linear(6, 9), n.Tanh(), n.Linear(9, 5), n.Tanh(), n.Linear(5, 6, bias=False))
    state = {n.replace(".base_layer", "").removeprefix("base_model.model."): p.detach().numpy().copy()
             for n, p in model.state_dict().items() if "lora_" not in n and "ranknum" not in n}  # fmt: skip
    net.load_state_dict(state, assign=True)
    return model, aj.lora.load(net, saved(model, folder))


@pytest.mark.covers("L05")
@pytest.mark.parametrize("every", [1, 3])
def test_steps_follow_pefts_allocator(every: int, tmp_path: Any) -> None:
    model, net = pair(tmp_path)
    inner = model.base_model
    inner.peft_config["default"].deltaT = every
    allocator = aj.lora.Allocator(net, target_rank=2, total=10, initial=2, final=3, every=every)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)

    def loss(net: Any) -> Any:
        return aj.mean(aj.square(net(X) - U)) + 0.5 * aj.lora.orthogonality(net)

    for step in range(12):
        grads = aj.grad(loss)(net)
        optimizer.zero_grad()
        penalty = [torch.linalg.norm(g - torch.eye(4, dtype=g.dtype)) for n, p in model.named_parameters()
                   if "lora_A" in n or "lora_B" in n for g in [p @ p.T if "lora_A" in n else p.T @ p]]  # fmt: skip
        value = ((model(torch.tensor(X)) - torch.tensor(U)) ** 2).mean() + 0.5 * sum(penalty) / len(penalty)
        value.backward()
        close(loss(net), value)
        optimizer.step()
        for key, layer in aj.lora.adapted_layers(net).items():
            adapter, slopes = layer.adapters["default"], grads[int(key)].adapters["default"]
            for part in ("lora_A", "lora_E", "lora_B"):
                setattr(adapter, part, getattr(adapter, part) - 0.05 * getattr(slopes, part))
        inner.update_and_allocate(step)
        budget = allocator.update(net, grads)
        assert budget == inner.rankallocator.budget_schedule(step)[0]
        for key, layer in aj.lora.adapted_layers(net).items():
            theirs = inner.model[int(key)].lora_E["default"]
            close(layer.adapters["default"].lora_E, theirs, f"step {step}, layer {key}", 1e-11)
    kept = {key: [bool(x) for x in mask] for key, mask in allocator.ranks.items()}
    pattern = inner.peft_config["default"].rank_pattern
    assert kept == {key.split(".")[0]: mask for key, mask in pattern.items()}
    assert sum(map(sum, kept.values())) == 6
    assert len({sum(mask) for mask in kept.values()}) > 1  # not all layers need the same


def test_memory_of_pruned_ranks_is_freed_and_the_file_is_pefts(tmp_path: Any) -> None:
    import peft

    model, net = pair(tmp_path / "a")
    adapter = net[0].adapters["default"]
    adapter.lora_E = adapter.lora_E * np.array([[1.0], [0.0], [1.0], [0.0]])
    value, size = net(X), adapter.lora_A.nbytes + adapter.lora_B.nbytes
    aj.lora.compact(net)
    assert adapter.lora_A.nbytes + adapter.lora_B.nbytes == size // 2
    assert adapter.lora_A.base is None
    assert (adapter.rank, adapter.start, adapter.kept) == (2, 4, (True, False, True, False))
    close(net(X), value)
    aj.lora.save(net, tmp_path / "b")
    told = json.loads((tmp_path / "b" / "adapter_config.json").read_text("utf-8"))
    assert told["rank_pattern"]["0.lora_E"] == [True, False, True, False]
    again = peft.PeftModel.from_pretrained(model.unload(), str(tmp_path / "b"), autocast_adapter_dtype=False)
    close(again.double().eval()(torch.tensor(X)), value)
    plain = aj.lora.remove(net)
    close(aj.lora.load(plain, tmp_path / "b")(X), value)


def test_steps_go_on_after_the_memory_is_freed() -> None:
    net = aj.lora.add(aj.nn.MLP((6, 9, 5), dtype="float64", rng=0), 4, adalora=True, rng=0)
    plain = aj.lora.add(aj.nn.MLP((6, 9, 5), dtype="float64", rng=0), 4, adalora=True, rng=0)
    nets, allocators = [net, plain], [aj.lora.Allocator(n, target_rank=2, total=6, final=3) for n in (net, plain)]
    for step in range(6):
        for n, allocator in zip(nets, allocators, strict=True):
            grads = aj.grad(lambda n: aj.mean(aj.square(n(X) - 1.0)))(n)
            for key, layer in aj.lora.adapted_layers(n).items():
                adapter, slopes = layer.adapters["default"], grads[int(key)].adapters["default"]
                for part in ("lora_A", "lora_E", "lora_B"):
                    setattr(adapter, part, getattr(adapter, part) - 0.1 * getattr(slopes, part))
            allocator.update(n, grads)
        if step == 3:
            aj.lora.compact(net)
    assert sum(layer.adapters["default"].rank for layer in aj.lora.adapted_layers(net).values()) == 4
    close(net(X), plain(X))
    early = aj.lora.Allocator(plain, target_rank=1, total=6)
    early.update(plain, grads)
    grads = aj.grad(lambda n: aj.sum(n(X)))(aj.lora.compact(plain))
    with pytest.raises(ValueError, match="compact when the ranks are settled, after step 6"):
        early.update(plain, grads)


def test_a_rank_of_zero_is_left_of_a_layer() -> None:
    net = aj.lora.add(aj.nn.Linear(4, 3, rng=0), 2, adalora=True, rng=0)
    x = np.ones((2, 4), "float32")
    value = net(x)
    aj.lora.compact(net)  # all singular values start at zero
    assert net.adapters["default"].rank == 0
    np.testing.assert_array_equal(net(x), value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"total": 10, "initial": 6, "final": 4}, "leaves none of the 10 steps"),
        ({"total": 10, "target_rank": 4}, "not below"),
        ({"total": 10, "every": 50}, "falls on none"),
    ],
)
def test_schedules_that_cannot_prune_are_warned_of(options: dict[str, int], told: str) -> None:
    net = aj.lora.add(aj.nn.Linear(6, 6), 4, adalora=True)
    with pytest.warns(aj.lora.ScheduleWarning, match=told):
        aj.lora.Allocator(net, **{"target_rank": 2, **options})


def test_what_makes_no_schedule_is_refused() -> None:
    net = aj.lora.add(aj.nn.Linear(6, 6), 4, adalora=True)
    with pytest.raises(ValueError, match="total is an integer of at least 1, not 0"):
        aj.lora.Allocator(net, 2, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        aj.lora.Allocator(net, 2, 10, beta1=1.0)
    with pytest.raises(ValueError, match="no AdaLoRA adapter"):
        aj.lora.Allocator(aj.lora.add(aj.nn.Linear(6, 6), 4), 2, 10)
    with pytest.raises(ValueError, match="exclude each other"):
        aj.lora.add(aj.nn.Linear(6, 6), 4, adalora=True, dora=True)
