"""A reader of trace files that is strict about the rules of the Trace Event Format, for tests."""

import gzip
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple


class Slice(NamedTuple):
    """Integer nanoseconds. depth: 0 for an outermost one."""

    name: str
    start: int
    end: int
    depth: int
    args: dict[str, Any]


class Track(NamedTuple):
    """slices: in order of their ends. instants: (nanoseconds, name, args)."""

    slices: list[Slice]
    instants: list[tuple[int, str, dict[str, Any]]]


class Trace(NamedTuple):
    """processes: number -> name. lanes: (process, name) -> track. requests: (process, request id) -> track.

    counters: (process, name, series) -> values in order. arrows: (process, step, request id) of each flow.
    """

    processes: dict[int, str]
    lanes: dict[tuple[int, str], Track]
    requests: dict[tuple[int, str], Track]
    counters: dict[tuple[int, str, str], list[tuple[int, int]]]
    arrows: set[tuple[int, int, str]]


def read_trace(path: Path) -> Trace:
    """Fails where a rule is broken: an event of unknown kind, a slice that is not closed, or closed under another name,
    time that goes back on a track, an instant below 0 or finer than a nanosecond.
    """
    data = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    whole = json.loads(data, parse_float=Decimal)
    assert set(whole) == {"displayTimeUnit", "otherData", "traceEvents"}
    processes: dict[int, str] = {}
    names: dict[tuple[int, int], str] = {}
    tracks: dict[tuple[Any, ...], Track] = {}
    open_slices: dict[tuple[Any, ...], list[tuple[str, int, dict[str, Any]]]] = defaultdict(list)
    now: dict[tuple[Any, ...], int] = defaultdict(int)
    counters: dict[tuple[int, str, str], list[tuple[int, int]]] = defaultdict(list)
    begun: dict[str, tuple[int, int]] = {}  # arrows: which step they begin at
    ended: list[tuple[str, tuple[Any, ...], int]] = []
    for event in whole["traceEvents"]:
        at = event["ts"] * 1000
        assert at == int(at) >= 0
        at, kind, process = int(at), event["ph"], event["pid"]
        args = event.get("args", {})
        if kind == "M":
            if event["name"] == "process_name":
                processes[process] = args["name"]
            elif event["name"] == "thread_name":
                names[process, event["tid"]] = args["name"]
            else:
                assert event["name"] in ("process_sort_index", "thread_sort_index")
            continue
        assert process in processes
        if kind == "C":
            for series, value in args.items():
                values = counters[process, event["name"], series]
                assert not values or values[-1][0] <= at
                values.append((at, value))
            continue
        if kind in "BE":
            key: tuple[Any, ...] = ("thread", process, event["tid"])
            assert (process, event["tid"]) in names
        else:
            assert kind in "ben"
            key = (event["cat"], process, int(event["id2"]["local"], 16))
        assert at >= now[key]
        now[key] = at
        track, stack = tracks.setdefault(key, Track([], [])), open_slices[key]
        if event.get("flow_out"):
            assert event["bind_id"] not in begun
            begun[event["bind_id"]] = (process, args["step"])
        if event.get("flow_in"):
            ended.append((event["bind_id"], key, args["step"]))
        if kind in "Bb":
            stack.append((event["name"], at, args))
        elif kind in "Ee":
            name, start, given = stack.pop()
            assert kind == "E" or event["name"] == name
            track.slices.append(Slice(name, start, at, len(stack), given))
        else:
            assert stack, "an instant outside of its request"
            track.instants.append((at, event["name"], args))
    assert not any(open_slices.values()), "slices that are not closed"
    numbers = [key[2] for key in tracks if key[0] == "request"]
    assert len(set(numbers)) == len(numbers), "two processes have an asynchronous track of one number"
    lanes = {(key[1], names[key[1], key[2]]): track for key, track in tracks.items() if key[0] == "thread"}
    for track in lanes.values():  # they do not nest: one after the other
        assert all(s.depth == 0 for s in track.slices)
    requests = {(key[1], track.slices[-1].name): track for key, track in tracks.items() if key[0] == "request"}
    arrows = set()
    for arrow, key, step in ended:
        assert begun[arrow] == (key[1], step)
        arrows.add((key[1], step, tracks[key].slices[-1].name))
    return Trace(processes, lanes, requests, dict(counters), arrows)
