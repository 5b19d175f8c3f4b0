"""Zip archives as NumPy and PyTorch write them, their table of contents checked before a byte is unpacked."""

from __future__ import annotations

import os
import zipfile
from itertools import pairwise

from adjoint.errors import CheckpointError
from adjoint.interop.entries import named

DENSEST = 1032  # how many bytes one of deflate can stand for
ROOM = 1 << 26  # bytes that may be as dense as that; in larger ones it is a bomb
USUAL = 200  # how many in these
LOCAL = 30  # bytes of a member's header, its name and extra field not counted


def members(path: str, plain: bool = False) -> dict[str, tuple[zipfile.ZipInfo, int]]:
    """The members of an archive by name, and where in the file each one's bytes begin.

    Raises CheckpointError for an archive that is damaged, whose members overlap, come twice, are encrypted or unpack to
    more than can be; and, where it is to be `plain`, for members that are packed at all.
    """
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
    except Exception as error:  # zipfile raises whatever its parsing of damaged bytes meets
        raise damaged(path, f"no zip archive that can be read, {error}") from None
    found: dict[str, tuple[zipfile.ZipInfo, int]] = {}
    spans = []
    with open(path, "rb") as file:
        for info in listed:
            name = info.filename
            if name in found:
                raise damaged(path, f"{named(name)} is in it twice")
            _check(path, info, plain)
            file.seek(max(info.header_offset, 0))
            head = file.read(LOCAL)
            start = info.header_offset + LOCAL + sum(int.from_bytes(head[k : k + 2], "little") for k in (26, 28))
            if head[:4] != b"PK\x03\x04" or info.header_offset < 0 or start + info.compress_size > size:
                raise damaged(path, f"{named(name)} is not where it should be")
            found[name] = info, start
            spans.append((info.header_offset, start + info.compress_size, name))
    for (_, end, first), (begin, _, second) in pairwise(sorted(spans)):
        if begin < end:
            raise damaged(path, f"{named(first)} and {named(second)} overlap")
    return found


def _check(path: str, info: zipfile.ZipInfo, plain: bool) -> None:
    name, packed, size = named(info.filename), info.compress_size, info.file_size
    if info.flag_bits & 1:
        raise CheckpointError(f"{path}: {name} is encrypted; decrypt the file first.")
    if info.compress_type == zipfile.ZIP_STORED:
        if packed != size:
            raise damaged(path, f"{name} has {packed} bytes and is to have {size}")
    elif plain or info.compress_type != zipfile.ZIP_DEFLATED:
        raise damaged(path, f"{name} is packed in a way that its writer does not use")
    elif size > DENSEST * packed + 64:
        raise damaged(path, f"{name} is to unpack from {packed} bytes to {size}, which cannot be")
    elif size > ROOM and size > USUAL * packed:
        raise CheckpointError(
            f"{path}: {name} would unpack from {packed:,} bytes to {size:,}, as a zip bomb does. If you trust "
            "the file, unpack it with numpy.load and save the arrays with aj.save."
        )


def damaged(path: str, what: str) -> CheckpointError:
    """The error of an archive that cannot be used."""
    return CheckpointError(f"{path} is damaged or hostile ({what}): fetch or save it again.")
