"""MKL is found only where it is and may be used."""

from adjoint.arrays.numpy import mkl


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
