"""Arrays that only have shapes: NumPy's shapes, dtypes and views, counted costs against closed forms and PyTorch's."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.utils.flop_counter import FlopCounterMode

import adjoint as aj
from adjoint import arrays as xp
from adjoint.arrays import shapes
from adjoint.arrays.dispatch import FUNCTIONS
from adjoint.arrays.shapes import ShapeArray, count, like
from adjoint.arrays.shapes.elementwise import DTYPES as ELEMENTWISE
from adjoint.arrays.shapes.layers import FUSED
from adjoint.errors import BackendError, DtypeError, ShapeError
from tests.arrays.test_backends import SAMPLES, in_dtype


def told(x: Any) -> Any:
    """Shape and dtype of every array in a result."""
    return [told(part) for part in x] if isinstance(x, (list, tuple)) else (tuple(x.shape), x.dtype)


# Shapes and dtypes are NumPy's


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_function_has_numpys_shape_and_dtype(name: str, dtype: str) -> None:
    tried = 0
    for sample in SAMPLES[name]:
        operands = [in_dtype(x, dtype) for x in sample]
        try:
            with np.errstate(all="ignore"):
                expected = FUNCTIONS[name](*operands)
        except (IndexError, TypeError):  # a matter of values, or beyond NumPy
            continue
        tried += 1
        assert told(FUNCTIONS[name](*like(operands))) == told(expected)
    assert tried > len(SAMPLES[name]) // 2


KINDS = ["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64"]
ONES: list[Any] = [*(np.ones(2, kind) for kind in KINDS), 1, 2.0, True, np.float64(0.5), np.float32(0.5)]
BEYOND_SCIPY = {("erf", "float16"), ("sigmoid", "float16")}


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name != "where"])
def test_elementwise_promotes_as_numpy(name: str) -> None:
    arity = FUNCTIONS[name].arity  # type: ignore[attr-defined]
    for operands in product(ONES, repeat=arity):
        if not any(isinstance(x, np.ndarray) for x in operands):
            continue
        if (name, str(getattr(operands[0], "dtype", ""))) in BEYOND_SCIPY:
            continue
        try:
            with np.errstate(all="ignore"):
                expected = FUNCTIONS[name](*operands)
        except TypeError:
            with pytest.raises(DtypeError, match=name):
                FUNCTIONS[name](*[like(x) for x in operands])
        else:
            assert told(FUNCTIONS[name](*[like(x) for x in operands])) == told(expected)


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3, min_side=0))
@pytest.mark.covers("V06")
def test_operands_broadcast_as_numpys(drawn: hnp.BroadcastableShapes) -> None:
    condition, x, y = drawn.input_shapes
    assert xp.where(ShapeArray(condition, "bool"), ShapeArray(x), ShapeArray(y)).shape == drawn.result_shape


@pytest.mark.parametrize(
    "name", ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin", "cumulative_sum", "mean"]
)
def test_reductions_accumulate_as_numpy(name: str) -> None:
    for x, axis in product([np.ones((2, 3, 4), kind) for kind in KINDS], [0, 1, -1]):
        with np.errstate(all="ignore"):
            assert told(FUNCTIONS[name](like(x), axis)) == told(FUNCTIONS[name](x, axis))


@given(data=st.data())
def test_a_basic_key_gives_numpys_view(data: st.DataObject) -> None:
    x = np.zeros(data.draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)), np.int8)
    key = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True, allow_ellipsis=True))
    view, expected = like(x)[key], x[(*key, ...) if isinstance(key, tuple) and ... not in key else key]
    expected = np.asarray(expected)
    assert view.shape == expected.shape
    assert [s for s, n in zip(view.strides, view.shape, strict=True) if n > 1] == [
        s for s, n in zip(expected.strides, expected.shape, strict=True) if n > 1
    ]


@given(data=st.data())
def test_an_advanced_key_gives_numpys_shape_in_memory_of_its_own(data: st.DataObject) -> None:
    x = np.zeros(data.draw(hnp.array_shapes(max_dims=3, max_side=4)), np.float32)
    picked = data.draw(hnp.integer_array_indices(x.shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)))
    with count() as tally:
        y = ShapeArray(x.shape)
        got = y[picked]
        without_values = y[tuple(like(part) for part in picked)]
    assert got.shape == without_values.shape == x[picked].shape
    assert tally.live_bytes == x.nbytes + 2 * x[picked].nbytes


def test_a_mask_needs_its_values() -> None:
    x, mask = np.zeros((3, 4)), np.eye(3, 4) > 0
    assert like(x)[mask].shape == x[mask].shape
    with pytest.raises(BackendError, match="no values"):
        like(x)[like(mask)]
    with pytest.raises(ShapeError, match="boolean index did not match"):
        like(x)[like(mask.T)]


@given(data=st.data())
@pytest.mark.covers("V07")
def test_a_reshape_copies_where_numpys_does(data: st.DataObject) -> None:
    x = np.zeros(data.draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4)), np.float32)
    axes = data.draw(st.permutations(range(x.ndim)))
    cut = tuple(data.draw(st.sampled_from([slice(None), slice(1), slice(None, None, -1)])) for _ in x.shape)
    strided = x.transpose(axes)[cut]
    n = strided.size
    divisor = data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))
    reshaped = strided.reshape(divisor, -1)
    with count() as tally:
        y = xp.reshape(xp.permute(ShapeArray(x.shape), axes)[cut], (divisor, -1))
    assert y.shape == reshaped.shape
    is_view = np.shares_memory(reshaped, x)
    assert tally.live_bytes == (x.nbytes if is_view else reshaped.nbytes)
    assert tally.bytes == (0 if is_view else 2 * reshaped.nbytes)


@pytest.mark.parametrize(
    "name", ["permute", "broadcast_to", "flip", "diagonal", "expand_dims", "squeeze", "swapaxes", "split"]
)
def test_views_are_free(name: str) -> None:
    arguments: dict[str, Any] = {
        "permute": [(2, 0, 1)],
        "broadcast_to": [(5, 2, 3, 4)],
        "swapaxes": [0, 1],
        "split": [2],
    }
    with count() as tally:
        x = ShapeArray((2, 3, 4))
        FUNCTIONS[name](x, *arguments.get(name, [0] if name == "expand_dims" else []))
    assert (tally.bytes, tally.flops, tally.peak_bytes) == (0, 0, x.nbytes)


def test_bfloat16_behaves_as_in_pytorch() -> None:
    x, half, single = (ShapeArray((2, 2), dtype) for dtype in ("bfloat16", "float16", "float32"))
    assert x.dtype == ml_dtypes.bfloat16
    assert like(torch.ones(2, dtype=torch.bfloat16)).dtype == x.dtype
    for y in (x + 1.0, 2 * x, x @ x, xp.exp(x), xp.gelu(x), xp.softmax(x), xp.mean(x), xp.where(x > 0, x, 0.0)):
        assert y.dtype == x.dtype
    assert (x + half).dtype == (x * single).dtype == single.dtype


# What an array of this kind is


def test_like_takes_arrays_of_every_backend_and_leaves_the_rest() -> None:
    import jax.numpy as jnp

    operands = [
        np.zeros((2, 3), "float16"),
        torch.zeros(4, dtype=torch.int32),
        [jnp.ones((1, 2), bool)],
        (np.ones(()),),
    ]
    assert told(like(operands)) == [
        ((2, 3), np.float16), ((4,), np.int32), [((1, 2), np.bool_)], [((), np.float64)],
    ]  # fmt: skip
    rest = [1, 2.0, None, "mean", slice(1), np.dtype("float32"), np.float32(1), torch.float32, (0, -1)]
    assert like(rest) == rest


def test_like_sees_through_traced_values() -> None:
    seen: list[Any] = []
    aj.grad(lambda x: [seen.append(like(x)), xp.sum(x)][1])(np.ones((2, 3), np.float32))
    assert told(seen) == [((2, 3), np.float32)]


def test_operators_methods_and_numpys_functions_reach_the_seam() -> None:
    x, y = ShapeArray((2, 3), "float32"), np.ones((3,), np.float32)
    for z in (x + y, y + x, y * x, x - 1, 1 - x, x / y, y / x, x**2, 2**x, -x, abs(x), +x, np.exp(x), np.add(y, x)):
        assert told(z) == ((2, 3), np.float32)
    for z in (x < y, y < x, x <= y, x > 0, x >= 0, x == y, x != y):
        assert told(z) == ((2, 3), np.bool_)
    assert (x @ x.T).shape == (np.ones((2, 2)) @ x).shape[:1] * 2 == (2, 2)
    assert (x @ y).shape == x.sum(1).shape == x.mean(-1).shape == x.max(1).shape == x.min(axis=1).shape == (2,)
    assert x.T.shape == x.mT.shape == x.transpose(1, 0).shape == x.reshape(3, -1).shape == (3, 2)
    assert (x.ndim, x.size, x.nbytes, len(x), repr(x)) == (2, 6, 24, 2, "ShapeArray((2, 3), float32)")
    assert (torch.ones(3) + x).shape == (x + torch.ones(3)).shape == (2, 3)
    assert np.ones((2, 1), "float64").__mul__(x).dtype == np.float64


@pytest.mark.parametrize("ask", [bool, float, int, np.asarray, lambda x: x.item(), lambda x: [1, 2][x]])
def test_there_are_no_values(ask: Any) -> None:
    with pytest.raises(BackendError, match=r"ShapeArray\(\(2, 3\), float32\).* no values.*aj\.where"):
        ask(ShapeArray((2, 3)))


@pytest.mark.parametrize(("shape", "dtype", "error"), [((-1,), "float32", ShapeError), ((2,), "float31", DtypeError)])
def test_a_shape_array_is_possible(shape: Any, dtype: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ShapeArray(shape, dtype)


# FLOPs


@pytest.mark.covers("E01")
def test_published_multiply_adds_of_a_layer() -> None:
    with count() as tally:
        ShapeArray((256, 512)) @ ShapeArray((512, 1024))
    with FlopCounterMode(display=False) as torchs:
        torch.ones(256, 512) @ torch.ones(512, 1024)
    assert tally.matmul_flops == tally.flops == torchs.get_total_flops() == 2 * 134_217_728


PRODUCTS: list[tuple[Any, list[tuple[int, ...]]]] = [
    (xp.matmul, [(3, 5), (5, 7)]),
    (xp.matmul, [(2, 1, 3, 5), (4, 5, 7)]),
    (xp.matmul, [(0, 5), (5, 2)]),
    (lambda x, w: xp.linear(x, w, None), [(2, 3, 5), (7, 5)]),
    (lambda x, w: xp.affine(x, w, None), [(3, 5), (5, 7)]),
    (lambda x, u: xp.weight_product(x, u), [(2, 3, 5), (2, 3, 7)]),
    (lambda x, y: xp.einsum("bij,bjk->bik", x, y), [(2, 3, 5), (2, 5, 7)]),
    (lambda x, y: xp.einsum("bqhd,bkhd->bhqk", x, y), [(2, 3, 4, 5), (2, 6, 4, 5)]),
    (lambda x, y: xp.einsum("...i,i", x, y), [(3, 2, 5), (5,)]),
    (lambda x, y, z: xp.einsum("ij,jk,kl->il", x, y, z), [(3, 20), (20, 2), (2, 9)]),
]


@pytest.mark.covers("E01")
@pytest.mark.parametrize(("f", "operands"), PRODUCTS)
def test_products_count_what_pytorch_counts(f: Any, operands: list[tuple[int, ...]]) -> None:
    with count() as tally:
        got = f(*[ShapeArray(s) for s in operands])
    with FlopCounterMode(display=False) as torchs:
        expected = f(*[torch.ones(s) for s in operands])
    assert got.shape == tuple(expected.shape)
    assert tally.matmul_flops == torchs.get_total_flops()


def attention(q: Any, k: Any, v: Any) -> Any:
    return xp.softmax(q @ xp.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5) @ v


@pytest.mark.covers("E01")
def test_published_flops_of_attention() -> None:
    q = ShapeArray((1, 12, 64, 64))
    with count() as tally:
        attention(q, q, q)
    assert tally.matmul_flops == 12_582_912


@pytest.mark.covers("E01")
def test_published_flops_of_gpt2() -> None:
    """nanoGPT's transformer_sizing.ipynb: GPT-2 small without biases, forward on 1024 tokens."""
    time, d, heads, layers, vocabulary = 1024, 768, 12, 12, 50257
    weights = {"qkv": (3 * d, d), "out": (d, d), "up": (4 * d, d), "down": (d, 4 * d)}
    w = {name: ShapeArray(shape) for name, shape in weights.items()}
    x, table = ShapeArray((1, time, d)), ShapeArray((vocabulary, d))

    def block(x: Any) -> Any:
        qkv = xp.split(xp.linear(xp.layer_norm(x), w["qkv"]), 3, -1)
        parted = [xp.swapaxes(xp.reshape(part, (1, time, heads, d // heads)), 1, 2) for part in qkv]
        mixed = xp.reshape(xp.swapaxes(attention(*parted), 1, 2), (1, time, d))
        x = x + xp.linear(mixed, w["out"])
        return x + xp.linear(xp.gelu(xp.linear(xp.layer_norm(x), w["up"])), w["down"])

    with count() as tally:
        for _ in range(layers):
            x = block(x)
        logits = xp.linear(xp.layer_norm(x), table)
    assert logits.shape == (1, time, vocabulary)
    assert tally.matmul_flops == 291_648_307_200


def test_a_product_and_its_gradients_cost_three_times_the_product() -> None:
    x, w = ShapeArray((6, 5)), ShapeArray((7, 5))
    with count() as forward:
        xp.linear(x, w, None)
    with count() as both:
        gradients = aj.grad(lambda x, w: xp.sum(xp.linear(x, w, None)), argnums=(0, 1))(x, w)
    assert told(list(gradients)) == told([x, w])
    assert both.matmul_flops == 3 * forward.matmul_flops == 3 * 2 * 6 * 5 * 7


@pytest.mark.parametrize(
    ("f", "flops"),
    [
        (lambda x: x + 1.0, 12),
        (lambda x: xp.exp(x), 12),
        (lambda x: xp.where(x > 0, x, 0.0), 24),
        (lambda x: xp.sum(x, 0), 12),
        (lambda x: xp.mean(x, 0), 12 + 4),
        (lambda x: xp.cumulative_sum(x), 12),
        (lambda x: xp.einsum("ij->j", x), 12),
        (lambda x: xp.einsum("ij,ij->ij", x, x), 12),
        (lambda x: xp.softmax(x), 5 * 12),
        (lambda x: xp.clip(x, -1.0, max=ShapeArray((4,))), 2 * 12),
        (lambda x: xp.gelu(x), 5 * 12),
        (lambda x: xp.linear(x, ShapeArray((5, 4)), ShapeArray((5,))), 2 * 3 * 4 * 5 + 3 * 5),
        (lambda x: xp.segment_sum(x, ShapeArray((3,), "int64"), 7), 12),
        (lambda x: xp.concatenate([x, x.T[:3]]) if x.shape[0] == x.shape[1] else xp.pad(x, [(1, 1), (0, 0)]), 0),
    ],
)
def test_flops_by_closed_form(f: Any, flops: int) -> None:
    with count() as tally:
        f(ShapeArray((3, 4)))
    assert tally.flops == flops


FUSED_ARGUMENTS: dict[str, list[Any]] = {
    "normalization_product": [ShapeArray((3, 4)), ShapeArray((3, 1)), ShapeArray((3, 1)), None, (-1,)],
    "normalization_gain": [ShapeArray((3, 4)), ShapeArray((3, 1)), ShapeArray((3, 1)), (-2,)],
    "layer_norm": [ShapeArray((4,)), ShapeArray((4,))],
    "linear": [ShapeArray((5, 4)), ShapeArray((5,))],
    "clip": [-1.0, 1.0],
    "threshold": [0.5, 2.0],
    "gated": [ShapeArray((3, 4))],
}


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_function_costs_its_compositions_flops_and_less_memory(name: str) -> None:
    rest = FUSED_ARGUMENTS.get(name, [])
    with count() as whole:
        x = ShapeArray((3, 4))
        got = FUNCTIONS[name](x, *rest)
    with count() as parts:
        expected = FUNCTIONS[name].table.composed(ShapeArray((3, 4)), *rest)  # type: ignore[attr-defined]
    assert told(got) == told(expected)
    assert (whole.flops, whole.matmul_flops) == (parts.flops, parts.matmul_flops)
    assert whole.bytes <= parts.bytes
    assert whole.peak_bytes <= parts.peak_bytes
    assert whole.by_function == {name: (1, whole.flops, whole.bytes)}


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_works_in_place(decoupled: bool, weight_decay: float) -> None:
    p, g, m, v = ([ShapeArray((3, 4)), ShapeArray((4,))] for _ in range(4))
    how = {"t": 3, "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay, "decoupled": decoupled}
    with count() as tally:
        new = xp.adam_update(p, g, m, v, **how)
    assert all(a is b for group, before in zip(new, (p, m, v), strict=True) for a, b in zip(group, before, strict=True))
    assert tally.flops == (13 + (weight_decay > 0) * (1 if decoupled else 2)) * 16
    assert tally.bytes == 7 * 16 * 4
    assert tally.peak_bytes == 0


@pytest.mark.parametrize(
    ("momentum", "nesterov", "flops", "touched"), [(0.0, False, 2, 3), (0.9, False, 5, 5), (0.9, True, 7, 5)]
)
def test_sgd_works_in_place(momentum: float, nesterov: bool, flops: int, touched: int) -> None:
    p, g = [ShapeArray((3, 4))], [ShapeArray((3, 4))]
    velocities = [ShapeArray((3, 4))] if momentum else None
    how = {"lr": 0.1, "momentum": momentum, "dampening": 0.0, "nesterov": nesterov, "weight_decay": 0.0}
    with count() as tally:
        xp.sgd_update(p, g, velocities, **how)
    assert (tally.flops, tally.bytes, tally.peak_bytes) == (flops * 12, touched * 48, 0)


# Bytes and memory


def test_bytes_read_and_written() -> None:
    x, row, table = ShapeArray((100, 10)), ShapeArray((10,)), ShapeArray((5000, 8))
    at = ShapeArray((100,), "int64")
    for f, moved in [
        (lambda: x + row, 2 * 4000 + 40),
        (lambda: x + xp.broadcast_to(row, (100, 10)), 2 * 4000 + 40),
        (lambda: 2.0 * x, 2 * 4000),
        (lambda: x[::2] + 1.0, 2 * 2000),
        (lambda: xp.take(table, at), 2 * 100 * 8 * 4 + 800),
        (lambda: xp.zeros_like(x), 4000),
        (lambda: x > 0, 4000 + 1000),
    ]:
        with count() as tally:
            f()
        assert tally.bytes == moved


def test_memory_lives_as_long_as_its_arrays() -> None:
    with count() as tally:
        x = ShapeArray((1000,), "float64")
        assert (tally.live_bytes, tally.peak_bytes) == (8000, 8000)
        y = x + 1.0
        z = y[:10]
        del y
        assert tally.live_bytes == 16000, "a view keeps its base"
        del z
        assert tally.live_bytes == 8000
        w = xp.exp(x * 2.0) + 1.0
        assert tally.peak_bytes == 24000
        assert tally.live_bytes == 16000
    del w, x
    assert (tally.live_bytes, tally.peak_bytes) == (0, 24000)


def test_peak_memory_is_what_numpy_allocates() -> None:
    import tracemalloc

    def program(x: Any) -> Any:
        y = xp.exp(x) * x
        z = xp.reshape(xp.permute(y, (1, 0)), (-1,))
        return xp.sum(z[::2] * z[1::2]) + xp.max(y @ y)

    x = np.ones((512, 512), np.float32)
    program(x)
    tracemalloc.start()
    program(x)
    _, measured = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    given_x = like(x)
    with count() as tally:
        program(given_x)
    assert measured == pytest.approx(tally.peak_bytes, rel=0.01)


def test_a_chain_under_grad_keeps_what_backward_needs() -> None:
    n, links = 1000, 8
    x = ShapeArray((n,), "float64")

    def chain(x: Any) -> Any:
        for _ in range(links):
            x = xp.sin(x)
        return xp.sum(x)

    with count() as plain:
        chain(x)
    with count() as taped:
        aj.grad(chain)(x)
    assert plain.peak_bytes == 2 * 8 * n
    assert links * 8 * n <= taped.peak_bytes <= (links + 4) * 8 * n


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_duplicate_has_memory_of_its_own(duplicate: Any) -> None:
    with count() as tally:
        x = ShapeArray((10,))
        y = duplicate(x)
        del x
    assert told(y) == ((10,), np.float32)
    assert (tally.live_bytes, tally.peak_bytes) == (40, 80)


def test_counts_nest_and_are_off_outside() -> None:
    x = ShapeArray((10,))
    with count() as outer:
        x + 1.0
        with count() as inner:
            x * x
        x - 1.0
    x / 2.0
    assert (outer.flops, inner.flops) == (30, 10)
    assert list(outer.by_function) == ["add", "multiply", "subtract"]
    assert outer.by_function["add"] == (1, 10, 80)


def test_a_count_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), count() as tally:
        ShapeArray((10,)) / (1 // 0)
    ShapeArray((10,)) + 1.0
    assert tally.flops == 0


def test_threads_count_apart() -> None:
    from threading import Thread

    with count() as tally:
        thread = Thread(target=lambda: ShapeArray((10,)) + 1.0)
        thread.start()
        thread.join()
    assert tally.flops == 0


def test_the_backend_lacks_nothing() -> None:
    primitives = {name for name, f in FUNCTIONS.items() if f.table.composed is None}  # type: ignore[attr-defined]
    assert primitives <= set(dir(shapes))
