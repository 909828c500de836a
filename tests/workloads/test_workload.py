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
from workloads.workload import Workload, WorkloadRequest, materialize

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
