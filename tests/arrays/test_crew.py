"""Every part of a job is done once, by whomever; threads sleep, wake, and make room."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numba import carray

from adjoint.arrays.numpy import crew as crews
from adjoint.arrays.numpy import threads
from adjoint.arrays.numpy.atoms import add, words_at
from adjoint.arrays.numpy.compiling import job
from adjoint.arrays.numpy.crew import Crew, perform
from tests.patience import HANGS


@job
def count(args, part, parts):
    """How often each part was done, and of how many."""
    words = carray(words_at(args), (16,))
    add(words, part, 1)
    words[8 + part] = parts


def asleep(crew, me):
    return crew._board[crews.PLACES + 2 * crews.LINE * me + crews.LINE] == 1


def until(condition):
    end = time.monotonic() + HANGS
    while not condition() and time.monotonic() < end:
        time.sleep(1e-3)
    return condition()


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_every_part_is_done_once(parts):
    crew, seen = Crew(parts), np.zeros(16, np.int64)
    for _ in range(500):
        crew.do(perform, count.address, seen)
    assert seen[:parts].tolist() == [500] * parts
    assert seen[8 : 8 + parts].tolist() == [parts] * parts
    assert not seen[parts:8].any()


def test_threads_sleep_after_a_while_and_wake_for_the_next_job():
    crew, seen = Crew(3), np.zeros(16, np.int64)
    for k in range(3):
        crew.do(perform, count.address, seen)
        assert until(lambda: asleep(crew, 1) and asleep(crew, 2))
        assert seen[:3].tolist() == [k + 1] * 3


def test_they_make_room_for_other_threads():
    crew, seen = Crew(2), np.zeros(16, np.int64)
    crew.do(perform, count.address, seen)
    threads.rest()
    assert until(lambda: asleep(crew, 1))
    crew.do(perform, count.address, seen)
    assert seen[:2].tolist() == [2, 2]


def test_who_finds_it_busy_works_alone():
    crew, seen, own = Crew(2), np.zeros(16, np.int64), np.zeros(16, np.int64)
    crew._board[crews.BUSY] = 1
    crew.do(perform, count.address, own)
    crew._board[crews.BUSY] = 0
    crew.do(perform, count.address, seen)
    assert own[:2].tolist() == [1, 0]
    assert own[8] == 1
    assert seen[:2].tolist() == [1, 1]


def test_many_callers_at_once():
    crew = Crew(2)
    given = [np.zeros(16, np.int64) for _ in range(4)]

    def work(seen):
        for _ in range(500):
            crew.do(perform, count.address, seen)

    running = [threading.Thread(target=work, args=(seen,)) for seen in given]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    for seen in given:
        assert seen[0] == 500
        assert seen[1] <= 500


def test_a_process_may_end_right_after_a_job():
    code = (
        "import numpy as np, adjoint.arrays.numpy.gemm as gemm\n"
        "from adjoint.arrays.numpy import threads\n"
        "threads.at_hand = lambda: 3\n"
        "x = np.ones((200, 200))\n"
        "assert gemm.matmul(x, x)[0, 0] == 200.0"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS)


def test_dismissed_threads_sleep():
    crew, seen = Crew(3), np.zeros(16, np.int64)
    crew.do(perform, count.address, seen)
    crew.dismiss(HANGS)
    assert asleep(crew, 1)
    assert asleep(crew, 2)
