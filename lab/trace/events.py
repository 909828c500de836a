"""Events of the Trace Event Format, as text: a line each.

Source of the format: Duca and Sinclair, Trace Event Format (the document of the Chromium project); letters of `ph`: M
names, B and E a slice of a thread, b, e and n a slice or instant of an asynchronous track, C a counter.

Instants are integer nanoseconds. The format wants microseconds, so they are written with three decimals, from
integers: no float is in between. Slices are written as pairs of begin and end, not as a begin with a duration: a
reader that rounds instants then rounds the end of one slice as the begin of the next.
"""

import json
from collections.abc import Mapping
from typing import Any

from lab.trace.sink import Sink
from serving.errors import InvariantError

_FLUSH_AT = 2000
"""Lines that are written together."""
_FIRST_LANE = 1000
"""Above every process number: a reader takes a thread that has its process's number to be the main one."""

_FLOWS_A_PROCESS = 2**44
"""Numbers of arrows are those of the whole file."""


class Events:
    """The list of events of a file that is open. process: number of the run, from 1. lane: number of a thread.

    Errors: InvariantError for an instant before 0, which no reader of the format takes.
    """

    def __init__(self, file: Sink) -> None:
        self._file = file
        self._lines: list[str] = []
        self._names: dict[str, str] = {}
        self._separator = ""
        self.num_events = 0
        self._num_tracks = 0
        self._num_lanes = 0

    def new_track(self) -> int:
        """The number of an asynchronous track that nobody has yet, in the whole file.

        It is written as `id2.local`, a number of its process: tracks with a plain `id` are of no process to Perfetto.
        """
        self._num_tracks += 1
        return self._num_tracks

    def name_process(self, process: int, name: str) -> None:
        self._meta("process_name", process, 0, {"name": name})
        self._meta("process_sort_index", process, 0, {"sort_index": process})

    def new_lane(self, process: int, name: str, order: int) -> int:
        """The number of a thread that nobody has yet, in the whole file. order: where it is shown, from above."""
        self._num_lanes += 1
        lane = _FIRST_LANE + self._num_lanes
        self._meta("thread_name", process, lane, {"name": name})
        self._meta("thread_sort_index", process, lane, {"sort_index": order})
        return lane

    def begin(self, process: int, lane: int, at: int, name: str, args: Mapping[str, Any], flow: int = -1) -> None:
        """flow: number of an arrow that begins here; -1: none."""
        where = f'"pid":{process},"tid":{lane},"cat":"step","name":{self._quoted(name)}'
        self._add(f'{{"ph":"B","ts":{microseconds(at)},{where}{_flow(process, flow, "out")}{_args(args)}}}')

    def end(self, process: int, lane: int, at: int) -> None:
        self._add(f'{{"ph":"E","ts":{microseconds(at)},"pid":{process},"tid":{lane}}}')

    def begin_async(
        self, process: int, track: int, at: int, name: str, args: Mapping[str, Any] | None = None, flow: int = -1
    ) -> None:
        """flow: number of the arrow that ends here, as begin() of the same process was told; -1: none."""
        self._async("b", process, track, at, name, _flow(process, flow, "in") + _args(args))

    def end_async(self, process: int, track: int, at: int, name: str) -> None:
        self._async("e", process, track, at, name, "")

    def instant_async(self, process: int, track: int, at: int, name: str, args: Mapping[str, Any]) -> None:
        self._async("n", process, track, at, name, _args(args))

    def counter(self, process: int, at: int, name: str, values: Mapping[str, int]) -> None:
        where = f'"pid":{process},"name":{self._quoted(name)}'
        self._add(f'{{"ph":"C","ts":{microseconds(at)},{where}{_args(values)}}}')

    def flush(self) -> None:
        if self._lines:
            self._file.write((self._separator + ",\n".join(self._lines)).encode())
            self._separator = ",\n"
            self._lines.clear()

    def _async(self, ph: str, process: int, track: int, at: int, name: str, more: str) -> None:
        where = f'"pid":{process},"tid":0,"cat":"request","id2":{{"local":"{track:#x}"}},"name":{self._quoted(name)}'
        self._add(f'{{"ph":"{ph}","ts":{microseconds(at)},{where}{more}}}')

    def _meta(self, kind: str, process: int, lane: int, args: Mapping[str, Any]) -> None:
        self._add(f'{{"ph":"M","ts":0.000,"pid":{process},"tid":{lane},"name":"{kind}"{_args(args)}}}')

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self.num_events += 1
        if len(self._lines) >= _FLUSH_AT:
            self.flush()

    def _quoted(self, name: str) -> str:
        """Names of parts and lanes come often; those of requests do too, but each in a few lines only."""
        text = self._names.get(name)
        if text is None:
            text = json.dumps(name)
            if len(self._names) < _FLUSH_AT:
                self._names[name] = text
        return text


def microseconds(at: int) -> str:
    """Of integer nanoseconds, exactly: 1234567 is 1234.567."""
    if at < 0:
        raise InvariantError(f"a trace cannot show an instant before the run: {at} ns")
    whole, rest = divmod(at, 1000)
    return f"{whole}.{rest:03d}"


def _args(args: Mapping[str, Any] | None) -> str:
    return f',"args":{json.dumps(args, separators=(",", ":"), allow_nan=False)}' if args else ""


def _flow(process: int, flow: int, way: str) -> str:
    return "" if flow < 0 else f',"bind_id":"{process * _FLOWS_A_PROCESS + flow:#x}","flow_{way}":true'
