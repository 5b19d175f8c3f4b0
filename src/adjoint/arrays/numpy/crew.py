"""A crew: threads that share short compiled jobs, and stay awake for a millisecond after each.

A thread that sleeps takes longer to wake than a small product takes. Of every job each thread has a part of its own,
always the same one, so that what it touched last time is in its core's cache; who has done his own takes what nobody
has begun, so that nothing waits for one that is late.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
from contextlib import suppress
from typing import Any

import numba
import numpy as np

from adjoint.arrays.numpy import threads
from adjoint.arrays.numpy.atoms import add, address, call, exchange, give_way, pause, read, write
from adjoint.arrays.numpy.compiling import OPTIONS, kept

# Kernels of other files have `share` inside, and Numba keeps them as long as those files are the same: touch them too.
LINE = 8  # words of a cache line: what two threads write lies in two of them
TURN, REST, DONE, FUNCTION, ARGS, BUSY, PLACES = 0, 1, LINE, 2 * LINE, 2 * LINE + 1, 3 * LINE, 4 * LINE  # of the board
AWAKE = 100_000  # looks at the board, about a millisecond, before a thread sleeps
PATIENT = 1_000  # looks after which it lets others have the core: it may be the only one of both threads


@kept(numba.njit, "void(int64[::1], int64, int64, int64)", **OPTIONS)
def work(board, me, parts, turn):  # type: ignore[no-untyped-def]
    """Do the parts of this turn's job that are to be had, its own first."""
    function, args = read(board, FUNCTION), read(board, ARGS)
    for i in range(parts):
        part = (me + i) % parts
        if exchange(board, PLACES + 2 * LINE * part, turn - 1, turn):
            call(function, args, part, parts)
            add(board, DONE, 1)


@numba.njit(inline="always")
def look(looks):  # type: ignore[no-untyped-def]
    """Wait a moment, after so many."""
    if looks % PATIENT == PATIENT - 1:
        give_way()
    pause()


@kept(numba.njit, "int64(int64[::1], int64, int64, int64)", **OPTIONS)
def stay(board, me, parts, last):  # type: ignore[no-untyped-def]
    """Work on what comes after turn `last`, until nothing has come for a while; gives the last turn seen."""
    idle = 0
    while idle < AWAKE and not read(board, REST):
        turn = read(board, TURN)
        if turn == last:
            look(idle)
            idle += 1
        else:
            work(board, me, parts, turn)
            last, idle = turn, 0
    write(board, PLACES + 2 * LINE * me + LINE, 1)
    return last


@kept(numba.njit, "void(int64[::1], int64, int64, int64)", **OPTIONS)
def share(board, parts, function, args):  # type: ignore[no-untyped-def]
    """Do a job together with the others; alone where there are none, or another thread has them."""
    if parts == 1 or not exchange(board, BUSY, 0, 1):
        call(function, args, 0, 1)
        return
    write(board, FUNCTION, function)
    write(board, ARGS, args)
    write(board, DONE, 0)
    turn = read(board, TURN) + 1
    write(board, TURN, turn)
    work(board, 0, parts, turn)
    looks = 0
    while read(board, DONE) < parts:
        look(looks)
        looks += 1
    write(board, BUSY, 0)


@kept(numba.njit, "void(int64[::1], int64, int64, int64[::1])", **OPTIONS)
def perform(board, parts, function, args):  # type: ignore[no-untyped-def]
    """Share a job whose arguments are words."""
    share(board, parts, function, address(args))


class Crew:
    """This thread and parts - 1 others, which share the jobs that `do` gives them.

    >>> from numba import carray
    >>> from adjoint.arrays.numpy.atoms import words_at
    >>> from adjoint.arrays.numpy.compiling import job
    >>> @job
    ... def count(args, part, parts):
    ...     carray(words_at(args), 2)[part] = part + 1
    >>> out = np.zeros(2, np.int64)
    >>> crew(2).do(perform, count.address, out)
    >>> out.tolist()
    [1, 2]
    """

    __slots__ = ("_board", "_others", "_wake", "_words", "parts")

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self._board = np.zeros(PLACES + 2 * LINE * parts, np.int64)
        self._words: Any = self._board.data  # from Python faster than the array
        self._others = [(me, PLACES + 2 * LINE * me + LINE) for me in range(1, parts)]
        threads.restless.append(self.rest)
        atexit.register(self.dismiss)
        self._wake = [threading.Lock() for _ in range(parts)]  # held while its thread has no reason to wake
        for me in range(1, parts):
            self._wake[me].acquire()
            threading.Thread(target=self._serve, args=(me,), name=f"adjoint-crew-{me}", daemon=True).start()

    def do(self, run: Any, *args: Any) -> Any:
        """run(board, parts, *args), which is to call `share`."""
        words = self._words
        words[REST] = 0
        for me, asleep in self._others:
            if words[asleep]:
                words[asleep] = 0
                with suppress(RuntimeError):  # another thread has just woken it
                    self._wake[me].release()
        return run(self._board, self.parts, *args)

    def rest(self) -> None:
        """Let the others sleep: work of another kind is going to need the cores."""
        self._words[REST] = 1

    def dismiss(self, seconds: float = 0.02) -> None:
        """Let the others sleep and wait until they do: compiled code must not run while Python takes itself down."""
        self.rest()
        end = time.monotonic() + seconds
        while not all(self._words[asleep] for _, asleep in self._others) and time.monotonic() < end:
            time.sleep(1e-4)

    def _serve(self, me: int) -> None:
        last = 0
        while True:
            last = stay(self._board, me, self.parts, last)
            self._wake[me].acquire()


@functools.cache
def crew(parts: int) -> Crew:
    """The crew of so many threads."""
    return Crew(parts)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=crew.cache_clear)  # a forked process has none of its parent's threads
