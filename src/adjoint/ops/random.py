"""Random numbers: constants for every derivative, since their keys are integers."""

from adjoint import arrays as xp
from adjoint.ops.define import constant

for draw in (xp.random_bits, xp.random_mask):
    constant(draw)
