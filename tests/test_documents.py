"""The code in README.md, CONTRIBUTING.md and docs/ runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTING = {
    "README.md": "import numpy as np, adjoint as aj\n",
    "CONTRIBUTING.md": """
import numpy as np, adjoint as aj
from adjoint.arrays.elementwise import *
from adjoint.maps.layout import *
from adjoint.ops.elementwise import Diagonal, elementwise, xp
""",
    "docs/cost.md": "",
    "docs/lora.md": "",
}
PROOF = {
    "README.md": "",
    "CONTRIBUTING.md": """
x = np.array([0.5, -1.3, 0.0, 800.0])
assert np.allclose(sech(x[:3]), 1 / np.cosh(x[:3])) and sech(x)[3] == 0
assert aj.check(sech, x).ok
assert np.isclose(aj.grad(aj.grad(sech))(0.0), -1)
even = Even((2, 5))
assert aj.check(even)
x, u = np.random.rand(2, 5), np.random.rand(2, 3)
assert np.isclose(np.sum((even @ x) * u), np.sum(x * (even.T @ u)))
assert even.dense().shape == (2, 3, 2, 5)
""",
    "docs/cost.md": """
assert str(growth.forward) == "36,864 T² + 247,064,064 T"
assert told.bounds["norms", "layer_norm"] == "memory"
""",
    "docs/lora.md": """
assert plan.parameters <= 2_000
assert right(tuned, unseen) > 0.8 > right(base, unseen)
assert small[0].base_layer.packed.nbytes <= 0.52 * 512 * 512
assert record.after.parameters <= 0.5 * record.before.parameters
assert right(slim, test) > 0.85
""",
}


def blocks(name: str) -> str:
    """The document's Python blocks, one after the other."""
    text = (ROOT / name).read_text()
    found = re.findall(r"^( *)```python\n(.*?)^\1```", text, re.M | re.S)
    code = "\n".join(re.sub(rf"^{indent}", "", body, flags=re.M) for indent, body in found)
    return code.replace("sech = elementwise(xp.sech,", "sech = elementwise(sech,")


@pytest.mark.parametrize("name", sorted(SETTING))
def test_code_runs(name: str, tmp_path: Path) -> None:
    script = tmp_path / "document.py"
    script.write_text(SETTING[name] + blocks(name) + PROOF[name])
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
