"""Every item is done once, by whichever threads there are; what a kernel could not read is refused."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")
numba = pytest.importorskip("numba")

from realexec import team
from realexec.cpu_kernels import kernel, opened
from realexec.team import Team, shared_out

THREADS = pytest.mark.parametrize("num_threads", [1, 2, 5])
WHOSE = pytest.mark.parametrize("whose", ["torch's", "ours"])

own_thread = numba.types.ExternalFunction("pthread_self", numba.types.int64())


@kernel("int64[::1], int64[::1], int64, float32[:,::1], float32")
def note(call: Any) -> None:
    part, low, high, done, threads, number, row_sums, factor = opened(call)
    threads[part] = own_thread()
    for item in range(low, high):
        done[item] += number
        row_sums[item, 1] = row_sums[item, 0] * factor


NOTE = note[torch.float32]


def made(monkeypatch: pytest.MonkeyPatch, whose: str, num_threads: int) -> Team:
    if whose == "ours":
        monkeypatch.setattr(team._OpenMP, "of_torch", classmethod(lambda cls, num_threads: None))
    return Team(num_threads)


@THREADS
@WHOSE
def test_every_item_is_done_once(monkeypatch: pytest.MonkeyPatch, whose: str, num_threads: int) -> None:
    shared = made(monkeypatch, whose, num_threads)
    for count in (0, 1, 2, 7, 1000):
        done, threads = torch.zeros(count, dtype=torch.int64), torch.zeros(num_threads + 3, dtype=torch.int64)
        values = torch.arange(2 * count, dtype=torch.float32).reshape(count, 2)
        for parts in range(1, num_threads + 4):
            shared.run(NOTE, shared_out(count, parts), done, threads, 3, values, 0.1)
        assert done.tolist() == [3 * (num_threads + 3)] * count
        assert torch.equal(values[:, 1], values[:, 0] * torch.tensor(0.1))


@WHOSE
def test_each_part_has_a_thread(monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    done, threads, rows = torch.zeros(9, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), torch.zeros(9, 2)
    made(monkeypatch, whose, 2).run(NOTE, [0, 4, 9], done, threads, 1, rows, 1.0)
    assert len(set(threads.tolist())) == 2


def test_what_a_kernel_would_misread_is_refused_and_nothing_is_written() -> None:
    done, threads, rows = torch.zeros(4, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.zeros(4, 2)
    wrong: list[tuple[Any, ...]] = [
        (done.int(), threads, 1, rows, 1.0),
        (done, threads, 1, rows[:, 0], 1.0),
        (done, threads, 1, rows.t(), 1.0),
        (done, threads, rows, 1, 1.0),
        (done, 1, threads, rows, 1.0),
    ]
    for arguments in wrong:
        with pytest.raises(TypeError, match="it reads"):
            Team(1).run(NOTE, [0, 4], *arguments)
    with pytest.raises(ValueError, match="shorter"):
        Team(1).run(NOTE, [0, 4], done, threads, 1, rows)
    assert done.tolist() == [0] * 4


def test_teams_of_two_callers_do_not_mix() -> None:
    """Engines run in threads of their own, each with its own team."""
    wrong: list[int] = []

    def caller(mark: int) -> None:
        own, seen = Team(2), torch.zeros(2, dtype=torch.int64)
        threads, rows = torch.zeros(2, dtype=torch.int64), torch.zeros(2, 2)
        for _ in range(300):
            seen[:] = 0
            own.run(NOTE, [0, 1, 2], seen, threads, mark, rows, 1.0)
            if (seen != mark).any():
                wrong.append(mark)

    callers = [threading.Thread(target=caller, args=(mark,)) for mark in (1, 2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert wrong == []
