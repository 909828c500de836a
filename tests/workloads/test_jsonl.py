"""Workload files: a round trip, and every malformed line told with file, line and field."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RecordError, WorkloadError
from workloads.jsonl import read_jsonl, write_jsonl
from workloads.workload import Workload, WorkloadRequest

LINE = {"request_id": "a", "arrival_time": 0.5, "prompt_len": 4, "output_len": 2}


times = st.integers(0, 2**51)


@st.composite
def requests(draw: st.DrawFn) -> WorkloadRequest:
    prompt_len, output_len = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind, block = draw(st.sampled_from(["drawn", "given", "hashed", "prefixed"])), draw(st.integers(1, 9))
    level = draw(st.sampled_from(["none", "deadline", "slo"]))
    arrival_time = draw(times)
    ids = st.lists(st.integers(0, 9), min_size=-(-prompt_len // block), max_size=-(-prompt_len // block))
    given_ids = st.lists(st.integers(0, 2**31 - 1), min_size=prompt_len, max_size=prompt_len)
    return WorkloadRequest(
        request_id=draw(st.text(min_size=1, max_size=9).filter(str.isprintable)),
        arrival_time=arrival_time,
        prompt_len=prompt_len,
        output_len=output_len,
        max_tokens=output_len + draw(st.integers(0, 9)),
        prompt_token_ids=tuple(draw(given_ids)) if kind == "given" else None,
        hash_ids=tuple(draw(ids)) if kind == "hashed" else None,
        hash_block=block if kind == "hashed" else 512,
        prefix=tuple((name, 1) for name in draw(st.permutations("st"))[:prompt_len]) if kind == "prefixed" else (),
        priority=draw(st.integers(-3, 3)),
        tenant=draw(st.sampled_from(["", "ann"])),
        session_id=draw(st.sampled_from(["", "s1"])),
        deadline=draw(st.integers(arrival_time, 2**51)) if level == "deadline" else None,
        ttft_slo=draw(st.integers(1, 2**51)) if level == "slo" else None,
        tpot_slo=draw(st.none() | st.integers(1, 2**51)),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Some requests with parents among those before them, some of these the next turn of the first one."""
    members: list[WorkloadRequest] = []
    for r in draw(st.lists(requests(), min_size=1, max_size=9, unique_by=lambda r: r.request_id)):
        parents = draw(st.lists(st.sampled_from(members), max_size=2, unique=True)) if members else []
        if parents:
            arrival_time = 0 if r.deadline is None and draw(st.booleans()) else r.arrival_time
            ids = tuple(p.request_id for p in parents)
            r = replace(r, parent=ids, think_time=draw(times), arrival_time=arrival_time)
            if draw(st.booleans()):
                before = parents[0]
                r = replace(
                    r,
                    turn=before.turn + 1,
                    session_id=before.session_id,
                    prompt_len=before.prompt_len + before.output_len + r.prompt_len,
                    prompt_token_ids=None,
                    hash_ids=None,
                    hash_block=512,
                    prefix=(),
                )
        members.append(r)
    return Workload("w", tuple(members))


@given(workloads())
def test_a_workload_comes_back(tmp_path_factory: pytest.TempPathFactory, load: Workload) -> None:
    place = tmp_path_factory.mktemp("w") / "w.jsonl"
    write_jsonl(place, load)
    assert read_jsonl(place) == load
    assert read_jsonl(place).sha256 == load.sha256


def write(place: Path, *lines: object) -> Path:
    place.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return place


def test_defaults_order_blank_lines_and_gzip(tmp_path: Path) -> None:
    place = write(tmp_path / "w.jsonl", {**LINE, "arrival_time": 3}, "", {**LINE, "request_id": "b"}, "  ")
    load = read_jsonl(place)
    assert load.name == "w"
    assert [(r.request_id, r.arrival_time, r.max_tokens) for r in load.requests] == [
        ("b", 500_000_000, 2),
        ("a", 3_000_000_000, 2),
    ]
    packed = tmp_path / "w.jsonl.gz"
    packed.write_bytes(gzip.compress(place.read_bytes()))
    assert read_jsonl(packed) == load


def test_a_prompt_given_as_tokens_needs_no_length(tmp_path: Path) -> None:
    place = write(
        tmp_path / "w.jsonl", {"request_id": "a", "arrival_time": 0, "prompt_token_ids": [5, 6], "output_len": 1}
    )
    assert read_jsonl(place).requests[0].prompt_len == 2


def test_a_conversation_with_a_tool_in_between(tmp_path: Path) -> None:
    """The next turn waits for the turn before and the tool, and needs no arrival time; one or many may be a list."""
    first = {**LINE, "prefix_id": "system", "prefix_len": 3, "ttft_slo": 0.5, "tpot_slo": 0.05, "turn": 1}
    tool = {**LINE, "request_id": "tool", "parent": ["a"], "prefix_id": ["x", "y"], "prefix_len": [1, 2]}
    turn = {"request_id": "b", "prompt_len": 9, "output_len": 1, "turn": 2, "parent": ["a", "tool"], "think_time": 1.5}
    load = read_jsonl(write(tmp_path / "w.jsonl", turn, tool, first))
    assert {r.request_id: r for r in load.requests} == {
        "a": WorkloadRequest(
            "a", 500_000_000, 4, 2, 2, prefix=(("system", 3),), ttft_slo=500_000_000, tpot_slo=50_000_000
        ),
        "tool": WorkloadRequest("tool", 500_000_000, 4, 2, 2, parent=("a",), prefix=(("x", 1), ("y", 2))),
        "b": WorkloadRequest("b", 0, 9, 1, 1, turn=2, parent=("a", "tool"), think_time=1_500_000_000),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ({k: v for k, v in LINE.items() if k != "request_id"}, "request_id is missing"),
        ({k: v for k, v in LINE.items() if k != "arrival_time"}, "arrival_time is missing"),
        ({k: v for k, v in LINE.items() if k != "prompt_len"}, "prompt_len is missing"),
        ({k: v for k, v in LINE.items() if k != "output_len"}, "output_len is missing"),
        ({**LINE, "request_id": 7}, "request_id is 7; it must be a text"),
        ({**LINE, "request_id": ""}, "request_id '' must be"),
        ({**LINE, "arrival_time": -0.1}, "arrival_time is -0.1; it must be a finite number that is not negative"),
        ({**LINE, "arrival_time": float("nan")}, "arrival_time is NaN; it must be a finite"),
        ({**LINE, "arrival_time": float("inf")}, "arrival_time is Infinity; it must be a finite"),
        ({**LINE, "arrival_time": 10**400}, "arrival_time is 1000.*finite"),
        ({**LINE, "arrival_time": 1.7e9}, "26 days"),
        ({**LINE, "arrival_time": "0"}, 'arrival_time is "0"; it must be a number'),
        ({**LINE, "arrival_time": True}, "arrival_time is true; it must be a number"),
        ({**LINE, "prompt_len": 4.0}, "prompt_len is 4.0; it must be a whole number"),
        ({**LINE, "prompt_len": True}, "prompt_len is true; it must be a whole number"),
        ({**LINE, "prompt_len": None}, "prompt_len is null; it must be a whole number"),
        ({**LINE, "prompt_len": 0}, "request a: prompt_len is 0"),
        ({**LINE, "output_len": 0}, "request a: output_len is 0"),
        ({**LINE, "output_len": -3}, "request a: output_len is -3"),
        ({**LINE, "max_tokens": 1}, "output_len 2 is above max_tokens 1"),
        ({**LINE, "max_token": 1}, "unknown key 'max_token'; did you mean max_tokens"),
        ({**LINE, "think_time": 1}, "think_time has no effect without a parent"),
        ({**LINE, "turn": 2}, "turn is 2; give the turn before it as its parent"),
        ({**LINE, "turn": 1.0}, "turn is 1.0; it must be a whole number"),
        ({**LINE, "parent": "x"}, "request a: parent x is no request of this workload"),
        ({**LINE, "parent": ["fine", "a"]}, "request a: it waits, through its parents, for itself"),
        ({**LINE, "parent": []}, r"parent is \[\]; it must be a text in quotes, or a list of such"),
        ({**LINE, "parent": ["fine", 3]}, r'parent is \["fine", 3\]; it must be a text'),
        ({**LINE, "parent": "fine", "think_time": -1}, "think_time is -1; it must be a finite number"),
        ({**LINE, "parent": "fine", "turn": 2}, "prompt_len is 4; it begins with 4 prompt and 2 output tokens of fine"),
        ({**LINE, "prefix_id": "s"}, "prefix_len is missing"),
        ({**LINE, "prefix_len": 3}, "prefix_id is missing"),
        ({**LINE, "prefix_id": ["s"], "prefix_len": [1, 2]}, "prefix_id has 1 names and prefix_len 2 lengths"),
        ({**LINE, "prefix_id": "s", "prefix_len": "3"}, 'prefix_len is "3"; it must be a whole number'),
        ({**LINE, "prefix_id": "s", "prefix_len": 5}, "prefix_len is 5 tokens in all, above prompt_len 4"),
        ({**LINE, "ttft_slo": 0}, "ttft_slo is 0 s; it must be above 0"),
        ({**LINE, "tenant": 3}, "tenant is 3; it must be a text in quotes"),
        ({**LINE, "arrival_time": 2.0, "deadline": 1.0}, "deadline is 1 s; it is a time of the run"),
        ({**LINE, "hash_block": 16}, "hash_block has no effect without hash_ids"),
        ({**LINE, "hash_ids": 3}, "hash_ids is 3; it must be a list"),
        ({**LINE, "hash_ids": [1.5]}, "hash_ids is 1.5; it must be a whole number"),
        ({**LINE, "hash_ids": [1, 2]}, "hash_ids has 2 ids"),
        ({**LINE, "prompt_token_ids": []}, "prompt_token_ids is empty"),
        ({**LINE, "prompt_token_ids": [1]}, "prompt_len is 4, but prompt_token_ids has 1"),
    ],
)
def test_a_malformed_line_is_told(tmp_path: Path, line: object, message: str) -> None:
    place = write(tmp_path / "w.jsonl", {**LINE, "request_id": "fine"}, line)
    with pytest.raises(WorkloadError, match=message) as caught:
        read_jsonl(place)
    assert str(caught.value).startswith(f"{place}:2: ")
    assert "\n" not in str(caught.value)


def test_an_id_twice_names_both_lines(tmp_path: Path) -> None:
    place = write(tmp_path / "w.jsonl", LINE, {**LINE, "request_id": "b"}, LINE)
    with pytest.raises(WorkloadError, match=r"w.jsonl:3: request_id 'a' is also that of line 1"):
        read_jsonl(place)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x" * 10_000)[:30])
    for name, message in (
        ("empty", "empty: empty; make a workload"),
        ("no", "no such file"),
        (".", "a folder; give a file"),
        ("binary", "binary:1: not text in UTF-8"),
        ("cut.gz", "cut.gz:1: damaged gzip"),
    ):
        with pytest.raises(WorkloadError, match=message):
            read_jsonl(tmp_path / name)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist"):
        write_jsonl(tmp_path / "no" / "w.jsonl", Workload("w", (WorkloadRequest("a", 0, 1, 1, 1),)))
