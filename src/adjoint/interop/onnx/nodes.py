"""A node of a file, held against its operator's definition, its attributes as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.onnx.operators import Node
from adjoint.interop.onnx.tensors import array_of
from adjoint.interop.onnx.types import Types

Values = Callable[[Any], Any]


def node_of(proto: Any, opset: int, types: Types, where: str, value_of: Values) -> Node:
    """A node, held against its operator's definition; `value_of` makes plain values of its attributes."""
    from onnx import defs

    try:
        schema = defs.get_schema(proto.op_type, opset, "")
    except defs.SchemaError:
        raise CheckpointError(f"{where}: version {opset} of ONNX's operators has no {proto.op_type}.") from None
    if schema.deprecated:
        raise CheckpointError(f"{where}: {proto.op_type} is no longer an operator in version {opset}.")
    many = len(proto.input)
    if not schema.min_input <= many <= schema.max_input:
        raise CheckpointError(f"{where} takes {schema.min_input} to {schema.max_input} values, not {many}.")
    if not max(schema.min_output, 1) <= len(proto.output) <= schema.max_output or not any(proto.output):
        raise CheckpointError(
            f"{where} gives {schema.min_output} to {schema.max_output} values, not {len(proto.output)}."
        )
    for i, name in enumerate(proto.input):
        if (
            not name
            and i < len(schema.inputs)
            and schema.inputs[i].option == defs.OpSchema.FormalParameterOption.Single
        ):
            raise CheckpointError(f"{where}: its input {schema.inputs[i].name!r} is left out, and is needed.")
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        known: Any = schema.attributes.get(attribute.name)
        if known is None or attribute.name in attributes:
            raise CheckpointError(
                f"{where}: the attribute {attribute.name!r} is not {proto.op_type}'s, or given twice."
            )
        if int(known.type) != int(attribute.type):
            raise CheckpointError(f"{where}: the attribute {attribute.name!r} is not of the type that it has there.")
        try:
            attributes[attribute.name] = value_of(attribute)
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from None
    if lacking := [n for n, a in schema.attributes.items() if a.required and n not in attributes]:
        raise CheckpointError(f"{where}: the attribute {lacking[0]!r} is missing.")
    if proto.op_type == "Constant":
        attributes = {"value": constant_value(attributes, types, where)}
    return Node(proto.op_type, attributes, opset, types, len(proto.output), alike(schema, proto))


def alike(schema: Any, proto: Any) -> list[list[int]]:
    """For every output the positions of the inputs that have its type."""
    inputs, outputs = [x.type_str for x in schema.inputs], [x.type_str for x in schema.outputs]
    taken = [inputs[min(i, len(inputs) - 1)] for i in range(len(proto.input))]
    given = [outputs[min(i, len(outputs) - 1)] for i in range(len(proto.output))]
    return [[i for i, kind in enumerate(taken) if kind == wanted] for wanted in given]


def value_of(attribute: Any, types: Types, folder: str | None, block: Callable[[Any], Any]) -> Any:
    """An attribute as a plain value: numbers, text, lists of them, an array, or what `block` makes of a graph."""
    if attribute.ref_attr_name:
        raise CheckpointError(f"the attribute {attribute.name!r} stands for a function's, and this is none.")
    match attribute.type:
        case 1:
            return float(attribute.f)
        case 2:
            return int(attribute.i)
        case 3:
            return attribute.s.decode("utf-8")
        case 4:
            return array_of(attribute.t, types, folder, f"the tensor {attribute.name!r}")
        case 5:
            return block(attribute.g)
        case 6:
            return [float(x) for x in attribute.floats]
        case 7:
            return [int(x) for x in attribute.ints]
        case 8:
            return [x.decode("utf-8") for x in attribute.strings]
        case 13:
            return None  # a type, which nothing here needs
    raise CheckpointError(f"the attribute {attribute.name!r} is of a kind that is not known here.")


def constant_value(attributes: Mapping[str, Any], types: Types, where: str) -> np.ndarray:
    """The array of a Constant, however it is spelled."""
    if len(attributes) != 1:
        raise CheckpointError(f"{where} has {len(attributes)} values, not one.")
    ((name, value),) = attributes.items()
    if name == "value":
        return np.asarray(value)
    if name in ("value_int", "value_ints"):
        return np.array(value, np.int64)
    if name in ("value_float", "value_floats"):
        return np.array(value, types.dtype(1))
    raise CheckpointError(f"{where}: a constant of {name.removeprefix('value_')} is not known here.")
