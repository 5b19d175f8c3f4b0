"""Modules of this library in PyTorch: the same layers where PyTorch has them, else computed by their maps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    raise ImportError("to_torch needs PyTorch: pip install 'adjoint[torch]'.") from None

from adjoint.arrays.dispatch import backend as backend_of
from adjoint.arrays.dispatch import is_array, is_floating
from adjoint.arrays.shapes import like
from adjoint.errors import BackendError
from adjoint.interop.torch_function import derived
from adjoint.interop.torch_namesakes import Differs, namesake
from adjoint.nn import MLP, Sequential
from adjoint.nn.module import Module, to
from adjoint.nn.parts import is_child
from adjoint.ops.define import plain
from adjoint.trees import flatten
from adjoint.trees import map as tree_map


def to_torch(module: Module) -> torch.nn.Module:
    """The module in PyTorch: see `Module.to_torch`."""
    homes: dict[int, Any] = {}

    def home_of(part: Any) -> Any:
        if id(part) not in homes:
            homes[id(part)] = _home(part, home_of)
        return homes[id(part)]

    with torch.device("meta"):  # laid out without memory, and without drawing from PyTorch's generator
        home: torch.nn.Module = home_of(module)
    _Filling(home_of).fill(module, home, False, False, "")
    return home


class Computed(torch.nn.Module):
    """A module (or function) of this library in PyTorch: its own maps give the gradients, of any order.

    Parameters and buffers stand under the same names, and those parts that PyTorch knows are its own modules; only
    their arrays count, so hooks on them are not called. Dropout draws from its own key, a buffer.
    """

    def __init__(self, inner: Any, home_of: Callable[[Any], Any]) -> None:
        super().__init__()
        self._source = tree_map(like, inner) if isinstance(inner, Module) else inner  # its form; the arrays stand here
        if isinstance(inner, Module):
            self._modules.update({name: home_of(part) for name, part in _parts(inner) if not is_array(part)})

    def _get_name(self) -> str:
        return getattr(self._source, "__name__", type(self._source).__name__)

    def extra_repr(self) -> str:
        """That its gradients are this library's."""
        return "gradients by adjoint"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's value; buffers that it changed are this module's from now on; `torch.compile` leaves it out."""
        if torch.compiler.is_compiling():
            alone: Callable[..., Any] = torch.compiler.disable
            return alone(self.computed)(*args, **kwargs)
        return self.computed(*args, **kwargs)

    def computed(self, *args: Any, **kwargs: Any) -> Any:
        """The same, outside of PyTorch's compiler."""
        net = current(self._source, self)
        leaves, treedef = flatten((net, args, kwargs))

        def run(filled: list[Any]) -> tuple[Any, list[Any]]:
            live, args, kwargs = treedef.unflatten(filled)
            value = live(*args, **kwargs)
            return value, list(changed(live, net, self))

        learn = [x for x in leaves if isinstance(x, torch.Tensor) and x.requires_grad]
        places = {id(x): x for x in learn} if torch.is_grad_enabled() else {}
        if not places:
            with torch.no_grad():
                value, news = run(leaves)
        else:
            value, news = _differentiated(run, leaves, list(places.values()))
        for home, name, array in news:
            home._buffers[name] = array
        return value


def _differentiated(run: Any, leaves: list[Any], xs: list[torch.Tensor]) -> tuple[Any, list[Any]]:
    """The value of a run, derived in the tensors xs among its leaves, and the buffers that it changed."""
    numbers = {id(x): k for k, x in enumerate(xs)}
    places = [numbers.get(id(x)) for x in leaves]

    def program(*xs: Any) -> tuple[tuple[Any, ...], Any]:
        value, news = run([x if k is None else xs[k] for x, k in zip(leaves, places, strict=True)])
        parts, structure = flatten(value)
        floats = [is_array(x) and is_floating(x.dtype) for x in parts]
        others = [None if real else (x,) for x, real in zip(parts, floats, strict=True)]
        return tuple([x for x, real in zip(parts, floats, strict=True) if real]), (structure, others, news)

    rest: list[Any] = []
    found = iter(derived(program, rest, *xs))
    ((structure, others, news),) = rest
    return structure.unflatten([next(found) if other is None else other[0] for other in others]), news


def _parts(node: Any) -> Iterator[tuple[str, Any]]:
    """The named children of a module or container."""
    if isinstance(node, Module):
        return ((name, node.__dict__[name]) for name in node.form().names)
    items = node.items() if isinstance(node, dict) else enumerate(node)
    return ((str(name), part) for name, part in items if is_child(part))


def _home(part: Any, home_of: Callable[[Any], Any]) -> Any:
    if isinstance(part, torch.nn.Module):
        if next(part.parameters(), None) is not None:
            raise BackendError(
                f"to_torch: a {type(part).__name__} of torch.nn stands in a module of this library, which does not "
                "know its parameters: use the layer of the same name in adjoint.nn, or open it with aj.open."
            )
        return part
    if type(part) in (Sequential, MLP) and "parametrizations" not in part.__dict__:
        return torch.nn.Sequential(*[home_of(layer) for layer in part])
    if isinstance(part, Module):
        try:
            return namesake(part, home_of)
        except Differs:
            return Computed(part, home_of)
    if isinstance(part, (list, tuple, dict)):
        holder: Any = torch.nn.ModuleDict() if isinstance(part, dict) else torch.nn.ModuleList()
        holder._modules.update({name: home_of(each) for name, each in _parts(part) if not is_array(each)})
        return holder
    if not callable(part):
        raise TypeError(f"to_torch: {part!r} of type {type(part).__name__} stands where a layer is called.")
    return Computed(part, home_of)


class _Filling:
    """Gives modules of PyTorch the arrays of modules of this library; what is one array here is one there."""

    def __init__(self, home_of: Callable[[Any], Any]) -> None:
        self.home_of = home_of
        self.seen: dict[tuple[int, bool], torch.Tensor] = {}

    def fill(self, node: Any, home: Any, computed: bool, frozen: bool, prefix: str) -> None:
        """Fill a module, or a part of one that is `computed` here and so needs every buffer."""
        held: frozenset[str] = getattr(node, "_frozen", frozenset())
        buffers = getattr(node, "_buffers", {}) if isinstance(node, Module) else {}
        computed = computed or isinstance(home, Computed)
        if isinstance(node, Module):
            home.training = node.training
        for name, part in _parts(node) if is_child(node) else ():
            still = frozen or name in held
            if is_array(part):
                kept = buffers.get(name)
                if kept is not False or computed:
                    self.put(home, name, part, kept, still, prefix)
            elif name in home._modules:
                self.fill(part, home._modules[name], computed, still, f"{prefix}{name}.")
            elif computed:
                with torch.device("meta"):
                    home._modules[name] = self.home_of(part)
                self.fill(part, home._modules[name], computed, still, f"{prefix}{name}.")

    def put(self, home: Any, name: str, array: Any, kept: bool | None, frozen: bool, prefix: str) -> None:
        """One array as a parameter, or as a buffer that PyTorch's state has where it is `kept`."""
        home, name = owner(home, name)
        learns = name in home._parameters or (name not in home._buffers and kept is None and is_floating(array.dtype))
        key = id(array), learns
        if key not in self.seen:
            tensor = self.tensor(array, f"{prefix}{name}")
            self.seen[key] = torch.nn.Parameter(tensor, requires_grad=not frozen) if learns else tensor
        (home._parameters if learns else home._buffers)[name] = self.seen[key]
        if kept is False:
            home._non_persistent_buffers_set.add(name)

    def tensor(self, array: Any, name: str) -> torch.Tensor:
        """A copy of the array."""
        if backend_of(type(array)).__name__ == "adjoint.arrays.shapes":
            raise BackendError(
                f"to_torch: {name} only has a shape: load its numbers first, net.load_state_dict(state, assign=True)."
            )
        tensor: torch.Tensor = to(plain(array), "torch")
        return tensor.detach()


def owner(home: Any, name: str) -> tuple[Any, str]:
    """The module that holds an array, and its name there: PyTorch takes a dotted name apart (see `Graph`)."""
    *parts, last = name.split(".")
    for part in parts:
        home = home._modules.setdefault(part, torch.nn.Module())
    return home, last


def current(node: Any, home: Any) -> Any:
    """The module with the tensors and the training modes that its home has now."""
    if isinstance(node, Module):
        new = copy.copy(node)
        for name, part in _parts(node):
            new.__dict__[name] = _now(part, home, name)
        if node.training != home.training:
            new.training = home.training
        return new
    if isinstance(node, dict):
        return {name: _now(part, home, str(name)) if is_child(part) else part for name, part in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)([_now(part, home, str(k)) if is_child(part) else part for k, part in enumerate(node)])
    return node


def _now(part: Any, home: Any, name: str) -> Any:
    if not is_array(part):
        return current(part, home._modules[name])
    home, name = owner(home, name)
    arrays = home._parameters | home._buffers
    if arrays.get(name) is not None:
        return arrays[name]
    found = getattr(home, name, None)
    if found is None:
        raise KeyError(f"{type(home).__name__} has no {name!r} any more, which the module in adjoint computes with.")
    return found


def changed(live: Any, net: Any, home: Any) -> Iterator[tuple[Any, str, Any]]:
    """(home, name, value) of every buffer that `live` has got since it was `net`."""
    for name, before in _parts(net) if is_child(net) else ():
        now = live.__dict__[name] if isinstance(net, Module) else _part(live, name)
        if not is_array(before):
            yield from changed(now, before, home._modules[name])
        elif isinstance(net, Module) and name in net._buffers and now is not before:
            yield *owner(home, name), plain(now)


def _part(node: Any, name: str) -> Any:
    return next(part for each, part in _parts(node) if each == name)
