"""A graph of PyTorch's operators read as steps of this library's operations."""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.interop.aten import CREATION, OPERATORS, RANDOM, find
from adjoint.interop.foreign import Foreign
from adjoint.interop.graph import Scopes, Step, Value
from adjoint.ops.define import plain

SILENT = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking", "generator"})
CHECKS = re.compile(r"_assert|sym_constrain_range|_check_is_size|is_nonzero")
INLINED = frozenset({"wrap_with_set_grad_enabled", "wrap_with_autocast"})
FOLDED = 2**24  # entries up to which what no input enters into is computed once and kept


class Deferred:
    """A complex value, or what has one among its parts: no array stands for it here, PyTorch computes it on the way."""

    __slots__ = ("call", "nest")

    def __init__(self, call: Callable[..., Any], nest: Any) -> None:
        self.call = call
        self.nest = nest

    def value(self, given: Mapping[str, Any]) -> Any:
        """The value, from those of the arrays that enter."""
        args, kwargs = _with(self.nest, given)
        return self.call(*args, **kwargs)


class Reader:
    """Reads graphs into `steps`; what no input, parameter or buffer enters into becomes a constant.

    `values` are the names that are taken, `like` is one of them whose backend new arrays share.
    """

    def __init__(self, taken: Sequence[str], like: Value | None, constants: Mapping[str, Array]) -> None:
        self.taken = set(taken)
        self.like: Any = np.zeros(()) if like is None else like
        self.constants: dict[str, Any] = dict(constants)
        self.steps: list[Step] = []
        self.fallbacks: dict[str, str] = {}
        self.scopes: Scopes = ()  # of the node that is read

    def named(self, name: str) -> Value:
        """A name that no other value has."""
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return Value(name)

    def read(self, module: Any, operands: Sequence[Any], prefix: str = "") -> Any:
        """What the graph of a `GraphModule` gives for operands, which are `Value`s or constants."""
        known: dict[Any, Any] = {}
        given = iter(operands)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                known[node] = next(given)
            elif node.op == "get_attr":
                known[node] = self._attribute(module, node)
            elif node.op == "output":
                return self._filled(node.args[0], known)
            else:
                known[node] = self._node(node, known, f"{prefix}{node.name}")
        raise ValueError("a graph without an output.")

    def _attribute(self, module: Any, node: Any) -> Any:
        found = operator.attrgetter(node.target)(module)
        if not hasattr(found, "dtype"):
            return found
        name = self.named(node.target)
        self.constants[name] = array_of(found, node.target)
        return name

    def _filled(self, x: Any, known: Mapping[Any, Any]) -> Any:
        """An argument with the values in place of the nodes, dtypes by name."""
        if isinstance(x, (list, tuple)):
            return [self._filled(part, known) for part in x]
        if isinstance(x, slice):
            return slice(*(self._filled(part, known) for part in (x.start, x.stop, x.step)))
        kind = type(x).__name__
        if kind == "Node":
            return known[x]
        if kind == "dtype":
            return str(x).removeprefix("torch.")
        return None if kind in ("device", "layout", "memory_format") else x

    # Nodes

    def _node(self, node: Any, known: Mapping[Any, Any], name: str) -> Any:
        target, self.scopes = node.target, scopes(node)
        args = [self._filled(x, known) for x in node.args]
        kwargs = {k: self._filled(x, known) for k, x in node.kwargs.items() if k not in SILENT}
        if type(target).__name__ != "OpOverload":
            if getattr(target, "namespace", None) == "higher_order":
                return self._higher(node, target.name(), args, name)
            if target is operator.getitem and type(args[0]) is list:
                return args[0][args[1]]
            if any(_deferred([args, kwargs])):
                return self._foreign(str(target), node, known, name, place(node))
            return self._put(target, args, kwargs, name, f"{getattr(target, '__name__', target)} {place(node)}")
        title = f"{target.namespace}.{target._opname}.{target._overloadname}"
        short = title.removeprefix("aten.")
        where = f"{title} {place(node)}"
        if CHECKS.match(target._opname):
            return None
        if target._opname in RANDOM:
            return self._random(target._opname, args, where)
        complex_parts = is_complex(node.meta.get("val")) or any(_deferred([args, kwargs]))
        entry = None if complex_parts else find(short, OPERATORS)
        if entry is not None:
            if target._opname == "as_strided":
                row_major(node.args[0], where)
            return self._put(entry, args, kwargs, name, where)
        entry = find(short, CREATION)
        if entry is not None:
            return self._put(entry, [self.like, *args], kwargs, name, where, new=True)
        return self._fallback(title, node, known, name, where)

    def _put(
        self, call: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], name: str, where: str,
        new: bool = False,
    ) -> Any:  # fmt: skip
        """A step, or the result at once where nothing but constants enters."""
        step = Step(call, args, kwargs, (), where, self.scopes)
        takes = step.takes() - ({self.like} if new else set())
        if takes <= self.constants.keys():
            found = self._folded(call, args[1:] if new else args, kwargs, new)
            if found is not None:
                return self._constant(found, name)
        step.outputs = (self.named(name),)
        self.steps.append(step)
        return step.outputs[0]

    def _folded(self, call: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], new: bool) -> Any:
        args, kwargs = self._looked_up(args), self._looked_up(kwargs)
        try:
            found = call(np.zeros(()), *args, **kwargs) if new else call(*args, **kwargs)
        except Exception:  # it may fail here and never be reached, or fail again with its place told
            return None
        parts = found if isinstance(found, (list, tuple)) else [found]
        return found if all(getattr(x, "size", 0) <= FOLDED for x in parts) else None

    def _looked_up(self, x: Any) -> Any:
        if isinstance(x, Value):
            return self.constants[x]
        if isinstance(x, list):
            return [self._looked_up(part) for part in x]
        return {k: self._looked_up(part) for k, part in x.items()} if isinstance(x, dict) else x

    def _constant(self, found: Any, name: str) -> Any:
        if isinstance(found, (bool, int, float)) and not isinstance(found, np.generic):
            return found
        value = self.named(f"constant.{name}")
        many = isinstance(found, (list, tuple))
        self.constants[value] = tuple(map(np.asarray, found)) if many else np.asarray(found)
        return value

    # What is no plain operator

    def _random(self, name: str, args: list[Any], where: str) -> Any:
        train = args[2] if len(args) > 2 else True
        if name in ("dropout", "feature_dropout", "alpha_dropout") and (not train or not args[1]):
            return args[0]
        raise ValueError(
            f"{where} draws random numbers, which an exported program cannot: leave training=False, or draw them "
            "outside and pass them in."
        )

    def _higher(self, node: Any, name: str, args: list[Any], own: str) -> Any:
        """A region of the program with a setting of its own, or two of which a value chooses."""
        if name in INLINED:
            graph = next(x for x in args if hasattr(x, "graph"))
            at = args.index(graph)
            return self.read(graph, args[at + 1 :], f"{own}.")
        if name == "cond":
            condition, yes, no, operands = args
            left, right = self.read(yes, operands, f"{own}.yes."), self.read(no, operands, f"{own}.no.")
            if not isinstance(condition, Value):
                return left if condition else right
            return [
                self._put(chosen, [condition, a, b], {}, f"{own}.{i}", f"cond {place(node)}")
                for i, (a, b) in enumerate(zip(left, right, strict=True))
            ]
        raise NotImplementedError(
            f"{name} {place(node)} has no counterpart here: write the loop in Python, with a fixed number of turns."
        )

    def _fallback(self, title: str, node: Any, known: Mapping[Any, Any], name: str, where: str) -> Any:
        """A step that PyTorch computes; `torch.func` gives its derivative."""
        if title not in self.fallbacks:
            warnings.warn(
                f"{where} has no operation here: PyTorch computes it and its derivative (torch.func), the only adjoint "
                "in this program that is not adjoint's own.",
                stacklevel=2,
            )
        self.fallbacks.setdefault(title, where)
        return self._foreign(title, node, known, name, where)

    def _foreign(self, title: str, node: Any, known: Mapping[Any, Any], name: str, where: str) -> Any:
        nest = [replaced(list(node.args), known), replaced(dict(node.kwargs), known)]
        whole = Deferred(node.target, nest)
        if is_complex(node.meta.get("val")):
            return whole
        arrays = list(dict.fromkeys(_values(nest)))

        def call(*tensors: Any) -> Any:
            return whole.value(dict(zip(arrays, tensors, strict=True)))

        return self._put(Foreign(call, title), [*arrays], {}, name, where)


def is_complex(value: Any) -> bool:
    """Whether a value of the program, or one of its parts, has complex numbers."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return any(getattr(getattr(x, "dtype", None), "is_complex", False) for x in parts)


def chosen(condition: Any, x: Array, y: Array) -> Array:
    """x where the condition holds, else y: both sides of a branch are computed."""
    if isinstance(condition, bool):
        return x if condition else y
    return xp.where(plain(condition), x, y)


def _values(nest: Any) -> Iterator[Value]:
    if isinstance(nest, Value):
        yield nest
    elif isinstance(nest, Deferred):
        yield from _values(nest.nest)
    elif isinstance(nest, (list, tuple)):
        for part in nest:
            yield from _values(part)
    elif isinstance(nest, dict):
        yield from _values(list(nest.values()))


def replaced(x: Any, known: Mapping[Any, Any]) -> Any:
    """Arguments of a node as PyTorch takes them, with the values in place of the nodes."""
    if isinstance(x, (list, tuple)):
        return [replaced(part, known) for part in x]
    if isinstance(x, dict):
        return {k: replaced(part, known) for k, part in x.items()}
    return known[x] if type(x).__name__ == "Node" else x


def _deferred(nest: Any) -> Iterator[bool]:
    if isinstance(nest, (list, tuple)):
        for part in nest:
            yield from _deferred(part)
    elif isinstance(nest, dict):
        yield from _deferred(list(nest.values()))
    else:
        yield isinstance(nest, Deferred)


def _with(nest: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(nest, Value):
        return given[nest]
    if isinstance(nest, Deferred):
        return nest.value(given)
    if isinstance(nest, list):
        return [_with(part, given) for part in nest]
    return {k: _with(part, given) for k, part in nest.items()} if isinstance(nest, dict) else nest


def needed(steps: Sequence[Step], result: Any) -> tuple[list[Step], set[str]]:
    """The steps that the result depends on, and the names of all values that they and it take."""
    wanted: set[str] = set(_values(result))
    kept: list[Step] = []
    for step in reversed(steps):
        if wanted & set(step.outputs):
            kept.append(step)
            wanted |= step.takes()
    return kept[::-1], wanted


def row_major(node: Any, where: str) -> None:
    """Raise where strides cannot be told from the shape: only arrays in row-major order keep them here."""
    x = node.meta["val"]
    if not x.is_contiguous() or x.storage_offset():
        raise NotImplementedError(f"{where} reads memory by strides of a view, which arrays here do not have.")


def scopes(node: Any) -> Scopes:
    """(name, kind) of the modules that a node is inside of, outermost first; a later call's name ends in "@1", "@2" …

    A `Sequential` is no module of its own here.
    """
    found = []
    for key, (path, kind) in (node.meta.get("nn_module_stack") or {}).items():
        again = re.search(r"@\d+$", key)
        kind = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
        if path and kind != "Sequential" and not path.startswith("_empty_"):
            found.append((path + (again.group() if again else ""), kind))
    return tuple(found)


def place(node: Any) -> str:
    """Where in the module, and in its source, a node stands: "in layers.0 (Linear), model.py:12"."""
    stack = [
        (path, str(getattr(kind, "__name__", kind))) for path, kind in (node.meta.get("nn_module_stack") or {}).values()
    ]
    path, kind = next(((p, k) for p, k in reversed(stack) if not p.startswith("_empty_")), ("", ""))
    text = f"in {path or 'the module'} ({kind.rpartition('.')[2]})" if kind else "in the program"
    line = source_line(node.meta.get("stack_trace"))
    return f"{text}, {line}" if line else text


def source_line(trace: str | None) -> str:
    """The innermost line outside of PyTorch in a stack trace, "file:line"."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', trace or "")
    own = [(f, n) for f, n in frames if "/torch/" not in f and not f.startswith("<")]
    return ":".join(own[-1]) if own else ""


def array_of(tensor: Any, name: str) -> Array:
    """A tensor of PyTorch's copied to NumPy; only its shape where it has no values ("meta")."""
    import torch

    if tensor.is_meta:
        from adjoint.arrays.shapes import ShapeArray

        return ShapeArray(tuple(tensor.shape), tensor.dtype)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        kind = "complex" if tensor.is_complex() else "quantized" if tensor.is_quantized else str(tensor.layout)
        raise TypeError(f"{name} is {kind}; arrays here are dense and real: convert it first.")
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.int16).numpy().copy().view(ml_dtypes.bfloat16)
    return tensor.numpy().copy()
