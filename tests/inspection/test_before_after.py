"""The picture of the normalizations shows what it says: groups, and their distributions before and after."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import adjoint as aj

TITLES = ["batch", "layer", "RMS", "group", "instance", "local response"]


def moments(line: Any) -> tuple[float, float]:
    """Mean and standard deviation of a density that is drawn as a curve."""
    at, density = line.get_data()
    total = np.trapezoid(density, at)
    mean = np.trapezoid(density * at, at) / total
    return float(mean), float(np.sqrt(np.trapezoid(density * (at - mean) ** 2, at) / total))


@pytest.mark.covers("N03")
def test_curves_before_and_after() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 4, 16, 16)) * rng.uniform(0.5, 2.0, (6, 4, 1, 1)) + rng.normal(0, 3, (6, 4, 1, 1))
    figure = aj.inspection.distributions(x)
    cells, before, after = (figure.axes[k : k + 6] for k in (0, 6, 12))
    assert [axes.get_title() for axes in cells] == TITLES
    assert [len(axes.lines) for axes in after] == [4, 6, 6, 6, 6, 6]
    for c, line in enumerate(before[0].lines):  # the channels' own means; the kernel widens a little
        mean, std = moments(line)
        assert abs(mean - x[:, c].mean()) < 0.05 * x.std()
        assert 1.0 < std / x[:, c].std() < 1.2
    for axes in (after[0], after[1], after[3], after[4]):
        found = np.array([moments(line) for line in axes.lines])
        np.testing.assert_allclose(found, [[0.0, 1.0]] * len(found), 0, 0.12)
    sizes = np.array([np.hypot(*moments(line)) for line in after[2].lines])  # RMS keeps the means, makes the size 1
    np.testing.assert_allclose(sizes, 1.0, 0, 0.12)
    assert max(abs(moments(line)[0]) for line in after[2].lines) > 0.2
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    assert file.getvalue()[:4] == b"\x89PNG"


@pytest.mark.covers("N01", "N03")
def test_cells_of_one_colour_share_their_statistics() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    figure = aj.inspection.distributions(x)
    pictures = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes[:6]}
    colours = {title: [[tuple(cell) for cell in row] for row in picture] for title, picture in pictures.items()}
    assert all(len({row[c] for row in colours["batch"]}) == 1 for c in range(4))
    assert len(set(colours["batch"][0])) == 4
    assert all(len(set(row)) == 1 for row in colours["layer"])
    assert all((row[0] == row[1], row[2] == row[3], row[0] != row[2]) == (True,) * 3 for row in colours["group"])


@pytest.mark.parametrize(("shape", "groups"), [((4, 3), 1), ((4, 3, 5), 2)])
def test_errors(shape: tuple[int, ...], groups: int) -> None:
    with pytest.raises(aj.ShapeError, match=r"distributions: x is \(n, C, …\)"):
        aj.inspection.distributions(np.ones(shape), groups)
