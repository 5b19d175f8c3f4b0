"""Examples served in rounds of so many batches, for runs that are counted in steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from .dataset import Dataset
from .errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class Rounds(Dataset):
    """A data set of which `batches` gives `every` whole batches an epoch: each goes on where the last one stopped.

    So `fit(Rounds(…), epochs=k)` makes k · every steps, and measures after every `every` of them. After all examples
    comes another pass in another order; what does not fill a batch is left out of a pass.

    Raises `DataError` where there are fewer examples than one batch takes.

    >>> rounds = Rounds.of(Dataset([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), every=3, batch_size=2)
    >>> [[x.tolist() for x, _ in rounds.batches(2, None, epoch)] for epoch in (0, 1)]
    [[[0, 1], [2, 3], [0, 1]], [[2, 3], [0, 1], [2, 3]]]
    """

    every: int = 1
    batch_size: int = 1

    unit: ClassVar[str] = "round"

    @classmethod
    def of(cls, data: Dataset, every: int, batch_size: int) -> Rounds:
        """The data set in rounds of `every` batches."""
        if len(data) < batch_size or every < 1 or batch_size < 1:
            raise DataError(f"{data.name or 'Rounds'}: {len(data)} examples make no {every} batches of {batch_size}")
        return cls(data.x, data.y, data.name, data.classes, every, batch_size)

    def __len__(self) -> int:
        return self.every * self.batch_size

    def __repr__(self) -> str:
        return f"{super().__repr__()} in rounds of {self.every} batches of {self.batch_size}"

    def batches(
        self, batch_size: int, seed: int | None = 0, epoch: int = 0, *, start: int = 0, drop_last: bool = False
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """The batches of a round; `batch_size` is the data set's own."""
        if batch_size != self.batch_size:
            raise ValueError(f"batches: these rounds have batches of {self.batch_size}, not {batch_size}")
        whole = Dataset(self.x, self.y)
        each = len(self.x) // batch_size
        at, end = epoch * self.every + start, (epoch + 1) * self.every
        while at < end:
            passed, begin = divmod(at, each)
            for batch in whole.batches(batch_size, seed, passed, drop_last=True, start=begin):
                if at == end:
                    return
                yield batch
                at += 1
