"""`aj.open`: networks of every kind of source, checked whole before anything is read, with little memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import adjoint as aj
from adjoint.interop import Weights
from tests.patience import HANGS

SIZES = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "vocab_size": 17}
LLAMA = {"model_type": "llama", **SIZES, "num_attention_heads": 3, "num_key_value_heads": 1}
TOKENS = np.array([[1, 5, 9, 2, 16]])


def transformer(kind: str, **options: Any) -> Any:
    """A tiny network of `transformers` whose every parameter is random."""
    import transformers

    configs = {
        "llama": lambda: transformers.LlamaConfig(
            **SIZES, num_attention_heads=4, num_key_value_heads=2, head_dim=4, **options
        ),
        "gpt2": lambda: transformers.GPT2Config(
            n_embd=12, n_layer=2, n_head=3, vocab_size=17, n_positions=8, **options
        ),
        "bert": lambda: transformers.BertConfig(**SIZES, num_attention_heads=3, max_position_embeddings=8, **options),
    }
    classes = {"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel", "bert": "BertForMaskedLM"}
    net = getattr(transformers, classes[kind])(configs[kind]()).eval()
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator)
    return net


def logits(net: Any) -> np.ndarray:
    with torch.no_grad():
        return net(torch.tensor(TOKENS)).logits.numpy()


# The field's own folders


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("size", ["5GB", "3kB"])
def test_what_transformers_saves(kind: str, size: str, tmp_path: Path) -> None:
    """One file, and shards with an index; GPT-2's matrices stand transposed there."""
    theirs = transformer(kind)
    theirs.save_pretrained(tmp_path, max_shard_size=size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (size == "3kB")
    net = aj.open(tmp_path)
    assert not net.training
    assert aj.nn.count_parameters(net) == sum(p.numel() for p in theirs.parameters())
    np.testing.assert_allclose(_values(net(TOKENS)), logits(theirs), rtol=1e-4, atol=1e-5)


def _values(out: Any) -> np.ndarray:
    return np.asarray(out if hasattr(out, "shape") else out[0])


def test_pickled_weights_of_older_folders(tmp_path: Path) -> None:
    theirs = transformer("llama")
    theirs.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    np.testing.assert_allclose(aj.open(tmp_path)(TOKENS), logits(theirs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", [None, "float32", "float64", "bfloat16"])
def test_backends_and_dtypes(backend: str, dtype: str | None, tmp_path: Path) -> None:
    theirs = transformer("llama", tie_word_embeddings=True).to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    net = aj.open(tmp_path, backend=backend, dtype=dtype)
    kinds = {str(x.dtype).removeprefix("torch.") for x in net.parameters()}
    assert kinds == {dtype or "bfloat16"}
    assert {type(x).__module__.partition(".")[0] for x in net.parameters()} <= {backend, f"{backend}lib"}
    assert net.lm_head.weight is net.model.embed_tokens.weight
    if dtype == "float32":
        exact = theirs.float()
        tokens = torch.tensor(TOKENS) if backend == "torch" else TOKENS
        np.testing.assert_allclose(np.asarray(net(tokens).tolist()), logits(exact), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_what_is_tied_in_the_configuration_and_differs_in_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transformers does: the file tells what was trained."""
    theirs = transformer(kind, tie_word_embeddings=False)
    theirs.config.tie_word_embeddings = True
    theirs.save_pretrained(tmp_path)
    net = aj.open(tmp_path)
    np.testing.assert_allclose(_values(net(TOKENS)), logits(theirs), rtol=1e-4, atol=1e-5)
    assert aj.nn.count_parameters(net) == sum(p.numel() for p in theirs.parameters())
    assert aj.nn.count_parameters(aj.grad(lambda net: aj.sum(_raw(net(TOKENS))))(net)) == aj.nn.count_parameters(net)
    read: list[str] = []
    monkeypatch.setattr(Weights, "__getitem__", lambda self, name: read.append(name) or self.entry(name).read())
    aj.open(tmp_path)
    assert len({*read}) <= 4, "only what may be tied is compared"
    loaded = aj.models.from_config(tmp_path)
    aj.models.load_checkpoint(loaded, {name: p.detach().numpy() for name, p in theirs.state_dict().items()})
    np.testing.assert_allclose(_values(loaded(TOKENS)), logits(theirs), rtol=1e-4, atol=1e-5)


def _raw(out: Any) -> Any:
    return out if hasattr(out, "shape") else out[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_what_was_opened_is_saved_and_opened_again(kind: str, tmp_path: Path) -> None:
    """GPT-2's matrices too, which transformers' files have transposed and ours do not."""
    transformer(kind).save_pretrained(tmp_path)
    net = aj.open(tmp_path)
    aj.save(tmp_path / "model.safetensors", net)
    np.testing.assert_array_equal(_values(aj.open(tmp_path)(TOKENS)), _values(net(TOKENS)))


def test_a_file_beside_its_configuration(tmp_path: Path) -> None:
    transformer("llama").save_pretrained(tmp_path)
    by_file, by_folder = aj.open(tmp_path / "model.safetensors"), aj.open(os.fspath(tmp_path))
    np.testing.assert_array_equal(by_file(TOKENS), by_folder(TOKENS))
    assert isinstance(Weights(tmp_path), Weights)
    (tmp_path / "config.json").unlink()
    weights = aj.open(tmp_path)
    assert isinstance(weights, Weights)
    assert weights.map("model.layers.0.self_attn.q_proj.weight").in_shape == (12,)


def test_the_real_llama(data_path: Callable[[str], Path]) -> None:
    net = aj.open(data_path("stories260K"))
    assert aj.nn.count_parameters(net) == 260_032
    assert net.generate(np.array([1]), 6, temperature=0.0).tolist() == [1, 403, 407, 261, 378, 432, 383]


# Arrays of the file


def test_a_step_of_training_leaves_the_file(tmp_path: Path) -> None:
    """The arrays are views of the file, and yet they can be changed."""
    transformer("llama").save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    net = aj.open(tmp_path)
    assert not net.model.norm.weight.flags.owndata
    old = np.array(net.model.norm.weight)
    grads = aj.grad(lambda net: net.loss(TOKENS, TOKENS))(net)
    net, _ = aj.optim.AdamW(net, lr=0.1).step(net, grads)
    assert not np.allclose(net.model.norm.weight, old)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    again = aj.open(tmp_path)
    np.testing.assert_array_equal(again.model.norm.weight, old)
    aj.save(tmp_path / "model.safetensors", net)  # over the file that is mapped
    np.testing.assert_array_equal(aj.open(tmp_path).model.norm.weight, net.model.norm.weight)
    np.testing.assert_array_equal(again.model.norm.weight, old)


def layered(folder: Path, dtype: Any) -> int:
    """A Llama of 24 layers; its bytes in float32."""
    config = {**LLAMA, "hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 24, "num_attention_heads": 6}
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(config)
    named = dict(net.named_parameters())
    safetensors.numpy.save_file(
        {name: np.ones(x.shape, dtype) for name, x in named.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(config))
    return 4 * sum(x.size for x in named.values())


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_peak_memory_is_the_models(backend: str, tmp_path: Path) -> None:
    size = layered(tmp_path, ml_dtypes.bfloat16)
    aj.open(tmp_path, backend=backend)  # whatever is imported and compiled
    tracemalloc.start()
    net = aj.open(tmp_path, backend=backend, dtype="float32")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    largest = 4 * 96 * 384
    assert peak - held < 3 * largest + 2**20
    if backend == "numpy":
        assert size < held < size + 2**21
        assert all(x.flags.owndata for x in net.parameters())


def test_peak_memory_of_the_process(tmp_path: Path) -> None:
    """Of what the system counts: pages that are the process's own."""
    size = layered(tmp_path, "float16")
    code = f"""
import adjoint as aj, sys
def own():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous")) * 1024
folder = {str(tmp_path)!r}
aj.open(folder)
before = own()
net = aj.open(folder)
mapped = own() - before
net = aj.open(folder, dtype="float32")
print(mapped, own() - before)
"""
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("Linux's account of memory")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS, check=True)
    mapped, converted = map(int, done.stdout.split())
    assert mapped < 0.1 * size
    assert converted < 1.2 * size + 2**21


def test_a_giant_is_laid_out_and_refused_without_memory(tmp_path: Path) -> None:
    """Llama-3-70B's configuration beside another file: every name told, at once."""
    config = {**LLAMA, "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672}
    config |= {"num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    aj.save(tmp_path / "model.safetensors", {"x": np.ones(2)})
    tracemalloc.start()
    with pytest.raises(aj.CheckpointError, match=r"model.layers.\{0…79\}.mlp.up_proj.weight") as raised:
        aj.open(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()
    assert len(str(raised.value)) < 2000


# Other sources


def test_a_pytorch_module() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    net = aj.open(module, x)
    np.testing.assert_allclose(_values(net(x.numpy())), module(x).detach().numpy(), rtol=1e-12)
    assert {str(p.dtype) for p in aj.open(module, x, dtype="float32").parameters()} == {"float32"}
    with pytest.raises(TypeError, match=r"give example inputs, aj.open\(module, x\), for Sequential"):
        aj.open(module)


def test_an_onnx_file(data_path: Callable[[str], Path], tmp_path: Path) -> None:
    path = data_path("onnx") / "basic_pitch_nmp.onnx"
    net = aj.open(path)
    assert isinstance(net, aj.nn.Module)
    shutil.copy(path, tmp_path)
    assert repr(aj.open(tmp_path)) == repr(net)


# What cannot be


def test_every_fault_is_told_and_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = aj.models.from_config(LLAMA, rng=0)
    state = net.state_dict()
    del state["model.layers.0.mlp.up_proj.weight"], state["model.layers.1.mlp.up_proj.weight"]
    state["model.norm.weight"] = np.ones(11, "float32")
    state["model.layers.0.self_attn.q_proj.weight"] = np.ones((12, 24), "float32")
    state["extra"] = np.ones(1)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    aj.save(tmp_path / "model.safetensors", state)
    monkeypatch.setattr("adjoint.interop.safetensors_files.located", pytest.fail)
    with pytest.raises(aj.CheckpointError) as raised:
        aj.open(tmp_path)
    told = str(raised.value)
    assert "so nothing was read" in told
    assert "missing: model.layers.0.mlp.up_proj.weight, model.layers.1.mlp.up_proj.weight" in told
    assert "unexpected: extra" in told
    assert "model.norm.weight is (11,), not (12,)" in told
    assert "model.layers.0.self_attn.q_proj.weight is (12, 24), not (12, 12)" in told


def test_of_many_faults_some_are_told_and_counted(tmp_path: Path) -> None:
    state = aj.models.from_config(LLAMA, rng=0).state_dict()
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": 97, "hidden_size": 24}))
    aj.save(tmp_path / "model.safetensors", state)
    with pytest.raises(aj.CheckpointError) as raised:
        aj.open(tmp_path)
    told = next(line for line in str(raised.value).splitlines() if "of another shape" in line)
    assert told.count(", not (") == 5
    other = aj.models.from_config({**LLAMA, "vocab_size": 97, "hidden_size": 24}).state_dict()
    wrong = sum(other[name].shape != array.shape for name, array in state.items())
    assert told.endswith(f"; and {wrong - 5} more")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "not a list"),
        ("{}", "model_type '' is not known"),
        ('{"model_type": "mamba"}', "model_type 'mamba' is not known, only .*llama"),
        (json.dumps({**LLAMA, "twist": 3}), "might change the function: twist=3"),
        (json.dumps({**LLAMA, "hidden_size": -1}), "hidden_size is to be an integer"),
        (json.dumps({**LLAMA, "num_attention_heads": 5}), "12"),
    ],
)
def test_configurations_that_cannot_be(config: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    aj.save(tmp_path / "model.safetensors", {"x": np.ones(2)})
    with pytest.raises(aj.CheckpointError, match=f"{told}.*aj.interop.Weights"):
        aj.open(tmp_path)
    assert list(Weights(tmp_path)) == ["x"]


def test_fields_may_be_passed_over(tmp_path: Path) -> None:
    aj.save(tmp_path / "model.safetensors", aj.models.from_config(LLAMA, rng=0))
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "twist": 3}))
    assert aj.open(tmp_path, ignore=["twist"])(TOKENS).shape == (1, 5, 17)


def test_a_configuration_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(aj.CheckpointError, match=r"holds no weights: expected model.safetensors"):
        aj.open(tmp_path)


@pytest.mark.parametrize("source", [3, None, b"bytes", {"a": np.ones(1)}, aj.nn.Linear(1, 1)])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises(TypeError, match=r"nothing that can be opened: that is a folder with config.json"):
        aj.open(source)


def test_paths_and_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no gpt2. What can be opened is"):
        aj.open("gpt2")
    with pytest.raises(FileNotFoundError, match="there is no meta/llama; a repository of Hugging Face's is to be down"):
        aj.open("meta/llama")
    aj.save(tmp_path / "w", {"x": np.ones(1)})
    with pytest.raises(TypeError, match=r"example inputs: that is for a torch\.nn\.Module"):
        aj.open(tmp_path / "w", np.ones(3))
    with pytest.raises(ValueError, match="the backend is 'numpy', 'torch', 'jax', not 'mlx'"):
        aj.open(tmp_path / "w", backend="mlx")
    with pytest.raises(aj.DtypeError, match="float33 is no dtype"):
        aj.open(tmp_path / "w", dtype="float33")
    for options in ({"backend": "torch"}, {"dtype": "float64"}):
        with pytest.raises(TypeError, match=r"w holds weights without a configuration .*, so no network: dtype and"):
            aj.open(tmp_path / "w", **options)
    with pytest.raises(aj.DtypeError, match=r"a network computes in floating numbers, .*, not int8"):
        aj.open(tmp_path / "w", dtype="int8")
    (tmp_path / "story.txt").write_text("Once upon a time")
    with pytest.raises(aj.CheckpointError, match="no file of weights that can be opened"):
        aj.open(tmp_path / "story.txt")


def test_pickles_need_trust(tmp_path: Path) -> None:
    net = aj.models.from_config(LLAMA, rng=0)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    state = {name: torch.tensor(x) for name, x in net.state_dict().items()}
    torch.save({**state, "args": torch.nn.Linear(1, 1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(aj.CheckpointError, match="trust_pickle=True"):
        aj.open(tmp_path)
    np.testing.assert_array_equal(aj.open(tmp_path, trust_pickle=True)(TOKENS), net(TOKENS))


def test_options_of_a_pytorch_module() -> None:
    peer = torch.nn.Linear(3, 2)
    batch = torch.export.Dim("batch", max=64)
    net = aj.open(peer, input=torch.ones(4, 3), dynamic_shapes={"input": {0: batch}})
    for n in (2, 5):
        np.testing.assert_allclose(net(np.ones((n, 3), "float32")), peer(torch.ones(n, 3)).detach(), atol=1e-6)


def test_options_are_for_pytorch_modules(tmp_path: Path) -> None:
    aj.save(tmp_path / "w.safetensors", {"x": np.ones(3)})
    with pytest.raises(TypeError, match=r"dynamic_shapes: that is for a torch\.nn\.Module"):
        aj.open(tmp_path / "w.safetensors", dynamic_shapes={})
