"""Weights by Hugging Face's names into a network: which array of a file is which of the network."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from adjoint.nn.module import Module
from adjoint.nn.ties import owned

ROWS = 1024  # compared at a time


@dataclass(frozen=True)
class Naming:
    """How the names in files differ from a network's own; a network's class says so in its attribute `naming`.

    `prefix`: what some files put before the names and others don't. `transposed`, `skipped`: regular expressions of the
    own names whose matrices stand (in, out) in files, and of names in files that are no parameters. `aliases`: other
    names under which files have an array. `respelled`: (pattern, replacement) after (pattern, replacement), as `re.sub`
    takes them, give all names as some files spell them.

    >>> naming = Naming(prefix="transformer.", skipped=r"h\\.\\d+\\.attn\\.bias")
    >>> naming.skips("transformer.h.0.attn.bias"), naming.skips("h.0.attn.c_attn.bias")
    (True, False)
    >>> Naming(respelled=((r"norm\\.weight$", "norm.gamma"),)).candidates("0.norm.weight")
    ['0.norm.weight', '0.norm.gamma']
    """

    prefix: str = ""
    transposed: str = r"(?!)"
    skipped: str = r"(?!)"
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    respelled: tuple[tuple[str, str], ...] = ()

    def skips(self, name: str) -> bool:
        """Whether a name in a file is that of no parameter."""
        return re.fullmatch(self.skipped, name.removeprefix(self.prefix)) is not None

    def candidates(self, own: str) -> list[str]:
        """The names that an array may have in a file, the likeliest first."""
        names = [own, *self.aliases.get(own, ())]
        spelled = own
        for pattern, replacement in self.respelled:
            spelled = re.sub(pattern, replacement, spelled)
        names += [spelled] if spelled != own else []
        if self.prefix:
            names += [x.removeprefix(self.prefix) if x.startswith(self.prefix) else self.prefix + x for x in names]
        return names


class Source(NamedTuple):
    """Where an array stands in a file: its name there, and whether its transpose does.

    >>> Source("h.0.mlp.c_fc.weight", True).shape((3, 12))
    (12, 3)
    """

    name: str
    transposed: bool = False

    def shape(self, own: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in the file of an array that has this one in the network."""
        return own[::-1] if self.transposed else own

    def taken(self, array: Any) -> Any:
        """The network's array from the file's (a view)."""
        return array.T if self.transposed else array


class Sources(NamedTuple):
    """A network's arrays in a file: `found` by own name; own names `missing`; names in the file that are `unexpected`,
    and those that are `skipped`, as they are no parameters or stand there twice.

    >>> import adjoint as aj
    >>> found = sources(aj.nn.Linear(2, 1), ["weight", "scale"])
    >>> found.found, found.missing, found.unexpected
    ({'weight': Source(name='weight', transposed=False)}, ('bias',), ('scale',))
    """

    found: dict[str, Source]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    skipped: tuple[str, ...]


def sources(net: Module, names: Iterable[str]) -> Sources:
    """Where each array of a network stands among the names of a file.

    Arrays that are tied may stand there under the names of all or of one.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4)
    >>> found = sources(net, ["wte.weight", "transformer.h.0.attn.c_attn.weight", "h.0.attn.bias"])
    >>> found.found["h.0.attn.c_attn.weight"], found.found["lm_head.weight"].name, found.skipped
    (Source(name='transformer.h.0.attn.c_attn.weight', transposed=True), 'wte.weight', ('h.0.attn.bias',))
    """
    naming: Naming = getattr(type(net), "naming", Naming())
    given = dict.fromkeys(names)
    own = net.state_dict()
    alike: dict[int, list[str]] = {}
    for name, array in own.items():
        alike.setdefault(id(array), []).append(name)
    found: dict[str, Source] = {}
    missing, known = [], set()
    for name, array in own.items():
        candidates = [x for tied in alike[id(array)] for x in naming.candidates(tied) if x in given]
        if candidates:
            found[name] = Source(candidates[0], re.fullmatch(naming.transposed, name) is not None)
            known.update(candidates)
        else:
            missing.append(name)
    used = {source.name for source in found.values()}
    skipped = [x for x in given if x not in used and (x in known or naming.skips(x))]
    unexpected = [x for x in given if x not in used and x not in skipped]
    return Sources(found, tuple(missing), tuple(unexpected), tuple(skipped))


def untie(net: Module, state: Mapping[str, Any]) -> bool:
    """Part the tied arrays of which a file has several that differ, as transformers does; whether there were any.

    A configuration may say that all are tied where what was trained is not: the file is believed.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4)
    >>> state = {"wte.weight": np.ones((5, 4)), "lm_head.weight": np.ones((5, 4))}
    >>> untie(net, state), untie(net, {**state, "lm_head.weight": np.zeros((5, 4))})
    (False, True)
    >>> sources(net, state).found["lm_head.weight"].name
    'lm_head.weight'
    """
    naming: Naming = getattr(type(net), "naming", Naming())
    first: dict[int, str] = {}
    parted = False
    for name, array in net.state_dict().items():
        given = next((x for x in naming.candidates(name) if x in state), None)
        if given is None:
            continue
        known = first.setdefault(id(array), given)
        if known != given and not _equal(state[known], state[given]):
            part, last = owned(net, name)
            setattr(part, last, copy.copy(array))
            parted = True
    return parted


def _equal(x: Any, y: Any) -> bool:
    if x is y:
        return True
    if tuple(x.shape) != tuple(y.shape):
        return False
    return all(bool((x[k : k + ROWS] == y[k : k + ROWS]).all()) for k in range(0, int(x.shape[0]), ROWS))


def load_checkpoint(net: Module, state: Mapping[str, Any], assign: bool = False) -> tuple[str, ...]:
    """Take over arrays that have Hugging Face's names and layout; the names passed over, as they are no parameters.

    Like `load_state_dict`: nothing is changed on any mismatch, and with `assign` the arrays become the network's own as
    they are. Raises KeyError naming missing and unexpected names, ShapeError naming the array.

    >>> import numpy as np, adjoint as aj
    >>> net, other = (aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=seed) for seed in (0, 1))
    >>> state = {f"transformer.{name}": w.T if ".c_" in name else w for name, w in other.state_dict().items()}
    >>> load_checkpoint(net, {**state, "transformer.h.0.attn.masked_bias": np.array(-1e4)})
    ('transformer.h.0.attn.masked_bias', 'transformer.lm_head.weight')
    >>> bool((net.h[0].attn.c_attn.weight == other.h[0].attn.c_attn.weight).all())
    True
    """
    where = sources(net, state)
    if where.missing or where.unexpected:
        raise KeyError(
            f"load_checkpoint: missing {list(where.missing) or 'none'}, unexpected {list(where.unexpected) or 'none'}."
        )
    if untie(net, state):
        where = sources(net, state)
    net.load_state_dict({own: x.taken(state[x.name]) for own, x in where.found.items()}, assign=assign)
    return tuple(sorted(where.skipped))
