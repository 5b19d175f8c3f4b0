"""Folders of weights as Hugging Face lays them out: one file, or shards that an index lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from adjoint.errors import CheckpointError
from adjoint.interop import npz_files, safetensors_files, torch_files
from adjoint.interop.entries import Entries, Path, listed, named, natural, regular

INDEX_LIMIT = 100_000_000  # bytes
USUAL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
INDEX = ".index.json"
Reader = Callable[[Path], tuple[Entries, dict[str, str]]]


def entries(path: Path, trust_pickle: bool = False) -> tuple[Entries, dict[str, str], list[str]]:
    """(tensors by name, metadata, files) of a file of weights, an index of shards, or a folder with either.

    Raises CheckpointError, or FileNotFoundError where nothing is there.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = within(path)
    if path.endswith(INDEX):
        return _sharded(path, trust_pickle)
    found, metadata = reader(path, trust_pickle)(path)
    return found, metadata, [path]


def within(folder: str) -> str:
    """The file in a folder that has its weights, or lists where they are."""
    for name in USUAL:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    names = sorted(os.listdir(folder))
    for ending in (f".safetensors{INDEX}", f".bin{INDEX}", ".safetensors", ".npz", ".pt", ".pth", ".bin"):
        fitting = [name for name in names if name.endswith(ending)]
        if len(fitting) == 1:
            return os.path.join(folder, fitting[0])
        if fitting:
            raise CheckpointError(f"{folder} holds several files of weights ({listed(fitting)}): name the one to open.")
    raise CheckpointError(
        f"{folder} holds no weights: expected {', '.join(USUAL)}, or one other file of safetensors, npz or PyTorch."
    )


def reader(path: str, trust_pickle: bool) -> Reader:
    """What reads a file, by its first bytes, which cannot be mistaken, and by its name where it is none of these."""
    path = regular(path, "a file of weights")
    with open(path, "rb") as file:
        head = file.read(9)
    name = path.lower()

    def torch_reader(path: Path) -> tuple[Entries, dict[str, str]]:
        return torch_files.entries(path, trust_pickle)

    if name.endswith(".npz"):
        return npz_files.entries
    if name.endswith(".safetensors") or head[8:] == b"{":
        return safetensors_files.entries
    if name.endswith((".pt", ".pth", ".bin", ".ckpt")) or head[:1] == b"\x80":
        return torch_reader
    if head[:2] == b"PK":
        return npz_files.entries
    raise CheckpointError(
        f"{path} is no file of weights that can be opened: those are safetensors, .npz, and PyTorch's .pt, .pth "
        "and .bin."
    )


def _sharded(path: str, trust_pickle: bool) -> tuple[Entries, dict[str, str], list[str]]:
    """The tensors that an index lists, each from its shard; index and shards must agree."""
    path = regular(path, "an index of shards")
    if os.path.getsize(path) > INDEX_LIMIT:
        raise CheckpointError(f"{path} is larger than an index of shards can be.")
    with open(path, "rb") as file:
        told = safetensors_files.parsed(path, file.read(), "index of shards")
    where = told.get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(shard, str) for shard in where.values()):
        raise CheckpointError(f"{path} has no weight_map from names to files: it is no index of shards.")
    shards: dict[str, set[str]] = {}
    for name, shard in where.items():
        shards.setdefault(shard, set()).add(name)
    folder = os.path.dirname(path)
    for shard in shards:
        if shard != os.path.basename(shard) or not shard.strip(".") or set(shard) & set("\\:\0"):
            raise CheckpointError(f"{path}: the shard {named(shard)} is no file beside the index.")
    missing = [shard for shard in sorted(shards) if not os.path.exists(os.path.join(folder, shard))]
    if missing:
        raise CheckpointError(f"{path}: these of its {len(shards)} shards are missing: {listed(missing)}; fetch them.")
    found: Entries = {}
    for shard, names in sorted(shards.items()):
        place = os.path.join(folder, shard)
        inside, _ = reader(place, trust_pickle)(place)
        if inside.keys() != names:
            lacking, extra = listed(names - inside.keys()), listed(inside.keys() - names)
            raise CheckpointError(
                f"{place} is not the shard that {path} lists: missing {lacking or 'none'}, "
                f"unexpected {extra or 'none'}; fetch both again."
            )
        found |= inside
    files = [path, *(os.path.join(folder, shard) for shard in sorted(shards))]
    return {name: found[name] for name in sorted(found, key=natural)}, _metadata(told), files


def _metadata(told: dict[str, Any]) -> dict[str, str]:
    given = told.get("metadata")
    return {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
