"""Twenty steps of every optimizer end where PyTorch's do: all options, backends, dtypes, sizes and strides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optree
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import adjoint as aj
from adjoint.arrays.dispatch import backend
from adjoint.arrays.shapes import ShapeArray, count

STEPS = 20
SMALL = {"weight": (7, 5), "bias": (5,), "scale": (), "row": (1, 3), "none": (0, 4)}
LARGE = {"weight": (257, 130), "bias": (131,), "scale": ()}  # 33,542 entries: NumPy takes the compiled kernels
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}),
    ("Adam", {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3, "amsgrad": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.6), "weight_decay": 0.3, "maximize": True}),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.3, "initial_accumulator_value": 0.5, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.3, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "eps": 1e-4, "weight_decay": 0.3, "centered": True, "maximize": True}),
    ("RMSprop", {"alpha": 0.9, "momentum": 0.8, "centered": True}),
    ("RMSprop", {"momentum": 0.8}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.3, "etas": (0.4, 1.5), "step_sizes": (0.02, 0.5), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 5, "weight_decay": 0.3, "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.3, "beta2_decay": -0.6, "eps": (1e-6, 1e-2), "d": 1.5, "weight_decay": 0.3}),
]
# The second moment's root magnifies the rounding of gradients near zero, Adadelta's by 1/√eps in its first steps
ROUGH = {"Adadelta": 50.0, "RMSprop": 50.0, "Adafactor": 4.0}
CASES = [pytest.param(name, how, id=f"{name}-{'-'.join(how)}") for name, how in OPTIONS]
FUSED = [case for case in CASES if case.values[0] in ("SGD", "Adam", "AdamW")]
LAST = [CASES[k] for k in range(len(CASES)) if k + 1 == len(CASES) or OPTIONS[k + 1][0] != OPTIONS[k][0]]


def drawn(shapes: dict[str, tuple[int, ...]], dtype: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.standard_normal(shape), dtype) for name, shape in shapes.items()}


def strided(x: np.ndarray) -> np.ndarray:
    """The same numbers, not contiguous where there are two axes."""
    return np.asfortranarray(x) if x.ndim > 1 else x


@pytest.fixture(autouse=True)
def _numbers_of_pytorchs_optimizers_in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(name: str, how: dict[str, Any], shapes: Any, dtype: str, lrs: list[float]) -> dict[str, np.ndarray]:
    params = {k: torch.from_numpy(x.copy()).requires_grad_() for k, x in drawn(shapes, dtype, 0).items()}
    optimizer = getattr(torch.optim, name)(params.values(), **how)
    for i, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        for k, g in drawn(shapes, dtype, i + 1).items():
            params[k].grad = torch.from_numpy(g)
        optimizer.step()
    return {k: p.detach().numpy() for k, p in params.items()}


def ours(
    name: str,
    how: dict[str, Any],
    shapes: Any,
    dtype: str,
    lrs: list[float],
    to: str = "numpy",
    laid: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> dict[str, np.ndarray]:
    net = aj.to(drawn(shapes, dtype, 0), to)
    optimizer = getattr(aj.optim, name)(net, **how)
    step = jax.jit(type(optimizer).step) if to == "jax" else type(optimizer).step
    for i, lr in enumerate(lrs):
        grads = {k: laid(g) for k, g in drawn(shapes, dtype, i + 1).items()}
        net, optimizer = step(optimizer, net, moved(grads, to), lr)
    assert int(optimizer.t) == len(lrs)
    return {k: np.asarray(backend(type(p)).to_numpy(p)) for k, p in net.items()}


def moved(grads: dict[str, np.ndarray], to: str) -> Any:
    return {k: torch.as_tensor(g) for k, g in grads.items()} if to == "torch" else aj.to(grads, to)


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray], dtype: str, rough: float = 1.0) -> None:
    """A few roundings a step, of numbers of order one."""
    tolerance = 4 * rough * STEPS * np.finfo(dtype).eps
    for name, x in expected.items():
        assert got[name].dtype == dtype
        assert got[name].shape == x.shape
        np.testing.assert_allclose(got[name], x, rtol=tolerance, atol=tolerance, err_msg=name)


def check(name: str, how: dict[str, Any], dtype: str, shapes: Any = SMALL, **where: Any) -> None:
    if name == "Adafactor":  # PyTorch's divides by the number of entries
        shapes = {k: shape for k, shape in shapes.items() if 0 not in shape}
    lrs = [getattr(aj.optim, name).lr if "lr" not in how else how["lr"]] * STEPS
    expected = theirs(name, how, shapes, dtype, lrs)
    assert_same(ours(name, how, shapes, dtype, lrs, **where), expected, dtype, ROUGH.get(name, 1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "how"), CASES)
def test_equals_pytorch(name: str, how: dict[str, Any], dtype: str) -> None:
    check(name, how, dtype)


@pytest.mark.parametrize(("name", "how"), CASES)
def test_equals_pytorch_on_its_tensors(name: str, how: dict[str, Any]) -> None:
    check(name, how, "float64", to="torch")


@pytest.mark.parametrize(("name", "how"), LAST)
def test_equals_pytorch_under_jit(name: str, how: dict[str, Any]) -> None:
    check(name, how, "float64", to="jax")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "how"), FUSED)
def test_compiled_kernels_equal_pytorch(name: str, how: dict[str, Any], dtype: str) -> None:
    check(name, how, dtype, LARGE, laid=strided)


@pytest.mark.parametrize("to", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "how"), FUSED)
def test_strided_gradients(name: str, how: dict[str, Any], to: str) -> None:
    check(name, how, "float64", to=to, laid=strided)


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_another_rate_each_step(name: str, to: str) -> None:
    lrs = [aj.optim.cosine(0.05, STEPS, warmup=5)(i) for i in range(STEPS)]
    assert_same(ours(name, {}, SMALL, "float64", lrs, to), theirs(name, {}, SMALL, "float64", lrs), "float64")


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("shapes", [SMALL, LARGE], ids=["small", "large"])
def test_strided_parameters_are_updated_where_they_are(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    start = drawn(shapes, "float64", 0)
    net = {k: strided(x) for k, x in start.items()}
    held = dict(net)
    optimizer = getattr(aj.optim, name)(net, lr=0.1)
    after, _ = optimizer.step(net, drawn(shapes, "float64", 1))
    assert after is net
    assert all(net[k] is x for k, x in held.items())
    expected = theirs(name, {"lr": 0.1}, shapes, "float64", [0.1])
    assert_same(net, expected, "float64")


def test_numbers_among_large_arrays_learn_too() -> None:
    for name in ("SGD", "AdamW"):
        net = {"w": np.ones((200, 200)), "s": np.float64(1.0)}
        grads = {"w": np.ones((200, 200)), "s": np.float64(1.0)}
        net, _ = getattr(aj.optim, name)(net, lr=0.1).step(net, grads)
        assert net["s"] == pytest.approx(net["w"][0, 0], rel=1e-15)
        assert net["s"] != 1.0


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_frozen_parts_stay(name: str, to: str) -> None:
    net = aj.to(aj.nn.MLP((3, 4, 2), rng=0), to)
    net[0].freeze("weight")
    net.freeze("2")
    before = {k: np.asarray(x).copy() for k, x in net.state_dict().items()}
    grads = aj.grad(lambda net, x: aj.sum(net(x)))(net, aj.to(np.ones((2, 3), "float32"), to))
    optimizer = getattr(aj.optim, name)(net, lr=0.1)
    net, _ = optimizer.step(net, grads)
    changed = {k for k, x in net.state_dict().items() if (np.asarray(x) != before[k]).any()}
    assert changed == {"0.bias"}
    with pytest.raises(ValueError, match="with the same parts frozen"):
        optimizer.step(net.unfreeze(), grads)
    with pytest.raises(ValueError, match="no trainable array"):
        getattr(aj.optim, name)(net.freeze())


@pytest.mark.parametrize(("name", "how"), [case for case in CASES if "Muon" not in str(case.id)])
def test_numbers_of_python_learn_as_arrays_do(name: str, how: dict[str, Any]) -> None:
    """A tree that `aj.grad` takes is one that learns; optax takes such trees, too."""
    numbers: Any = {"a": 1.5, "b": [-2.0, 0.25]}
    arrays = aj.trees.map(lambda x: np.array([x]), numbers)
    step_numbers, step_arrays = (getattr(aj.optim, name)(net, **how) for net in (numbers, arrays))

    def loss(net: Any) -> Any:
        return aj.sum(net["a"] ** 2 * net["b"][0] + aj.sin(net["b"][1]))

    for _ in range(3):
        numbers, step_numbers = step_numbers.step(numbers, aj.grad(loss)(numbers))
        arrays, step_arrays = step_arrays.step(arrays, aj.grad(loss)(arrays))
    for x, y in zip(aj.trees.flatten(numbers)[0], aj.trees.flatten(arrays)[0], strict=True):
        assert x.shape == ()
        np.testing.assert_allclose(x, y[0], 1e-14)


@pytest.mark.parametrize(
    ("net", "told"),
    [
        ({"w": 3}, "not int:"),
        ({"w": np.arange(3)}, "not int64:"),
        ({"w": [True], "v": np.ones(2) * 1j}, "bool, complex"),
    ],
)
def test_only_floating_numbers_learn(net: Any, told: str) -> None:
    with pytest.raises(ValueError, match=rf"AdamW: the network has no trainable array; only floating .*{told}"):
        aj.optim.AdamW(net)


@pytest.mark.parametrize("rule", [aj.optim.SGD, aj.optim.AdamW, aj.optim.Muon])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (np.ones(3), r"the gradient of b\.w is \(3,\), the parameter \(2, 3\)"),
        (np.ones((3, 2)).T[:1], r"the gradient of b\.w is \(1, 3\), the parameter \(2, 3\)"),
        (1.0, r"the gradient of b\.w is \(\), the parameter \(2, 3\)"),
        (1, r"the gradient of b\.w is of type int, the parameter \(2, 3\)"),
        (torch.ones(2, 3), r"the gradient of b\.w and the parameter are arrays of torch and numpy: move one by aj\.to"),
    ],
)
def test_gradients_of_another_shape_or_backend_are_refused(rule: type[Any], wrong: Any, told: str) -> None:
    """They would be broadcast, or fail deep inside; nothing is changed."""
    net = {"a": np.ones((2, 3)), "b": {"w": np.ones((2, 3))}}
    with pytest.raises((aj.ShapeError, aj.BackendError), match=f"{rule.__name__}.step: {told}"):
        rule(net, lr=0.1).step(net, {"a": np.ones((2, 3)), "b": {"w": wrong}})
    assert (net["a"] == 1).all()


@pytest.mark.parametrize("rule", [aj.optim.AdamW, aj.optim.Lion, aj.optim.Adafactor])
@pytest.mark.parametrize(("home", "other"), [("numpy", "torch"), ("torch", "numpy")])
def test_a_network_that_moved_after_its_optimizer_was_made(rule: type[Any], home: str, other: str) -> None:
    net = aj.nn.Linear(3, 2, rng=0).to(home)
    moved = net.to(other)
    before = aj.to(moved.weight, "numpy").copy()
    with pytest.raises(aj.BackendError, match=f"{rule.__name__}.step: its own arrays .* of {home} and {other}: make"):
        rule(net, lr=0.1).step(moved, aj.grad(lambda net: aj.sum(net.weight**2 + net.bias[:, None]))(moved))
    assert np.array_equal(aj.to(moved.weight, "numpy"), before)


def test_optimizer_is_a_tree_with_names() -> None:
    net = aj.nn.Linear(3, 2, rng=0)
    optimizer = aj.optim.AdamW(net)
    assert [*optimizer.state_dict()] == ["first.0", "first.1", "second.0", "second.1", "t"]
    assert repr(optimizer) == (
        "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False, maximize=False)"
    )
    assert [x.shape for x in optimizer.first] == [(2, 3), (2,)]
    assert [*aj.optim.SGD(net).state_dict()] == ["t"]


def test_options_are_checked() -> None:
    net = aj.nn.Linear(2, 2)
    for bad in ({"lr": -1.0}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match="at least 0"):
            aj.optim.SGD(net, **bad)
    for lr in (None, "0.1"):
        with pytest.raises(ValueError, match=f"AdamW: lr is a number, not {lr!r}"):
            aj.optim.AdamW(net, lr=lr)
    with pytest.raises(ValueError, match="Nesterov"):
        aj.optim.SGD(net, nesterov=True)
    with pytest.raises(ValueError, match=r"betas lie in \[0, 1\)"):
        aj.optim.Adam(net, betas=(0.9, 1.0))


def test_every_rule_is_tried() -> None:
    kinds = {kind for kind in vars(aj.optim).values() if inspect.isclass(kind) and issubclass(kind, aj.optim.Optimizer)}
    assert {kind.__name__ for kind in kinds} - {name for name, _ in OPTIONS} == {"Optimizer", "Lion", "Muon"}
    for name, how in OPTIONS:  # PyTorch's defaults are ours
        theirs = inspect.signature(getattr(torch.optim, name)).parameters
        ours = inspect.signature(getattr(aj.optim, name)).parameters
        assert all(ours[k].default == theirs[k].default for k in ours.keys() & theirs.keys() - {"net"}), name
        assert how.keys() <= ours.keys()


EVERY = [*(case.values for case in LAST), ("Lion", {}), ("Muon", {})]


@pytest.mark.parametrize(("name", "how"), EVERY)
def test_one_torch_graph_serves_every_step(name: str, how: dict[str, Any]) -> None:
    """The rule is one program whatever t is: nothing in it looks at values."""
    shapes = {k: SMALL[k] for k in ("row", "weight")}
    net = aj.to(drawn(shapes, "float64", 0), "torch")
    optimizer = getattr(aj.optim, name)(net, **how)
    params = [*net.values()]
    grads = [*aj.to(drawn(shapes, "float64", 1), "torch").values()]
    states = [optimizer.__dict__[k] for k in optimizer.states]

    def rule(t: Any, *lists: Any) -> Any:
        return optimizer.rule(*lists, **optimizer.asked(t, optimizer.lr))

    def fresh() -> Any:
        return optree.tree_map(torch.clone, (params, grads, *states))

    graph = make_fx(rule, tracing_mode="fake", _allow_non_fake_inputs=True)(
        torch.tensor(3, dtype=torch.int32), *fresh()
    )
    for k in (1, 2, 7, 40):
        t = torch.tensor(k, dtype=torch.int32)
        for a, b in zip(optree.tree_leaves(graph(t, *fresh())), optree.tree_leaves(rule(t, *fresh())), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("name", "how"), EVERY)
def test_counted_by_shapes_a_step_works_in_place(name: str, how: dict[str, Any]) -> None:
    net = {"a": ShapeArray((8, 6)), "b": ShapeArray((6, 8))}
    optimizer = getattr(aj.optim, name)(net, **{**how, "maximize": False} if "maximize" in how else how)
    grads = {"a": ShapeArray((8, 6)), "b": ShapeArray((6, 8))}
    with count() as tally:
        after, _ = optimizer.step(net, grads)
    assert after is net
    assert tally.flops > 96
    assert (tally.matmul_flops > 0) == (name == "Muon")
    assert tally.peak_bytes <= 16  # the count of steps


@pytest.mark.parametrize("rule", [aj.optim.SGD, aj.optim.AdamW])
def test_compiled_kernels_never_read_beyond_an_array(rule: type[Any]) -> None:
    """Gradients and states of other shapes are broadcast, or refused, as in the composition."""
    how = {"momentum": 0.9} if rule is aj.optim.SGD else {}
    p = np.random.default_rng(0).standard_normal((200, 100))
    one, all_of_it = (
        rule([p.copy()], lr=0.1, **how)._moved([p.copy()], [g], 0.1)[0][0] for g in (np.array(2.0), 0.0 * p + 2.0)
    )
    np.testing.assert_allclose(one, all_of_it, rtol=0, atol=1e-15)
    for wrong in (p.T, p[:150]):
        with pytest.raises((ValueError, aj.errors.ShapeError)):
            rule([p.copy()], lr=0.1, **how)._moved([p.copy()], [wrong], 0.1)


@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("rule", [aj.optim.SGD, aj.optim.AdamW, aj.optim.Lion])
def test_a_step_on_a_read_only_array_is_refused_before_any_is_changed(rule: type[Any], n: int) -> None:
    first, held = np.ones((n, n)), np.ones((n, n))
    net, x = [first, held], np.ones(n)
    optimizer = rule(net, lr=0.1)
    array = aj.jacobian(lambda x: held @ x, x).dense()
    with pytest.raises(ValueError, match="one of them is read-only, as constants are while a Jacobian"):
        optimizer.step(net, [first.copy(), held.copy()])
    np.testing.assert_array_equal(first, np.ones((n, n)))
    del array
    optimizer.step(net, [first.copy(), held.copy()])
    assert (held < 1).all()


def test_velocities_in_any_order_move() -> None:
    p = np.random.default_rng(0).standard_normal((200, 100))
    found = []
    for order in "CF":
        net, optimizer = [p.copy()], aj.optim.SGD([p], lr=0.1, momentum=0.9)
        for name in optimizer.states:
            optimizer.__dict__[name] = [np.zeros(p.shape, order=order)]
        for _ in range(3):
            net, optimizer = optimizer.step(net, [np.ones(p.shape)])
        found.append(net[0])
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-15)
