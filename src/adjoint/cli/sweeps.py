"""`adjoint cost` at several sizes: a row each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from adjoint.cli.tables import columns
from adjoint.cli.times import predicted
from adjoint.costs import Cost
from adjoint.costs.units import scaled, seconds
from adjoint.interop.weights import bytes_told

MOST = 100  # sizes in one table


def sizes(told: str, option: str) -> tuple[int, ...]:
    """The numbers of an option such as "128,256"; ValueError for what is none.

    >>> sizes("128, 256,512", "--seq")
    (128, 256, 512)
    """
    parts = [part.strip() for part in told.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 and int(part) > 0 for part in parts):
        raise ValueError(f"cost: {option} is a positive integer or several such as 128,256, not {told!r}.")
    return tuple(map(int, parts))


def few(batch: Sequence[int], seq: Sequence[int] | None) -> None:
    """Raise ValueError where there are more sizes than one table shows."""
    if len(batch) * len(seq or (1,)) > MOST:
        raise ValueError(f"cost: {len(batch)} batches by {len(seq or (1,))} lengths are more than {MOST} rows.")


def rows(found: Sequence[Cost]) -> Table:
    """FLOPs in products and multiply-adds, bytes, the peak of training, and the least time of a step here."""
    text = len(found[0].inputs[0]) == 2
    table = columns(
        "batch", *["tokens"][:text], "multiply-\nadds", "FLOPs,\nforward", "FLOPs,\nbackward", "bytes,\nforward",
        "peak of\ntraining", "check-\npointed", "step,\nleast",
    )  # fmt: skip
    for one in found:
        time, small = predicted(one), one.memory.training_checkpointed
        table.add_row(
            *[f"{n:,}" for n in one.inputs[0][: 1 + text]],
            scaled(one.forward.multiply_adds),
            scaled(one.forward.matmul_flops),
            scaled(one.backward.matmul_flops),
            bytes_told(one.forward.bytes),
            bytes_told(one.memory.training),
            "–" if small is None else bytes_told(small),
            "–" if isinstance(time, str) else seconds(time.training),
        )
    return table
