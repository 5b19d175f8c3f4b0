"""Networks with PEFT's adapters as evidence: made offline, every parameter random, float64."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import peft
import torch

EXACT = 1e-12
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "adalora": {},
}


def config(kind: str, **options: Any) -> Any:
    """A configuration of PEFT's of one kind."""
    options = {"lora_alpha": 5, **KINDS[kind], **options}
    if kind == "adalora":
        return peft.AdaLoraConfig(init_r=options.pop("r", 3), target_r=2, total_step=10, tinit=2, tfinal=3, **options)
    return peft.LoraConfig(r=options.pop("r", 3), **options)


def adapted(model: Any, kind: str, **options: Any) -> Any:
    """The model with PEFT's adapters, in float64 and evaluation mode, all parameters random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of orientations that PEFT mends by itself
        made = peft.get_peft_model(model, config(kind, **options)).double().eval()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "ranknum" not in name:
                p.copy_(torch.tensor(0.4 * rng.standard_normal(p.shape) + ("magnitude" in name or p.ndim == 1)))
    return made


def saved(model: Any, folder: Any) -> str:
    """The folder with the model's adapter, as PEFT writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of embeddings, whose base weights it adds
        model.save_pretrained(str(folder), save_embedding_layers=False)
    return str(folder)


def close(found: Any, expected: Any, told: str = "", tolerance: float = EXACT) -> None:
    """Equal up to a share of the largest entry."""
    found, expected = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x) for x in (found, expected))
    assert found.shape == expected.shape, (told, found.shape, expected.shape)
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    worst = float(np.abs(found - expected).max(initial=0.0))
    assert worst <= tolerance * scale, f"{told}: off by {worst / scale:.1e} of the largest entry"


def gradients(model: Any) -> dict[str, np.ndarray]:
    """PEFT's gradients of adapters by the names in its files."""
    result = {}
    for name, p in model.named_parameters():
        if p.grad is not None:
            key = name.removeprefix("base_model.model.").replace(".default", "")
            result[key.replace("magnitude_vector.weight", "magnitude_vector")] = p.grad.numpy()
    return result
