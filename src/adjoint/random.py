"""Random numbers from keys: one key always draws the same numbers, on every backend and inside compiled programs.

A key is spent by one use; `split` makes new ones of it. Modules with dropout hold theirs.

>>> import adjoint as aj
>>> key, now = aj.random.split(aj.random.key(seed=0))
>>> aj.random.normal(now, (2, 3)).shape
(2, 3)
"""

from adjoint.arrays.random import categorical as categorical
from adjoint.arrays.random import fold_in as fold_in
from adjoint.arrays.random import make_key as key
from adjoint.arrays.random import random_normal as normal
from adjoint.arrays.random import random_uniform as uniform
from adjoint.arrays.random import split_key as split

__all__ = ["categorical", "fold_in", "key", "normal", "split", "uniform"]
