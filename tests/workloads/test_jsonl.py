"""Workload files: a round trip, and every malformed line told with file, line and field."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RecordError, WorkloadError
from workloads.jsonl import read_jsonl, write_jsonl
from workloads.workload import Workload, WorkloadRequest

LINE = {"request_id": "a", "arrival_time": 0.5, "prompt_len": 4, "output_len": 2}


@st.composite
def requests(draw: st.DrawFn) -> WorkloadRequest:
    prompt_len, output_len = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind, block = draw(st.sampled_from(["drawn", "given", "hashed"])), draw(st.integers(1, 9))
    ids = st.lists(st.integers(0, 9), min_size=-(-prompt_len // block), max_size=-(-prompt_len // block))
    given_ids = st.lists(st.integers(0, 2**31 - 1), min_size=prompt_len, max_size=prompt_len)
    return WorkloadRequest(
        request_id=draw(st.text(min_size=1, max_size=9).filter(str.isprintable)),
        arrival_time=draw(st.integers(0, 2**51)),
        prompt_len=prompt_len,
        output_len=output_len,
        max_tokens=output_len + draw(st.integers(0, 9)),
        prompt_token_ids=tuple(draw(given_ids)) if kind == "given" else None,
        hash_ids=tuple(draw(ids)) if kind == "hashed" else None,
        hash_block=block if kind == "hashed" else 512,
        priority=draw(st.integers(-3, 3)),
    )


@given(st.lists(requests(), min_size=1, max_size=9, unique_by=lambda r: r.request_id))
def test_a_workload_comes_back(tmp_path_factory: pytest.TempPathFactory, members: list[WorkloadRequest]) -> None:
    place = tmp_path_factory.mktemp("w") / "w.jsonl"
    load = Workload("w", tuple(members))
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
