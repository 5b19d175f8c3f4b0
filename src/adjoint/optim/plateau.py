"""A learning rate that falls where a measure no longer gets better."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plateau:
    """A rate that is multiplied by `factor` after more than `patience` values without a better one.

    `update(value)` gives the next state; `lr` is the rate now. Better is less (mode "min") or more ("max") than the
    best by a `threshold`, relative ("rel") or absolute ("abs"). After a fall, `cooldown` values do not count.
    PyTorch's ReduceLROnPlateau.

    >>> import adjoint as aj
    >>> plateau = aj.optim.Plateau(lr=0.1, patience=1)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     plateau = plateau.update(loss)
    >>> round(plateau.lr, 6)
    0.01
    """

    lr: float
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8
    best: float | None = None
    bad: int = 0
    cooling: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max") or self.threshold_mode not in ("rel", "abs") or not 0 <= self.factor < 1:
            raise ValueError(
                f"Plateau: mode={self.mode!r} is 'min' or 'max', threshold_mode={self.threshold_mode!r} is 'rel' or "
                f"'abs', and factor={self.factor} lies in [0, 1)."
            )

    def update(self, value: float) -> Plateau:
        """The state after one more value of the measure."""
        value = float(value)
        better = self._better(value)
        bad = 0 if better or self.cooling else self.bad + 1
        falls = bad > self.patience
        lower = max(self.lr * self.factor, self.min_lr)
        return dataclasses.replace(
            self,
            lr=lower if falls and self.lr - lower > self.eps else self.lr,
            best=value if better else self.best,
            bad=0 if falls else bad,
            cooling=self.cooldown if falls else max(0, self.cooling - 1),
        )

    def _better(self, value: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        best = sign * math.inf if self.best is None else self.best
        if self.threshold_mode == "rel":
            return sign * value < sign * best * (1.0 - sign * self.threshold)
        return sign * value < sign * best - self.threshold
