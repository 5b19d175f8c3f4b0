"""A program of this library as PyTorch's autograd sees it: its backward is the pullback, of any order."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from adjoint import arrays as xp
from adjoint.recording import Recording
from adjoint.transforms import pulled, vjp

Program = Callable[..., tuple[tuple[Any, ...], Any]]


class Kept:
    """A run of a program with its maps, and the other things that it returned."""

    def __init__(self, f: Program, xs: Sequence[torch.Tensor]) -> None:
        with Recording(f, xs, range(len(xs)), has_aux=True) as run:
            run.keep = True  # only from here on: the tensors are no copies, but verified at every use
        if run.tape.held:
            weakref.finalize(self, run.tape.release)
        self.run = run
        self.values = tuple([run.value(y) for y in run.result])
        self.rest = run.value(run.aux)

    def pull(self, us: Sequence[Any], last: bool) -> tuple[Any, ...]:
        """Cotangents of the tensors; the maps are let go of where this use is the `last`."""
        edges = self.run.edges
        if last:
            self.run.edges = []
        return pulled(self.run, edges if last else list(edges), self.run.result, us)


class Derived(torch.autograd.Function):
    """xs ↦ the floating results of a program; where backward is to have a derivative itself, it is such a program."""

    @staticmethod
    def forward(ctx: Any, f: Program, rest: list[Any], *xs: torch.Tensor) -> tuple[Any, ...]:
        """The results; what else the program returned is put into `rest`."""
        kept = Kept(f, xs)
        rest.append(kept.rest)
        ctx.f, ctx.kept = f, kept
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*xs, *kept.values)  # PyTorch says so when they were changed, or let go of
        return kept.values

    @staticmethod
    def backward(ctx: Any, *us: Any) -> tuple[Any, ...]:
        """The pullback."""
        xs = ctx.saved_tensors[: len(ctx.needs_input_grad) - 2]
        if all(u is None for u in us):
            return (None,) * len(ctx.needs_input_grad)
        if torch.is_grad_enabled():
            given = [k for k, u in enumerate(us) if u is not None]
            found = derived(_pullback(ctx.f, len(xs), given), [], *xs, *[us[k] for k in given])
        else:
            found = ctx.kept.pull(us, not torch._C._autograd._get_current_graph_task_keep_graph())
        return None, None, *found


derived: Callable[..., tuple[Any, ...]] = Derived.apply


def _pullback(f: Program, n: int, given: Sequence[int]) -> Program:
    """(*xs, *us) ↦ the cotangents of xs, for cotangents of those results of f that are given."""

    def back(*both: Any) -> tuple[tuple[Any, ...], Any]:
        values, pullback, _ = vjp(f, *both[:n], has_aux=True)
        us = [xp.zeros_like(y) for y in values]
        for k, u in zip(given, both[n:], strict=True):
            us[k] = u
        return pullback(tuple(us)), None

    return back
