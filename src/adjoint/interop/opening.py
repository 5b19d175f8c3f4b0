"""`aj.open`: a network or weights that exist somewhere, as a module or as arrays by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from adjoint.arrays.dispatch import is_floating
from adjoint.errors import CheckpointError, DtypeError, ShapeError
from adjoint.interop.entries import dtype_of, listed
from adjoint.interop.folders import INDEX, within
from adjoint.interop.weights import Weights
from adjoint.nn.init import only_shapes
from adjoint.nn.module import Module, register_with_jax, to

WHAT = (
    "a folder with config.json and weights as Hugging Face lays them out; a file of weights (safetensors, .npz, "
    "PyTorch's .pt, .pth or .bin); an .onnx file; or a torch.nn.Module with example inputs"
)
BACKENDS = ("numpy", "torch", "jax")
SHOWN = 5  # arrays of another shape that an error names
BITSANDBYTES = ".quant_state.bitsandbytes__"  # in the names of what describes weights of 4 bits
SCALES = "SCB"  # ends the names of what describes weights of 8 bits


def open(
    source: Any, *inputs: Any, dtype: Any = None, backend: str | None = None, ignore: Collection[str] = (),
    trust_pickle: bool = False, progress: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """A network that exists, as a module of this library in evaluation mode; or weights, by name.

    - A folder with `config.json` and weights, as Hugging Face lays them out, or such a file of weights beside its
      `config.json`: the network, see `aj.models.from_config` (`ignore` goes there). All names and shapes are checked
      before anything is read. Its arrays are views of the mapped file, so that they take no memory before they are
      used; changing them never changes the file.
      Linear layers that bitsandbytes stored in 4 or 8 bits stay so: see `aj.quantize`. Where the weights are those of
      what `aj.factorize` gave, the network has its pairs.
    - A file of weights alone, or a folder with one: `aj.interop.Weights`, its arrays and matrices by name, as they are.
    - An `.onnx` file: see `adjoint.interop.onnx.from_onnx`.
    - A `torch.nn.Module` and example `inputs`: see `adjoint.interop.torch_export.from_torch`, to which other `options`
      go: inputs by name, `dynamic_shapes` that free a batch or a length, `training=True` for batch statistics.

    Floating arrays of a network become `dtype`, all move to the `backend` ("numpy", "torch", "jax"), one after the
    other. No pickle is executed unless `trust_pickle` says that the file's maker may run code here. `progress` shows a
    bar on a terminal.

    Raises FileNotFoundError; CheckpointError where files are damaged or do not fit their configuration, naming every
    array at fault; TypeError for what cannot be opened, and for options that it does not have.

    >>> import numpy as np, adjoint as aj, json, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> aj.save(folder / "model.safetensors", {"fc.weight": np.eye(3), "fc.bias": np.ones(3)})
    >>> int(aj.open(folder).map("fc.weight").rank())
    3
    """
    if backend not in (None, *BACKENDS):
        raise ValueError(f"open: the backend is {', '.join(map(repr, BACKENDS))}, not {backend!r}.")
    dtype = None if dtype is None else dtype_of(dtype)
    if dtype is not None and not is_floating(dtype):
        raise DtypeError(f"open: a network computes in floating numbers, such as 'float32' or 'bfloat16', not {dtype}.")
    if _is_torch_module(source):
        if not inputs and not options:
            raise TypeError(
                f"open: a PyTorch module is read by running it: give example inputs, aj.open(module, x), for "
                f"{type(source).__name__}."
            )
        return _moved(
            import_module("adjoint.interop.torch_export").from_torch(source, *inputs, **options), backend, dtype
        )
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"open: {type(source).__name__} is nothing that can be opened: that is {WHAT}.")
    if inputs or options:
        given = ", ".join(options) or "example inputs"
        raise TypeError(f"open: {given}: that is for a torch.nn.Module; {os.fspath(source)} needs no inputs.")
    found = _recognized(os.fspath(source), ignore, trust_pickle, dtype)
    if isinstance(found, Plan):
        return _read(found, dtype, backend, progress)
    if isinstance(found, Weights) and not (backend is None and dtype is None):
        raise TypeError(
            f"open: {os.fspath(source)} holds weights without a configuration (config.json), so no network: "
            "dtype and backend are for one. aj.to(dict(weights), backend, dtype) moves the arrays."
        )
    return found if isinstance(found, Weights) else _moved(found, backend, dtype)


def glance(source: str, ignore: Collection[str] = (), trust_pickle: bool = False) -> Any:
    """What `open` gives, except that a network of a folder has arrays of the file's shapes and dtypes without numbers.

    >>> import numpy as np, adjoint as aj, tempfile
    >>> path = tempfile.mkdtemp() + "/w.safetensors"
    >>> aj.save(path, {"x": np.ones(3)})
    >>> len(glance(path))
    1
    """
    found = _recognized(source, ignore, trust_pickle, None)
    if not isinstance(found, Plan):
        return found
    from adjoint.arrays.shapes import ShapeArray

    net, weights, where = found
    own = net.state_dict()
    shapes = {n: ShapeArray(own[n].shape, weights.dtype(source.name)) for n, source in where.items()}
    net.load_state_dict(_filled(net) | shapes, assign=True)
    return net.eval()


class Plan(NamedTuple):
    """A network laid out with shapes alone, the weights that it fits, and where each array stands among them."""

    net: Module
    weights: Weights
    where: dict[str, Any]


def _recognized(path: str, ignore: Collection[str], trust_pickle: bool, dtype: Any) -> Any:
    """The network of an ONNX file, weights, or the plan of a network whose weights are not yet read."""
    path = _found(path)
    if path.lower().endswith(".onnx"):
        return import_module("adjoint.interop.onnx").from_onnx(path)
    config = _config(path)
    return Weights(path, trust_pickle) if config is None else _planned(path, config, dtype, ignore, trust_pickle)


def in_8_bits(name: str) -> bool:
    """Whether an array has the scales of a weight that bitsandbytes stored in 8 bits.

    >>> in_8_bits("fc.SCB"), in_8_bits("fc.weight")
    (True, False)
    """
    return name.rpartition(".")[2] == SCALES


def _is_torch_module(source: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def _moved(net: Any, backend: str | None, dtype: Any) -> Any:
    return net if backend is None and dtype is None else to(net, backend, dtype)


def _found(path: str) -> str:
    """The path of what is there: of a folder with an ONNX file alone, that file."""
    if not os.path.exists(path):
        hint = "; a repository of Hugging Face's is to be downloaded first" if path.count("/") == 1 else ""
        raise FileNotFoundError(f"open: there is no {path}{hint}. What can be opened is {WHAT}.")
    if os.path.isdir(path) and not os.path.exists(os.path.join(path, "config.json")):
        graphs = [name for name in os.listdir(path) if name.lower().endswith(".onnx")]
        others = [name for name in os.listdir(path) if name.endswith((".safetensors", ".bin", ".pt", ".pth", INDEX))]
        if len(graphs) == 1 and not others:
            return os.path.join(path, graphs[0])
    return path


def _config(path: str) -> str | None:
    """The configuration that belongs to weights: in their folder."""
    if path.lower().endswith(".npz"):
        return None
    place = os.path.join(path if os.path.isdir(path) else os.path.dirname(path), "config.json")
    return place if os.path.exists(place) else None


def _planned(path: str, config: str, dtype: Any, ignore: Collection[str], trust_pickle: bool) -> Plan:
    """The network that a configuration lays out, which its weights fit."""
    from adjoint.models.checkpoint import untie
    from adjoint.models.config import from_config

    if os.path.isdir(path):
        path = within(path)
    weights = Weights(path, trust_pickle)
    kind = dtype or next((name for name in weights.dtypes if is_floating(name)), "float32")
    packed = any(BITSANDBYTES in name or in_8_bits(name) for name in weights)
    try:
        with only_shapes():
            ignore = (*ignore, "quantization_config") if packed else ignore
            net: Module = from_config(config, dtype=kind, ignore=ignore)
    except ValueError as error:
        raise CheckpointError(
            f"{config}: {error} The weights alone, without the network, are aj.interop.Weights({path!r})."
        ) from error
    names: Iterable[str] = weights
    if packed:
        names = import_module("adjoint.quantization.bitsandbytes").place(net, weights)
    if any(name.endswith(".first.weight") for name in names):
        try:
            net = import_module("adjoint.slim.loading").placed(net, weights, path)
        except ShapeError as error:
            raise CheckpointError(f"{error} The file is corrupt, or of another network than {config}.") from None
    where = _turned(_sought(net, names), net.state_dict(), weights)
    _check(path, config, where, net.state_dict(), weights)
    if untie(net, weights):
        where = _turned(_sought(net, names), net.state_dict(), weights)
        _check(path, config, where, net.state_dict(), weights)
    stored = net.state_dict().keys()
    if left := [name for name, x in net.named_arrays() if type(x).__name__ == "ShapeArray" and name not in stored]:
        raise CheckpointError(f"{config}: {listed(left)} of {type(net).__name__} have no values, and no file has them.")
    return Plan(net, weights, where.found)


def _filled(net: Module) -> dict[str, Any]:
    """The arrays of a network that was laid out which have numbers already."""
    return {name: x for name, x in net.state_dict().items() if type(x).__name__ != "ShapeArray"}


def _sought(net: Module, names: Iterable[str]) -> Any:
    """Where the arrays stand that have no numbers yet."""
    from adjoint.models.checkpoint import sources

    where, filled = sources(net, names), _filled(net)
    return where._replace(missing=tuple(name for name in where.missing if name not in filled))


def _turned(where: Any, own: dict[str, Any], weights: Weights) -> Any:
    """Where arrays stand; as they are where matrices that files have transposed are not, as `aj.save` writes them."""
    turned = {name: source for name, source in where.found.items() if source.transposed}
    shapes = [(weights.shape(source.name), tuple(own[name].shape)) for name, source in turned.items()]
    if not all(there == here for there, here in shapes) or all(there == here[::-1] for there, here in shapes):
        return where
    return where._replace(found=where.found | {name: x._replace(transposed=False) for name, x in turned.items()})


def _read(plan: Plan, dtype: Any, backend: str | None, progress: bool) -> Module:
    """The network with the arrays of its weights."""
    net, weights, where = plan
    target = None if backend in (None, "numpy") else import_module(f"adjoint.arrays.{backend}")
    if backend == "jax":
        register_with_jax()
    taken: dict[Any, Any] = {}
    with _bar(progress, weights.nbytes) as advance:
        for source in dict.fromkeys(where.values()):
            taken[source] = _taken(weights, source, dtype, target)
            advance(weights.entry(source.name).nbytes)
    stored = {n: x if target is None else target.from_numpy(x) for n, x in _filled(net).items()}
    net.load_state_dict(stored | {name: taken[source] for name, source in where.items()}, assign=True)
    return net.eval()


def _check(path: str, config: str, where: Any, own: dict[str, Any], weights: Weights) -> None:
    """Raise one error that names the arrays that are missing, unexpected or of another shape, five of the last."""
    wrong = [
        f"{source.name} is {weights.shape(source.name)}, not {source.shape(tuple(own[name].shape))}"
        for name, source in where.found.items()
        if weights.shape(source.name) != source.shape(tuple(own[name].shape))
    ]
    told = [f"missing: {listed(where.missing)}"] if where.missing else []
    told += [f"unexpected: {listed(where.unexpected)}"] if where.unexpected else []
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    told += [f"of another shape: {'; '.join(wrong[:SHOWN])}{more}"] if wrong else []
    if told:
        raise CheckpointError(
            f"{path} does not hold the network of {config}, so nothing was read.\n  " + "\n  ".join(told) + "\n"
            "Fetch both again from one place, or mend the configuration; aj.interop.Weights opens the arrays alone."
        )


def _taken(weights: Weights, source: Any, dtype: Any, target: Any) -> Any:
    """An array of the file as the network has it."""
    array: np.ndarray = weights.entry(source.name).read()
    if dtype is not None and is_floating(array.dtype):
        array = array.astype(dtype, copy=False)
    array = np.ascontiguousarray(source.taken(array)) if source.transposed else array
    return array if target is None else target.from_numpy(array)


@contextmanager
def _bar(shown: bool, total: int) -> Iterator[Any]:
    """What advances a bar by a number of bytes, on a terminal; it goes when all is read."""
    if not shown or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading weights"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
