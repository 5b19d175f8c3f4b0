"""One block of a network as gradients meet it: how large they come and go, and how much its Jacobian lets grow."""

from __future__ import annotations

from dataclasses import dataclass

from adjoint.inspection.row import UNKNOWN


@dataclass(frozen=True)
class Block:
    """A block at the sample's examples; figures are medians over them.

    `name`, `kind`: its dotted name and class. `activation`: √(mean y²) of its output y. `gradient_in`, `gradient`: the
    norm of the gradient at its input and at its output. `norm`: σ₁ of its Jacobian J, `bound` how far that may be off,
    `method` how it was found. `gain`: the mean σ², ‖J‖_F²/n for n input numbers, `gain_error` its standard error (0
    where it is exact). `growth`: ‖J‖_F/√m for m output numbers, how much a gradient of random direction grows on its
    way back through the block. `product`: that of the growths from the network's output back to the block's input,
    `most` that of the σ₁. `factor`: its growth over the typical (geometric median) block's. `saturated`: the share of
    outputs of `Sigmoid` and `Tanh` modules in it whose slope is below 1/50 of the steepest, `dead` the share of the
    outputs of `ReLU` modules in it that are zero at all examples; NaN where it has none, and `dead` where the examples
    are fewer than 8. `nth`: the call's number, of a module that is used several times; `role`: what those blocks share
    that are compared; `examples`: at how many of the `of` examples, the first, the figures of J are found. `verdict` is
    what is wrong with it in a word or two, "" where nothing is: "explodes", "vanishes", "saturated", "dead".

    >>> Block("h.0", "Block", 1.0, 0.5, 0.4, norm=2.0, gain=1.2).gradient
    0.4
    """

    name: str
    kind: str
    activation: float
    gradient_in: float
    gradient: float
    norm: float = UNKNOWN
    bound: float = UNKNOWN
    method: str = ""
    gain: float = UNKNOWN
    gain_error: float = 0.0
    growth: float = UNKNOWN
    product: float = UNKNOWN
    most: float = UNKNOWN
    factor: float = UNKNOWN
    saturated: float = UNKNOWN
    dead: float = UNKNOWN
    verdict: str = ""
    nth: int = 0
    role: str = ""
    examples: int = 1
    of: int = 1
