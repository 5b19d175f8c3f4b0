"""Products by MKL are NumPy's, in every layout, and only in a thread that has a core to itself."""

import numpy as np
import pytest

from adjoint.arrays.numpy import mkl, threads

LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "part of rows": lambda x: np.concatenate([x, x], 1)[:, : x.shape[1]],
    "part of columns": lambda x: np.concatenate([x, x], 0).T[:, : x.shape[0]].T,
    "every second": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@pytest.fixture
def matmul():
    path = mkl.library()
    if path is None:
        pytest.skip("MKL is not installed, or the processor is not Intel's")
    return mkl.matmul_by(path)


def alone(work):
    return threads.together([work, lambda: None])[0]


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_is_numpys(matmul, left, right, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((65, 33)), rng.standard_normal((33, 47))
    a, b = LAYOUTS[left](x.astype(dtype)), LAYOUTS[right](y.astype(dtype))
    got = alone(lambda: matmul(a, b))
    assert got.dtype == dtype
    # A sum of 33 products in any order: 33 roundings of what the absolute values add up to.
    np.testing.assert_array_less(np.abs(got - x @ y), 2 * 33 * np.finfo(dtype).eps * (np.abs(x) @ np.abs(y)))


def test_what_is_no_product_of_two_large_matrices_of_one_kind_is_numpys(matmul):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 70, 70))
    for a, b in [(x, x), (x[0], x[0, 0]), (x[0], x[0].astype("f")), (x[0, :2], x[0]), (x[0] > 0, x[0] > 0)]:
        np.testing.assert_array_equal(alone(lambda a=a, b=b: matmul(a, b)), np.matmul(a, b))
    with pytest.raises(ValueError, match="mismatch"):
        alone(lambda: matmul(x[0], x[0, :69]))
    assert alone(lambda: matmul(x[0, :0], x[0])).shape == (0, 70)


def test_nan_and_infinity_are_kept(matmul):
    x = np.full((40, 40), np.nan)
    y = np.zeros((40, 40))
    assert np.isnan(alone(lambda: matmul(x, y))).all()


def test_threads_that_share_the_cores_keep_numpys_blas(matmul, monkeypatch):
    monkeypatch.setattr(mkl, "products", lambda path: pytest.fail("MKL was asked"))
    x = np.ones((50, 50))
    np.testing.assert_array_equal(matmul(x, x), x @ x)


def test_it_is_found_only_where_it_is_and_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(mkl, "intel", lambda: True)
    monkeypatch.delenv("ADJOINT_BLAS", raising=False)
    assert mkl.library(str(tmp_path)) is None
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmkl_rt.so.3").touch()
    assert mkl.library(str(tmp_path)) == tmp_path / "lib" / "libmkl_rt.so.3"
    monkeypatch.setenv("ADJOINT_BLAS", "default")
    assert mkl.library(str(tmp_path)) is None
    monkeypatch.delenv("ADJOINT_BLAS")
    monkeypatch.setattr(mkl, "intel", lambda: False)
    assert mkl.library(str(tmp_path)) is None


def test_the_maker_of_the_processor_is_read(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    assert not mkl.intel(str(tmp_path / "cpuinfo"))
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n")
    assert mkl.intel(str(tmp_path / "cpuinfo"))
    assert not mkl.intel(str(tmp_path / "missing"))
