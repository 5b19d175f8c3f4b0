"""MNIST, and whatever comes in the same four files (Fashion-MNIST, KMNIST)."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .errors import DataError
from .idx import read_idx

PARTS = ("train images", "train labels", "test images", "test labels")
FILE = re.compile(r"(.*?)(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?", re.IGNORECASE)


def mnist(path: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Return (train, test) from the four idx files in the folder `path`.

    `x` is (n, 1, height, width) float32 in [0, 1], as from torchvision's `ToTensor`: 60,000 and 10,000 images of
    28×28; `y` is (n,) int64. For an MLP, `train.reshape(784)`.

    The files go by their usual names (`train-images-idx3-ubyte`, `t10k-` or `test-` for the test set), plain or `.gz`,
    with any prefix that all four share, in `path` or in torchvision's `path/MNIST/raw`.

    Raises `FileNotFoundError` where one is missing, `DataError` where one is damaged, the images and labels differ in
    number, or several sets lie in the folder.
    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, 1998.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "t10k"):
    ...         image, label = [0, 0, 8, 3, *[0, 0, 0, 1] * 3, 255], [0, 0, 8, 1, 0, 0, 0, 1, 7]
    ...         _ = pathlib.Path(folder, f"{part}-images-idx3-ubyte").write_bytes(bytes(image))
    ...         _ = pathlib.Path(folder, f"{part}-labels-idx1-ubyte").write_bytes(bytes(label))
    ...     train, test = mnist(folder)
    >>> train.x.tolist(), train.y.tolist()
    ([[[[1.0]]]], [7])
    """
    files = _find(Path(path))
    return _load(files, "train"), _load(files, "test")


def _find(folder: Path) -> dict[str, Path]:
    """The four files by part, where one prefix has them all."""
    if not folder.is_dir():
        raise FileNotFoundError(f"mnist: {folder} is not a folder")
    places = [place for place in (folder, folder / "raw", folder / "MNIST" / "raw") if place.is_dir()]
    for place in places:
        sets: defaultdict[str, dict[str, Path]] = defaultdict(dict)
        for file in sorted(place.iterdir(), reverse=True):  # a plain file sorts before its .gz, and so is kept
            if match := FILE.fullmatch(file.name):
                prefix, subset, kind, _ = match.groups()
                sets[prefix][f"{'train' if subset.lower() == 'train' else 'test'} {kind.lower()}"] = file
        whole = {prefix: files for prefix, files in sets.items() if len(files) == len(PARTS)}
        if len(whole) > 1:
            raise DataError(f"mnist: {place} holds several sets, {sorted(whole)}; put each into a folder of its own")
        if whole:
            return whole.popitem()[1]
        if sets:
            prefix, files = max(sets.items(), key=lambda item: len(item[1]))
            missing = ", ".join(part for part in PARTS if part not in files)
            raise FileNotFoundError(f"mnist: {place} lacks {missing} beside {sorted(f.name for f in files.values())}")
    raise FileNotFoundError(
        f"mnist: no idx files in {folder}; it should hold train-images-idx3-ubyte(.gz), train-labels-idx1-ubyte(.gz), "
        "t10k-images-idx3-ubyte(.gz) and t10k-labels-idx1-ubyte(.gz)"
    )


def _load(files: dict[str, Path], subset: str) -> Dataset:
    images, labels = (read_idx(files[f"{subset} {kind}"]) for kind in ("images", "labels"))
    for kind, array, ndim in (("images", images, 3), ("labels", labels, 1)):
        if array.ndim != ndim or array.dtype != np.uint8:
            found = f"{array.dtype.name} {array.shape}"
            raise DataError(f"{files[f'{subset} {kind}']}: holds {found}; {kind} are uint8 with {ndim} axes")
    if len(images) != len(labels):
        raise DataError(f"{files[f'{subset} images']}: {len(images)} images, but {len(labels)} labels in their file")
    x = images[:, None].astype(np.float32)
    x /= 255
    return Dataset(x, labels.astype(np.int64), f"mnist {subset}", tuple("0123456789"))
