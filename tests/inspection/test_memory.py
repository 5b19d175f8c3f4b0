"""What an inspection takes beside the model, measured in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from adjoint.inspection import circuits
from adjoint.inspection.weight import BLOCK
from adjoint.maps.spectra import symbol

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
SCRIPT = """
import sys
import numpy as np
import adjoint as aj

def memory(what):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(what))

shape, dtype = tuple(map(int, sys.argv[1].split("x"))), sys.argv[2]
if dtype == "heads":
    model = aj.nn.MultiheadAttention(*shape, rng=0)
    x = model.in_proj_weight
else:
    x, rng = np.empty(shape, dtype), np.random.default_rng(0)
    for row in x:
        row[...] = rng.standard_normal(shape[1:])
    model = {"w": x}
for _ in range(2):  # once to load and to compile what is needed, then to measure
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is what there is now
    before = memory("VmRSS")
    report = aj.inspect(model, jobs=1, cache=False)
    assert report.rows[0].rank is not None, report.skipped
print(memory("VmHWM") - before, x.nbytes)
"""
SLACK = 4 << 20  # of the interpreter and its allocators


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [("2304x2304", "float32"), ("40000x160", "float32"), ("160x40000", "float32"), ("700x800", "float64")],
)
def test_twice_the_largest_layer_is_enough(shape: str, dtype: str) -> None:
    used, layer = measured(shape, dtype)
    blocks = 8 * 3 * BLOCK
    assert used <= 2 * layer + blocks + SLACK


def test_kernels_take_a_few_symbols_at_a_time() -> None:
    used, layer = measured("320x320x3x3", "float32")
    assert used <= 2 * layer + 16 * 6 * symbol.BLOCK + 8 * 3 * BLOCK + SLACK


def test_circuits_take_a_few_heads_at_a_time() -> None:
    used, layer = measured("1024x16", "heads")
    assert used <= 2 * layer + 8 * (6 * circuits.BLOCK + 3 * BLOCK) + SLACK


def measured(shape: str, dtype: str) -> tuple[int, int]:
    """(bytes beside the model, bytes of the layer)."""
    fixed = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}  # what is freed is given back
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, shape, dtype],
        capture_output=True, text=True, check=True, env=os.environ | fixed,
    )  # fmt: skip
    used, layer = map(int, done.stdout.split())
    return used, layer
