"""A Mooncake trace written from a workload: the same times and lengths, and ids that are shared where tokens are."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.clients import Clients
from workloads.content import block_contents
from workloads.mooncake import write_mooncake
from workloads.traces import read_trace
from workloads.workload import Workload, WorkloadRequest, materialize


def renamed(requests: tuple[WorkloadRequest, ...]) -> list[tuple]:
    """Hash ids in order of appearance."""
    names: dict[int, int] = {}
    return [
        (r.arrival_time, r.prompt_len, r.output_len, [names.setdefault(i, len(names)) for i in r.hash_ids or ()])
        for r in requests
    ]


@pytest.mark.parametrize("kind", ["conversation", "synthetic"])
def test_the_published_traces_come_back(repo: Path, tmp_path: Path, kind: str) -> None:
    place = repo.parent / "shared" / "traces" / f"mooncake_{kind}_trace.jsonl.gz"
    if not place.exists():
        pytest.skip(f"{place} is absent: the project does not ship public traces")
    load, _ = read_trace(place)
    assert write_mooncake(tmp_path / "t.jsonl", load) == []
    again, notes = read_trace(tmp_path / "t.jsonl")
    assert notes == []
    assert renamed(again.requests) == renamed(load.requests)


def request(name: str, prompt_len: int, **more: object) -> WorkloadRequest:
    return WorkloadRequest(name, 0, prompt_len, 3, 3, **more)  # type: ignore[arg-type]


prefix = st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 9)), min_size=1, max_size=3).map(tuple)
prompts = st.one_of(
    st.integers(1, 30).map(lambda n: {"prompt_len": n}),
    prefix.flatmap(
        lambda p: st.integers(0, 9).map(lambda own: {"prompt_len": sum(n for _, n in p) + own, "prefix": p})
    ),
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(
        lambda ids: {"prompt_len": 4 * len(ids) - 1, "hash_ids": tuple(ids), "hash_block": 4}
    ),
    st.lists(st.integers(3, 4), min_size=1, max_size=20).map(
        lambda ids: {"prompt_len": len(ids), "prompt_token_ids": tuple(ids)}
    ),
)


@given(st.lists(prompts, min_size=1, max_size=6), st.integers(1, 7))
def test_blocks_of_equal_content_have_equal_tokens(many: list[dict], block: int) -> None:
    load = Workload("w", tuple(request(str(i), **one) for i, one in enumerate(many)))
    tokens_of: dict[object, tuple[int, ...]] = {}
    for (made, contents), sent in zip(block_contents(load, block), materialize(load), strict=True):
        assert made.request_id == sent.request_id
        assert len(contents) == -(-made.prompt_len // block)
        for i, content in enumerate(contents):
            tokens = tuple(sent.prompt_token_ids)[i * block : (i + 1) * block]
            assert tokens_of.setdefault(content, tokens) == tokens


def chat() -> Workload:
    first = request("a", 700, prefix=(("system", 600),), session_id="s")
    second = request("b", 1300, turn=2, parent=("a",), think_time=5, session_id="s")
    other = request("c", 601, prefix=(("system", 600),), tenant="t", priority=1)
    return Workload("chat", (first, second, other))


def test_blocks_of_a_later_turn_are_those_that_clients_send() -> None:
    outputs = {"a": (9, 8, 7), "b": (6, 5, 4)}
    load = chat()
    clients = Clients(load, output_of=outputs.__getitem__)
    sent = {}
    for now in (0, 10):
        for one in clients.due(now):
            sent[one.request_id] = tuple(one.prompt_token_ids)
            clients.ended(one.request_id, now + 3)
    assert sent["b"][:703] == sent["a"] + outputs["a"]
    by_content: dict[object, tuple[int, ...]] = {}
    for made, contents in block_contents(load, 50):
        for i, content in enumerate(contents):
            tokens = sent[made.request_id][i * 50 : (i + 1) * 50]
            assert by_content.setdefault(content, tokens) == tokens
    assert len(by_content) < 14 + 26 + 13 - 14 - 11  # a begins b, and twelve blocks of the system prompt c


def test_what_the_format_cannot_say_is_told(tmp_path: Path) -> None:
    notes = write_mooncake(tmp_path / "t.jsonl", chat())
    assert notes == [
        "not in a Mooncake trace: 1 requests wait for other requests: here they are sent at their earliest time",
        "not in a Mooncake trace: 1 requests have a think time",
        "not in a Mooncake trace: 2 requests have a session",
        "not in a Mooncake trace: 1 requests have a tenant",
        "not in a Mooncake trace: 1 requests have a priority",
    ]
    a, b, c = (json.loads(line)["hash_ids"] for line in (tmp_path / "t.jsonl").read_text().splitlines())
    assert a[0] == b[0] == c[0]
    assert len(a) == 2
    assert len({*a, *b, *c}) == 1 + 1 + 2 + 1


def test_times_between_milliseconds_survive(tmp_path: Path) -> None:
    load = Workload("w", (WorkloadRequest("a", 0, 5, 5, 5), WorkloadRequest("b", 1_234_567, 5, 5, 5)))
    write_mooncake(tmp_path / "t.jsonl", load)
    assert '"timestamp": 0,' in (tmp_path / "t.jsonl").read_text()
    assert [r.arrival_time for r in read_trace(tmp_path / "t.jsonl")[0].requests] == [0, 1_234_567]
