"""servetwin workload describe"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.options import Json
from lab.paper import PaperOption, check_name
from lab.trace_options import AS_IT_IS, TRACE_HELP, TraceOptions


def describe(
    workload: Annotated[Path, Parameter(help=f"Workload file, or a public trace: {TRACE_HELP}")],
    /,
    *,
    figure: Annotated[
        Path | None,
        Parameter(help="PNG to write (PDF with --paper): lengths, arrivals, gaps [s], and what prompts share."),
    ] = None,
    paper: PaperOption = None,
    reading: TraceOptions = AS_IT_IS,
    json: Json = False,
) -> None:
    """Describe a workload in numbers: lengths [tokens], arrivals [per second], shared prefixes, turns, tenants.

    Example: servetwin workload describe mooncake_conversation_trace.jsonl.gz --figure trace.png
    """
    from dataclasses import asdict

    from lab.console import print_json, say
    from lab.workload_tables import print_description
    from serving.errors import ConfigError
    from workloads.describe import describe as in_numbers

    if paper and figure is None:
        raise ConfigError("--paper has no effect without --figure; give a file for it")
    if figure is not None:
        check_name(figure, paper, "--figure")
    load, notes = reading.load(workload)
    for note in notes:
        say(note)
    described = in_numbers(load)
    if figure is not None:
        from lab.figures_workload import workload_figure

        workload_figure(figure, load, paper)
        say(f"figure: {figure}")
    if json:
        print_json({**asdict(described), "notes": notes})
    else:
        print_description(described)
