"""Any PyTorch module as a module of this library: exported by PyTorch, its operators translated one by one."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array
from adjoint.interop.aten import CREATION, OPERATORS, RANDOM, find
from adjoint.interop.exported import Expected, Exported, Interface, Size
from adjoint.interop.graph import Value
from adjoint.interop.torch_program import Reader, array_of, needed, source_line


class ExportError(ValueError):
    """A PyTorch module that has no single program for its inputs: says what stands in the way, and what to do."""


def from_torch(
    module: Any, /, *args: Any, dynamic_shapes: Any = None, training: bool = False, **kwargs: Any
) -> Exported:
    """A PyTorch module, given example inputs, as a module of this library: same numbers, derivatives as linear maps.

    `torch.export` runs the module once on the examples and records its operators; each becomes an operation here.
    Parameters keep their dotted names (tied ones stay tied, frozen ones frozen), buffers are buffers, arrays are NumPy
    copies until `.to("torch")` or `.to("jax")`. Call the result as the module is called; arguments that are no
    arrays are fixed. Results keep their structure; named ones (dataclasses, transformers' outputs) become dicts. An
    input that the module changes in place is left as it is.

    Sizes are those of the examples, unless `dynamic_shapes` (PyTorch's) frees some. The module is exported in
    evaluation mode; with `training` in training mode, where batch statistics are computed and running ones written
    back.

    An operator that has no counterpart here is computed by PyTorch, its derivative too (`torch.func`): a warning names
    it and where it occurs, and so does `fallbacks` of the result. Raises `ExportError` for a module without a single
    program (a branch on values, say), TypeError where example inputs are missing.

    >>> import numpy as np, torch, adjoint as aj
    >>> peer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    >>> net = from_torch(peer, torch.ones(1, 3))
    >>> np.allclose(net(np.ones((1, 3), "float32")), peer(torch.ones(1, 3)).detach())
    True
    >>> list(net.state_dict()), aj.jacobian(net, np.ones((1, 3), "float32")).shape
    (['0.weight', '0.bias'], (2, 3))
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: takes a torch.nn.Module, not {type(module).__name__}.")
    name = type(module).__name__
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"from_torch: {error}: example inputs are passed as to {name} itself, from_torch(module, x, ...); its "
            f"forward takes {signature}."
        ) from None
    seen: set[int] = set()
    args, kwargs = _examples(args, seen), _examples(kwargs, seen)
    with _quiet(), _mode(module, training):
        program = _exported(torch, module, args, kwargs, dynamic_shapes)
        _stop_gradients(torch, program)
        program = program.run_decompositions(_decompositions(torch))
    return _assembled(torch, module, program, name, signature, args, kwargs)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError("from_torch needs PyTorch: pip install torch.") from None
    return torch


def _examples(x: Any, seen: set[int]) -> Any:
    """Example inputs as tensors, all different ones: one that occurs twice would be exported as one input."""
    if isinstance(x, np.ndarray):
        from adjoint.arrays.torch import from_numpy

        return from_numpy(x)
    if type(x) in (list, tuple):
        return type(x)([_examples(part, seen) for part in x])
    if type(x) is dict:
        return {k: _examples(part, seen) for k, part in x.items()}
    again = id(x) in seen and hasattr(x, "clone")
    seen.add(id(x))
    return x.clone() if again else x


# Exporting


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that PyTorch's exporter gives about itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*treespec.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch|copyreg|ast")
        warnings.filterwarnings("ignore", message=".*_flat_weights.*")  # its own recurrent modules pack them in forward
        yield


@contextlib.contextmanager
def _mode(module: Any, training: bool) -> Iterator[None]:
    """The module in evaluation or training mode, and its fused kernels off, which have no derivative."""
    import torch

    modes = [(part, part.training) for part in module.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        module.train(training)
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.enable_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, mode in modes:
            part.training = mode


def _exported(torch: Any, module: Any, args: Any, kwargs: Any, dynamic_shapes: Any) -> Any:
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where it fails it prints all of the program
            return torch.export.export(module, tuple(args), kwargs, dynamic_shapes=dynamic_shapes, strict=False)
    except Warning:  # made an error by the caller's filters
        raise
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        line = source_line(str(error)) or _raised_at(error)
        if "Cache'" in reason:  # of keys and values, which is no tensor
            raise ExportError(
                f"from_torch: {type(module).__name__} gives a cache beside its result, which is no tensor: "
                "from_torch(module, ..., use_cache=False), or config.use_cache = False in all its parts before aj.open."
            ) from error
        raise ExportError(
            f"from_torch: {type(module).__name__} cannot be exported{f', at {line}' if line else ''}: {reason}\n"
            "A program is one sequence of operators for all inputs of these shapes: instead of if or while on a "
            "tensor's values write torch.where or torch.cond; keep .item() and .tolist() out of forward; fix with "
            "torch._check what must hold. The whole report of torch.export is the cause of this error."
        ) from error


def _raised_at(error: BaseException) -> str:
    """The innermost line outside of PyTorch that the error passed through."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "/torch/" not in file and not file.startswith("<") and not file.endswith("torch_export.py"):
            found = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _stop_gradients(torch: Any, program: Any) -> None:
    """Mark the values that leave a region under `torch.no_grad`: what comes after forgets that region."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        region = getattr(node.target, "namespace", None) == "higher_order" and "set_grad_enabled" in str(node.target)
        if not region or node.args[0]:
            continue
        for part in list(node.users):
            with graph.inserting_after(part):
                stopped = graph.call_function(torch.ops.aten.detach.default, (part,))
            stopped.meta = dict(part.meta)
            part.replace_all_uses_with(stopped, delete_user_cb=lambda user, own=stopped: user is not own)


def _decompositions(torch: Any) -> Any:
    """What is to become other operators: all that this library lacks and PyTorch can say in simpler ones."""
    from torch._decomp import decomposition_table

    table = torch.export.default_decompositions()
    known: Any = decomposition_table
    for op, rule in known.items():
        simpler = rule.__module__.startswith("torch._decomp")  # others end in PyTorch's own primitives
        if simpler and op.namespace == "aten" and op not in table and not ours(op):
            table[op] = rule
    for op in list(table.keys()):
        if ours(op):
            table.pop(op)
    return table


def ours(op: Any) -> bool:
    """Whether an operator is read as it is."""
    name = f"{op.namespace}.{op._opname}.{op._overloadname}".removeprefix("aten.") if hasattr(op, "_opname") else ""
    return bool(find(name, OPERATORS) or find(name, CREATION)) or getattr(op, "_opname", "") in RANDOM


# Putting the module together


def _assembled(
    torch: Any, module: Any, program: Any, name: str, signature: inspect.Signature, args: Any, kwargs: Any
) -> Exported:
    parameters, buffers, constants, first = _arrays(torch, module, program)
    operands: list[Any] = []
    inputs: list[Value] = []
    arrays: dict[str, Expected] = {}
    taken = {*parameters, *buffers, *constants}
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    for spec, node in zip(program.graph_signature.input_specs, nodes, strict=True):
        if spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
            operands.append(Value(spec.target))
        elif spec.kind.name == "USER_INPUT" and hasattr(node.meta.get("val"), "dtype"):
            own = node.name
            while own in taken:
                own += "'"
            taken.add(own)
            inputs.append(Value(own))
            operands.append(inputs[-1])
            arrays[own] = _expected(node.meta["val"], program.range_constraints)
        elif spec.kind.name == "USER_INPUT":
            operands.append(getattr(spec.arg, "value", None))
        else:
            raise ExportError(f"from_torch: {name} takes {spec.kind.name}, which no array stands for.")
    like = next(iter(inputs), next((Value(n) for n in (*parameters, *buffers)), None))
    reader = Reader([*taken], like, constants)
    results = reader.read(program.graph_module, operands)
    result, changes = _results(name, program, results)
    steps, wanted = needed(reader.steps, [result, list(changes.values())])
    kept = {k: x for k, x in reader.constants.items() if k in wanted}
    given = _interface(program, args, kwargs, operands[len(operands) - _user_inputs(program) :])
    interface = Interface(name, _plain(signature), signature.bind(*given[0], **given[1]).arguments, arrays)
    fallbacks = list(reader.fallbacks.values())
    net = Exported(interface, inputs, result, changes, steps, parameters, buffers, kept, fallbacks)
    for second, own in first.items():
        net.tie(second, own)
    frozen = [k for k, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad]
    if frozen:
        net.freeze(*frozen)
    return net


def _user_inputs(program: Any) -> int:
    return sum(spec.kind.name == "USER_INPUT" for spec in program.graph_signature.input_specs)


def _arrays(torch: Any, module: Any, program: Any) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array], Any]:
    """Parameters, buffers and constants by name; for every name of a tied parameter but the first, the first."""
    made: dict[int, Array] = {}
    names: dict[int, str] = {}
    ties: dict[str, str] = {}
    parameters: dict[str, Array] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        if id(tensor) not in made:
            made[id(tensor)] = array_of(tensor, name)
            names[id(tensor)] = name
        else:
            ties[name] = names[id(tensor)]
        parameters[_allowed(name)] = made[id(tensor)]
    saved = set(module.state_dict())
    buffers: dict[str, Array] = {}
    constants: dict[str, Array] = {}
    for name, tensor in module.named_buffers(remove_duplicate=False):
        (buffers if name in saved else constants)[_allowed(name)] = array_of(tensor, name)
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "CONSTANT_TENSOR":
            constants[_allowed(spec.target)] = array_of(program.constants[spec.target], spec.target)
    lost = [k for k in constants if k in parameters or k in buffers]
    if lost:
        raise ExportError(f"from_torch: {', '.join(lost)} is both a constant and a parameter.")
    return parameters, buffers, constants, ties


def _allowed(name: str) -> str:
    """The name; raises where the module of this library means something else by it."""
    if hasattr(Exported, name) or name in ("plan", "interface", "fallbacks"):
        raise ExportError(f"from_torch: the module has an array named {name!r}, as a module here has: rename it.")
    return name


def _expected(tensor: Any, ranges: Mapping[Any, Any]) -> Expected:
    shape: list[int | Size] = []
    for n in tensor.shape:
        if isinstance(n, int):
            shape.append(n)
            continue
        expression = n.node.expr
        bounds = ranges.get(expression)
        low, high = (bounds.lower, bounds.upper) if bounds is not None else (0, float("inf"))
        infinite = not getattr(high, "is_Integer", isinstance(high, int))
        shape.append(Size(str(expression), int(low), float("inf") if infinite else int(high)))
    return Expected(tuple(shape), str(tensor.dtype).removeprefix("torch."))


def _plain(signature: inspect.Signature) -> inspect.Signature:
    """The signature without its annotations."""
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


def _interface(program: Any, args: Any, kwargs: Any, operands: Sequence[Any]) -> tuple[Any, Any]:
    """The example inputs with the program's operands in place of their leaves."""
    leaves = iter(operands)
    order = program.call_spec.in_spec.children()[1].context  # keyword arguments may have been put in order
    positional = _replaced(args, leaves)
    named = {k: _replaced(kwargs[k], leaves) for k in (order or kwargs)}
    return positional, named


def _replaced(x: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(x, (list, tuple)):
        return [_replaced(part, leaves) for part in x]
    if isinstance(x, Mapping):
        return {k: _replaced(part, leaves) for k, part in x.items()}
    from torch.utils import _pytree as pytree

    if type(x) in pytree.SUPPORTED_NODES:
        raise ExportError(
            f"from_torch: an input is a {type(x).__name__}; pass tensors, tuples, lists and dicts of them."
        )
    return next(leaves)


def _results(name: str, program: Any, results: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """The result in the module's structure, and the new values of the buffers that a call changes."""
    given, changes = [], {}
    for spec, value in zip(program.graph_signature.output_specs, results, strict=True):
        kind = spec.kind.name
        if kind == "USER_OUTPUT":
            given.append(value)
        elif kind == "BUFFER_MUTATION":
            changes[spec.target] = value
        elif kind != "USER_INPUT_MUTATION":
            raise ExportError(
                f"from_torch: {name} changes {spec.target} in forward ({kind}), which a module here cannot."
            )
    return _structured(program.call_spec.out_spec, iter(given)), changes


def _structured(spec: Any, leaves: Iterator[Any]) -> Any:
    """Leaves in the structure that PyTorch recorded: what has names as a dict, other sequences as tuples."""
    if spec.is_leaf():
        return next(leaves)
    parts = [_structured(child, leaves) for child in spec.children()]
    context = spec.context
    if isinstance(context, (list, tuple)) and len(context) == 2 and isinstance(context[1], list):
        context = context[1] if callable(context[0]) else context[0]  # of a defaultdict; of a registered dataclass
    if isinstance(context, (list, tuple)) and len(context) == len(parts) and all(isinstance(k, str) for k in context):
        return dict(zip(context, parts, strict=True))
    if spec.type is dict or "Dict" in spec.type.__name__:
        return dict(zip(context, parts, strict=True))
    return parts if spec.type is list else tuple(parts)
