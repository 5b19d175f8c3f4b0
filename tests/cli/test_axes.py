"""Logarithmic axes: whatever a plot spans, there are ticks to read it by, and they tell themselves apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from adjoint.cli.report.axes import logarithmic

LOWEST = st.floats(1e-30, 1e30)
TIMES = st.one_of(st.just(1.0), st.floats(1.00001, 1.001), st.floats(1.001, 100), st.floats(100, 1e12))


def told(low: float, high: float, most: int) -> list[str]:
    """The words at the ticks that are in view, from the lower end to the upper."""
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([low, high])
    logarithmic(axes, "y", most)
    figure.draw_without_rendering()
    ends = axes.get_ylim()
    assert ends[0] <= low <= high <= ends[1]
    return [x.get_text() for x in axes.get_yticklabels() if ends[0] <= x.get_position()[1] <= ends[1]]


@given(low=LOWEST, times=TIMES, most=st.integers(4, 8))
@example(low=9.4e-5, times=2.3, most=7)
@example(low=1.0, times=1.0, most=5)
@example(low=999.7, times=1.0001, most=5)
def test_any_span_can_be_read(low: float, times: float, most: int) -> None:
    words = told(low, low * times, most)
    assert 3 <= len(words) == len(set(words)) <= 8


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.02, 1e5, ["0.01", "1", "100", "10⁴"]),
        (2e8, 6e9, ["3·10⁸", "10⁹", "3·10⁹"]),
        (1.2e-4, 9e-4, ["2·10⁻⁴", "4·10⁻⁴", "6·10⁻⁴", "8·10⁻⁴"]),
    ],
)
def test_what_is_told(low: float, high: float, words: list[str]) -> None:
    assert told(low, high, 5) == words
