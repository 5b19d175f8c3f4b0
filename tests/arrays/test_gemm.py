"""Products by tiles and by MKL are NumPy's, in every layout, by a thread alone and by a crew."""

import os
import subprocess
import sys

import numpy as np
import pytest

from adjoint.arrays.numpy import amx, gemm, mkl, threads
from tests.patience import HANGS, at_once

LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "part of rows": lambda x: np.concatenate([x, x], 1)[:, : x.shape[1]],
    "part of columns": lambda x: np.concatenate([x, x], 0).T[:, : x.shape[0]].T,
    "every second": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "read only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "not aligned": lambda x: np.frombuffer(b"." + x.tobytes(), x.dtype, x.size, 1).reshape(x.shape),
}
COUNTS = (1, 2, 3, 5)
pytestmark = pytest.mark.skipif(mkl.path is None and not amx.here, reason="neither MKL nor AMX is at hand")


def alone(work):
    return threads.together([work, lambda: None])[0]


def by(count, monkeypatch):
    """gemm's product of so many threads, whatever the machine has."""
    if count == 1:
        return lambda *given: alone(lambda: gemm.product(*given))
    monkeypatch.setattr(threads, "at_hand", lambda: count)
    monkeypatch.setattr(gemm, "SHARED", gemm.ALONE)
    monkeypatch.setattr(gemm, "QUIET", gemm.ALONE)
    return gemm.product


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_is_numpys(left, right, dtype, count, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((65, 33)), rng.standard_normal((33, 47))
    a, b = LAYOUTS[left](x.astype(dtype)), LAYOUTS[right](y.astype(dtype))
    got = by(count, monkeypatch)(a, b)
    assert got.dtype == dtype
    assert got.shape == (65, 47)
    # A sum of 33 products in any order: 33 roundings of what the absolute values add up to.
    np.testing.assert_array_less(np.abs(got - x @ y), 2 * 33 * np.finfo(dtype).eps * (np.abs(x) @ np.abs(y)))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("shape", [(65, 33, 47), (9, 200, 90), (90, 200, 9)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bias_is_added(shape, dtype, count, monkeypatch):
    rng = np.random.default_rng(5)
    n, k, m = shape
    x, y, b = (rng.standard_normal(s).astype(dtype) for s in ((n, k), (k, m), 2 * m))
    sums = np.abs(x.astype("d")) @ np.abs(y.astype("d")) + 5.0
    for bias in (b[:m], b[::2], b[:m].astype("d"), np.frombuffer(b"." + b.tobytes(), dtype, m, 1), b[:1], b[0]):
        for left in (x, np.asfortranarray(x)):
            expected = x.astype("d") @ y.astype("d") + bias
            got = by(count, monkeypatch)(left, y, bias)
            assert got.dtype == np.result_type(dtype, bias.dtype)
            np.testing.assert_array_less(np.abs(got - expected), 2 * k * np.finfo(dtype).eps * sums)


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_no_product_of_two_large_matrices_of_one_kind_is_numpys(count, monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 70, 70))
    matmul = by(count, monkeypatch)
    for a, b in [(x, x), (x[0], x[0, 0]), (x[0], x[0].astype("f")), (x[0, :2], x[0, :, :9]), (x[0] > 0, x[0] > 0),
                 (x[0].astype(">f8"), x[0].astype(">f8"))]:  # fmt: skip
        np.testing.assert_array_equal(matmul(a, b), np.matmul(a, b))
    with pytest.raises(ValueError, match="mismatch"):
        matmul(x[0], x[0, :69])
    assert matmul(x[0, :0], x[0]).shape == (0, 70)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("left", LAYOUTS)
def test_a_large_matrix_times_a_vector(left, dtype, monkeypatch):
    rng = np.random.default_rng(6)
    x, y, z = (rng.standard_normal(s).astype(dtype) for s in ((130, 70), 70, 130))
    matmul, a = by(2, monkeypatch), LAYOUTS[left](x)
    for got, one, two in ((matmul(a, y), x, y), (matmul(z, a), z, x), (matmul(a.T, z), x.T, z)):
        sums = np.abs(one.astype("d")) @ np.abs(two.astype("d"))
        assert got.dtype == dtype
        np.testing.assert_array_less(
            np.abs(got - one.astype("d") @ two.astype("d")), 2 * 130 * np.finfo(dtype).eps * sums
        )
    with pytest.raises(ValueError, match="mismatch"):
        matmul(a, z)


@pytest.mark.parametrize("count", COUNTS)
def test_nan_and_infinity_are_kept(count, monkeypatch):
    x = np.full((40, 40), np.nan)
    assert np.isnan(by(count, monkeypatch)(x, np.zeros((40, 40)))).all()


def test_fewer_columns_than_threads(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((1000, 60)), rng.standard_normal((60, 2))
    np.testing.assert_allclose(by(5, monkeypatch)(x, y), np.matmul(x, y), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(mkl.path is None, reason="MKL, by which products of this size are made, is not installed")
def test_small_products_are_numpys_and_middle_ones_are_not_shared(monkeypatch):
    asked = []
    monkeypatch.setattr(gemm, "ways", lambda parts, kind, tiled: asked.append(parts) or ())
    monkeypatch.setattr(threads, "at_hand", lambda: 2)
    for n in (60, 80, 110):
        x = np.ones((n, n))
        np.testing.assert_array_equal(gemm.product(x, x), x @ x)
    assert asked == [1, 2]


def test_several_threads_at_once_get_their_own_products(monkeypatch):
    matmul = by(2, monkeypatch)
    rng = np.random.default_rng(3)
    given = [(rng.standard_normal((60, 80)), rng.standard_normal((80, 70))) for _ in range(4)]
    wrong = []

    def work(x, y):
        expected = x @ y
        wrong.extend(i for i in range(300) if not np.allclose(matmul(x, y), expected, rtol=0, atol=1e-12))

    at_once(work, given)
    assert not wrong


FORKED = """
import os
import numpy as np
from adjoint.arrays.numpy import gemm, threads
gemm.SHARED, gemm.QUIET, threads.at_hand = gemm.ALONE, gemm.ALONE, lambda: 2
x = np.random.default_rng(4).standard_normal((60, 60))
expected = gemm.product(x, x)
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(gemm.product(x, x), expected) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_a_crew_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=HANGS)


def test_what_a_job_reads_lives_until_it_ends():
    """Freed memory is overwritten at once here."""
    code = (
        "import numpy as np\n"
        "from adjoint.arrays.numpy import gemm, threads\n"
        "threads.at_hand = lambda: 2\n"
        "x = np.random.default_rng(0).standard_normal((120, 120))\n"
        "for _ in range(20):\n"
        "    assert np.allclose(gemm.product(x, x, x[0].copy()), np.matmul(x, x) + x[0])"
    )
    environ = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS, env=environ)
