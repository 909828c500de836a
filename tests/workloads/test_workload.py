"""Workloads and the requests made of them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.prompts import tokens_of
from serving.errors import WorkloadError
from workloads.workload import Workload, WorkloadRequest, materialize, requests_of

ONE = WorkloadRequest("a", 5, 4, 3, max_tokens=9)


def test_requests_are_kept_by_arrival_and_id() -> None:
    given_order = (replace(ONE, request_id="c"), ONE, replace(ONE, request_id="b", arrival_time=0))
    assert [r.request_id for r in Workload("w", given_order).requests] == ["b", "a", "c"]
    assert Workload("w", given_order).sha256 == Workload("other name", given_order[::-1]).sha256
    assert Workload("w", (ONE,)).sha256 != Workload("w", (replace(ONE, output_len=2),)).sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request_id": ""}, "request_id '' must be 1 to 128 printable"),
        ({"request_id": "a\nb"}, "printable"),
        ({"arrival_time": -1}, "request a: arrival_time is -1e-09 s; it must not be negative"),
        ({"arrival_time": 1_700_000_000 * 10**9}, "subtract the time of the first request"),
        ({"prompt_len": 0}, "prompt_len is 0; it must be from 1"),
        ({"output_len": 0}, "output_len is 0"),
        ({"max_tokens": 2}, "output_len 3 is above max_tokens 2; raise max_tokens"),
        ({"prompt_len": 10**9}, "prompt_len is 1000000000"),
        ({"prompt_token_ids": (1, 2)}, "prompt_len is 4, but prompt_token_ids has 2 ids"),
        ({"prompt_token_ids": (1, 2, 3, -1)}, "negative"),
        ({"prompt_token_ids": (1, 2, 3, 4), "hash_ids": (1,)}, "leave one out"),
        ({"hash_ids": (1, 2)}, "hash_ids has 2 ids; prompt_len 4 in blocks of 512 tokens needs 1"),
        ({"hash_block": 0}, "hash_block is 0"),
        ({"turn": 0}, "request a: turn is 0; turns are counted from 1"),
        ({"turn": 2}, "turn is 2; give the turn before it as its parent"),
        ({"turn": 2, "parent": ("b",), "hash_ids": (1,)}, "hash_ids and turn 2 both say what the prompt begins with"),
        ({"turn": 2, "parent": ("b",), "prefix": (("s", 1),)}, "turn 2 and prefix_id both say .* to turn 1"),
        ({"think_time": 1}, "think_time has no effect without a parent; leave it out"),
        ({"think_time": -1, "parent": ("b",)}, "think_time is -1e-09 s; it must be from 0"),
        ({"think_time": 2**52, "parent": ("b",)}, r"think_time is 4\.5036e\+06 s; it must be from 0 to 2251800 s"),
        ({"parent": ("b", "c", "b")}, "parent b is named twice"),
        ({"prefix": (("", 1),)}, "prefix_id '' must be 1 to 128 printable"),
        ({"prefix": (("a\0", 1),)}, "printable"),
        ({"prefix": (("s", 0),)}, "prefix_len of s is 0; it must be at least 1 token"),
        ({"prefix": (("s", 3), ("t", 2))}, "prefix_len is 5 tokens in all, above prompt_len 4"),
        ({"prefix": (("s", 3),), "hash_ids": (1,)}, "hash_ids and prefix_id both say"),
        ({"prefix": (("s", 3),), "prompt_token_ids": (1, 2, 3, 4)}, "prompt_token_ids and prefix_id both say"),
        ({"deadline": 4}, "deadline is 4e-09 s; it is a time of the run, from its arrival on"),
        ({"ttft_slo": 0}, "ttft_slo is 0 s; it must be above 0"),
        ({"tpot_slo": 2**52}, "tpot_slo is .* at most 2251800 s"),
        ({"ttft_slo": 9, "deadline": 9}, "deadline and ttft_slo both say when the first token is due"),
    ],
)
def test_impossible_requests(change: dict, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        replace(ONE, **change)


def test_impossible_workloads() -> None:
    with pytest.raises(WorkloadError, match="w has no requests"):
        Workload("w", ())
    with pytest.raises(WorkloadError, match="request_id a comes twice"):
        Workload("w", (ONE, replace(ONE, arrival_time=9)))


TURN = WorkloadRequest("b", 0, 8, 1, 1, turn=2, parent=("a",))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((replace(ONE, parent=("x",)),), "request a: parent x is no request of this workload"),
        ((TURN, replace(ONE, parent=("b",))), "request [ab]: it waits, through its parents, for itself"),
        ((replace(ONE, parent=("a",)),), "request a: it waits, through its parents, for itself"),
        ((ONE, replace(TURN, turn=3)), "request b: turn is 3, but its first parent a is turn 1"),
        ((ONE, replace(TURN, session_id="s")), "request b: session_id is 's', but that of its first parent a is ''"),
        ((ONE, replace(TURN, prompt_len=7)), "begins with 4 prompt and 3 output tokens of a, so it must be above 7"),
    ],
)
def test_parents_that_do_not_fit(members: tuple[WorkloadRequest, ...], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        Workload("w", members)


@given(st.integers(1, 6), st.integers(0, 6), st.permutations("abcdefghijkl"))
def test_a_cycle_is_named_by_one_of_its_members(length: int, waiting: int, names: list[str]) -> None:
    """Not by one of those that merely wait for it."""
    cycle, behind = names[:length], names[length : length + waiting]
    parents = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True)) | {
        b: cycle[i % length] for i, b in enumerate(behind)
    }
    members = [WorkloadRequest("root", 0, 4, 1, 1)]
    members += [WorkloadRequest(name, 0, 4, 1, 1, parent=("root", parents[name])) for name in sorted(parents)]
    with pytest.raises(WorkloadError, match="waits, through its parents, for itself") as caught:
        Workload("w", tuple(members))
    assert str(caught.value).split()[1].removesuffix(":") in cycle


def test_a_parent_may_be_stated_later_and_arrive_later() -> None:
    load = Workload("w", (TURN, replace(ONE, arrival_time=77)))
    assert load.has_parents
    assert not Workload("w", (ONE,)).has_parents


def test_what_has_its_default_is_not_written() -> None:
    assert TURN.as_json() == (
        '{"request_id": "b", "prompt_len": 8, "output_len": 1, "max_tokens": 1, "turn": 2, "parent": "a"}'
    )
    shared = replace(ONE, prefix=(("s", 2), ("t", 1)), ttft_slo=500_000_000, tpot_slo=1)
    assert shared.as_json().endswith(
        '"max_tokens": 9, "prefix_id": ["s", "t"], "prefix_len": [2, 1], "ttft_slo": 0.5, "tpot_slo": 1e-09}'
    )


def test_a_level_of_service_is_a_deadline() -> None:
    a, b = requests_of(Workload("w", (replace(ONE, ttft_slo=7), replace(ONE, request_id="b", deadline=9))))
    assert (a.deadline, b.deadline) == (12, 9)


def test_equal_prefixes_are_equal_tokens() -> None:
    """The first of the longer one, behind it each request's own; a name stands for other tokens than a request's id."""
    first = WorkloadRequest("a", 0, 20, 1, 1, prefix=(("system", 8), ("doc", 4)))
    second = WorkloadRequest("b", 0, 20, 1, 1, prefix=(("system", 8), ("doc", 9)))
    third = WorkloadRequest("c", 0, 6, 1, 1, prefix=(("system", 6),))
    fourth = WorkloadRequest("system", 0, 6, 1, 1)
    a, b, c, d = (tuple(r.prompt_token_ids) for r in materialize(Workload("w", (first, second, third, fourth))))
    assert (len(a), len(b), len(c)) == (20, 20, 6)
    assert a[:12] == b[:12]
    assert a[12:] != b[12:]
    assert b[:6] == c != d
    assert b[8:17] == tokens_of("prefix doc", 9)
    assert a[12:] == tokens_of("request a", 8)


def test_the_engine_sees_prompts_and_no_output_length() -> None:
    (request,) = materialize(Workload("w", (replace(ONE, priority=3),)))
    assert (request.request_id, request.arrival_time, request.max_tokens, request.priority) == ("a", 5, 9, 3)
    assert request.stop_token_ids == (2,)
    assert request.prompt_len == 4
    assert not hasattr(request, "output_len")


def test_a_given_prompt_is_used() -> None:
    (request,) = materialize(Workload("w", (replace(ONE, prompt_token_ids=(7, 2, 9, 9)),)))
    assert tuple(request.prompt_token_ids) == (7, 2, 9, 9)


@given(st.text(max_size=5), st.integers(0, 99), st.integers(0, 99))
def test_tokens_of_a_name(name: str, short: int, more: int) -> None:
    tokens = tokens_of(name, short + more)
    assert len(tokens) == short + more
    assert tokens[:short] == tokens_of(name, short)
    assert all(3 <= t <= 258 and type(t) is int for t in tokens)


def test_tokens_are_the_same_on_every_machine() -> None:
    """Written down once: a change here changes the prompts of every published workload."""
    assert tokens_of("request r0", 8) == EXPECTED
    assert {t for i in range(40) for t in tokens_of(str(i), 200)} == set(range(3, 259))


EXPECTED = (234, 183, 235, 92, 169, 194, 171, 183)


def test_hash_ids_are_shared_prefixes() -> None:
    first = WorkloadRequest("a", 0, 20, 1, 1, hash_ids=(5, 6, 7), hash_block=8)
    second = WorkloadRequest("b", 0, 23, 1, 1, hash_ids=(5, 6, 9), hash_block=8)
    a, b = (tuple(r.prompt_token_ids) for r in materialize(Workload("w", (first, second))))
    assert (len(a), len(b)) == (20, 23)
    assert a[:16] == b[:16]
    assert a[16:20] != b[16:20]
    assert a[:8] != a[8:16]


def test_prompts_of_different_requests_differ() -> None:
    many = Workload("w", tuple(WorkloadRequest(f"{i}", 0, 16, 1, 1) for i in range(500)))
    assert len({tuple(r.prompt_token_ids) for r in materialize(many)}) == 500


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_bytes_do_not_depend_on_the_hash_seed(repo: Path, hash_seed: str) -> None:
    program = (
        "from workloads.synthesize import synthesize; from workloads.workload import materialize;"
        "w = synthesize(name='w', rate=2, num_requests=5, seed=3);"
        "print(w.sha256, materialize(w)[0].prompt_token_ids[:4])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repo,
        env={"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == SEED_3


SEED_3 = "269a6fbeae47a2fed354b9e1043c01b12405d605ded6c0afa7f6e444d2168663 (199, 195, 246, 146)\n"
