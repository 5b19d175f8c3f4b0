"""Modules: trees of arrays with PyTorch's comfort (attributes, state_dict, freeze) and JAX's transforms."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array, is_floating
from adjoint.arrays.dispatch import backend as backend_of
from adjoint.errors import ShapeError
from adjoint.nn.form import HIDDEN, Form
from adjoint.nn.parts import PARAMETER, TRANSIENT, arrays_in, is_child, modules_in, parts_of, replaced
from adjoint.nn.ties import Ties, joined, owned, separated
from adjoint.ops.define import plain
from adjoint.trees import NAMESPACE, Structure
from adjoint.trees import map as tree_map


class Module:
    """A layer or a network: a tree whose leaves are its arrays.

    Arrays, modules, and lists, tuples and dicts of them that are assigned to attributes are its children; everything
    else is fixed. Gradients, tangents and optimizer states of a module have its own shape.

    >>> import numpy as np, adjoint as aj
    >>> class Affine(aj.nn.Module):
    ...     def __init__(self):
    ...         self.scale = np.array(2.0)
    ...         self.shift = np.array(1.0)
    ...     def __call__(self, x):
    ...         return self.scale * x + self.shift
    >>> aj.grad(lambda net: net(3.0))(Affine()).scale
    np.float64(3.0)
    """

    _frozen: frozenset[str] = frozenset()
    _buffers: Mapping[str, bool] = MappingProxyType({})
    _ties: Ties = ()
    training: bool = True
    packed_parameters = 0  # how many numbers its buffers store in fewer bits: see `adjoint.quantization`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        optree.register_pytree_node(cls, _flatten, cls._unflatten, namespace=NAMESPACE)  # type: ignore[arg-type]
        if "jax" in sys.modules:
            register_with_jax(cls)
        else:
            _unregistered.append(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's value."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__.")

    if not TYPE_CHECKING:  # to a type checker a module has the attributes that it declares

        def __getattr__(self, name: str) -> Any:
            reparametrized = self.__dict__.get("parametrizations", {})
            if name in reparametrized:
                return reparametrized[name]()
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if name in fields.get("parametrizations", ()):
            fields["parametrizations"][name].assign(value)
            return
        form = fields.get("_form")
        if name in self._buffers:
            value = plain(value)
        if form is not None and not (name in form.names and is_child(value)):
            fields["_form"] = None
        fields[name] = value

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.__dict__["_form"] = None

    @classmethod
    def _unflatten(cls, form: Form, children: Any) -> Any:
        new = cls.__new__(cls)
        fields = new.__dict__
        fields.update(form.static)
        fields.update(zip(form.names, children, strict=True))
        if form.frozen:
            fields["_frozen"] = form.frozen
        if form.buffers:
            fields["_buffers"] = form.buffers
        fields["_form"] = form
        if form.ties:
            fields["_ties"] = form.ties
            joined(new, form.ties)
        return new

    def form(self) -> Form:
        """What the module is besides its arrays."""
        fields = self.__dict__
        form: Form | None = fields.get("_form")
        if form is None:
            names = tuple(k for k, v in fields.items() if k not in HIDDEN and is_child(v))
            static = {k: v for k, v in fields.items() if k not in HIDDEN and k not in names}
            form = fields["_form"] = Form(names, self._frozen, dict(self._buffers), static, self._ties)
        return form

    def register_buffer(self, name: str, value: Array | None, persistent: bool = True) -> None:
        """Set an array that is state rather than a parameter, such as running statistics: no gradient, no step.

        The module assigns its new value in a call (`self.name = new`); transforms bring it to the module that they were
        given, and a step under `jax.jit` returns it with the network. `state_dict` has it only when `persistent`.

        >>> import numpy as np, adjoint as aj
        >>> class Counted(aj.nn.Module):
        ...     def __init__(self):
        ...         self.register_buffer("calls", np.array(0))
        ...     def __call__(self, x):
        ...         self.calls = self.calls + 1
        ...         return 2.0 * x
        >>> net = Counted()
        >>> aj.grad(lambda x: net(x))(3.0), int(net.calls)
        (np.float64(2.0), 1)
        """
        self.__dict__["_buffers"] = {**self._buffers, name: persistent}
        self.__dict__["_form"] = None
        setattr(self, name, value)

    def tie(self, second: str, first: str) -> None:
        """Make two arrays one: under the dotted name `second` stands from now on the array named `first`.

        A gradient sums over both uses. The tie lasts through transforms, `jax.jit` and copies, until one of the names
        is given another array. Raises KeyError for a name without an array, ShapeError where the shapes differ.

        >>> import adjoint as aj
        >>> net = aj.nn.Sequential(aj.nn.Linear(3, 3), aj.nn.Linear(3, 3))
        >>> net.tie("1.weight", "0.weight")
        >>> net[1].weight is net[0].weight, len(aj.trees.flatten(net)[0])
        (True, 3)
        """
        named = dict(self.named_arrays())
        for name in (second, first):
            if name not in named:
                raise KeyError(f"tie: {type(self).__name__} has no array {name!r}, only {', '.join(named) or 'none'}.")
        if tuple(named[second].shape) != tuple(named[first].shape):
            raise ShapeError(f"tie: {second} is {tuple(named[second].shape)}, {first} {tuple(named[first].shape)}.")
        part, name = owned(self, second)
        if not isinstance(part, Module):
            raise KeyError(f"tie: {second} stands in a {type(part).__name__}: only attributes of modules can be tied.")
        setattr(part, name, named[first])
        self.__dict__["_ties"] = (*self._ties, (second, first))
        self.__dict__["_form"] = None

    # Names, as PyTorch gives them

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """(dotted name, array) of every parameter, as in PyTorch ("0.weight"); a tied one once a name."""
        return ((name, array) for name, array, role in arrays_in("", self) if role == PARAMETER)

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """(dotted name, array) of every buffer."""
        return ((name, array) for name, array, role in arrays_in("", self) if role != PARAMETER)

    def named_arrays(self) -> Iterator[tuple[str, Array]]:
        """(dotted name, array) of every array in the module, buffers that `state_dict` leaves out too."""
        return ((name, array) for name, array, _ in arrays_in("", self))

    def parameters(self) -> Iterator[Array]:
        """Every parameter of the module."""
        for _, array in self.named_parameters():
            yield array

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and all inside it."""
        yield prefix, self
        for name in self.form().names:
            for inner, child in modules_in(f"{prefix}.{name}" if prefix else name, self.__dict__[name]):
                yield from child.named_modules(inner)

    def state_dict(self) -> dict[str, Array]:
        """Dotted name → array, the form in which PyTorch's modules are saved: parameters and persistent buffers."""
        return {name: array for name, array, role in arrays_in("", self) if role != TRANSIENT}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, assign: bool = False) -> None:
        """Take over arrays (NumPy's or PyTorch's) by name; on any mismatch nothing is changed.

        They are copied to the module's backend and dtypes; with `assign` they become the module's own as they are.
        Raises KeyError naming missing and unexpected names (unless strict is False), and naming the array ShapeError,
        TypeError where it is none.

        >>> import numpy as np, adjoint as aj
        >>> with aj.nn.init.only_shapes():
        ...     net = aj.nn.Linear(2, 1, bias=False)
        >>> net.load_state_dict({"weight": np.array([[1.0, 2.0]], "float16")}, assign=True)
        >>> net.weight
        array([[1., 2.]], dtype=float16)
        """
        own = dict(self.named_arrays())
        missing, extra = sorted(self.state_dict().keys() - state.keys()), sorted(state.keys() - own.keys())
        if strict and (missing or extra):
            raise KeyError(f"load_state_dict: missing {missing or 'none'}, unexpected {extra or 'none'}.")
        loaded: dict[str, Array] = {}
        tied: dict[int, Array] = {}
        for name, mine in own.items():
            if name not in state:
                continue
            given = state[name]
            if not is_array(given):
                raise TypeError(f"load_state_dict: {name} is of type {type(given).__name__}: give arrays.")
            if tuple(given.shape) != tuple(mine.shape):
                raise ShapeError(
                    f"load_state_dict: {name} has shape {tuple(mine.shape)}, the state {tuple(given.shape)}."
                )
            if id(mine) not in tied:
                tied[id(mine)] = given if assign else xp.asarray(mine, _numpy(given), mine.dtype)
            loaded[name] = tied[id(mine)]
        for name in self.form().names:
            self.__dict__[name] = replaced(name, self.__dict__[name], loaded)

    # Parts that do not learn

    def freeze(self, *names: str) -> Module:
        """Exclude the named children (all when none is named) from gradients, which are None there; returns self.

        >>> import numpy as np, adjoint as aj
        >>> net = aj.nn.Linear(1, 1).freeze("weight")
        >>> grads = aj.grad(lambda net: aj.sum(net(np.ones((4, 1), "float32"))))(net)
        >>> grads.weight, grads.bias.tolist()
        (None, [4.0])
        """
        self.__dict__["_frozen"] = self._frozen | frozenset(self._chosen("freeze", names))
        self.__dict__["_form"] = None
        return self

    def unfreeze(self, *names: str) -> Module:
        """Include the named children (all when none is named, and all inside them) in gradients again; returns self."""
        chosen = self._chosen("unfreeze", names)
        self.__dict__["_frozen"] = self._frozen - frozenset(chosen)
        self.__dict__["_form"] = None
        for name in chosen:
            for _, child in modules_in(name, self.__dict__[name]):
                child.unfreeze()
        return self

    def _chosen(self, method: str, names: tuple[str, ...]) -> tuple[str, ...]:
        own = self.form().names
        for name in names:
            if name not in own:
                told = ", ".join(own) or "none"
                raise KeyError(f"{method}: {type(self).__name__} has no child {name!r}, only {told}.")
        return names or own

    def train(self, mode: bool = True) -> Module:
        """Set training mode (dropout, batch statistics) in this module and all inside it; returns self."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set evaluation mode; returns self."""
        return self.train(False)

    def to(self, target: str | None = None, dtype: Any = None, device: Any = None) -> Any:
        """A copy on another backend ("numpy", "torch", "jax"), dtype or device: see `aj.to`."""
        return to(self, target, dtype, device)

    def to_torch(self) -> Any:
        """This module as a `torch.nn.Module` with copies of its arrays under the same names.

        A layer that PyTorch has becomes PyTorch's own, with the same arguments; so does a `Sequential` of them. Every
        other module is computed as here: PyTorch's autograd then gets its gradients from this library's maps, of any
        order. Tied arrays stay tied, frozen ones require no gradient, the training modes are kept. Raises
        `BackendError` where an array only has a shape, or a layer of torch.nn stands among this library's.

        >>> import torch, adjoint as aj
        >>> aj.nn.Sequential(aj.nn.Linear(4, 2), aj.nn.Residual(aj.nn.Linear(2, 2))).to_torch()
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): Residual(
            gradients by adjoint
            (inner): Linear(in_features=2, out_features=2, bias=True)
          )
        )
        """
        from adjoint.interop.torch_modules import to_torch

        return to_torch(self)

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.form().static.items() if k not in ("training", "length"))
        lines = [_line(name, self.__dict__[name]) for name in self.form().names]
        inner = [line for line in lines if line]
        if not inner:
            return f"{type(self).__name__}({options})"
        body = "\n".join(inner).replace("\n", "\n  ")
        return f"{type(self).__name__}({options}\n  {body}\n)"


_unregistered: list[type[Module]] = [Module]


def register_with_jax(*classes: type[Module]) -> None:
    """Make modules trees for JAX too, so that jax.jit takes and returns them."""
    import jax

    while _unregistered:
        classes += (_unregistered.pop(),)
    for cls in classes:
        jax.tree_util.register_pytree_node(cls, lambda module: _flatten(module)[:2], cls._unflatten)


def _flatten(module: Module) -> tuple[list[Any], Form, tuple[str, ...]]:
    form = module.__dict__.get("_form") or module.form()
    if form.ties:
        module = separated(module)
        form = module.form()
    fields = module.__dict__
    return [fields[name] for name in form.names], form, form.names


optree.register_pytree_node(Module, _flatten, Module._unflatten, namespace=NAMESPACE)  # type: ignore[arg-type]


def _line(name: str, value: Any) -> str:
    if isinstance(value, Module):
        return f"({name}): {value!r}"
    if isinstance(value, (list, tuple, dict)):
        return "\n".join(_line(f"{name}.{k}", v) for k, v in parts_of(value) if isinstance(v, Module))
    return ""


def _numpy(x: Any) -> Any:
    return np.array(backend_of(type(x)).to_numpy(x) if is_array(x) else x)


def to(tree: Any, backend: str | None = None, dtype: Any = None, device: Any = None) -> Any:
    """The tree with its arrays on another backend ("numpy", "torch", "jax") or device, floating ones in another dtype.

    Integer arrays and the scales of quantized weights keep their dtype, arrays that keep their backend keep their
    device; an array that occurs twice (tied weights) does so in the result. With a backend or a device given the arrays
    are copies. Raises ValueError for an unknown backend.

    >>> import numpy as np, adjoint as aj
    >>> aj.to({"a": np.ones(2)}, dtype="float32")["a"].dtype
    dtype('float32')
    """
    if backend not in (None, "numpy", "torch", "jax"):
        raise ValueError(f"to: the backend is 'numpy', 'torch' or 'jax', not {backend!r}.")
    target = None if backend is None else import_module(f"adjoint.arrays.{backend}")
    if backend == "jax":
        register_with_jax()
    seen: dict[int, Any] = {}
    packs = [m for _, part in modules_in("", tree) for _, m in part.named_modules() if m.packed_parameters]
    exact = {id(x) for pack in packs for _, x in pack.named_arrays()}

    def moved(x: Any) -> Any:
        if not is_array(x):
            return x
        y = x if dtype is None or not is_floating(x.dtype) or id(x) in exact else xp.astype(x, dtype)
        if target is None and device is None:
            return y
        home = backend_of(type(y))
        if target not in (None, home):
            return target.from_numpy(_numpy(y), device)
        return home.astype(home.from_numpy(_numpy(y), y.device if device is None else device), y.dtype)

    def once(x: Any) -> Any:
        if id(x) not in seen:
            seen[id(x)] = moved(x)
        return seen[id(x)]

    return tree_map(once, tree)


def apart(net: Any) -> Any:
    """A copy of a network whose arrays that learn are its own; those that are frozen, and buffers, are the same.

    >>> import adjoint as aj
    >>> net = aj.nn.Linear(3, 2).freeze("bias")
    >>> copy = apart(net)
    >>> copy.weight is net.weight, copy.bias is net.bias
    (False, True)
    """
    structure = Structure(net)
    return structure.whole([xp.copy(x) for x in structure.own()])


def count_parameters(module: Any) -> int:
    """The number of entries in all parameters of a tree (buffers are none), one that appears twice counted once.

    Quantized weights count as the numbers that they stand for.

    >>> import adjoint as aj
    >>> aj.nn.count_parameters(aj.nn.Linear(3, 2)), aj.nn.count_parameters(aj.quantize(aj.nn.Linear(3, 2)))
    (8, 8)
    """
    unique = {id(x): x for _, x, role in arrays_in("", module) if role == PARAMETER}
    packs = [x for _, part in modules_in("", module) for _, x in part.named_modules() if x.packed_parameters]
    packed = {id(next(x.named_arrays())[1]): x.packed_parameters for x in packs}
    return sum(int(np.prod(x.shape)) for x in unique.values()) + sum(packed.values())
