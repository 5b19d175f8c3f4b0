"""What of ONNX is known and what is not: docs/onnx.md, written from the claim itself and from onnx's definitions."""

from __future__ import annotations

import textwrap

from adjoint.interop.onnx.operators import OPERATORS

TEXT = """\
# ONNX files

    net = aj.interop.onnx.from_onnx("model.onnx")  # needs the package onnx: pip install 'adjoint[onnx]'

The graph of the file as operations of this library: floating initializers are parameters under their names, running
statistics are buffers, integers are constants. Files of version 7 to {latest} of ONNX's operators are read, at the
version that each names. Values that decide shapes are NumPy's, so that a network whose shapes are known runs under
`jax.jit` and on arrays that only have shapes. Where a loop ends and which branch is taken must be known while it runs.

What is piecewise constant (rounding, comparisons, positions of the largest) has derivative 0. So have the quantizing
operators; the region of `Resize` counts as a constant. Files in training mode (`Dropout`) are refused.

A file that needs an operator which is not known is refused as it is read, with the node's name and place.

## Known: {known} of the {all} operators of version {latest}, and {older} of earlier ones

{claimed}

## Not known

{unclaimed}

Nor are the operators of other domains (`ai.onnx.ml`, `ai.onnx.preview`, `com.microsoft`), text, and sparse tensors.
"""


def document() -> str:
    """The page docs/onnx.md."""
    from onnx import defs

    every = {s.name for s in defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    known = sorted(every & set(OPERATORS))
    older = sorted(set(OPERATORS) - every)
    names = ", ".join(known) + ". Of earlier versions: " + ", ".join(older) + "."
    return TEXT.format(
        latest=defs.onnx_opset_version(),
        known=len(known),
        all=len(every),
        older=len(older),
        claimed=textwrap.fill(names, 120),
        unclaimed=textwrap.fill(", ".join(sorted(every - set(OPERATORS))) + ".", 120),
    )
