"""Orders that follow the prefix cache."""

from types import SimpleNamespace

import pytest

from serving.request import Request, RequestState
from serving.schedule.contract import Idle
from serving.schedule.engine import build_scheduler
from serving.schedule.policies.dfs_weight import DfsWeight
from serving.schedule.policies.lpm import Lpm
from serving.view import RequestView
from tests.serving.drive import request


def prefixes() -> list[Request]:
    """Two documents, whose readers come by turns."""
    documents = {d: tuple(range(50_000 * d, 50_000 * d + 40)) for d in (1, 2, 3)}
    return [Request(f"r{i:02}", 0 if i < 3 else 1, (*documents[1 + i % 3], 900_000 + i), 3) for i in range(24)]


@pytest.mark.parametrize("policy", ["lpm", "dfs-weight"])
def test_cache_aware_orders_compute_less(policy) -> None:
    settings = {"block_size": 4, "num_blocks": 24, "max_num_seqs": 2, "max_model_len": 100}

    def computed(name: str) -> int:
        scheduler, total = build_scheduler("vllm", name, settings), 0
        for k in range(1000):
            for reader in prefixes():
                if reader.arrival_time == k:
                    scheduler.add(reader, k)
            plan = scheduler.schedule(k)
            if isinstance(plan, Idle):
                break
            total += sum(plan.num_tokens)
            scheduler.complete(plan.step_id, [(7,) if s else () for s in plan.samples], k)
        return total

    assert computed(policy) < 0.6 * computed("fcfs")


def test_with_many_waiting_lpm_is_first_come_first_served() -> None:
    scheduler = build_scheduler("vllm", "lpm", {"max_num_seqs": 1})
    for i in range(140):
        scheduler.add(request(f"r{i:03}", 200 - i, 1, arrival=i), i)
    assert scheduler.waiting_ids() == [f"r{i:03}" for i in range(140)]


def order(policy, *waiting: tuple[str, int, tuple[int, ...]]) -> str:
    """Names in the order they are tried. waiting: name, tokens cached, prompt; blocks of 4."""
    cached = {name: tokens for name, tokens, _ in waiting}
    policy.engine = SimpleNamespace(
        cached_tokens=lambda view: cached[view.request_id], config=SimpleNamespace(block_size=4)
    )
    queue = policy.new_queue()
    for name, _, prompt in waiting:
        queue.push(RequestView(RequestState.of(Request(name, 0, prompt, 1), 1000)))
    return "".join(view.request_id for view in queue)


def text(beginning: int, length: int, end: int = 0) -> tuple[int, ...]:
    return (*[beginning] * (length - 1), end)


def test_lpm_tries_the_most_cached_first_and_of_equals_who_came_first() -> None:
    assert (
        order(Lpm(), ("a", 0, text(1, 9)), ("b", 4, text(2, 9)), ("c", 8, text(3, 9)), ("d", 4, text(4, 9))) == "cbda"
    )


def test_lpm_lets_the_first_of_those_that_begin_alike_fill_the_cache() -> None:
    short = ("s", 0, text(9, 31))
    alike = [("a", 0, text(1, 40, 1)), ("b", 0, text(1, 40, 2)), ("c", 32, text(1, 40, 3))]
    assert order(Lpm(), short, *alike, ("d", 0, text(2, 40))) == "sadcb"
    assert order(Lpm(), *alike[:2], ("c", 33, text(1, 40, 3))) == "cab"  # enough is cached for it already
    assert order(Lpm(), ("a", 0, (5,) * 32), ("b", 0, (5,) * 32), ("c", 0, (5,) * 31), ("d", 0, (5,) * 31)) == "acdb"


def test_dfs_weight_serves_the_part_of_the_tree_for_which_most_wait() -> None:
    one, two = (1,) * 4, (2,) * 4
    lone = ("a", 4, (*one, *one, 9))
    below = [("b", 8, (*two, *one, 9)), ("c", 4, (*two, 9)), ("d", 8, (*two, *two, 9)), ("e", 8, (*two, *two, 8))]
    assert order(DfsWeight(), ("z", 0, (*two, 7)), lone, *below) == "debcaz"
    assert order(DfsWeight(), lone, ("b", 4, (*two, *one, 9))) == "ab"
    assert order(DfsWeight(), ("x", 6, (*one, 3, 3)), ("y", 6, (*one, 3, 4))) == "xy"
