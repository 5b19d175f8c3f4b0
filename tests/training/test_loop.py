"""The loop trains as one written out in PyTorch does, and goes on from its checkpoints to bitwise the same weights."""

from __future__ import annotations

import functools
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.dispatch import backend
from adjoint.data import Dataset
from adjoint.training import Trained, evaluate

BACKENDS = ("numpy", "torch", "jax")
TRAIN, TEST = aj.data.digits().take(slice(0, 192)).split(test=1 / 6, seed=0)  # 160 and 32
quiet = functools.partial(aj.fit, progress=False)


def net(dtype: str = "float32", to: str = "numpy") -> aj.nn.Module:
    return aj.to(aj.nn.MLP((64, 16, 10), rng=0, dtype=dtype), to)


def weights(trained: Trained) -> dict[str, np.ndarray]:
    return {name: np.array(backend(type(x)).to_numpy(x)) for name, x in trained.net.state_dict().items()}


def assert_bitwise(a: Trained, b: Trained) -> None:
    for name, x in weights(a).items():
        assert x.tobytes() == weights(b)[name].tobytes(), name
    told = [(e.epoch, e.loss, e.lr, e.validation_loss, e.validation_metric) for e in a.history]
    assert told == [(e.epoch, e.loss, e.lr, e.validation_loss, e.validation_metric) for e in b.history]


# What it computes


def test_real_digits() -> None:
    train, test = aj.data.digits().split(test=0.2, seed=2)
    schedule = aj.optim.cosine(1e-2, 20 * 23, warmup=20)
    trained = quiet(aj.nn.MLP((64, 64, 10), rng=0), train, epochs=20, schedule=schedule, validation=test)
    assert trained.history[-1].validation_metric > 0.95
    assert [e.epoch for e in trained.history] == [*range(1, 21)]
    assert trained.history[-1].loss < 0.1 * trained.history[0].loss


@pytest.mark.parametrize("to", BACKENDS)
def test_equals_a_loop_in_pytorch(to: str) -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)).double()
    theirs.load_state_dict({name: torch.tensor(x) for name, x in net("float64").state_dict().items()})
    schedule = aj.optim.cosine(1e-2, steps=15, warmup=3)
    optimizer = torch.optim.AdamW(theirs.parameters(), weight_decay=0.1)
    train, losses, step = TRAIN.take(slice(0, 152)), [], 0  # the last of five batches is short
    for epoch in range(3):
        total = 0.0
        for x, y in train.batches(32, seed=5, epoch=epoch):
            optimizer.param_groups[0]["lr"] = schedule(step)
            optimizer.zero_grad()
            value = torch.nn.functional.cross_entropy(theirs(torch.tensor(x).double()), torch.tensor(y))
            value.backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
            optimizer.step()
            total, step = total + value.item() * len(x), step + 1
        losses.append(total / len(train))

    trained = quiet(
        net("float64", to),
        train,
        optimizer=functools.partial(aj.optim.AdamW, weight_decay=0.1),
        schedule=schedule,
        max_norm=0.5,
        epochs=3,
        batch_size=32,
        seed=5,
        validation=TEST,
    )
    assert step == 15
    for name, x in theirs.state_dict().items():
        np.testing.assert_allclose(weights(trained)[name], x, rtol=0, atol=1e-11, err_msg=name)
    np.testing.assert_allclose([e.loss for e in trained.history], losses, rtol=1e-12)
    assert [e.lr for e in trained.history] == [schedule(4), schedule(9), schedule(14)]
    logits = theirs(torch.tensor(TEST.x).double()).detach()
    last = trained.history[-1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(TEST.y))
    assert last.validation_loss == pytest.approx(float(expected), rel=1e-10)
    assert last.validation_metric == pytest.approx(float((logits.argmax(1).numpy() == TEST.y).mean()), rel=1e-12)


@pytest.mark.parametrize("to", BACKENDS)
def test_neither_network_nor_optimizer_changes(to: str) -> None:
    start = net(to=to)
    optimizer = aj.optim.AdamW(start, lr=0.1)
    before = [np.asarray(x).copy() for x in (*start.parameters(), *optimizer.parameters())]
    trained = quiet(start, TRAIN, optimizer=optimizer, epochs=1)
    after = [np.asarray(x) for x in (*start.parameters(), *optimizer.parameters())]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert {type(x) for x in trained.net.parameters()} == {type(x) for x in start.parameters()}
    assert int(trained.optimizer.t) == 3
    assert not trained.net.training
    assert start.training
    assert_bitwise(trained, quiet(start, TRAIN, optimizer=functools.partial(aj.optim.AdamW, lr=0.1), epochs=1))


def test_seed_decides_the_order() -> None:
    runs = [quiet(net(), TRAIN, epochs=1, seed=seed) for seed in (0, 0, 1)]
    assert_bitwise(runs[0], runs[1])
    assert any((weights(runs[0])[name] != x).any() for name, x in weights(runs[2]).items())


def test_frozen_parts_stay_and_modes_alternate() -> None:
    modes: list[bool] = []

    class Watched(aj.nn.Module):
        def __init__(self) -> None:
            self.inner = net()

        def __call__(self, x: Any) -> Any:
            modes.append(self.training)
            return self.inner(x)

    start = Watched()
    start.inner.freeze("0")
    trained = quiet(start, TRAIN, epochs=2, batch_size=100, validation=TEST)
    assert modes == [True, True, False] * 2
    same = {name: bool((x == weights(trained)[name]).all()) for name, x in start.state_dict().items()}
    assert same == {"inner.0.weight": True, "inner.0.bias": True, "inner.2.weight": False, "inner.2.bias": False}


@pytest.mark.parametrize("to", BACKENDS)
def test_a_penalty_joins_the_loss(to: str) -> None:
    """λ/2 ‖W‖² is what weight decay is to plain descent; the loss that is told has it."""

    def penalty(net: Any) -> Any:
        return 0.05 * sum(aj.sum(aj.square(x)) for x in net.parameters())

    sgd = functools.partial(aj.optim.SGD, lr=0.1)
    found = quiet(net("float64", to), TRAIN, epochs=2, optimizer=sgd, penalty=penalty)
    decayed = quiet(net("float64", to), TRAIN, epochs=2, optimizer=functools.partial(sgd, weight_decay=0.1))
    for name, x in weights(found).items():
        np.testing.assert_allclose(x, weights(decayed)[name], rtol=1e-10, atol=1e-12)
    assert found.history[0].loss > decayed.history[0].loss + 0.1


@pytest.mark.parametrize("to", BACKENDS)
def test_frozen_weights_are_shared_known_and_left_out_of_the_checkpoint(to: str, tmp_path: Path) -> None:
    start, path = net("float32", to).freeze("0"), tmp_path / "run"
    straight = quiet(start, TRAIN, epochs=2)
    first = quiet(start, TRAIN, epochs=1, checkpoint=path)
    assert to == "jax" or first.net[0].weight is start[0].weight  # what jax.jit returns is new
    assert first.net[2].weight is not start[2].weight
    assert sorted(name for name in aj.load(path) if name.startswith("net.")) == ["net.2.bias", "net.2.weight"]
    assert_bitwise(straight, quiet(start, TRAIN, epochs=2, checkpoint=path))
    other = aj.to(aj.nn.MLP((64, 16, 10), rng=1), to).freeze("0")
    with pytest.raises(aj.CheckpointError, match="frozen weights was"):
        quiet(other, TRAIN, epochs=3, checkpoint=path)


@pytest.mark.parametrize("to", BACKENDS)
def test_regression(to: str) -> None:
    """Least squares by gradient descent ends at the solution of the normal equations; no accuracy of such targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    data = Dataset(x, x @ rng.standard_normal((3, 2)) + 0.3)
    start = aj.to(aj.nn.Linear(3, 2, dtype="float64", rng=0), to)
    descent = functools.partial(aj.optim.SGD, lr=0.3, momentum=0.5)
    trained = quiet(
        start, data, loss=aj.mse_loss, optimizer=descent, epochs=120, batch_size=40, validation=data, seed=1
    )
    solution = np.linalg.lstsq(np.c_[x, np.ones(40)], data.y, rcond=None)[0]
    np.testing.assert_allclose(weights(trained)["weight"], solution[:3].T, atol=1e-8)
    np.testing.assert_allclose(weights(trained)["bias"], solution[3], atol=1e-8)
    assert trained.history[-1].validation_metric is None


def test_evaluate_weighs_the_last_batch() -> None:
    start = net("float64")
    for batch_size in (1, 7, 1000):
        loss, metric = evaluate(start, TEST, batch_size=batch_size)
        assert loss == pytest.approx(float(aj.cross_entropy(start(TEST.x), TEST.y)), rel=1e-12)
        assert metric == pytest.approx(float((start(TEST.x).argmax(1) == TEST.y).mean()), rel=1e-12)
    assert evaluate(start, TEST, metric=None)[1] is None
    with pytest.raises(ValueError, match="empty"):
        evaluate(start, TEST.take([]))


# Early stopping


def test_patience_restores_the_best_weights() -> None:
    rising = functools.partial(aj.optim.SGD, lr=0.5)
    schedule = lambda step: 0.5 if step < 6 else -0.2  # noqa: E731 - two epochs down, then up again
    how: dict[str, Any] = {"optimizer": rising, "schedule": schedule, "validation": TEST}
    trained = quiet(net(), TRAIN, epochs=20, patience=3, **how)
    assert trained.best is not None
    assert trained.best.epoch == 2
    assert len(trained.history) == 5
    best = weights(quiet(net(), TRAIN, epochs=2, **how))
    assert all((x == best[name]).all() for name, x in weights(trained).items())
    assert evaluate(trained.net, TEST, batch_size=64)[0] == trained.best.validation_loss
    unstopped = quiet(net(), TRAIN, epochs=5, **how)
    assert unstopped.best is not None
    assert unstopped.best.epoch == 2
    assert evaluate(unstopped.net, TEST, batch_size=64)[0] == unstopped.history[-1].validation_loss


def test_stopped_run_stays_stopped(tmp_path: Path) -> None:
    schedule = lambda step: 0.5 if step < 6 else -0.2  # noqa: E731
    how: dict[str, Any] = {"optimizer": aj.optim.SGD, "schedule": schedule, "validation": TEST, "patience": 2}
    whole = quiet(net(), TRAIN, epochs=20, **how)
    path = tmp_path / "run"
    for epochs in (1, 3, 20, 20):
        again = quiet(net(), TRAIN, epochs=epochs, checkpoint=path, **how)
    assert_bitwise(whole, again)
    assert len(again.history) == 4


# Checkpoints

HOW: dict[str, Any] = {
    "optimizer": functools.partial(aj.optim.AdamW, lr=1e-2),
    "schedule": aj.optim.cosine(1e-2, 20, warmup=4),
    "validation": TEST,
    "patience": 9,
    "batch_size": 32,
    "max_norm": 1.0,
}


@functools.cache
def uninterrupted(to: str, epochs: int) -> Trained:
    return quiet(net(to=to), TRAIN, epochs=epochs, **HOW)


@pytest.mark.parametrize("to", BACKENDS)
def test_resumed_run_is_bitwise_the_same(to: str, tmp_path: Path) -> None:
    for epochs in (1, 3, 4, 4):
        run = quiet(net(to=to), TRAIN, epochs=epochs, checkpoint=tmp_path / "run", **HOW)
        assert len(run.history) == epochs
    assert_bitwise(uninterrupted(to, 4), run)
    assert int(run.optimizer.t) == 20


@pytest.mark.parametrize(
    "optimizer", [aj.optim.SGD, functools.partial(aj.optim.SGD, momentum=0.9, dampening=0.5), aj.optim.Adam]
)
def test_every_optimizer_resumes(optimizer: Any, tmp_path: Path) -> None:
    whole = quiet(net(), TRAIN, optimizer=optimizer, epochs=3)
    quiet(net(), TRAIN, optimizer=optimizer, epochs=1, checkpoint=tmp_path / "run")
    assert_bitwise(whole, quiet(net(), TRAIN, optimizer=optimizer, epochs=3, checkpoint=tmp_path / "run"))


@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize("at", [0, 3, 4, 7])
def test_interrupted_within_an_epoch(at: int, to: str, tmp_path: Path) -> None:
    """Ctrl-C at any step (4 ends an epoch): the step is finished, the run is saved, and goes on from there."""

    def interrupting(step: int) -> float:
        if step == at:
            signal.raise_signal(signal.SIGINT)
        return HOW["schedule"](step)

    handler = signal.getsignal(signal.SIGINT)
    how = {**HOW, "epochs": 2, "checkpoint": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        quiet(net(to=to), TRAIN, **{**how, "schedule": interrupting})
    assert signal.getsignal(signal.SIGINT) is handler
    assert int(aj.load(tmp_path / "run")["optimizer.t"]) == at + 1
    assert_bitwise(uninterrupted(to, 2), quiet(net(to=to), TRAIN, **how))


def test_second_interruption_does_not_wait(tmp_path: Path) -> None:
    def twice(step: int) -> float:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return 0.1

    with pytest.raises(KeyboardInterrupt):
        quiet(net(), TRAIN, schedule=twice, checkpoint=tmp_path / "run")
    assert not [*tmp_path.iterdir()]


def test_interruptions_that_are_ignored_or_handled_stay_so() -> None:
    for handler in (signal.SIG_IGN, lambda number, frame: None):
        before = signal.signal(signal.SIGINT, handler)
        try:
            schedule = lambda step: signal.raise_signal(signal.SIGINT) or 0.01  # noqa: E731
            assert len(quiet(net(), TRAIN, epochs=1, schedule=schedule).history) == 1
        finally:
            signal.signal(signal.SIGINT, before)


def test_in_another_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert_bitwise(pool.submit(quiet, net(), TRAIN, epochs=2, **HOW).result(), uninterrupted("numpy", 2))


@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_tied_weights_resume(to: str, tmp_path: Path) -> None:
    start = aj.nn.Sequential(aj.nn.Linear(64, 64, rng=0), aj.nn.Tanh(), aj.nn.Linear(64, 64, rng=1))
    start[2].weight = start[0].weight
    start = aj.to(start, to)
    whole = quiet(start, TRAIN, epochs=3, **HOW)
    quiet(start, TRAIN, epochs=1, checkpoint=tmp_path / "run", **HOW)
    again = quiet(start, TRAIN, epochs=3, checkpoint=tmp_path / "run", **HOW)
    assert_bitwise(whole, again)
    assert again.net[0].weight is again.net[2].weight


def start_over(path: Path, **how: Any) -> Trained:
    return quiet(how.pop("net", net()), how.pop("train", TRAIN), **{**HOW, "epochs": 2, "checkpoint": path, **how})


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"batch_size": 16}, "batch_size was 32, now 16"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"max_norm": None}, r"max_norm was 1\.0, now None"),
        ({"patience": 3}, "patience was 9, now 3"),
        (
            {"loss": functools.partial(aj.cross_entropy, reduction="sum")},
            "loss was <function cross_entropy>, now functools",
        ),
        ({"optimizer": aj.optim.AdamW}, r"optimizer was AdamW\(lr=0\.01.*now AdamW\(lr=0\.001"),
        ({"optimizer": functools.partial(aj.optim.Adam, lr=1e-2)}, r"optimizer was AdamW.*now Adam\("),
        ({"schedule": aj.optim.constant(1e-2)}, r"lr was 0\.00\d+, now 0\.01"),
        ({"schedule": None}, r"lr was 0\.00\d+, now 0\.01"),
        ({"validation": TRAIN}, r"validation was Dataset.*x=\(32, 64\).*now Dataset.*x=\(160, 64\)"),
        ({"train": TRAIN.take(slice(0, 100))}, r"train was .*\(160, 64\).*now .*\(100, 64\)"),
        (
            {"net": aj.nn.MLP((64, 17, 10))},
            r"parameters was 0\.weight float32 \(16, 64\), now 0\.weight float32 \(17, 64\)",
        ),
        ({"net": aj.nn.MLP((64, 16, 10), aj.nn.Tanh)}, r"network was \(1\): ReLU\(\), now \(1\): Tanh\(\)"),
        ({"net": net("float64")}, r"parameters was 0\.weight float32.*now 0\.weight float64"),
        ({"net": net(to="torch")}, "backend was numpy, now torch"),
        ({"net": net().freeze("0")}, r"frozen was nothing, now \['0'\]"),
    ],
)
def test_checkpoint_of_another_run(how: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    start_over(path)
    before = path.read_bytes()
    with pytest.raises(aj.CheckpointError, match=rf"checkpoint of another run: .*{told}.*resume=False to start over"):
        start_over(path, **how)
    assert path.read_bytes() == before
    start_over(path, resume=False, **{"epochs": 1, **how})
    assert path.read_bytes() != before


def test_weights_and_damaged_files_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run"
    aj.save(path, net())
    with pytest.raises(aj.CheckpointError, match=r"holds no training run; for weights alone use aj\.load"):
        start_over(path)
    aj.save(path, net(), {"adjoint.run": "[1, 2"})
    with pytest.raises(aj.CheckpointError, match="holds no training run"):
        start_over(path)
    path.unlink()
    start_over(path)
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    with pytest.raises(aj.CheckpointError, match="truncated"):
        start_over(path)
    assert path.read_bytes() == damaged
    arrays, metadata = aj.interop.checkpoints.read(_saved(tmp_path / "other"))
    arrays.pop("optimizer.t")
    aj.save(path, arrays, metadata)
    with pytest.raises(aj.CheckpointError, match=r"does not hold the arrays of its run: .*missing \['t'\]"):
        start_over(path)


def _saved(path: Path) -> Path:
    start_over(path)
    return path


# Trouble


@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_loss_that_is_not_finite(to: str, tmp_path: Path) -> None:
    x = TRAIN.x.copy()
    path = tmp_path / "run"
    quiet(net(to=to), Dataset(x, TRAIN.y), epochs=1, batch_size=32, checkpoint=path)
    before = path.read_bytes()
    x[0] = np.nan
    _, order = next(Dataset(x, np.arange(len(x))).batches(len(x), seed=0, epoch=1))
    step = 5 + int(np.argmin(order)) // 32
    with pytest.raises(FloatingPointError, match=rf"the loss is nan in epoch 2, at step {step}: lower"):
        quiet(net(to=to), Dataset(x, TRAIN.y), epochs=2, batch_size=32, checkpoint=path)
    assert path.read_bytes() == before
    with pytest.raises(FloatingPointError, match="the validation loss is nan in epoch 1"):
        quiet(net(to=to), TRAIN, epochs=1, batch_size=32, validation=Dataset(x, TRAIN.y))


def test_weight_that_is_not_finite(tmp_path: Path) -> None:
    """The last step's loss is finite, what it makes of the weights is not."""
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"0\.weight is not finite in epoch 1, at step 0"),
    ):
        quiet(net(), TRAIN, epochs=1, batch_size=200, schedule=lambda step: math.inf, checkpoint=tmp_path / "run")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"epochs": -1}, "epochs=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"patience": 0, "validation": TEST}, "patience=0"),
        ({"patience": 2}, "give some"),
        ({"validation": TEST.take([])}, "validation data are empty"),
    ],
)
def test_settings_are_checked(how: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        quiet(net(), TRAIN, **how)


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="training data are empty"):
        quiet(net(), TRAIN.take([]))
    with pytest.raises(ValueError, match="ReLU has no floating array"):
        quiet(aj.nn.ReLU(), TRAIN)
    with pytest.raises(ValueError, match="no trainable array"):
        quiet(net().freeze(), TRAIN)
    trained = quiet(net(), TRAIN, epochs=0)
    assert trained.history == ()
    assert all((x == trained.net.state_dict()[name]).all() for name, x in net().state_dict().items())


# What a person sees


def test_a_line_an_epoch_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    aj.fit(net(), TRAIN, epochs=2, validation=TEST)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(" · ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert [part.rsplit(" ", 1)[0] for part in lines[0].split(" · ")[1:4]] == [
        "loss",
        "val loss",
        "val metric",
    ]
    aj.fit(net(), TRAIN, epochs=1, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    screen: list[str] = []

    class Terminal:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            screen.append(text)
            return len(text)

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    aj.fit(net(), TRAIN, epochs=2, validation=TEST)
    shown = "".join(screen)
    assert "epoch 2/2" in shown
    assert "6/6" in shown
    assert "0:00:00" in shown
