"""The whole story of a run that is small enough to be worked out on paper: every slice, mark and counter."""

import json
from pathlib import Path

import pytest

from lab.trace import Cut, write_trace
from lab.trace.events import microseconds
from records.run import read_run, write_run
from serving.errors import ConfigError, InvariantError
from tests.lab.trace.reading import Trace, read_trace
from tests.records.made import MANIFEST, run_by_hand

MS = 1_000_000


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    write_run(tmp_path / "run", MANIFEST, run_by_hand())
    write_trace(tmp_path / "t.json", [read_run(tmp_path / "run")], Cut())
    return read_trace(tmp_path / "t.json")


def story(trace: Trace, request_id: str) -> list[tuple[str, int, int, int]]:
    """(name, start, end, depth), milliseconds; in order of starts, the outer one first."""
    slices = trace.requests[1, request_id].slices
    return sorted(((s.name, s.start // MS, s.end // MS, s.depth) for s in slices), key=lambda s: (s[1], s[3], s[2]))


def test_a_request_of_two_tokens(trace: Trace) -> None:
    assert story(trace, "b") == [
        ("b", 1000, 1551, 0),
        ("schedule", 1000, 1001, 1),
        ("prefill", 1001, 1250, 1),
        ("return", 1250, 1251, 1),
        ("decode", 1251, 1550, 1),
        ("token", 1251, 1550, 2),
        ("stream", 1550, 1551, 1),
    ]
    assert trace.requests[1, "b"].instants == [(1000 * MS, "admitted", {"step": 0, "cached tokens": 0})]
    assert trace.requests[1, "b"].slices[-1].args["ttft ms"] == 251


def test_one_whose_client_gave_up_and_one_that_was_refused(trace: Trace) -> None:
    assert story(trace, "dropped") == [("dropped", 1500, 1500, 0)]
    assert [name for _, name, _ in trace.requests[1, "dropped"].instants] == ["aborted"]
    ((at, name, args),) = trace.requests[1, "refused"].instants
    assert (at, name) == (1500 * MS, "rejected")
    assert args == {"why": "request refused: the prompt has 9 tokens, the most is 8"}


def test_steps_arrows_and_counters(trace: Trace) -> None:
    execute = trace.lanes[1, "execute"].slices
    assert [(s.name, s.start // MS, s.end // MS, s.args["step"]) for s in execute] == [
        ("prefill", 1001, 1250, 0),
        ("decode", 1301, 1550, 1),
    ]
    assert execute[0].args["prompts (tokens)"] == "a (4), b (3)"
    assert [(s.start // MS, s.end // MS) for s in trace.lanes[1, "deliver"].slices] == [(1250, 1251), (1550, 1551)]
    assert trace.arrows == {(1, 0, "a"), (1, 0, "b")}
    assert trace.counters[1, "batch tokens", "prompts"] == [
        (1001 * MS, 7),
        (1250 * MS, 0),
        (1301 * MS, 0),
        (1550 * MS, 0),
    ]
    assert trace.counters[1, "KV tokens", "free"] == [(1000 * MS, 52)]  # told again only when something changes
    assert trace.processes == {1: "scripted: fake/fcfs, hand (run)"}


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_run(tmp_path / "run", MANIFEST, run_by_hand())
    (tmp_path / "t.json").write_text("before")
    with pytest.raises(ConfigError):
        write_trace(tmp_path / "t.json", [read_run(tmp_path / "run")], Cut(begin=100.0))
    assert (tmp_path / "t.json").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "t.json"]


def test_microseconds_are_exact() -> None:
    assert [microseconds(ns) for ns in (0, 7, 1_234_567, 2**51)] == ["0.000", "0.007", "1234.567", "2251799813685.248"]
    assert json.loads(microseconds(1_234_567)) == 1234.567
    with pytest.raises(InvariantError):
        microseconds(-1)
