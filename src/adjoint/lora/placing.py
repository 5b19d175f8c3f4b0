"""Modules of a network replaced by others, where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adjoint.lora.layers import Adapted
from adjoint.nn.module import Module


def replace(net: Any, new: Mapping[str, Any]) -> Any:
    """The network with other modules at dotted names; ties go on with the arrays of their base layers.

    >>> import adjoint as aj
    >>> replace(aj.nn.MLP((2, 3, 1)), {"1": aj.nn.Tanh()})[1]
    Tanh()
    """
    for name, module in new.items():
        net = _placed(net, name.split(".") if name else [], module)
    wrapped = {name: "base_layer." for name, module in new.items() if isinstance(module, Adapted)}
    unwrapped = {f"{name}.base_layer": "" for name, module in new.items() if not isinstance(module, Adapted)}
    for path, module in net.named_modules():
        if module._ties and not isinstance(module, Adapted):
            start = f"{path}." if path else ""
            renamed = tuple(
                (_renamed(start, a, wrapped, unwrapped), _renamed(start, b, wrapped, unwrapped))
                for a, b in module._ties
            )
            if renamed != module._ties:
                module.__dict__["_ties"] = renamed
                module.__dict__["_form"] = None
    return net


def _placed(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    head, *rest = path
    if isinstance(value, Module):
        setattr(value, head, _placed(value.__dict__[head], rest, new))
    elif isinstance(value, dict):
        key = next(k for k in value if str(k) == head)
        value[key] = _placed(value[key], rest, new)
    elif isinstance(value, list):
        value[int(head)] = _placed(value[int(head)], rest, new)
    else:
        return type(value)([_placed(v, rest, new) if i == int(head) else v for i, v in enumerate(value)])
    return value


def _renamed(start: str, name: str, wrapped: Mapping[str, str], unwrapped: Mapping[str, str]) -> str:
    for layer, inner in wrapped.items():
        local = layer.removeprefix(start)
        if layer.startswith(start) and name.startswith(f"{local}.") and not name.startswith(f"{local}.base_layer."):
            return f"{local}.{inner}{name.removeprefix(f'{local}.')}"
    for layer in unwrapped:
        local = layer.removeprefix(start)
        if layer.startswith(start) and name.startswith(f"{local}."):
            return f"{local.removesuffix('.base_layer')}.{name.removeprefix(f'{local}.')}"
    return name
