"""servetwin trace"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json


def trace(
    *runs: Annotated[Path, Parameter(help="Run records: simulated and real, of engines or fleets. A process each.")],
    out: Annotated[Path, Parameter(help="JSON to write; compressed if its name ends in .gz.")],
    requests: Annotated[
        tuple[str, ...],
        Parameter(
            help="Show these alone: ids, and the steps from the first arrival to the last end.",
            consume_multiple=True,
            negative=(),
        ),
    ] = (),
    begin: Annotated[
        float | None, Parameter(name="--from", help="Show what ends after so many seconds of the run.")
    ] = None,
    end: Annotated[
        float | None, Parameter(name="--to", help="Show what begins before so many seconds of the run.")
    ] = None,
    tokens: Annotated[
        bool | None, Parameter(help="A slice for each interval between two tokens. Default: up to 200,000 tokens.")
    ] = None,
    open_viewer: Annotated[
        bool, Parameter(name="--open", help="Then show it in a browser, offline (extra: trace).", negative=())
    ] = False,
    port: Annotated[int | None, Parameter(help="Of the viewer, on this machine alone. Default 9001; 0: any.")] = None,
    json: Json = False,
) -> None:
    """Write runs as a trace for Perfetto: a track per request and per engine, counters of queues, KV and batches.

    Simulated and measured runs are processes of one file, on one clock, that of the run [s]. The slices of a request
    add up to its parts (queue, schedule, prefill, return, decode, stream) to the nanosecond. Load the file at
    ui.perfetto.dev, or give --open. docs/traces.md tells what is where.

    Example: servetwin trace sim/ real-1/ --out both.json.gz --open

    Example: servetwin trace real-1/ --out slow.json --requests r17 r18 --tokens
    """
    from lab.console import print_json, say
    from lab.trace import Cut, write_trace
    from lab.trace.viewer import PORT, find_viewer, open_trace
    from records.run import read_run
    from serving.errors import ConfigError

    if json and open_viewer:
        raise ConfigError("--json prints one object and ends, --open goes on until it is stopped; leave one out")
    if port is not None and not open_viewer:
        raise ConfigError("--port has no effect without --open; leave it out")
    if port is not None and not 0 <= port < 65536:
        raise ConfigError(f"--port is {port}; it must be from 0 to 65535")
    if open_viewer:
        find_viewer()
    cut = Cut(requests, begin, end, tokens)
    report = write_trace(out, [read_run(run) for run in runs], cut)
    if json:
        print_json(report.as_dict())
    else:
        for run in report.runs:
            print(f"{run.name}: {run.requests} of {run.requests_of} requests, {run.steps} of {run.steps_of} steps")
        if not report.tokens and tokens is None:
            say("intervals between tokens are left out: there are more than 200,000; --tokens or a cut shows them")
        print(f"trace: {out} ({report.events:,} events, {report.bytes / 1e6:.2f} MB)")
    if open_viewer:
        open_trace(out, PORT if port is None else port)
