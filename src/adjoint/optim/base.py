"""What all optimizers share: trees that hold a network's moments; a step gives the next network and optimizer."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import InitVar, dataclass, field, fields
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array, strangers
from adjoint.errors import BackendError, ShapeError
from adjoint.nn.module import Module
from adjoint.optim.groups import Group, Part, names_of, parted
from adjoint.trees import Structure, differentiable

States = dict[str, list[Array] | None]

_UNLIKE = (
    "the gradients are no tree like the network: take them of this very network, with the same parts frozen and in the "
    "same mode (train or eval)."
)


def _numbers(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """The leaves, Python's numbers as NumPy's: transforms take them so, too."""
    return tuple([np.float64(x) if type(x) is float else x for x in leaves])


def _remedy(structure: Structure) -> str:
    """What to do about a network that has nothing to learn."""
    kinds = {str(x.dtype) if is_array(x) else type(x).__name__ for x in structure.fixed if not differentiable(x)}
    if not kinds:
        return "unfreeze a part of it"
    return f"only floating numbers learn, not {', '.join(sorted(kinds))}: cast, for instance x.astype('float32')"


@functools.cache
def _asked(rule: Callable[..., Any]) -> tuple[str, ...]:
    """What an update asks for by name: the learning rate, the number of the step, options of its optimizer."""
    return tuple(p.name for p in inspect.signature(rule).parameters.values() if p.kind is p.KEYWORD_ONLY)


@dataclass_transform(eq_default=False, field_specifiers=(field,))
@dataclass(repr=False, eq=False)
class Optimizer(Module):
    """What all optimizers share: each is a dataclass of its options, with the names of its states and its rule.

    The rule takes lists of parameters, gradients and of each state, and by name what it asks for: `lr`, `t` (the number
    of the step, from 1), options. `maximize` climbs. `groups` are for parts of the network: mappings with "params" (a
    name, a glob, several, or a predicate of name and array; the first group that matches counts), options that differ,
    and "optimizer" where another rule is wanted. A schedule's rate is the optimizer's own; those of groups keep their
    ratio to it.

    Raises ValueError where an option cannot be, or where the network has nothing to learn.

    >>> import numpy as np, adjoint as aj
    >>> class SignDescent(aj.optim.Optimizer):
    ...     rule = staticmethod(lambda params, grads, *, lr: ([p - lr * np.sign(g) for p, g in zip(params, grads)],))
    >>> net, grads = {"w": np.array([1.0]), "b": np.array([1.0])}, {"w": np.array([2.0]), "b": np.array([2.0])}
    >>> SignDescent(net, lr=0.5, groups=[{"params": "b", "lr": 0.1}]).step(net, grads)[0]
    {'w': array([0.5]), 'b': array([0.9])}
    """

    net: InitVar[Any]
    lr: float = 1e-3
    maximize: bool = field(default=False, kw_only=True)
    groups: InitVar[Sequence[Group]] = field(default=(), kw_only=True)

    states: ClassVar[tuple[str, ...]] = ()
    rule: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(repr=False, eq=False)(cls)

    def __post_init__(self, net: Any, groups: Sequence[Group]) -> None:
        structure = Structure(net)
        try:
            own, *others = parted(structure, groups)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from None
        params = _numbers(structure.own())
        if not params:
            raise ValueError(f"{type(self).__name__}: the network has no trainable array; {_remedy(structure)}.")
        mine = {name: params[k] for name, k in zip(own.names, own.places, strict=True)}
        self.check(mine)
        self.__dict__.update(self.begin(list(mine.values())))
        self.t = xp.zeros(params[0], (), "int32")
        self.shares = (own, *others) if others else ()
        self.parts = [self._other(part, params) for part in others]

    def _other(self, part: Part, params: Sequence[Array]) -> Optimizer:
        kind = part.settings.pop("optimizer", type(self))
        same = {name: getattr(self, name) for name in self._options()} if kind is type(self) else {}
        tree = OrderedDict((name, params[k]) for name, k in zip(part.names, part.places, strict=True))
        made: Optimizer = kind(tree, **{**same, **part.settings})
        return made

    @classmethod
    def _options(cls) -> tuple[str, ...]:
        return tuple(f.name for f in sorted(fields(cls), key=lambda f: bool(f.kw_only)))

    def check(self, params: dict[str, Array]) -> None:
        """Raise ValueError where an option, or one of the named parameters, does not suit the rule."""
        lr: Any = self.lr
        if not (isinstance(lr, (int, float)) or is_array(lr)):
            raise ValueError(f"{type(self).__name__}: lr is a number, not {lr!r}.")
        at_least_0 = {k: v for k in ("lr", "weight_decay", "eps", "momentum") if (v := getattr(self, k, 0.0)) != 0.0}
        if any(isinstance(v, (int, float)) and not v >= 0 for v in at_least_0.values()):
            raise ValueError(f"{type(self).__name__}: options are at least 0, got {at_least_0}.")
        betas = getattr(self, "betas", ())
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{type(self).__name__}: betas lie in [0, 1), got {betas}.")

    def begin(self, params: list[Array]) -> States:
        """The states before the first step, by name: zeros in the parameters' shapes."""
        return {name: [xp.zeros_like(p) for p in params] for name in self.states}

    def asked(self, t: Any, lr: Any) -> dict[str, Any]:
        """What the rule asks for by name."""
        wanted = {name: getattr(self, name) for name in _asked(self.rule)}
        wanted["lr"] = lr
        if "t" in wanted:
            wanted["t"] = t
        return wanted

    def step(self, net: Any, grads: Any, lr: Any = None) -> tuple[Any, Any]:
        """(the network after the step, the optimizer after it); lr overrides the optimizer's own for this step.

        On NumPy and PyTorch the arrays are updated in place and `net` itself is returned; on JAX both are new. Python's
        floats come back as NumPy's. Either way, go on with what is returned. Raises ValueError, ShapeError or
        BackendError, naming the parameter, where the gradients are not those of this network.
        """
        structure = Structure(net)
        try:
            params, found = _numbers(structure.own()), _numbers(structure.leaves(grads))
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}.step: {_UNLIKE}") from error
        if len(found) != len(params) or [g for g in found if g is None]:
            raise ValueError(f"{type(self).__name__}.step: {_UNLIKE}")
        if [g for p, g in zip(params, found, strict=True) if type(g) is not type(p) or g.shape != p.shape]:
            self._compare(structure, params, found)
        own = list(params)
        new, after = (self._parted if self.parts else self._moved)(own, list(found), self.lr if lr is None else lr)
        if new is own or all(a is b for a, b in zip(new, params, strict=True)):
            return net, after
        return structure.whole(new), after

    def _compare(self, structure: Structure, params: Sequence[Array], grads: Sequence[Any]) -> None:
        """Raise ShapeError or BackendError for the first gradient that is none of its parameter."""
        for names, p, g in zip(names_of(structure), params, grads, strict=True):
            what = f"{type(self).__name__}.step: the gradient of {names[0] or 'the array'}"
            if not is_array(g) or tuple(g.shape) != tuple(p.shape):
                shape = tuple(g.shape) if is_array(g) else f"of type {type(g).__name__}"
                raise ShapeError(f"{what} is {shape}, the parameter {tuple(p.shape)}: both have one shape.")
            if both := strangers(g, p):
                raise BackendError(f"{what} and the parameter are arrays of {both}: move one by aj.to(x, backend).")

    def _parted(self, params: list[Array], grads: list[Array], lr: Any) -> tuple[list[Array], Any]:
        new, parts = list(params), []
        for part, share in zip((self, *self.parts), self.shares, strict=True):
            if not share.places:
                parts.append(copy(part))
                continue
            rate = part.lr if lr is self.lr else lr * (part.lr / self.lr) if self.lr else lr
            mine, theirs = ([xs[k] for k in share.places] for xs in (params, grads))
            moved, after = part._moved(mine, theirs, rate)
            for k, x in zip(share.places, moved, strict=True):
                new[k] = x
            parts.append(after)
        parts[0].__dict__["parts"] = parts[1:]
        return new, parts[0]

    def _moved(self, params: list[Array], grads: list[Array], lr: Any) -> tuple[list[Array], Any]:
        t, held = self.t + 1, self.__dict__
        if self.maximize:
            grads = [-g for g in grads]
        names = self.states
        given = [held[name] for name in names]
        if [xs for xs in given if xs and type(xs[0]) is not type(params[0])]:
            self._at_home(params)
        new, *states = self.rule(params, grads, *given, **self.asked(t, lr))
        after = object.__new__(type(self))
        after.__dict__.update(held)
        after.__dict__.update(zip(names, states, strict=True), t=t)
        return new, after

    def _at_home(self, params: Sequence[Array]) -> None:
        """Raise BackendError where the optimizer's own arrays cannot meet the parameters."""
        pairs = ((p, x) for name in self.states for p, x in zip(params, getattr(self, name) or (), strict=False))
        if both := next((found for p, x in pairs if is_array(x) and (found := strangers(x, p))), ""):
            raise BackendError(
                f"{type(self).__name__}.step: its own arrays and the network's are of {both}: make the optimizer for "
                "the network after it was moved."
            )

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._options())
        if not self.parts:
            return f"{type(self).__name__}({options})"
        pairs = zip(self.shares[1:], self.parts, strict=True)
        others = "".join(f"\n  ({', '.join(share.names)}): {part!r}" for share, part in pairs)
        return f"{type(self).__name__}({options}{others}\n)"
