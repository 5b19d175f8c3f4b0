"""What is counted: a network, or a configuration laid out without memory, and arrays that it can be given."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adjoint.arrays.shapes import ShapeArray, like
from adjoint.inspection.watching import evaluated
from adjoint.interop.graph import Graph
from adjoint.nn import init
from adjoint.nn.module import Module, to
from adjoint.trees import map as tree_map

if TYPE_CHECKING:
    from adjoint.models.config import Config

USUAL = 1024  # tokens, where nothing is said and the model allows as many
IMAGE = 224  # pixels a side, for networks that take any size
LONGEST = 16_384  # tokens of a count for a polynomial, where the model has no limit of its own


def laid_out(model: Module | Config, dtype: Any = None) -> Module:
    """A network as it is; that of a configuration with arrays that only have shapes.

    >>> type(laid_out({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12,
    ...                "n_head": 12})).__name__
    'GPT'
    """
    if isinstance(model, Module):
        return model
    from adjoint.models.config import from_config, read_config

    config = model if isinstance(model, Mapping) else read_config(model)
    with init.only_shapes():
        net: Module = from_config(config, dtype=dtype or "float32")
    return net


def shaped(net: Module, dtype: Any = None) -> Module:
    """The network in evaluation mode with arrays that only have shapes; tied weights stay one array.

    >>> import adjoint as aj
    >>> shaped(aj.nn.Linear(3, 2), "float16").weight
    ShapeArray((2, 3), float16)
    """
    shapes: dict[int, Any] = {}
    made: Module = tree_map(lambda w: shapes.setdefault(id(w), like(w)), evaluated(net))
    return made if dtype is None else to(made, dtype=dtype)


def limit(net: Module) -> int | None:
    """The most tokens that a language model can be given, None where it has no limit.

    >>> import adjoint as aj
    >>> limit(aj.models.GPT(5, 16, n_layer=1, n_head=1, n_embd=4))
    16
    """
    from adjoint.models import BertModel
    from adjoint.models.bert import Head

    if isinstance(net, Head):
        net = net.__dict__[net.base]
    if isinstance(net, BertModel):
        table = net.embeddings
        return int(table.position_embeddings.num_embeddings) - ((table.padding or 0) + 1 if table.skips else 0)
    found = getattr(net, "limit", None) or getattr(getattr(net, "model", net), "max_positions", None)
    return None if found is None else int(found)


def made_for(net: Module) -> int | None:
    """How many tokens a language model was made for: its limit, or those beyond which rotary positions go on.

    >>> import adjoint as aj
    >>> made_for(aj.models.GPT(5, 16, n_layer=1, n_head=1, n_embd=4)), made_for(aj.nn.Linear(3, 2))
    (16, None)
    """
    told = getattr(getattr(net, "model", net), "made_for", None)
    return limit(net) if told is None else int(told)


def longest(net: Module) -> int:
    """The longest sequence on which a polynomial is counted: T5's table of distances is a real one."""
    from adjoint.models import T5, T5Encoder

    most = 2048 if isinstance(net, (T5, T5Encoder)) else LONGEST
    return min(limit(net) or most, most)


def example(net: Module, batch: int | None = None, seq: int | None = None) -> tuple[ShapeArray, ...]:
    """What a language model or a network for images can be given: tokens (batch, seq), or images.

    An encoder with a decoder is given sequences of one length, a program that was read what it declares. Raises
    ValueError for a network of another kind, for a sequence length where there is no sequence, and for sizes that are
    no positive integers.

    >>> import adjoint as aj
    >>> example(aj.models.GPT(5, 16, n_layer=1, n_head=1, n_embd=4), 2, 8)
    (ShapeArray((2, 8), int64),)
    """
    from adjoint import models
    from adjoint.models.bert import Head
    from adjoint.models.causal import CausalLM
    from adjoint.models.llama import LlamaModel

    for name, size in (("batch", batch), ("seq", seq)):
        if size is not None and (type(size) is not int or size < 1):
            raise ValueError(f"cost: {name} is to be a positive integer, not {size!r}.")
    n = batch or 1
    if isinstance(net, (CausalLM, LlamaModel, models.BertModel, Head, models.T5, models.T5Encoder)):
        tokens = ShapeArray((n, seq or min(made_for(net) or USUAL, USUAL)), "int64")
        return (tokens, tokens) if isinstance(net, models.T5) else (tokens,)
    kind, sized = type(net).__name__, (models.ViTForImageClassification, models.ViTModel)
    others = (models.ResNet, models.MobileNet, models.MobileNetV2)
    if seq is not None and isinstance(net, (*sized, *others)):
        raise ValueError(f"cost: {kind} takes images, which have no sequence length; leave seq out.")
    dtype = next((str(p.dtype) for p in net.parameters()), "float32")
    if isinstance(net, models.ViTForImageClassification):
        net = net.vit
    if isinstance(net, models.ViTModel):
        return (ShapeArray((n, net.channels, *net.image_size), dtype),)
    if isinstance(net, others):
        return (ShapeArray((n, net.in_channels, IMAGE, IMAGE), dtype),)
    if isinstance(net, Graph) and net.plan.sizes:
        return declared(net, batch, seq)
    raise ValueError(f"cost: what {kind} is given is not known; give x, an array or a shape, instead of batch and seq.")


def declared(net: Graph, batch: int | None = None, seq: int | None = None) -> tuple[ShapeArray, ...]:
    """What the inputs of a program are by its source: `batch` and `seq` stand for the first and second of open sizes.

    They are floating numbers where the program takes them, else integers. Raises ValueError where a size is open that
    is neither, or fixed at another one.
    """
    shapes = []
    for name in net.plan.inputs:
        if name not in net.plan.sizes:
            raise ValueError(f"cost: the program does not tell the shape of its input {name!r}; give x.")
        shape = []
        for axis, (least, most) in enumerate(net.plan.sizes[name]):
            asked = (batch, seq)[axis] if axis < 2 else None
            size = asked or (least if least == most else 1 if axis == 0 else None)
            if size is None or not least <= size <= most:
                wanted = "open" if size is None else f"{least}" if least == most else f"{least} to {most}"
                raise ValueError(
                    f"cost: axis {axis} of the input {name!r} is {wanted}{'' if size is None else f', not {size}'}; "
                    "give x, an array or a shape."
                )
            shape.append(size)
        shapes.append(tuple(shape))
    for dtype in ("float32", "int64"):
        args = tuple(ShapeArray(shape, dtype) for shape in shapes)
        with suppress(TypeError, LookupError):  # DtypeError is one; indices that are no integers
            shaped(net)(*args)
            return args
    raise ValueError("cost: the program takes neither floating numbers nor integers alone; give x.")
