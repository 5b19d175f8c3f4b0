"""Real data: the data set record, scikit-learn's digits, MNIST and the idx files it comes in.

>>> import adjoint as aj
>>> train, test = aj.data.digits().split(test=0.2, seed=0)
>>> len(train), len(test)
(1438, 359)
"""

from __future__ import annotations

from .dataset import Dataset
from .digits import digits
from .errors import DataError
from .idx import read_idx
from .mnist import mnist
from .rounds import Rounds
from .text import Alphabet, characters, windows

__all__ = ["Alphabet", "DataError", "Dataset", "Rounds", "characters", "digits", "mnist", "read_idx", "windows"]
