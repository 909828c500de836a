"""Every part is done once, by whichever threads there are, and what fails is told."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from realexec import team
from realexec.team import Team

THREADS = pytest.mark.parametrize("num_threads", [1, 2, 5])
WHOSE = pytest.mark.parametrize("whose", ["torch's", "ours"])


def made(monkeypatch: pytest.MonkeyPatch, whose: str, num_threads: int) -> Team:
    if whose == "ours":
        monkeypatch.setattr(team._OpenMP, "of_torch", classmethod(lambda cls, num_threads: None))
    return Team(num_threads)


@THREADS
@WHOSE
def test_every_part_is_done_once(monkeypatch: pytest.MonkeyPatch, whose: str, num_threads: int) -> None:
    shared = made(monkeypatch, whose, num_threads)
    for count in range(num_threads + 1):
        out = np.zeros(count)

        def work(index: int, add: float) -> None:
            out[index] += add  # noqa: B023 (done before it changes)

        for _ in range(50):
            shared.run(work, [(i, i + 1.0) for i in range(count)])
        assert out.tolist() == [50 * (i + 1.0) for i in range(count)]


@WHOSE
def test_parts_run_side_by_side(monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    both = threading.Barrier(2, timeout=20)
    made(monkeypatch, whose, 2).run(lambda _: both.wait(), [(0,), (1,)])


@THREADS
@WHOSE
def test_what_fails_is_told_and_the_next_piece_of_work_is_done(
    monkeypatch: pytest.MonkeyPatch, whose: str, num_threads: int
) -> None:
    shared = made(monkeypatch, whose, num_threads)

    def fail(index: int) -> None:
        if index == num_threads - 1:
            raise ArithmeticError("of this part")

    with pytest.raises(ArithmeticError, match="of this part"):
        shared.run(fail, [(i,) for i in range(num_threads)])
    done: list[int] = []
    note: Callable[[int], None] = done.append
    shared.run(note, [(i,) for i in range(num_threads)])
    assert sorted(done) == list(range(num_threads))


def test_teams_of_two_callers_do_not_mix() -> None:
    """Engines run in threads of their own, each with its own team."""
    wrong: list[int] = []

    def caller(mark: int) -> None:
        own, seen = Team(2), np.zeros(2)

        def work(index: int) -> None:
            seen[index] = mark

        for _ in range(300):
            seen[:] = 0
            own.run(work, [(0,), (1,)])
            if (seen != mark).any():
                wrong.append(mark)

    callers = [threading.Thread(target=caller, args=(mark,)) for mark in (1, 2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert wrong == []
