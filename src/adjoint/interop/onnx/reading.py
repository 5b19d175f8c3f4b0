"""A model from a path, from bytes or as it is: parsed, its versions checked, its local functions written out."""

from __future__ import annotations

import os
from typing import Any

from adjoint.errors import CheckpointError

FIRST = 7
LARGEST = 1_000_000  # nodes, after all functions are written out


def package() -> Any:
    """The package onnx."""
    try:
        import onnx
    except ImportError:
        raise ImportError("ONNX files are read with the package onnx: pip install 'adjoint[onnx]'.") from None
    return onnx


def read(source: Any) -> tuple[Any, str, str | None]:
    """(model, what to call it, the folder of its data): a path, bytes, or a ModelProto."""
    onnx = package()
    if isinstance(source, onnx.ModelProto):
        model, name, folder = source, "the model", None
    else:
        if isinstance(source, (bytes, bytearray, memoryview)):
            data, name, folder = bytes(source), "the model", None
        else:
            path = os.fspath(source)
            name, folder = str(path), os.path.dirname(os.path.abspath(path))
            if os.path.isdir(path):
                raise CheckpointError(f"{name} is a folder, not an ONNX file.")
            with open(path, "rb") as file:
                data = file.read()
        model = parsed(data, name)
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise CheckpointError(f"{name} has no graph: it is empty, truncated or not an ONNX file.")
    model = inlined(model, name) if model.functions else model
    return model, name, folder


def parsed(data: bytes, name: str) -> Any:
    """The model that the bytes are."""
    model = package().ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf has its own
        size = " It has more than 2 GiB, which protobuf cannot hold: keep its data in a file of its own."
        raise CheckpointError(
            f"{name} is not a whole ONNX file ({error}): it is truncated, corrupt or of another format."
            f"{size if len(data) >= 1 << 31 else ''}"
        ) from error
    return model


def version_of(model: Any) -> int:
    """The version of ONNX's own operators that a model uses."""
    onnx = package()
    own = next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    latest = onnx.defs.onnx_opset_version()
    if own is None:
        raise CheckpointError("it does not say which version of ONNX's operators it uses (opset_import).")
    if own < FIRST:
        raise CheckpointError(
            f"it uses version {own} of ONNX's operators, {FIRST} to {latest} are known: convert it with "
            "onnx.version_converter.convert_version(model, 13)."
        )
    if own > latest:
        raise CheckpointError(
            f"it uses version {own} of ONNX's operators, and onnx {onnx.__version__} knows {latest} at most: "
            "pip install -U onnx."
        )
    return own


def inlined(model: Any, name: str) -> Any:
    """The model without local functions; ones that call themselves, or grow beyond all bounds, are refused."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    sizes: dict[Any, int] = {}

    def size(nodes: Any, path: tuple[Any, ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, node.overload)
            if key in path:
                raise CheckpointError(f"{name}: the function {node.op_type!r} of {node.domain!r} calls itself.")
            if key in functions:
                if key not in sizes:
                    sizes[key] = size(functions[key].node, (*path, key))
                total += sizes[key]
            else:
                total += 1 + sum(size(a.g.node, path) for a in node.attribute if a.HasField("g"))
        return total

    try:
        count = size(model.graph.node, ())
        if count > LARGEST:
            raise CheckpointError(f"{name}: its functions, written out, are {count} nodes; {LARGEST} are allowed.")
        from onnx import inliner

        return inliner.inline_local_functions(model)
    except CheckpointError:
        raise
    except RecursionError:
        raise CheckpointError(f"{name}: its functions call each other too deeply.") from None
    except Exception as error:
        raise CheckpointError(f"{name}: its local functions cannot be written out ({error}).") from error
