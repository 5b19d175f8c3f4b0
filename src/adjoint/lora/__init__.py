"""Low-rank adaptation: a weight stays as it is, and a change of low rank beside it learns.

>>> import numpy as np, adjoint as aj
>>> net = aj.lora.add(aj.nn.MLP((64, 32, 10), rng=0), rank=4, rng=0)
>>> sorted({name.rpartition(".")[2] for name, _ in net.named_parameters()})
['bias', 'lora_A', 'lora_B', 'weight']
"""

from adjoint.lora.adapters import AdaLoRA, DoRA, LoRA
from adjoint.lora.adaptive import Allocator, ScheduleWarning, compact, orthogonality
from adjoint.lora.adding import add
from adjoint.lora.extracting import Extracted, Extraction, extract
from adjoint.lora.files import load, save
from adjoint.lora.layers import Adapted, AdaptedConvolution, AdaptedEmbedding, AdaptedLinear, adapted_layers
from adjoint.lora.methods import METHODS, Prepared, prepare
from adjoint.lora.planning import Plan, Planned, plan
from adjoint.lora.using import disable, disabled, merge, names, remove, unmerge, use

__all__ = [
    "METHODS",
    "AdaLoRA",
    "Adapted",
    "AdaptedConvolution",
    "AdaptedEmbedding",
    "AdaptedLinear",
    "Allocator",
    "DoRA",
    "Extracted",
    "Extraction",
    "LoRA",
    "Plan",
    "Planned",
    "Prepared",
    "ScheduleWarning",
    "adapted_layers",
    "add",
    "compact",
    "disable",
    "disabled",
    "extract",
    "load",
    "merge",
    "names",
    "orthogonality",
    "plan",
    "prepare",
    "remove",
    "save",
    "unmerge",
    "use",
]
