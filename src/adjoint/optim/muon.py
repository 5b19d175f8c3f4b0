"""Muon: momentum, orthogonalized."""

from __future__ import annotations

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.optim.base import Optimizer


class Muon(Optimizer):
    """Momentum whose singular values are all brought near 1 by Newton–Schulz steps (Jordan et al. 2024), as PyTorch's.

    For the matrices inside a network; what is no matrix (biases, gains), and by custom the embedding and the last
    layer, go to another rule by a group. Raises ValueError for a parameter that is no matrix. In PyTorch the steps run
    in bfloat16, here in the parameters' own dtype, float32 at least.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((3, 4, 2), rng=0)
    >>> others = {"params": lambda name, p: p.ndim != 2, "optimizer": aj.optim.AdamW, "lr": 3e-4}
    >>> opt = aj.optim.Muon(net, lr=0.02, groups=[others])
    >>> [type(part).__name__ for part in opt.parts]
    ['AdamW']
    """

    lr: float = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None

    states = ("first",)
    rule = staticmethod(xp.muon_update)

    def check(self, params: dict[str, Array]) -> None:
        super().check(params)
        if self.adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust_lr_fn is 'original' or 'match_rms_adamw', not {self.adjust_lr_fn!r}.")
        for name, p in params.items():
            if len(p.shape) != 2:
                raise ValueError(
                    f"Muon: {name} has shape {tuple(p.shape)} and is no matrix: give such parameters to another rule, "
                    'groups=[{"params": lambda name, p: p.ndim != 2, "optimizer": aj.optim.AdamW, "lr": 3e-4}].'
                )
