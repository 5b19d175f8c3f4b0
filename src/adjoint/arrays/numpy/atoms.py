"""What Numba lacks for threads to meet without a lock: words that several of them change, and calls by address."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils
from numba.np.numpy_support import carray

WORD, NOTHING = ir.IntType(64), ir.VoidType()
X86 = platform.machine().lower() in ("x86_64", "amd64")


def intrinsic(f: Any) -> Any:
    """Numba's own, which calls f with one argument more than it is called with."""
    return extending.intrinsic(f)


def _word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Where word i of an array of them lies, of arguments (words, i, …)."""
    return builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])


@intrinsic
def read(typing, words, i):  # type: ignore[no-untyped-def]
    """words[i], and with it all that was written before the word was."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, signature, args), "acquire", 8)

    return types.int64(words, i), made


@intrinsic
def write(typing, words, i, value):  # type: ignore[no-untyped-def]
    """words[i] = value, seen by the others after all that was written before."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(context, builder, signature, args), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, i, types.int64), made


@intrinsic
def add(typing, words, i, value):  # type: ignore[no-untyped-def]
    """words[i] += value, all at once; gives what was there before."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _word(context, builder, signature, args), args[2], "seq_cst")

    return types.int64(words, i, types.int64), made


@intrinsic
def exchange(typing, words, i, before, after):  # type: ignore[no-untyped-def]
    """Make words[i] `after` if it is `before`; whether it was."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _word(context, builder, signature, args)
        return builder.extract_value(builder.cmpxchg(place, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(words, i, types.int64, types.int64), made


@intrinsic
def pause(typing):  # type: ignore[no-untyped-def]
    """Tell the processor that this thread waits in a loop."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if X86:
            hint = ir.FunctionType(NOTHING, [])
            builder.call(cgutils.get_or_insert_function(builder.module, hint, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), made


@intrinsic
def give_way(typing):  # type: ignore[no-untyped-def]
    """Let another thread have this core, if one waits for it."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if hasattr(os, "sched_yield"):
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), made


@intrinsic
def call(typing, function, args, part, parts):  # type: ignore[no-untyped-def]
    """The job at an address (see `compiling.job`), called."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(NOTHING, [WORD] * 3).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), made


@intrinsic
def address(typing, array):  # type: ignore[no-untyped-def]
    """Where an array's first number lies."""

    def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, WORD)

    return types.int64(array), made


def _pointer(number: Any, kind: Any) -> Any:
    @intrinsic
    def pointer(typing, place):  # type: ignore[no-untyped-def]
        def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], kind.as_pointer())

        return types.CPointer(number)(types.int64), made

    return pointer


words_at = _pointer(types.int64, WORD)
floats_at = _pointer(types.float32, ir.FloatType())
doubles_at = _pointer(types.float64, ir.DoubleType())


HEAD = object.__basicsize__  # bytes of a NumPy array before the place of its numbers (ndarraytypes.h)
_known = np.empty(1)
if ctypes.c_void_p.from_address(id(_known) + HEAD).value != _known.ctypes.data:
    raise ImportError(f"NumPy {np.__version__}'s arrays do not begin with the place of their numbers.")


@njit(inline="always")
def numbers_of(array):  # type: ignore[no-untyped-def]
    """Where the numbers of an array lie whose `id` is given; many are told faster so than one by one."""
    return carray(words_at(array + HEAD), 1)[0]


def _gemm(kind: Any) -> Any:
    @intrinsic
    def gemm(typing, function, left, right, n, m, k, x, ldx, y, ldy, out, ldo):  # type: ignore[no-untyped-def]
        def made(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            # whole numbers of 32 bits are told as 64: a C library takes each from a register or slot of that size
            taken = [WORD] * 6 + [kind] + [WORD] * 4 + [kind] + [WORD] * 2
            function, left, right, n, m, k, x, ldx, y, ldy, out, ldo = args
            given = [WORD(101), left, right, n, m, k, kind(1.0), x, ldx, y, ldy, kind(0.0), out, ldo]
            builder.call(builder.inttoptr(function, ir.FunctionType(NOTHING, taken).as_pointer()), given)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), made

    return gemm


sgemm, dgemm = _gemm(ir.FloatType()), _gemm(ir.DoubleType())
