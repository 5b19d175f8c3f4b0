"""Numba's words for Intel's AMX: eight tiles of 16 rows of 64 bytes, and vectors of 16 numbers to fill them with.

A float32 number is the sum of three bfloat16 numbers, exactly (barring underflow): its value rounded to 8 bits, the
rest rounded to 8 bits, and what is left.

Source: Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
Computations", ARITH 2019.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target

from adjoint.arrays.numpy.atoms import NOTHING, WORD, intrinsic

LANES, TILE, PARTS = 16, 1024, 3  # numbers of a vector; bytes of a tile; parts of a number
BYTE, INT, FLOAT = ir.IntType(8), ir.IntType(32), ir.FloatType()
INTS, FLOATS = ir.VectorType(INT, LANES), ir.VectorType(FLOAT, LANES)
HALF, HIGH = ir.Constant(INTS, [0x8000] * LANES), ir.Constant(INTS, [0xFFFF0000] * LANES)
BITS, SIZE = ir.Constant(INTS, [16] * LANES), ir.Constant(INTS, [0x7FFFFFFF] * LANES)
FLAGS, COUNT, NONE = ir.VectorType(ir.IntType(1), LANES), ir.Constant(INTS, [*range(LANES)]), ir.Constant(FLOATS, None)


def compiled_for() -> bool:
    """Whether Numba's compiler makes code for these tiles."""
    codegen: Any = cpu_target.target_context.codegen()
    return {"+amx-tile", "+amx-bf16", "+avx512f"} <= set(codegen._tm_features.split(","))


def _call(builder: Any, name: str, *args: Any) -> None:
    kind = ir.FunctionType(NOTHING, [x.type for x in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), args)


def _pointer(builder: Any, place: Any, kind: Any) -> Any:
    return builder.inttoptr(place, kind.as_pointer())


@intrinsic
def configure(typing, place):  # type: ignore[no-untyped-def]
    """Take the tiles into use, in the form that lies at a place (64 bytes, see `tile_kernels.FORM`)."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _call(builder, "ldtilecfg", _pointer(builder, args[0], BYTE))
        return context.get_dummy_value()

    return types.void(types.int64), made


@intrinsic
def release(typing):  # type: ignore[no-untyped-def]
    """Give the tiles back, which a thread that is put aside then need not keep."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), made


def load(tile: int) -> Any:
    """A function (place) that loads a tile from 1024 bytes there."""

    @intrinsic
    def load(typing, place):  # type: ignore[no-untyped-def]
        def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _call(builder, "tileloadd64", BYTE(tile), _pointer(builder, args[0], BYTE), WORD(64))
            return context.get_dummy_value()

        return types.void(types.int64), made

    return load


def store(tile: int) -> Any:
    """A function (place, apart) that stores a tile's rows there, so many bytes apart."""

    @intrinsic
    def store(typing, place, apart):  # type: ignore[no-untyped-def]
        def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _call(builder, "tilestored64", BYTE(tile), _pointer(builder, args[0], BYTE), args[1])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), made

    return store


@intrinsic
def clear(typing):  # type: ignore[no-untyped-def]
    """Tiles 0 to 3 = 0."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for tile in range(4):
            _call(builder, "tilezero", BYTE(tile))
        return context.get_dummy_value()

    return types.void(), made


@intrinsic
def multiply(typing):  # type: ignore[no-untyped-def]
    """Tiles 0 to 3, as 2×2 of them, += tiles 4 and 5, one above the other, @ tiles 6 and 7, side by side."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for tile, (x, y) in enumerate(((4, 6), (4, 7), (5, 6), (5, 7))):
            _call(builder, "tdpbf16ps", BYTE(tile), BYTE(x), BYTE(y))
        return context.get_dummy_value()

    return types.void(), made


@intrinsic
def fetch(typing, place):  # type: ignore[no-untyped-def]
    """Ask for what lies at a place, anywhere, to be in the second cache when it is read."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(NOTHING, [BYTE.as_pointer(), INT, INT, INT])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(ask, [_pointer(builder, args[0], BYTE), INT(0), INT(2), INT(1)])
        return context.get_dummy_value()

    return types.void(types.int64), made


def _read(builder: Any, place: Any) -> Any:
    found = builder.load(_pointer(builder, place, FLOATS))
    found.align = 4
    return found


def _write(builder: Any, vector: Any, place: Any) -> None:
    builder.store(vector, _pointer(builder, place, vector.type)).align = 4


def _first(builder: Any, many: Any) -> Any:
    """Which lanes of a vector are among the first so many; none where that is negative."""
    head = builder.insert_element(ir.Constant(INTS, ir.Undefined), builder.trunc(many, INT), INT(0))
    every = builder.shuffle_vector(head, ir.Constant(INTS, ir.Undefined), ir.Constant(INTS, [0] * LANES))
    return builder.icmp_signed("<", COUNT, every)


def _read_some(builder: Any, place: Any, lanes: Any) -> Any:
    """Zeros in the other lanes, whose memory is not touched."""
    pointer = _pointer(builder, place, FLOATS)
    kind = ir.FunctionType(FLOATS, [pointer.type, INT, FLAGS, FLOATS])
    load = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.load.v16f32.p0")
    return builder.call(load, [pointer, INT(4), lanes, NONE])


def _write_some(builder: Any, vector: Any, place: Any, lanes: Any) -> None:
    pointer = _pointer(builder, place, FLOATS)
    kind = ir.FunctionType(NOTHING, [FLOATS, pointer.type, INT, FLAGS])
    store = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.store.v16f32.p0")
    builder.call(store, [vector, pointer, INT(4), lanes])


def _split(builder: Any, rest: Any) -> list[Any]:
    parts = []
    for _ in range(PARTS - 1):
        bits = builder.and_(builder.add(builder.bitcast(rest, INTS), HALF), HIGH)
        rest = builder.fsub(rest, builder.bitcast(bits, FLOATS))
        parts.append(bits)
    return [*parts, builder.bitcast(rest, INTS)]


@intrinsic
def split(typing, x, y, out):  # type: ignore[no-untyped-def]
    """Rows of three tiles, the parts of 16 numbers at x and 16 at y, in pairs of one of each."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        halves = [_split(builder, _read(builder, place)) for place in args[:2]]
        for i, (x, y) in enumerate(zip(*halves, strict=True)):
            y = builder.and_(y, HIGH)  # what is left of tiny numbers can have lower bits, which would lie in x's place
            _write(builder, builder.or_(builder.lshr(x, BITS), y), builder.add(args[2], WORD(TILE * i)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), made


@intrinsic
def move(typing, x, many, out):  # type: ignore[no-untyped-def]
    """So many numbers from one place to another, and zeros behind them up to 16."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _write(builder, _read_some(builder, args[0], _first(builder, args[1])), args[2])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), made


@intrinsic
def add_rows(typing, x, y, apart, out, away, rows, columns):  # type: ignore[no-untyped-def]
    """out = x + y, rows of up to 32 numbers that lie 128, `apart` and `away` bytes apart; gives the largest bits."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y, apart, out, away, rows, columns = args
        lanes = [_first(builder, builder.sub(columns, WORD(start))) for start in (0, LANES)]
        worst = cgutils.alloca_once_value(builder, ir.Constant(INTS, [0] * LANES))
        with cgutils.for_range(builder, rows) as loop:
            starts = [builder.mul(loop.index, step) for step in (WORD(128), apart, away)]
            for half, some in zip((0, 64), lanes, strict=True):
                a, b, c = [
                    builder.add(builder.add(place, start), WORD(half))
                    for place, start in zip((x, y, out), starts, strict=True)
                ]
                total = builder.fadd(_read(builder, a), _read_some(builder, b, some))
                _write_some(builder, total, c, some)
                bits = builder.and_(builder.bitcast(total, INTS), SIZE)
                seen = builder.load(worst)
                builder.store(builder.select(builder.icmp_unsigned(">", bits, seen), bits, seen), worst)
        kind = ir.FunctionType(INT, [INTS])
        largest = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.umax.v16i32")
        return builder.zext(builder.call(largest, [builder.load(worst)]), WORD)

    return types.int64(*[types.int64] * 7), made


@intrinsic
def turn(typing, x, apart, out):  # type: ignore[no-untyped-def]
    """The transpose of 16 rows of 16 numbers, which lie so many bytes apart."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, apart, out = args
        rows = [_read(builder, builder.add(x, builder.mul(apart, WORD(i)))) for i in range(LANES)]
        for step in (8, 4, 2, 1):  # blocks of `step` rows and columns change places
            stay = [j if not j & step else LANES + j - step for j in range(LANES)]
            go = [j + step if not j & step else LANES + j for j in range(LANES)]
            for i in range(LANES):
                if not i & step:
                    pair = rows[i], rows[i + step]
                    rows[i] = builder.shuffle_vector(*pair, ir.Constant(INTS, stay))
                    rows[i + step] = builder.shuffle_vector(*pair, ir.Constant(INTS, go))
        for i, row in enumerate(rows):
            _write(builder, row, builder.add(out, WORD(64 * i)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), made
