"""The symbol of a convolution against the matrix that PyTorch's convolution of a wrapped input is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from adjoint.maps.spectra import symbol
from adjoint.maps.spectra.symbol import Symbol


class Case(NamedTuple):
    """A kernel, how it slides, and the positions of its output."""

    weight: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    positions: tuple[int, ...]


CASES = {
    "plain": Case((4, 3, 3, 3), (1, 1), (1, 1), 1, (5, 4)),
    "stride 2, groups": Case((4, 2, 3, 3), (2, 2), (1, 1), 2, (4, 3)),
    "stride 3, dilation 2, depthwise": Case((6, 1, 3), (3,), (2,), 6, (5,)),
    "1×1, stride 2": Case((5, 3, 1, 1), (2, 2), (1, 1), 1, (3, 3)),
    "patches": Case((4, 3, 4, 4), (4, 4), (1, 1), 1, (2, 2)),
    "3-D": Case((3, 2, 2, 3, 2), (1, 2, 1), (1, 1, 2), 1, (3, 2, 4)),
    "1-D, dilated": Case((3, 4, 5), (2,), (3,), 1, (7,)),
    "stride on one axis": Case((20, 24, 3, 3), (2, 1), (1, 2), 1, (2, 6)),
    "two outputs a channel": Case((6, 1, 2, 3), (1, 1), (1, 1), 3, (3, 5)),
    "larger than the torus": Case((2, 2, 5), (1,), (1,), 1, (3,)),
}
CONVOLUTIONS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}


def drawn(case: Case) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(len(case.weight)).standard_normal(case.weight))


def matrix(weight: torch.Tensor, case: Case) -> np.ndarray:
    """The matrix, a column for every entry of the input, which is wrapped before the convolution."""
    sizes = [n * s for n, s in zip(case.positions, case.stride, strict=True)]
    channels = weight.shape[1] * case.groups
    x = torch.eye(channels * math.prod(sizes), dtype=torch.float64).reshape(-1, channels, *sizes)
    for i, (n, d) in enumerate(zip(sizes, case.dilation, strict=True)):
        x = x.index_select(2 + i, torch.arange(n + d * (weight.shape[2 + i] - 1)) % n)
    y = CONVOLUTIONS[len(sizes)](x, weight, None, case.stride, 0, case.dilation, case.groups)
    assert tuple(y.shape[2:]) == case.positions
    return np.asarray(y.reshape(len(x), -1).T)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_all_values_are_those_of_the_matrix(case: Case, narrow: bool) -> None:
    weight = drawn(case)
    whole = np.linalg.svd(matrix(weight, case), compute_uv=False)
    found = Symbol(case.weight, case.positions, case.stride, case.dilation, case.groups)
    values, bound, counts = found.values(weight.numpy(), narrow)
    order = np.argsort(-np.repeat(values, counts, 0).ravel())
    values, off = (np.repeat(x, counts, 0).ravel()[order] for x in (values, bound))
    rest = whole[len(values) :]  # of entries that the kernel never meets
    assert np.all(np.abs(values - whole[: len(values)]) <= off + 1e-14 * whole[0])
    assert np.all(rest <= 1e-13 * whole[0])
    assert np.max(off) <= (1e-6 if narrow else 1e-12) * whole[0]


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["stride on one axis"]
    found = Symbol(case.weight, case.positions, case.stride, case.dilation)
    whole = found.values(drawn(case).numpy())
    monkeypatch.setattr(symbol, "BLOCK", 100)
    parts = found.values(drawn(case).numpy())
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_half_of_the_frequencies_are_computed() -> None:
    assert Symbol((2, 2, 3, 3), (8, 8), (1, 1), (1, 1)).count == (64 - 4) // 2 + 4
    assert Symbol((2, 2, 3, 1), (5, 8), (1, 1), (1, 1)).count == 3
    assert Symbol((4, 2, 1, 1), (8, 8), (1, 1), (1, 1), 2).count == 2


@pytest.mark.parametrize(
    ("kernel", "positions"), [((3, 3), (8, 8)), ((2, 5), (6, 7)), ((4, 1), (5, 5)), ((3, 2), (3, 2))]
)
def test_between_the_frequencies_nothing_is_larger_than_told(
    kernel: tuple[int, ...], positions: tuple[int, ...]
) -> None:
    for seed in range(5):
        weight = np.random.default_rng(seed).standard_normal((3, 2, *kernel))
        coarse = Symbol(weight.shape, positions, (1, 1), (1, 1))
        fine = Symbol(weight.shape, [24 * n for n in positions], (1, 1), (1, 1)).values(weight)[0].max()
        top = coarse.values(weight)[0].max()
        assert top <= fine * (1 + 1e-12)
        assert fine <= coarse.between * top


def test_what_is_told_of_frequencies_between_is_reached() -> None:
    halfway = Symbol((1, 1, 2), (3,), (1,), (1,))  # |1 - exp(2πi f)| is 2 at f = 1/2
    assert halfway.values(np.array([[[1.0, -1.0]]]))[0].max() * halfway.between == pytest.approx(2.0)
    assert Symbol((1, 1, 4), (3,), (1,), (1,)).between == math.inf


def test_it_is_stopped_between_matrices() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Symbol((2, 2, 3), (8,), (1,), (1,)).values(np.ones((2, 2, 3)), stop=stop)
