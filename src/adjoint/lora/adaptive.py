"""AdaLoRA: ranks that are given to the layers that need them, while the budget of them all shrinks.

Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning" (arXiv 2303.10512); the order of
sums and the rounding of the budget are those of PEFT's RankAllocator.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, backend
from adjoint.lora.adapters import AdaLoRA
from adjoint.lora.layers import adapted_layers
from adjoint.nn.module import Module

M = TypeVar("M", bound=Module)
PARTS = ("lora_A", "lora_E", "lora_B")


class ScheduleWarning(UserWarning):
    """A schedule by which ranks are never given up, or not as many as were asked for.

    >>> import adjoint as aj
    >>> issubclass(aj.lora.ScheduleWarning, UserWarning)
    True
    """


class Allocator:
    """Sets the least important singular values of AdaLoRA adapters to zero, step by step, until a budget is met.

    Over `total` steps the budget of ranks, b₀ in all layers together, stays b₀ for `initial` of them, then falls to
    `target_rank` times the number of layers as (1 - t)³ of what is to go, every `every` steps, and stays for the last
    `final`. A triplet's importance is that of its singular value plus the mean of those of its vectors' entries; an
    entry's is the product of moving averages of its sensitivity |p · ∂loss/∂p| (β₁) and of how uncertain that is (β₂).

    `update(net, grads)` is called after each step of the optimizer, with the gradients of that step. At the step
    total - final the ranks are settled; `compact` then frees the memory of those given up. Raises ValueError for
    numbers that make no schedule, and for a network without AdaLoRA adapters; warns (`ScheduleWarning`) where nothing
    can be given up: initial + final ≥ total, no step at which `every` falls, or a target that is not below the rank.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.lora.add(aj.nn.MLP((8, 8, 8), rng=0), rank=4, adalora=True, rng=0)
    >>> allocator = Allocator(net, target_rank=2, total=10)
    >>> [allocator.budget(step)[0] for step in (0, 1, 5, 10)]
    [8, 6, 4, 4]
    """

    def __init__(
        self, net: Module, target_rank: int, total: int, *, initial: int = 0, final: int = 0, every: int = 1,
        beta1: float = 0.85, beta2: float = 0.85, name: str = "default",
    ) -> None:  # fmt: skip
        for what, value, least in (("target_rank", target_rank, 1), ("total", total, 1), ("every", every, 1),
                                   ("initial", initial, 0), ("final", final, 0)):  # fmt: skip
            if type(value) is not int or value < least:
                raise ValueError(f"Allocator: {what} is an integer of at least {least}, not {value!r}.")
        if not (0.0 < beta1 < 1.0 and 0.0 < beta2 < 1.0):
            raise ValueError(f"Allocator: beta1 and beta2 lie between 0 and 1, unlike {beta1!r} and {beta2!r}.")
        self.name, self.target_rank, self.total = name, target_rank, total
        self.initial, self.final, self.every = initial, final, every
        self.beta1, self.beta2 = beta1, beta2
        self.step = 0
        self.ranks: dict[str, tuple[bool, ...]] = {}
        self._averages: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        adapters = dict(_adapters(net, name))
        if not adapters:
            raise ValueError(
                f"Allocator: {type(net).__name__} has no AdaLoRA adapter {name!r}: lora.add(adalora=True)."
            )
        self.start = sum(adapter.rank for adapter in adapters.values())
        self.end = target_rank * len(adapters)
        self._warn()

    def _warn(self) -> None:
        last = self.total - self.final
        told = ""
        if self.end >= self.start:
            told = f"the target of {self.end} ranks in all is not below the {self.start} that there are"
        elif self.initial + self.final >= self.total:
            told = f"initial + final = {self.initial} + {self.final} leaves none of the {self.total} steps for it"
        if told:
            warnings.warn(f"Allocator: no rank can ever be given up: {told}.", ScheduleWarning, stacklevel=3)
        elif last - self.initial > 1 and not any(t % self.every == 0 for t in range(self.initial + 1, last)):
            warnings.warn(
                f"Allocator: every={self.every} falls on none of the steps {self.initial + 1} to {last - 1}, so that "
                f"all ranks are given up at once, at step {last}.", ScheduleWarning, stacklevel=3,
            )  # fmt: skip

    def budget(self, step: int) -> tuple[int, bool]:
        """(how many ranks there may be at a step, whether some are given up there)."""
        if step <= self.initial:
            return self.start, False
        if step > self.total - self.final:
            return self.end, True
        left = 1 - (step - self.initial) / (self.total - self.final - self.initial)
        return int((self.start - self.end) * left**3 + self.end), step % self.every == 0

    def update(self, net: M, grads: Any) -> int:
        """Take note of a step's gradients and set singular values to zero where it is time; the budget now.

        `grads` are the gradients with respect to the network. In place: the network's lora_E are other arrays then.
        """
        step, settled = self.step, self.total - self.final
        self.step += 1
        adapters = dict(_adapters(net, self.name))
        if step < settled:
            self._observe(adapters, dict(_adapters(grads, self.name)))
        count, now = self.budget(step)
        if step < settled and now:
            self._prune(adapters, count)
        elif step == settled:
            self._prune(adapters, count)
            self._averages = {}
        elif step > settled:
            for key, adapter in adapters.items():
                if key in self.ranks:
                    there = adapter.kept or (True,) * adapter.rank  # after `compact` the others are gone
                    kept = [stays for stays, left in zip(self.ranks[key], there, strict=True) if left]
                    _mask(adapter, np.array(kept, bool))
        return count

    def _observe(self, adapters: dict[str, AdaLoRA], grads: dict[str, Any]) -> None:
        for key, adapter in adapters.items():
            for part in PARTS:
                grad = getattr(grads.get(key), part, None)
                if grad is None:
                    raise ValueError(f"Allocator: the gradients have none of {part} in {key}: is the adapter frozen?")
                p, g = _host(getattr(adapter, part)), _host(grad)
                if p.shape != self._averages.get((key, part), (p,))[0].shape:
                    raise ValueError(
                        f"Allocator: {part} of {key} has another shape than before: compact when the ranks are "
                        f"settled, after step {self.total - self.final}."
                    )
                now = np.abs(p * g)
                smooth, unsure = self._averages.get((key, part), (np.zeros_like(now), np.zeros_like(now)))
                smooth = self.beta1 * smooth + (1 - self.beta1) * now
                unsure = self.beta2 * unsure + (1 - self.beta2) * np.abs(now - smooth)
                self._averages[key, part] = smooth, unsure

    def importance(self, key: str) -> np.ndarray:
        """The importance of each triplet of a layer, after `update`.

        Raises KeyError for a layer that was not observed.
        """
        A, E, B = (smooth * unsure for smooth, unsure in (self._averages[key, part] for part in PARTS))
        result: np.ndarray = E[:, 0] + (A.mean(1) + B.mean(0))
        return result

    def state_dict(self) -> dict[str, np.ndarray]:
        """The arrays from which `load_state_dict` goes on: the step, the averages, the ranks that are left."""
        state: dict[str, np.ndarray] = {"step": np.array(self.step)}
        for (key, part), (smooth, unsure) in self._averages.items():
            state |= {f"{key}.{part}.smooth": smooth, f"{key}.{part}.unsure": unsure}
        return state | {f"{key}.lora_E.kept": np.array(kept) for key, kept in self.ranks.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`. Raises KeyError where it is of something else."""
        found: dict[str, dict[tuple[str, str], np.ndarray]] = {"smooth": {}, "unsure": {}, "kept": {}}
        for name in state.keys() - {"step"}:
            key, part, what = name.rsplit(".", 2)
            found[what][key, part] = np.array(state[name])
        averages = {place: (smooth, found["unsure"][place]) for place, smooth in found["smooth"].items()}
        self.step, self._averages = int(state["step"]), averages
        self.ranks = {key: tuple(bool(x) for x in kept) for (key, _), kept in found["kept"].items()}

    def __repr__(self) -> str:
        names = ("target_rank", "total", "initial", "final", "every", "beta1", "beta2")
        return f"Allocator({', '.join(f'{name}={getattr(self, name)}' for name in names)})"

    def _prune(self, adapters: dict[str, AdaLoRA], count: int) -> None:
        if self.start <= count or not self._averages:
            return
        scores = {key: self.importance(key) for key in adapters}
        every = np.sort(np.concatenate([*scores.values()]))
        threshold = every[self.start - count - 1]
        for key, adapter in adapters.items():
            kept = scores[key] > threshold
            self.ranks[key] = tuple(bool(x) for x in kept)
            _mask(adapter, kept)


def orthogonality(net: Module, name: str = "default") -> Array:
    """The mean of ‖PᵀP - I‖ and ‖QQᵀ - I‖ (Frobenius) over all AdaLoRA adapters; 0.5 times it joins the loss.

    >>> import adjoint as aj
    >>> net = aj.lora.add(aj.nn.Linear(8, 8, dtype="float64"), rank=4, adalora=True, rng=0)
    >>> adapter = net.adapters["default"]
    >>> adapter.lora_A, adapter.lora_B = np.eye(4, 8), np.eye(8, 4)
    >>> float(aj.lora.orthogonality(net))
    0.0
    """
    terms = []
    for _, adapter in _adapters(net, name):
        for vectors in (adapter.lora_A, xp.swapaxes(adapter.lora_B, 0, 1)):
            gram = xp.linear(vectors, vectors)
            terms.append(xp.norm(gram - xp.asarray(gram, np.eye(adapter.rank), gram.dtype)))
    if not terms:
        raise ValueError(f"orthogonality: {type(net).__name__} has no AdaLoRA adapter {name!r}.")
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total / len(terms)


def compact(net: M, name: str = "default") -> M:
    """Free what AdaLoRA gave up: vectors whose singular value is zero leave the arrays; returns the network.

    The function stays the same, to the bit where none but whole triplets are left out. What is in an optimizer's state
    for the old shapes does not fit afterwards: begin a new one.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.lora.add(aj.nn.Linear(8, 8), rank=4, adalora=True, rng=0)
    >>> net.adapters["default"].lora_E = np.array([[1.0], [0.0], [2.0], [0.0]], "float32")
    >>> aj.lora.compact(net).adapters["default"].lora_B.shape
    (8, 2)
    """
    for _, adapter in _adapters(net, name):
        stays = _host(adapter.lora_E)[:, 0] != 0.0
        if stays.all():
            continue
        places = np.flatnonzero(stays)
        before = (True,) * adapter.rank if adapter.kept is None else adapter.kept
        left = iter(stays)
        adapter.kept = tuple(bool(next(left)) if was else False for was in before)
        adapter.lora_A = xp.copy(xp.take(adapter.lora_A, places, 0))
        adapter.lora_E = xp.copy(xp.take(adapter.lora_E, places, 0))
        adapter.lora_B = xp.copy(xp.take(adapter.lora_B, places, 1))
    return net


def _adapters(net: Any, name: str) -> Iterator[tuple[str, AdaLoRA]]:
    for key, layer in adapted_layers(net).items():
        adapter = layer.adapters.get(name)
        if isinstance(adapter, AdaLoRA):
            yield key, adapter


def _host(x: Array) -> np.ndarray:
    return np.asarray(backend(type(x)).to_numpy(x), "float64")


def _mask(adapter: AdaLoRA, kept: np.ndarray) -> None:
    """Set the singular values that are not kept to zero."""
    E = adapter.lora_E
    adapter.lora_E = xp.where(xp.asarray(E, kept[:, None]), E, xp.zeros_like(E))
