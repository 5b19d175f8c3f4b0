"""ONNX files that are damaged, lie, or ask for too much: an error names the tensor or the node."""

from __future__ import annotations

import contextlib
import os
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, parser

import adjoint as aj
from adjoint.errors import CheckpointError
from adjoint.interop.onnx import from_onnx

TEXT = """<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>
net (float[n, 2] x, bool c) => (float[n, 3] y)
  <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[3] b = {0.5, 0, -1}, int64[2] s = {-1, 3}> {
    h = Gemm <alpha = 2.0> (x, w, b)
    k = Relu (h)
    p = Reshape (k, s)
    q = mine.more (p)
    y = If (c) <
      then_branch = one () => (float[n, 3] u) { u = Mul (q, b) },
      else_branch = two () => (float[n, 3] v) <float[1] d = {4}> { v = Div (q, d) }
    >
}
<domain: "mine", opset_import: ["" : 21]> more (a) => (z) { z = Add (a, a) }
"""


def small() -> Any:
    """A model with everything: arrays, constants, a function, graphs inside a node."""
    return parser.parse_model(TEXT)


def made(nodes: list[Any], arrays: list[Any] = (), inputs: str = "x", outputs: str = "y", opset: int = 21) -> Any:  # type: ignore[assignment]
    """A model of float arrays."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs.split()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        list(arrays),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def floats(name: str, *shape: int) -> Any:
    """An initializer of ones."""
    return numpy_helper.from_array(np.ones(shape, "float32"), name)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node named after what it gives."""
    return helper.make_node(op, inputs.split(" "), outputs.split(" "), name=f"n_{outputs.split()[0]}", **attributes)


def refused(model: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_onnx(model)


def test_the_sound_model_is_read() -> None:
    net = from_onnx(small().SerializeToString())
    x = np.array([[1.0, -1.0]], "float32")
    h = 2 * np.maximum(2 * x @ np.arange(1.0, 7.0).reshape(2, 3) + [0.5, 0, -1], 0)
    np.testing.assert_allclose(net(x, np.array(True)), h * [0.5, 0, -1])
    np.testing.assert_allclose(net(x, np.array(False)), h / 4)
    assert sorted(net.state_dict()) == ["b", "d", "w"]


# Damage


def opened(data: bytes) -> None:
    """Read a file that may be damaged: it is read, or refused in the documented way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(CheckpointError):
            from_onnx(data)


def test_every_truncation() -> None:
    data = small().SerializeToString()
    for n in range(len(data)):
        opened(data[:n])
    refused(data[: len(data) // 2], "not a whole ONNX file|no graph")
    refused(b"", "has no graph")
    refused(b"PK\x03\x04 this is a zip file", "is not a whole ONNX file")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(small().SerializeToString())
    for place, byte in changes:
        data[place % len(data)] = byte
    opened(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    opened(data)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 40))
def test_pieces_moved(start: int, place: int, length: int) -> None:
    data = small().SerializeToString()
    start, place = start % len(data), place % len(data)
    opened(data[:place] + data[start : start + length] + data[place:])


def test_a_real_file_with_changed_bytes(data_path: Any) -> None:
    data = (data_path("onnx") / "basic_pitch_nmp.onnx").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            changed[place] = rng.integers(256)
        opened(bytes(changed))
    refused(data[:-100], "not a whole ONNX file|nothing in the file|has no graph")


def test_names_that_are_no_text() -> None:
    data = made([node("Relu", "x", "yyy")], outputs="yyy").SerializeToString()
    refused(data.replace(b"yyy", b"y\xffy"), r"the name b'y\\xffy' is not text in UTF-8")


def test_files_that_are_none(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder, not an ONNX file")
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "missing.onnx")
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\xff" * 100)
    refused(path, "net.onnx is not a whole ONNX file")


# Tensors that lie


def lying(**fields: Any) -> Any:
    """A model whose initializer w is made of these fields."""
    tensor = TensorProto(name="w")
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return made([node("Add", "x w", "y")], [tensor])


LIES = {
    "huge": (lying(data_type=1, dims=[2**40], raw_data=b"1234"), r"'w': shape \(1099511627776,\) of float32 takes"),
    "huge product": (lying(data_type=1, dims=[2**30] * 4, raw_data=b"1234"), "'w': shape .* takes .* bytes, and 4 are"),
    "huge list": (lying(data_type=1, dims=[2**40], float_data=[1.0]), "'w': shape .* is 1099511627776 entries, and 1"),
    "negative": (lying(data_type=1, dims=[-1], raw_data=b"1234"), r"'w': its shape \(-1,\) has a negative size"),
    "short": (lying(data_type=1, dims=[2], raw_data=b"1234"), "'w': shape .* takes 8 bytes, and 4 are there"),
    "unknown": (lying(data_type=77, dims=[1], raw_data=b"1234"), r"'w': the element type is unknown \(77\)"),
    "undefined": (lying(data_type=0, dims=[1], raw_data=b"1234"), r"'w': the element type is unknown \(0\)"),
    "text": (lying(data_type=8, dims=[1], string_data=[b"a"]), "'w': the element type is text"),
    "other field": (lying(data_type=1, dims=[1], int32_data=[1]), "'w': numbers of float32 stand in float_data, and"),
    "nothing": (lying(data_type=1, dims=[3]), "'w': shape .* is 3 entries, and 0 are there"),
    "elsewhere": (lying(data_type=1, dims=[1], data_location=1), "'w' stands in a file of its own"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str) -> None:
    tracemalloc.start()
    refused(*LIES[lie])
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_an_initializer_that_is_declared_otherwise() -> None:
    model = made([node("Add", "x w", "y")], [floats("w", 3)])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    refused(model, r"the initializer 'w' has shape \(3,\), declared is \(4,\)")


def test_an_array_of_the_wrong_shape_names_its_node() -> None:
    net = from_onnx(made([node("Conv", "x w", "y")], [floats("w", 4, 3, 3, 3)]))
    with pytest.raises(aj.ShapeError, match="2 channels") as caught:
        net(np.ones((1, 2, 5, 5), "float32"))
    assert caught.value.__notes__ == ["in Conv 'n_y' (node 1 of 1)"]


def test_inputs_are_held_against_the_declared() -> None:
    net = from_onnx(small())
    with pytest.raises(aj.ShapeError, match=r"the input 'x' is \(…, 2\), got \(1, 3\)"):
        net(np.ones((1, 3), "float32"), np.array(True))
    with pytest.raises(aj.DtypeError, match="the input 'x' is floating numbers, got int64"):
        net(np.ones((1, 2), "int64"), np.array(True))
    with pytest.raises(aj.DtypeError, match="the input 'c' is integers or truth values, got float64"):
        net(np.ones((1, 2), "float32"), 1.0)
    with pytest.raises(TypeError, match=r"takes 2 inputs \(x, c\), not 1"):
        net(np.ones((1, 2), "float32"))


def test_sparse_tensors_are_refused() -> None:
    model = made([node("Add", "x w", "y")])
    sparse = onnx.SparseTensorProto(values=floats("w", 1), dims=[2**40])
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros((1, 1), np.int64), "at"))
    model.graph.sparse_initializer.append(sparse)
    refused(model, "sparse initializer 'w' is not known here")


# Graphs that do not fit


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (made([node("Add", "x w", "y")]), r"Add 'n_y' \(node 1 of 1\) takes 'w', which nothing in the file gives"),
        (made([node("Relu", "x", "z")]), "the output 'y' is given by nothing in the file"),
        (made([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]),
         r"in a circle: Add 'n_a' \(node 1 of 3\), Relu 'n_b' \(node 2 of 3\)"),
        (made([node("Relu", "y", "y")]), "in a circle"),
        (made([node("Relu", "x", "y"), node("Abs", "x", "y")]), "the name 'y' is given twice"),
        (made([node("Relu", "x", "x"), node("Relu", "x", "y")]), "the name 'x' is given twice"),
        (made([node("Add", "x w", "y")], [floats("w", 1), floats("w", 2)]), "initializer 'w' stands in the file twice"),
        (made([node("Relu", "x", "y")], inputs="x x"), "an input has no name, or two have the same"),
        (made([node("Relu", "x x", "y")]), "n_y.* takes 1 to 1 values, not 2"),
        (made([helper.make_node("Add", ["x", ""], ["y"])]), "its input 'B' is left out"),
        (made([node("Concat", "x x", "y")]), "the attribute 'axis' is missing"),
        (made([node("Concat", "x x", "y", axis="a")]), "the attribute 'axis' is not of the type"),
        (made([node("Relu", "x", "y", slope=1.0)]), "the attribute 'slope' is not Relu's"),
        (made([node("Upsample", "x w", "y")], [floats("w", 1)]), "Upsample is no longer an operator in version 21"),
        (made([node("Gelu", "x", "y")], opset=13), "version 13 of ONNX's operators has no Gelu"),
        (made([node("Relu", "x", "y")], opset=99), "uses version 99 .* pip install -U onnx"),
        (made([node("Relu", "x", "y")], opset=6), "convert_version"),
    ],
)  # fmt: skip
def test_graphs_that_do_not_fit(model: Any, message: str) -> None:
    refused(model, message)
    refused(model.SerializeToString(), message)


def test_no_version_and_no_output() -> None:
    model = made([node("Relu", "x", "y")])
    del model.opset_import[:]
    refused(model, "does not say which version")
    refused(made([node("Relu", "x", "y")], outputs=""), "no output")


def test_operators_that_are_not_known() -> None:
    model = made([
        node("Relu", "x", "a"), helper.make_node("FusedGelu", ["a"], ["b"], domain="com.microsoft", name="fused"),
        node("RandomNormalLike", "b", "y"),
    ])  # fmt: skip
    with pytest.raises(CheckpointError) as caught:
        from_onnx(model)
    said = str(caught.value)
    assert "com.microsoft.FusedGelu at FusedGelu 'fused' (node 2 of 3)" in said
    assert "RandomNormalLike at RandomNormalLike 'n_y' (node 3 of 3)" in said
    assert "Known are Abs, Acos" in said


def test_functions_that_never_end() -> None:
    text = """<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>
    net (float[n] x) => (float[n] y) { y = mine.a (x) }
    <domain: "mine", opset_import: ["mine" : 1]> a (x) => (y) { y = mine.b (x) }
    <domain: "mine", opset_import: ["mine" : 1]> b (x) => (y) { y = mine.a (x) }"""
    refused(parser.parse_model(text), "the function 'a' of 'mine' calls itself")


def test_functions_that_grow_beyond_all_bounds() -> None:
    head = (
        '<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>\nnet (float[n] x) => (float[n] y) { y = mine.f0 (x) }\n'
    )
    bodies = [
        f'<domain: "mine", opset_import: ["mine" : 1, "" : 21]> f{i} (x) => (y) {{ a = mine.f{i + 1} (x) '
        f"b = mine.f{i + 1} (x) y = Add (a, b) }}"
        for i in range(40)
    ]
    bodies.append('<domain: "mine", opset_import: ["" : 21]> f40 (x) => (y) { y = Relu (x) }')
    refused(parser.parse_model(head + "\n".join(bodies)), "its functions, written out, are [0-9]+ nodes")


def test_graphs_in_graphs() -> None:
    """Protobuf allows some thirty."""
    result = [helper.make_empty_tensor_value_info("r")]
    last = helper.make_graph([node("Neg", "x", "r")], "last", [], result)
    graph = last
    for _ in range(25):
        choice = helper.make_node("If", ["c"], ["r"], then_branch=graph, else_branch=last)
        graph = helper.make_graph([choice], "g", [], result)
    model = made([helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=last)])
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    assert from_onnx(model)(np.ones(1, "float32"), np.array(True)).tolist() == [-1.0]


# What is unusual and right


def test_nodes_in_another_order_are_put_in_order() -> None:
    net = from_onnx(made([node("Relu", "a", "y"), node("Neg", "x", "a")]))
    assert net(np.array([-2.0], "float32")).tolist() == [2.0]


def test_what_no_output_needs_is_left_out() -> None:
    net = from_onnx(made([node("Relu", "x", "y"), node("Add", "x w", "z")], [floats("w", 1)]))
    assert len(net.plan.steps) == 2
    assert net.state_dict() == {}


def test_names_that_modules_have_already() -> None:
    names = ["plan", "training", "__class__", "form", "_frozen"]
    through = ["x", "1", "2", "3", "4", "y"]
    nodes = [node("Add", f"{through[i]} {w}", through[i + 1]) for i, w in enumerate(names)]
    net = from_onnx(made(nodes, [floats(name, 2) for name in names]))
    assert net(np.zeros(2, "float32")).tolist() == [5.0, 5.0]
    assert sorted(net.state_dict()) == sorted(f"{name} (array)" for name in names)
    assert len(aj.trees.flatten(aj.grad(lambda net: aj.sum(net(np.zeros(2, "float32"))))(net))[0]) == 5


def test_scales_and_bounds_are_constants() -> None:
    arrays = [floats("scales", 4), numpy_helper.from_array(np.array(0.5, "float32"), "low")]
    net = from_onnx(made([node("Resize", "x  scales", "a"), node("Clip", "a low", "y")], arrays))
    assert net.state_dict() == {}
    assert net(np.zeros((1, 1, 2, 2), "float32")).max() == 0.5


def test_small_integers_are_unpacked() -> None:
    import ml_dtypes

    values = np.array([-8, 7, -1, 3, 5], np.int8).astype(ml_dtypes.int4)
    scale = numpy_helper.from_array(np.array(0.5, "float32"), "scale")
    net = from_onnx(made([node("DequantizeLinear", "q scale", "a"), node("Add", "a x", "y")],
                         [numpy_helper.from_array(values, "q"), scale]))  # fmt: skip
    assert net(np.zeros(5, "float32")).tolist() == [-4.0, 3.5, -0.5, 1.5, 2.5]
    assert aj.grad(lambda net: aj.sum(net(np.zeros(5, "float32"))))(net)["scale"].tolist() == 6.0


# Data in files of their own


def split_in_two(folder: Path, location: str = "weights.bin", **more: Any) -> Path:
    """A model whose array w stands in a file of its own."""
    tensor = TensorProto(name="w", data_type=1, dims=[3], data_location=1)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    folder.mkdir(exist_ok=True)
    path = folder / "net.onnx"
    path.write_bytes(made([node("Add", "x w", "y")], [tensor]).SerializeToString())
    return path


def test_data_beside_the_model(tmp_path: Path) -> None:
    path = split_in_two(tmp_path / "a", offset=4, length=12)
    (path.parent / "weights.bin").write_bytes(np.arange(4, dtype="float32").tobytes())
    assert from_onnx(path)["w"].tolist() == [1.0, 2.0, 3.0]
    path = split_in_two(tmp_path / "a")
    refused(path, r"'w': its data cannot be read .* 12 bytes, and 16 are there")
    refused(path.read_bytes(), "'w' stands in a file of its own: give the model's path")
    refused(split_in_two(tmp_path / "a", offset=8, length=12), "'w': its data cannot be read")
    refused(split_in_two(tmp_path / "a", length=2**40), "'w': .* 1099511627776 are there")
    refused(split_in_two(tmp_path / "a", location="missing.bin"), "'w': its data cannot be read")


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"0" * 12)
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "x/../../secret.bin"):
        refused(split_in_two(tmp_path / "a", location=location, length=12), "'w': its data cannot be read")
    os.symlink(tmp_path / "secret.bin", tmp_path / "a" / "link.bin")
    refused(split_in_two(tmp_path / "a", location="link.bin", length=12), "'w': its data cannot be read")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'adjoint\[onnx\]'"):
        from_onnx("net.onnx")
